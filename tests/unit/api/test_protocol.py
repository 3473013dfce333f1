"""What each response to a JSON call means."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.responses import TASK, response_with, video_object

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.http.response import Response
from veo_provider.api.parsing.download import parse_content
from veo_provider.api.video import VideoStatus


def test_a_submission_is_read():
    """The object that the API answers becomes a video."""
    video = protocol.parse_submission(response_with(200, video_object()))
    assert (video.id, video.status, video.progress) == (TASK, VideoStatus.QUEUED, 0)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", VideoStatus.QUEUED),
        ("in_progress", VideoStatus.IN_PROGRESS),
        ("completed", VideoStatus.COMPLETED),
        ("failed", VideoStatus.FAILED),
        ("unknown", VideoStatus.UNKNOWN),
        ("COMPLETED", VideoStatus.COMPLETED),
        ("warming_up", VideoStatus.UNKNOWN),
        (None, VideoStatus.UNKNOWN),
        *((word, VideoStatus.COMPLETED) for word in ("SUCCESS", "succeeded", "Succeed", "done", "finished")),
        *((word, VideoStatus.FAILED) for word in ("FAILURE", "fail", "Error", "rejected")),
        *(
            (word, VideoStatus.FAILED)
            for word in ("cancelled", "CANCELED", "expired", "deleted", "Timed Out")
        ),
        *((word, VideoStatus.QUEUED) for word in ("PENDING", "submitted", "NOT_START", "in-queue")),
        *(
            (word, VideoStatus.IN_PROGRESS)
            for word in (" In Progress ", "RUNNING", "processing", "generating")
        ),
    ],
)
def test_every_status_is_read(word, status):
    """Each gateway's words are known, in any spelling; another counts as unknown, which is not finished."""
    video = protocol.parse_video(response_with(200, video_object(status=word)))
    assert video.status is status
    assert video.finished is (status in (VideoStatus.COMPLETED, VideoStatus.FAILED))


def test_completion_is_judged_by_the_status_alone():
    """A completed_at or a full progress before the end says nothing."""
    early = video_object(status="in_progress", completed_at=1_700_000_100, progress=100, model="other")
    assert not protocol.parse_video(response_with(200, early)).finished


@pytest.mark.parametrize("error", [None, "absent"])
def test_a_failure_may_have_no_reason(error):
    """A failed object without an error still tells that nothing was charged."""
    data = video_object(status="failed", **({} if error == "absent" else {"error": error}))
    with pytest.raises(exceptions.VeoGenerationFailed, match=r"gave no reason.*not charged"):
        protocol.parse_video(response_with(200, data)).raise_if_failed()


@pytest.mark.parametrize(
    ("error", "moderated"),
    [
        ({"code": "PUBLIC_ERROR_UNSAFE_GENERATION", "message": "no"}, True),
        ({"code": "", "message": "Blocked by our safety filters"}, True),
        ({"code": "video_failed", "message": "upstream broke"}, False),
    ],
)
def test_a_failure_tells_moderation_from_trouble(error, moderated):
    """A failure by moderation says that the same request will fail again."""
    video = protocol.parse_video(response_with(200, video_object(status="failed", error=error)))
    with pytest.raises(exceptions.VeoGenerationFailed) as caught:
        video.raise_if_failed()
    assert caught.value.moderated is moderated
    assert ("Change the image or the prompt" in str(caught.value)) is moderated


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_failed_job_may_be_answered_with_an_error_status(status):
    """vLLM-Omni answers a failed job so: the object counts, not the status."""
    failed = video_object(status="failed", error={"code": "x", "message": "out of memory"})
    video = protocol.parse_video(response_with(status, failed), TASK)
    assert (video.status, video.failure_reason) == (VideoStatus.FAILED, "x: out of memory")
    with pytest.raises(exceptions.VeoServerError):
        protocol.parse_video(response_with(status, {**failed, "id": "other", "task_id": "other"}), TASK)
    with pytest.raises(exceptions.VeoServerError):
        protocol.parse_video(response_with(status, {**failed, "status": "oops"}), TASK)


@pytest.mark.parametrize("ids", [{}, {"id": None}, {"id": ""}, {"id": 183745}])
@pytest.mark.parametrize("word", ["error", "fail", "FAILED", "expired"])
def test_a_failure_is_believed_of_a_task_that_is_named(ids, word):
    """Gateways also say "error" of a call that went wrong: that must not make anybody submit again."""
    body = {"status": word, "message": "database is locked", **ids}
    with pytest.raises(exceptions.VeoUnexpectedAnswerError, match="names no task") as caught:
        protocol.parse_video(response_with(200, body), TASK)
    assert caught.value.retryable


@pytest.mark.parametrize("word", ["error", "fail", "Error"])
def test_an_error_status_with_a_word_for_a_failed_call_is_no_failed_job(word):
    """Beside an HTTP error, "error" may be what became of the call, even where the id is repeated."""
    with pytest.raises(exceptions.VeoServerError):
        protocol.parse_video(response_with(503, {"id": TASK, "status": word, "message": "busy"}), TASK)


def test_a_submission_without_a_status_keeps_its_id():
    """What names an id is accepted and will be charged: the id is all that is needed."""
    video = protocol.parse_submission(response_with(200, {"id": TASK}))
    assert (video.id, video.status) == (TASK, VideoStatus.QUEUED)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b"[]", b"null", b'"x"', {"status": "queued"}, {"id": "", "status": "queued"}],
)
def test_a_submission_answered_by_nonsense_is_unknown(body):
    """A 200 that carries no task id may well stand for a charged generation."""
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        protocol.parse_submission(response_with(200, body))


def test_a_whole_object_in_a_broken_answer_is_believed():
    """Where only the frame is broken, the id is simply the id."""
    body = json.dumps(video_object()).encode()
    assert protocol.parse_submission(Response.received(200, body, {}, broken="no last chunk")).id == TASK
    assert protocol.parse_video(Response.received(200, body, {}, broken="no last chunk"), TASK).id == TASK
    with pytest.raises(exceptions.VeoConnectionError, match="broke off"):
        protocol.parse_video(Response.received(200, body[:-1], {}, broken="no last chunk"), TASK)


def test_the_balance_is_in_dollars():
    """The quota is counted in 1/500000 USD, beside the API's own path."""
    assert protocol.parse_balance(response_with(200, {"data": {"quota": 1_250_000}})) == 2.5
    assert protocol.account_url("https://api.apiyi.com/v1") == "https://api.apiyi.com/api/user/self"
    with pytest.raises(exceptions.VeoUnexpectedAnswerError):
        protocol.parse_balance(response_with(200, {"data": None}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "task_id", "status", "error", "code", "message", "data", "url", "quota", "progress"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)

bodies = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())

headers = st.dictionaries(
    st.sampled_from(["Retry-After", "Content-Type", "Location"]),
    st.text(st.characters(codec="latin-1"), max_size=30),
)


@settings(max_examples=1000, deadline=None)
@given(status=st.integers(100, 599), body=bodies, headers=headers)
def test_malformed_answers_raise_our_errors_only(status, body, headers):
    """Whatever comes back, a reader returns or raises one of our errors, which can be printed."""
    got = Response.received(status, body, headers, secrets=("sk-x",))
    for read in (protocol.parse_video, parse_content, protocol.parse_balance, protocol.parse_check):
        with contextlib.suppress(exceptions.VeoError):
            read(got)
    error = None
    try:
        protocol.parse_submission(got)
    except exceptions.VeoError as raised:
        error = raised
    # Only what the service itself refused may be sent again.
    assert error is None or not error.retryable or status in range(400, 504)
    assert str(error).encode()
