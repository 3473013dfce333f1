"""How an HTTP answer is read."""

import contextlib
import json
from datetime import datetime, timezone
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veo_provider.api import errors, protocol
from veo_provider.api.protocol import Answer
from veo_provider.api.video import VideoStatus

TASK = "task_" + "a1B2" * 8


def answer(status=200, body=None, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer.received(status, data, {k.replace("_", "-"): v for k, v in headers.items()})


def video_object(**fields):
    base = {"id": TASK, "task_id": TASK, "object": "video", "status": "queued", "progress": 0}
    return {**base, "model": "veo-3.1-fast-generate-preview", "created_at": 1_700_000_000, **fields}


def openai_shape(message, code="", kind="new_api_error"):
    return {"error": {"message": message, "type": kind, "code": code}}


def gateway_shape(message, code):
    return {"code": code, "message": message, "data": None}


def test_a_submission_is_read():
    """The object that the API answers becomes a video."""
    video = protocol.read_submission(answer(200, video_object()))
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
    ],
)
def test_every_status_is_read(word, status):
    """Whatever is not one of the four words counts as unknown, which is not finished."""
    video = protocol.read_video(answer(200, video_object(status=word)))
    assert video.status is status
    assert video.finished is (status in (VideoStatus.COMPLETED, VideoStatus.FAILED))


def test_completion_is_judged_by_the_status_alone():
    """A completed_at or a full progress before the end says nothing."""
    early = video_object(status="in_progress", completed_at=1_700_000_100, progress=100, model="other")
    assert not protocol.read_video(answer(200, early)).finished


@pytest.mark.parametrize("error", [None, "absent"])
def test_a_failure_may_have_no_reason(error):
    """A failed object without an error still tells that nothing was charged."""
    data = video_object(status="failed", **({} if error == "absent" else {"error": error}))
    with pytest.raises(errors.VeoGenerationFailed, match=r"gave no reason.*not charged"):
        protocol.read_video(answer(200, data)).raise_if_failed()


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
    video = protocol.read_video(answer(200, video_object(status="failed", error=error)))
    with pytest.raises(errors.VeoGenerationFailed) as caught:
        video.raise_if_failed()
    assert caught.value.moderated is moderated
    assert ("Change the image or the prompt" in str(caught.value)) is moderated


KINDS = [
    (400, gateway_shape("bad field", "invalid_request"), errors.VeoBadRequestError),
    (400, gateway_shape("task_not_exist", "task_not_exist"), errors.VeoTaskNotFoundError),
    (404, openai_shape("Video not found", "not_found"), errors.VeoTaskNotFoundError),
    (401, openai_shape("Invalid token"), errors.VeoAuthenticationError),
    (403, openai_shape("no access to this model"), errors.VeoAuthenticationError),
    (403, openai_shape("user quota is not enough", "insufficient_user_quota"), errors.VeoQuotaError),
    (429, openai_shape("Your balance is too low"), errors.VeoQuotaError),
    (429, openai_shape("slow down"), errors.VeoRateLimitError),
    (429, openai_shape("the load balancer", "upstream_load_saturated"), errors.VeoRateLimitError),
    (429, openai_shape("the load balancer is busy"), errors.VeoRateLimitError),
    (408, b"timeout", errors.VeoServerError),
    (499, b"", errors.VeoServerError),
    (500, openai_shape("PUBLIC_ERROR_UNSAFE"), errors.VeoModerationError),
    (500, openai_shape("our safety systems are down"), errors.VeoServerError),
    (400, {"error": {"code": 500, "status": "INTERNAL", "message": "oops"}}, errors.VeoServerError),
    (404, openai_shape("Video with id 'x' not found."), errors.VeoTaskNotFoundError),
    (400, openai_shape("no such model", "model_not_found"), errors.VeoBadRequestError),
    (403, gateway_shape("upstream", "upstream_load_saturated"), errors.VeoRateLimitError),
    (413, openai_shape("too large"), errors.VeoBadRequestError),
    (400, openai_shape("PUBLIC_ERROR_MINOR"), errors.VeoModerationError),
    (400, openai_shape("violates our usage policy"), errors.VeoModerationError),
    (500, gateway_shape("oops", "INTERNAL"), errors.VeoServerError),
    (400, gateway_shape("oops", "INTERNAL"), errors.VeoServerError),
    (502, b"<html>Bad gateway</html>", errors.VeoServerError),
    (404, b"<html>nginx</html>", errors.VeoUnexpectedAnswerError),
    (301, b"", errors.VeoUnexpectedAnswerError),
]


