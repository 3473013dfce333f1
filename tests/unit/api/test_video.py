"""What is read of a generation, in the words of several gateways."""

import json

import pytest

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.http.response import Response
from veo_provider.api.video import Video, VideoStatus

TASK = "task_" + "a1B2" * 8
AUDIO = (
    "We encountered an issue with the audio for your prompt, which means we could not create your video. "
    "This can sometimes happen due to our safety filters or other processing issues. Please modify your "
    "request and try again. You have not been charged for this attempt."
)


def read(body, status=200):
    return protocol.parse_video(Response.received(status, json.dumps(body).encode(), {}), TASK)


def failed(message, code="video_failed"):
    return read({"id": TASK, "status": "failed", "error": {"code": code, "message": message}})


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("PUBLIC_ERROR_MINOR", "video_failed"),
        ("upstream error: PUBLIC_ERROR_MINOR", ""),
        ("no", "PUBLIC_ERROR_UNSAFE_GENERATION"),
        ("Blocked by our safety filters", ""),
        ("Veo could not generate videos. Support codes: 15236754", ""),
        ("The input image violates Vertex AI's usage guidelines.", ""),
        ("This prompt contains sensitive words that violate Google's Responsible AI practices.", ""),
        ("It might violate our policies", ""),
        ("no", "content_policy_violation"),
        ("no", "moderation_blocked"),
        ("no", "sensitive_words_detected"),
    ],
)
def test_moderation_is_told_by_the_services_own_words(message, code):
    """Each is a refusal on grounds of safety or policy, which no retry mends."""
    assert failed(message, code).moderated


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (AUDIO, ""),
        (AUDIO, "video_failed"),
        ("no", "PUBLIC_ERROR_AUDIO_FILTERED"),
        ("PUBLIC_ERROR_USER_REQUESTS_THROTTLED", ""),
        ("Error: retry policy exhausted after 3 attempts", ""),
        ("throttled by rate limiting policy", "throttled"),
        ("rejected by the gateway's quota policy", ""),
        ("our safety systems are down", ""),
        ("upstream broke", "video_failed"),
    ],
)
def test_what_only_sounds_like_moderation_is_none(message, code):
    """Veo's audio filter passes on the next try as often as not; a retry policy is nobody's morals."""
    assert not failed(message, code).moderated


@pytest.mark.parametrize("word", ["cancelled", "CANCELED", "Expired", "deleted", "timed out"])
def test_an_ending_that_may_be_charged_says_so(word):
    """Nobody documents that these are free: no second submission may follow by itself."""
    video = read({"id": TASK, "status": word})
    assert video.finished
    assert not video.resubmittable
    assert video.final_word in video.failure_reason
    with pytest.raises(exceptions.VeoGenerationFailed, match="is not documented") as caught:
        video.raise_if_failed()
    assert "not charged" not in str(caught.value)


@pytest.mark.parametrize("word", ["failed", "FAILURE", "error", "rejected"])
def test_a_failure_is_resubmittable(word):
    """A failed generation is documented as not charged."""
    video = read({"id": TASK, "status": word})
    assert (video.status, video.resubmittable) == (VideoStatus.FAILED, True)


def test_a_word_that_nobody_knows_is_kept():
    """It is not final, and can be logged as it came."""
    video = read({"id": TASK, "status": "Warming Up"})
    assert (video.status, video.word, video.final_word) == (VideoStatus.UNKNOWN, "Warming Up", "")


@pytest.mark.parametrize("error", ["filtered", {"code": "", "message": "filtered"}])
def test_a_completion_with_an_error_keeps_it(error):
    """It was charged, and there is probably no video: the cause is worth telling."""
    video = read({"id": TASK, "status": "completed", "error": error})
    assert (video.status, video.error_message) == (VideoStatus.COMPLETED, "filtered")
    assert video.completed_with_error


@pytest.mark.parametrize("error", [None, {}, "", "absent"])
def test_a_completion_without_an_error_has_none(error):
    """An empty error is none, and what new-api keeps the URL in is none either."""
    body = {"id": TASK, "status": "completed", "fail_reason": "https://cdn.example/v.mp4"}
    assert not read({**body, **({} if error == "absent" else {"error": error})}).completed_with_error


WRAPPED = {"task_id": TASK, "status": "FAILURE", "fail_reason": "upstream broke", "progress": "100%"}


@pytest.mark.parametrize(
    "body",
    [
        {"code": "success", "message": "", "data": WRAPPED},
        {"code": 0, "data": {"code": "success", "data": WRAPPED}},
        {"code": "success", "data": {**WRAPPED, "id": 7, "data": {"id": "x", "status": "done"}}},
        {"status": "success", "data": WRAPPED},
    ],
)
def test_a_wrapped_answer_is_unwrapped(body):
    """new-api's other route wraps the task, and may hold upstream's own object inside of it."""
    video = read(body)
    assert (video.status, video.progress) == (VideoStatus.FAILED, 100)
    assert video.failure_reason == "upstream broke"
    submitted = protocol.parse_submission(Response.received(200, json.dumps(body).encode(), {}))
    assert submitted.id == TASK


def test_a_wrapped_error_is_no_video():
    """An error inside of a 200 says nothing about the generation, and is repeated in the message."""
    body = {"code": "fail", "message": "database is locked", "data": None}
    with pytest.raises(exceptions.VeoUnexpectedAnswerError, match="database is locked"):
        read(body)
    with pytest.raises(exceptions.VeoSubmissionUnknown, match="database is locked"):
        protocol.parse_submission(Response.received(200, json.dumps(body).encode(), {}))


def test_an_older_form_is_still_read():
    """Triggers in flight and XComs carry what an earlier version wrote, and perhaps what a later one will."""
    old = {"id": TASK, "status": "failed", "progress": 50, "model": "veo", "created_at": 1}
    old |= {"completed_at": None, "error_code": "x", "error_message": "y"}
    video = Video.from_dict({**old, "of_a_later_version": 1})
    assert (video.failure_reason, video.resubmittable, video.final_word) == ("x: y", True, "")
    assert Video.from_dict(json.loads(json.dumps(video.to_dict()))) == video