@pytest.mark.parametrize(("status", "body", "kind"), KINDS)
def test_each_refusal_becomes_its_error(status, body, kind):
    """Both error shapes and bare pages become the one right error, which carries status and reason."""
    with pytest.raises(errors.VeoAPIError) as caught:
        protocol.read_video(answer(status, body))
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_a_message_that_is_json_text_is_unwrapped():
    """A gateway wraps upstream's error as JSON text into its own message."""
    inner = json.dumps({"error": {"code": "upstream_load_saturated", "message": "busy"}})
    with pytest.raises(errors.VeoRateLimitError, match="busy"):
        protocol.read_video(answer(403, gateway_shape(inner, "fail")))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("86400", 600),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("nan", None),
    ],
)
def test_retry_after_is_read(value, seconds):
    """Seconds are taken, at most ten minutes; nonsense is not."""
    assert answer(429, openai_shape("x"), Retry_After=value).retry_after == seconds


class Noon(datetime):
    """A day on which it is always noon."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 6, 1, 12, tzinfo=tz)


def test_retry_after_may_be_a_date(monkeypatch):
    """A date becomes the seconds until then, and a past one none."""
    monkeypatch.setattr(protocol, "datetime", Noon)
    noon = Noon.now(timezone.utc).timestamp()
    assert answer(429, {}, Retry_After=formatdate(noon + 100, usegmt=True)).retry_after == 100
    assert answer(429, {}, Retry_After=formatdate(0, usegmt=True)).retry_after == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524, 408, 425, 499, 301, 302, 303])
def test_a_submission_answered_by_trouble_is_unknown(status):
    """After a 5xx nobody knows whether the submission was taken, so the error says what to check."""
    with pytest.raises(errors.VeoSubmissionUnknown, match=r"may have been accepted.*api\.apiyi\.com/task"):
        protocol.read_submission(answer(status, b"trouble"))


@pytest.mark.parametrize("status", [307, 308, 404, 405])
def test_a_submission_to_a_wrong_host_is_refused_for_good(status):
    """A server that has no such route did not look at the submission, and no retry mends the host."""
    with pytest.raises(errors.VeoWrongHostError, match="base URL") as caught:
        protocol.read_submission(answer(status, b"<html>nginx</html>"))
    assert not caught.value.temporary


def test_an_answer_before_the_request_was_whole_is_no_acceptance():
    """A 5xx in the middle of the upload leaves nothing to be accepted."""
    with pytest.raises(errors.VeoNotSentError):
        protocol.read_submission(answer(503, b"busy"), whole=False)


def test_a_submission_without_a_status_keeps_its_id():
    """What names an id is accepted and will be charged: the id is all that is needed."""
    video = protocol.read_submission(answer(200, {"id": TASK}))
    assert (video.id, video.status) == (TASK, VideoStatus.QUEUED)


def test_a_long_id_is_an_id():
    """Some gateways hand out an encoded operation name, some hundred characters long."""
    long = "cHJvamVjdHM+Lz" * 30 + "=="
    long = long.replace("/", "_")
    assert protocol.read_submission(answer(200, video_object(id=long, task_id=long))).id == long
    assert protocol.video_path(long).startswith("/videos/cHJv")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b"[]", b"null", b'"x"', {"status": "queued"}, {"id": "", "status": "queued"}],
)
def test_a_submission_answered_by_nonsense_is_unknown(body):
    """A 200 that carries no task id may well stand for a charged generation."""
    with pytest.raises(errors.VeoSubmissionUnknown):
        protocol.read_submission(answer(200, body))


def test_a_refused_submission_is_not_unknown():
    """A definite no costs nothing and is told as such."""
    with pytest.raises(errors.VeoBadRequestError, match="Nothing was charged"):
        protocol.read_submission(answer(400, gateway_shape("bad field", "invalid_request")))


@pytest.mark.parametrize("value", ["", "task/../../x", "a b", "x" * 2001, "-x", None, 7, "task_\n"])
def test_what_cannot_be_a_task_id_never_becomes_a_url(value):
    """A task id is checked before it becomes a part of a path."""
    with pytest.raises(errors.VeoRequestError, match="not a task id"):
        protocol.video_path(value)


CONTENT = [
    (400, gateway_shape("Task is not completed yet", "invalid_request"), errors.VeoContentNotReadyError),
    (400, gateway_shape("task_not_exist", "task_not_exist"), errors.VeoTaskNotFoundError),
    (404, gateway_shape("gone", "not_found"), errors.VeoContentGoneError),
    (502, b"bad gateway", errors.VeoContentServerError),
    (401, openai_shape("Invalid token"), errors.VeoAuthenticationError),
    (200, b"<html>", errors.VeoUnexpectedAnswerError),
    (200, {"url": "file:///etc/passwd"}, errors.VeoUnexpectedAnswerError),
]


@pytest.mark.parametrize(("status", "body", "kind"), CONTENT)
def test_a_download_that_is_no_video_becomes_its_error(status, body, kind):
    """On a download, 400 means not yet and 404 means gone."""
    with pytest.raises(errors.VeoAPIError) as caught:
        protocol.read_content(answer(status, body, Content_Type="application/json"))
    assert type(caught.value) is kind


def test_a_filtered_video_is_spoken_of():
    """A 502 or 404 that stays may be the safety filter, and the error says so."""
    for status in (502, 404):
        with pytest.raises(errors.VeoAPIError, match="safety filter"):
            protocol.read_content(answer(status, b""))


def test_content_is_the_video_or_a_link():
    """A video is taken as it is; JSON with a url, or a redirect, leads on."""
    assert protocol.read_content(answer(200, b"", Content_Type="video/mp4")) is None
    for content_type in ("application/octet-stream; x=1", "application/mp4", ""):
        assert protocol.read_content(answer(206, b"", Content_Type=content_type)) is None
    link = answer(200, {"url": "https://cdn.example/v.mp4"}, Content_Type="application/json")
    assert protocol.read_content(link) == "https://cdn.example/v.mp4"
    redirect = answer(302, b"", Location="/v.mp4")
    assert protocol.read_content(redirect, "https://cdn.example/a/b") == "https://cdn.example/v.mp4"


def test_another_hosts_refusal_says_nothing_about_the_key():
    """An expired link is answered 403 by a storage host that never saw the key."""
    refused = answer(403, b"<Error>expired</Error>")
    with pytest.raises(errors.VeoContentServerError):
        protocol.read_content(refused, own_host=False)
    with pytest.raises(errors.VeoAuthenticationError):
        protocol.read_content(refused)


def test_the_balance_is_in_dollars():
    """The quota is counted in 1/500000 USD, beside the API's own path."""
    assert protocol.read_balance(answer(200, {"data": {"quota": 1_250_000}})) == 2.5
    assert protocol.account_url("https://api.apiyi.com/v1") == "https://api.apiyi.com/api/user/self"
    with pytest.raises(errors.VeoUnexpectedAnswerError):
        protocol.read_balance(answer(200, {"data": None}))


def test_the_key_is_cut_out_of_an_answer():
    """Some gateways repeat the key in their error; it goes no further."""
    got = Answer.received(401, b'{"error": {"message": "bad key sk-secret"}}', {}, secrets=("sk-secret",))
    with pytest.raises(errors.VeoAuthenticationError) as caught:
        protocol.read_video(got)
    assert "sk-secret" not in str(caught.value) + repr(got)


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
    got = Answer.received(status, body, headers, secrets=("sk-x",))
    for read in (protocol.read_video, protocol.read_content, protocol.read_balance, protocol.read_check):
        with contextlib.suppress(errors.VeoError):
            read(got)
    error = None
    try:
        protocol.read_submission(got)
    except errors.VeoError as raised:
        error = raised
    # Only what the service itself refused may be sent again.
    assert error is None or not error.temporary or status in range(300, 500)
    assert str(error).encode()
