"""How an HTTP answer is read."""

import contextlib
import json
import zlib
from datetime import datetime, timezone
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.http import response
from veo_provider.api.http.response import Response
from veo_provider.api.parsing.download import parse_content
from veo_provider.api.video import VideoStatus

TASK = "task_" + "a1B2" * 8


def answer(status=200, body=None, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response.received(status, data, {k.replace("_", "-"): v for k, v in headers.items()})


def video_object(**fields):
    base = {"id": TASK, "task_id": TASK, "object": "video", "status": "queued", "progress": 0}
    return {**base, "model": "veo-3.1-fast-generate-preview", "created_at": 1_700_000_000, **fields}


def openai_shape(message, code="", kind="new_api_error"):
    return {"error": {"message": message, "type": kind, "code": code}}


def gateway_shape(message, code):
    return {"code": code, "message": message, "data": None}


def test_a_submission_is_read():
    """The object that the API answers becomes a video."""
    video = protocol.parse_submission(answer(200, video_object()))
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
    video = protocol.parse_video(answer(200, video_object(status=word)))
    assert video.status is status
    assert video.finished is (status in (VideoStatus.COMPLETED, VideoStatus.FAILED))


def test_completion_is_judged_by_the_status_alone():
    """A completed_at or a full progress before the end says nothing."""
    early = video_object(status="in_progress", completed_at=1_700_000_100, progress=100, model="other")
    assert not protocol.parse_video(answer(200, early)).finished


@pytest.mark.parametrize("error", [None, "absent"])
def test_a_failure_may_have_no_reason(error):
    """A failed object without an error still tells that nothing was charged."""
    data = video_object(status="failed", **({} if error == "absent" else {"error": error}))
    with pytest.raises(exceptions.VeoGenerationFailed, match=r"gave no reason.*not charged"):
        protocol.parse_video(answer(200, data)).raise_if_failed()


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
    video = protocol.parse_video(answer(200, video_object(status="failed", error=error)))
    with pytest.raises(exceptions.VeoGenerationFailed) as caught:
        video.raise_if_failed()
    assert caught.value.moderated is moderated
    assert ("Change the image or the prompt" in str(caught.value)) is moderated


def upstream(message, *, status=404, name="NOT_FOUND"):
    inner = {"error": {"code": status, "message": message, "status": name}}
    return gateway_shape(json.dumps(inner), "fail_to_fetch_task")


RETIRED = "models/veo-3.1-fast-generate-preview is no longer available to new users"
REFUSALS = [
    (400, gateway_shape("bad field", "invalid_request"), exceptions.VeoBadRequestError),
    (400, gateway_shape("task_not_exist", "task_not_exist"), exceptions.VeoBadRequestError),
    (400, openai_shape("no such model", "model_not_found"), exceptions.VeoBadRequestError),
    (401, openai_shape("Invalid token"), exceptions.VeoAuthenticationError),
    (402, openai_shape("Payment required"), exceptions.VeoQuotaError),
    (403, openai_shape("no access to this model"), exceptions.VeoAuthenticationError),
    (403, openai_shape("user quota is not enough", "insufficient_user_quota"), exceptions.VeoQuotaError),
    (
        403,
        openai_shape("token quota is not enough", "pre_consume_token_quota_failed"),
        exceptions.VeoQuotaError,
    ),
    (400, openai_shape("Budget has been exceeded!", "400", "budget_exceeded"), exceptions.VeoQuotaError),
    (429, openai_shape("Your balance is too low"), exceptions.VeoQuotaError),
    (429, openai_shape("Load balance: all upstream nodes are busy", "rate"), exceptions.VeoRateLimitError),
    (429, openai_shape("the load balancer", "upstream_load_saturated"), exceptions.VeoRateLimitError),
    (429, openai_shape("slow down"), exceptions.VeoRateLimitError),
    (403, gateway_shape("upstream", "upstream_load_saturated"), exceptions.VeoRateLimitError),
    (
        400,
        openai_shape("Request was throttled by rate limiting policy", "throttled"),
        exceptions.VeoRateLimitError,
    ),
    (400, openai_shape("stopped by the retry policy", "x"), exceptions.VeoBadRequestError),
    (413, openai_shape("too large"), exceptions.VeoBadRequestError),
    (451, openai_shape("not in your country"), exceptions.VeoBadRequestError),
    (400, openai_shape("PUBLIC_ERROR_MINOR"), exceptions.VeoModerationError),
    (400, openai_shape("upstream error: PUBLIC_ERROR_MINOR"), exceptions.VeoModerationError),
    (400, openai_shape("violates our usage policy"), exceptions.VeoModerationError),
    (400, openai_shape("x", "content_policy_violation"), exceptions.VeoModerationError),
    (404, openai_shape("Invalid URL (POST /v1/videos)"), exceptions.VeoWrongHostError),
    (404, openai_shape("nothing here", "invalid_url"), exceptions.VeoWrongHostError),
    (503, openai_shape("no available channels", "model_not_found"), exceptions.VeoNoChannelError),
    (500, gateway_shape("no channel (retry)", "get_channel_failed"), exceptions.VeoNoChannelError),
    (404, openai_shape(RETIRED), exceptions.VeoModelRetiredError),
    (400, upstream(RETIRED), exceptions.VeoModelRetiredError),
    (404, upstream(RETIRED), exceptions.VeoModelRetiredError),
    (500, upstream(RETIRED, status=400), exceptions.VeoModelRetiredError),
]


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
def test_each_refusal_becomes_its_error(status, body, kind):
    """What the service certainly refused is told as its one right error: nothing was charged."""
    with pytest.raises(exceptions.VeoAPIError, match="Nothing was charged") as caught:
        protocol.parse_submission(answer(status, body))
    assert type(caught.value) is kind
    assert caught.value.status == status


UNDECIDED = [
    (500, openai_shape("PUBLIC_ERROR_UNSAFE")),
    (500, gateway_shape("oops", "INTERNAL")),
    (400, gateway_shape("oops", "INTERNAL")),
    (400, {"error": {"code": 500, "status": "INTERNAL", "message": "oops"}}),
    (400, upstream("try later", status=503, name="UNAVAILABLE")),
    (400, openai_shape("oops", "do_request_failed")),
    (404, upstream("gone", status=504, name="DEADLINE_EXCEEDED")),
    (400, {"error": "a text"}),
    (400, {"error": {"message": " ", "code": ""}}),
    (400, {"detail": "Not found"}),
    (400, [openai_shape("x")]),
    (401, b"<html>who are you?</html>"),
    (403, b"<html>blocked</html>"),
    (413, b"<html>nginx</html>"),
    (429, b"slow down"),
    (409, openai_shape("a conflict")),
    (424, openai_shape("upstream failed")),
    (418, openai_shape("teapot")),
    (503, openai_shape("busy")),
    (502, openai_shape("no available channels", "model_not_found")),
    (503, upstream("no available channels")),
    (500, b"get_channel_failed"),
    (503, upstream(RETIRED)),
    (500, gateway_shape(RETIRED, "fail_to_fetch_task")),
    (0, openai_shape("x")),
    (102, openai_shape("x")),
    (999, openai_shape("x")),
    (400, gateway_shape("submitted", "success")),
]


@pytest.mark.parametrize(("status", "body"), UNDECIDED)
def test_what_is_not_certainly_refused_is_unknown(status, body):
    """Another status, a shapeless page, trouble upstream: the generation may be running."""
    with pytest.raises(exceptions.VeoSubmissionUnknown, match="may have been accepted"):
        protocol.parse_submission(answer(status, body))
    if status:
        with pytest.raises(exceptions.VeoNotSentError):
            protocol.parse_submission(answer(status, body), whole=False)


DESCRIBED = [
    {**video_object(), **openai_shape("oops")},
    {**video_object(status="preparing"), **openai_shape("oops")},
    {"task_id": TASK, **openai_shape("oops")},
    {**gateway_shape("oops", "fail"), "data": video_object()},
    {**openai_shape("oops"), "data": {"id": TASK, "object": "video"}},
    video_object(),
]


@pytest.mark.parametrize("body", DESCRIBED)
@pytest.mark.parametrize("status", [302, 400, 404, 409, 429, 500, 504])
@pytest.mark.parametrize("whole", [True, False])
def test_an_error_that_describes_a_task_is_no_refusal(status, body, whole):
    """The generation may be running, and its id is kept to be looked up, wherever in the answer it stands."""
    with pytest.raises(exceptions.VeoSubmissionUnknown, match=f"names the task {TASK}") as caught:
        protocol.parse_submission(answer(status, body), whole=whole)
    assert caught.value.veo_task_id == TASK


def test_an_error_about_a_task_that_failed_is_a_refusal():
    """What failed at once is not charged."""
    body = {**video_object(status="failed"), **openai_shape("bad image", "invalid_image")}
    with pytest.raises(exceptions.VeoBadRequestError, match="bad image"):
        protocol.parse_submission(answer(400, body))


@pytest.mark.parametrize(
    "body",
    [
        {"code": "success", "message": "", "data": TASK},
        [video_object()],
        {"result": video_object()},
        {"success": False, "id": TASK, **openai_shape("oops")},
    ],
)
def test_an_id_in_an_odd_acceptance_is_kept(body):
    """An id in a form that is not the API's is looked up before it is believed."""
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        protocol.parse_submission(answer(200, body))
    assert caught.value.veo_task_id == TASK


POLLS = [
    (400, gateway_shape("bad field", "invalid_request"), exceptions.VeoServerError),
    (400, gateway_shape("task_not_exist", "task_not_exist"), exceptions.VeoTaskNotFoundError),
    (404, openai_shape("Video not found", "not_found"), exceptions.VeoTaskNotFoundError),
    (404, openai_shape("Video with id 'x' not found."), exceptions.VeoTaskNotFoundError),
    (404, upstream("Operation not found"), exceptions.VeoServerError),
    (404, openai_shape("Invalid URL (GET /v1/videos/x)"), exceptions.VeoServerError),
    (500, gateway_shape("task_not_exist", "task_not_exist"), exceptions.VeoServerError),
    (401, openai_shape("Invalid token"), exceptions.VeoAuthenticationError),
    (403, openai_shape("no access to this model"), exceptions.VeoAuthenticationError),
    (403, openai_shape("Blocked by the firewall"), exceptions.VeoServerError),
    (403, openai_shape("Blocked by our safety filters"), exceptions.VeoServerError),
    (403, openai_shape("user quota is not enough", "insufficient_user_quota"), exceptions.VeoServerError),
    (403, b"<html>forbidden</html>", exceptions.VeoServerError),
    (429, openai_shape("slow down"), exceptions.VeoRateLimitError),
    (403, gateway_shape("upstream", "upstream_load_saturated"), exceptions.VeoRateLimitError),
    *(
        (status, openai_shape("x"), exceptions.VeoServerError)
        for status in (402, 409, 413, 422, 451, 500, 503)
    ),
    *(
        (status, b"<html>", exceptions.VeoServerError)
        for status in (0, 101, 199, 301, 404, 408, 410, 502, 999)
    ),
    (400, openai_shape("PUBLIC_ERROR_MINOR"), exceptions.VeoServerError),
]


@pytest.mark.parametrize(("status", "body", "kind"), POLLS)
def test_a_poll_ends_a_wait_for_a_key_or_an_id_only(status, body, kind):
    """A generation that was accepted goes on, whatever a poll is answered; asking again is safe."""
    with pytest.raises(exceptions.VeoAPIError) as caught:
        protocol.parse_video(answer(status, body), TASK)
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert caught.value.retryable is (
        kind not in (exceptions.VeoAuthenticationError, exceptions.VeoTaskNotFoundError)
    )
    text = str(caught.value)
    assert "Polling costs nothing" in text
    assert not any(word in text for word in ("othing was charged", "No money", "correct the parameters"))


def test_a_poll_that_meets_another_server_says_so():
    """A page in place of the API's error may be another server's: the host is worth a look."""
    for status in (301, 404, 405):
        with pytest.raises(exceptions.VeoServerError, match="check the host"):
            protocol.parse_video(answer(status, b"<html>nginx</html>"), TASK)


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_failed_job_may_be_answered_with_an_error_status(status):
    """vLLM-Omni answers a failed job so: the object counts, not the status."""
    failed = video_object(status="failed", error={"code": "x", "message": "out of memory"})
    video = protocol.parse_video(answer(status, failed), TASK)
    assert (video.status, video.failure_reason) == (VideoStatus.FAILED, "x: out of memory")
    with pytest.raises(exceptions.VeoServerError):
        protocol.parse_video(answer(status, {**failed, "id": "other", "task_id": "other"}), TASK)
    with pytest.raises(exceptions.VeoServerError):
        protocol.parse_video(answer(status, {**failed, "status": "oops"}), TASK)


@pytest.mark.parametrize(
    ("ids", "asked"),
    [
        ({"id": "task_other"}, TASK),
        ({"id": "task_other", "task_id": "task_third"}, TASK),
        ({"id": 7}, "8"),
    ],
)
def test_an_answer_about_another_task_is_none(ids, asked):
    """A proxy that mixes answers up is not believed; asking again is safe."""
    with pytest.raises(exceptions.VeoUnexpectedAnswerError, match="instead of") as caught:
        protocol.parse_video(answer(200, {"status": "failed", **ids}), asked)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("ids", "asked"),
    [
        ({"id": "upstream_id", "task_id": TASK}, TASK),
        ({"id": "models/veo/operations/x"}, "models%2Fveo%2Foperations%2Fx"),
        ({"id": 183745, "task_id": TASK}, TASK),
        ({"id": 183745}, TASK),
        ({"id": 183745}, "183745"),
        ({"id": None}, TASK),
        ({}, TASK),
    ],
)
def test_an_answer_names_its_task_in_several_ways(ids, asked):
    """One of two ids is enough, quoted or not; a number beside it is a gateway's own; none is none."""
    assert protocol.parse_video(answer(200, {"status": "completed", **ids}), asked).id == asked


@pytest.mark.parametrize("ids", [{}, {"id": None}, {"id": ""}, {"id": 183745}])
@pytest.mark.parametrize("word", ["error", "fail", "FAILED", "expired"])
def test_a_failure_is_believed_of_a_task_that_is_named(ids, word):
    """Gateways also say "error" of a call that went wrong: that must not make anybody submit again."""
    with pytest.raises(exceptions.VeoUnexpectedAnswerError, match="names no task") as caught:
        protocol.parse_video(answer(200, {"status": word, "message": "database is locked", **ids}), TASK)
    assert caught.value.retryable


@pytest.mark.parametrize("word", ["error", "fail", "Error"])
def test_an_error_status_with_a_word_for_a_failed_call_is_no_failed_job(word):
    """Beside an HTTP error, "error" may be what became of the call, even where the id is repeated."""
    with pytest.raises(exceptions.VeoServerError):
        protocol.parse_video(answer(503, {"id": TASK, "status": word, "message": "busy"}), TASK)


def test_a_message_that_is_json_text_is_unwrapped():
    """A gateway wraps upstream's error as JSON text into its own message."""
    inner = json.dumps({"error": {"code": "upstream_load_saturated", "message": "busy"}})
    with pytest.raises(exceptions.VeoRateLimitError, match="busy"):
        protocol.parse_submission(answer(403, gateway_shape(inner, "fail")))


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
    monkeypatch.setattr(response, "datetime", Noon)
    noon = Noon.now(timezone.utc).timestamp()
    assert answer(429, {}, Retry_After=formatdate(noon + 100, usegmt=True)).retry_after == 100
    assert answer(429, {}, Retry_After=formatdate(0, usegmt=True)).retry_after == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524, 408, 425, 499, 301, 302, 303])
def test_a_submission_answered_by_trouble_is_unknown(status):
    """After a 5xx nobody knows whether the submission was taken, so the error says what to check."""
    with pytest.raises(
        exceptions.VeoSubmissionUnknown, match=r"may have been accepted.*api\.apiyi\.com/task"
    ):
        protocol.parse_submission(answer(status, b"trouble"))


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 405])
def test_a_submission_that_meets_another_server_is_unknown_and_says_so(status):
    """A page without the API's shape proves nothing, but the host is worth a look."""
    with pytest.raises(exceptions.VeoSubmissionUnknown, match="check the host"):
        protocol.parse_submission(answer(status, b"<html>nginx</html>"))


def test_an_answer_before_the_request_was_whole_is_no_acceptance():
    """A 5xx in the middle of the upload leaves nothing to be accepted."""
    with pytest.raises(exceptions.VeoNotSentError):
        protocol.parse_submission(answer(503, b"busy"), whole=False)


def test_a_submission_without_a_status_keeps_its_id():
    """What names an id is accepted and will be charged: the id is all that is needed."""
    video = protocol.parse_submission(answer(200, {"id": TASK}))
    assert (video.id, video.status) == (TASK, VideoStatus.QUEUED)


def test_a_long_id_is_an_id():
    """Some gateways hand out an encoded operation name, some hundred characters long."""
    long = "cHJvamVjdHM+Lz" * 30 + "=="
    long = long.replace("/", "_")
    assert protocol.parse_submission(answer(200, video_object(id=long, task_id=long))).id == long
    assert protocol.video_path(long).startswith("/videos/cHJv")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b"[]", b"null", b'"x"', {"status": "queued"}, {"id": "", "status": "queued"}],
)
def test_a_submission_answered_by_nonsense_is_unknown(body):
    """A 200 that carries no task id may well stand for a charged generation."""
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        protocol.parse_submission(answer(200, body))


def test_a_refused_submission_is_not_unknown():
    """A definite no costs nothing and is told as such."""
    with pytest.raises(exceptions.VeoBadRequestError, match="Nothing was charged"):
        protocol.parse_submission(answer(400, gateway_shape("bad field", "invalid_request")))


@pytest.mark.parametrize(
    "value", ["", ".", "..", "a b", " x", "x" * 2001, None, 7, "task_\n", "a\0b", "\x7f", "\ud800", "a\u2028"]
)
def test_what_cannot_be_a_task_id_never_becomes_a_url(value):
    """A task id is checked before it becomes a part of a path."""
    with pytest.raises(exceptions.VeoRequestError, match="not a task id"):
        protocol.video_path(value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("-V1StGXR8", "/videos/-V1StGXR8"),
        ("task/../../x", "/videos/task%2F..%2F..%2Fx"),
        ("models/veo/operations/a?b=c#d", "/videos/models%2Fveo%2Foperations%2Fa%3Fb%3Dc%23d"),
        ("100%", "/videos/100%25"),
        ("ü", "/videos/%C3%BC"),
    ],
)
def test_an_odd_task_id_stays_one_step_of_the_path(value, path):
    """Google's operation names have slashes; quoted, no character of an id means anything in the URL."""
    assert protocol.video_path(value) == path


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ({"id": None, "task_id": TASK}, TASK),
        ({"id": 183745, "task_id": TASK}, TASK),
        ({"id": "models/veo/operations/x", "task_id": TASK}, TASK),
        ({"task_id": TASK}, TASK),
        ({"id": "", "task_id": TASK}, TASK),
        ({"id": 183745}, "183745"),
        ({"id": "models/veo/operations/x"}, "models/veo/operations/x"),
        ({"id": "-V1StGXR8"}, "-V1StGXR8"),
    ],
)
def test_the_id_of_a_paid_submission_is_found(ids, found):
    """The plainest of the two ids is taken, and an odd one rather than none."""
    assert protocol.parse_submission(answer(200, {"status": "queued", **ids})).id == found


CUT = [
    (f'{{"id": "{TASK}", "obj'.encode(), TASK),
    (f'{{"object":"video","task_id":"{TASK}"'.encode(), TASK),
    (f'\ufeff{{"code":"success","data":{{"task_id":"{TASK}","sta'.encode(), TASK),
    (b'{"id": 183745, "sta', "183745"),
    (b'{"id": "a\\/b", ', "a/b"),
    (b'{"id": 1837', None),
    (b'{"id": "task_a1B2', None),
    (b'{"status": "que', None),
    (b'{"request_id": "x", ', None),
    (b'<script>{"id": "main"}</script>', None),
    (b"", None),
]


@pytest.mark.parametrize(("body", "found"), CUT)
@pytest.mark.parametrize("broken", ["", "reset"])
def test_the_id_in_a_cut_answer_is_kept(body, found, broken):
    """What can be read of a broken answer may name a paid task; half an id is none."""
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        protocol.parse_submission(Response.received(200, body, {}, broken=broken))
    assert caught.value.veo_task_id == found
    assert not found or found in str(caught.value)
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        protocol.parse_submission(Response.received(502, body, {}, broken=broken))
    assert caught.value.veo_task_id is None


def test_a_whole_object_in_a_broken_answer_is_believed():
    """Where only the frame is broken, the id is simply the id."""
    body = json.dumps(video_object()).encode()
    assert protocol.parse_submission(Response.received(200, body, {}, broken="no last chunk")).id == TASK
    assert protocol.parse_video(Response.received(200, body, {}, broken="no last chunk"), TASK).id == TASK
    with pytest.raises(exceptions.VeoConnectionError, match="broke off"):
        protocol.parse_video(Response.received(200, body[:-1], {}, broken="no last chunk"), TASK)


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "deflate", "br", "GZIP", "identity", "nonsense"])
@pytest.mark.parametrize("form", ["plain", "gzip", "zlib", "deflate"])
def test_a_wrong_label_of_the_encoding_loses_nothing(label, form):
    """A body is decoded by its label where that is right, and read as it came where it is not."""
    plain = json.dumps(video_object()).encode()
    raw = {"gzip": 31, "zlib": 15, "deflate": -15}
    packer = zlib.compressobj(wbits=raw[form]) if form != "plain" else None
    body = packer.compress(plain) + packer.flush() if packer else plain
    right = {
        "gzip": ("gzip", "x-gzip", "deflate"),
        "zlib": ("deflate", "gzip", "x-gzip"),
        "deflate": ("deflate",),
    }
    got = answer(200, body, Content_Encoding=label)
    if form == "plain" or label.lower() in right[form]:
        assert protocol.parse_submission(got).id == TASK
        return
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        protocol.parse_submission(got)


CONTENT = [
    (400, gateway_shape("Task is not completed yet", "invalid_request"), exceptions.VeoContentNotReadyError),
    (400, gateway_shape("task_not_exist", "task_not_exist"), exceptions.VeoTaskNotFoundError),
    (404, gateway_shape("gone", "not_found"), exceptions.VeoContentGoneError),
    (410, openai_shape("deleted"), exceptions.VeoContentGoneError),
    (404, openai_shape("filtered by the safety filter"), exceptions.VeoContentFilteredError),
    (400, openai_shape("PUBLIC_ERROR_UNSAFE"), exceptions.VeoContentFilteredError),
    (404, openai_shape("Invalid URL (GET /v1/videos/x/content)"), exceptions.VeoContentServerError),
    (404, b"<html>nginx</html>", exceptions.VeoContentServerError),
    (409, b"", exceptions.VeoContentNotReadyError),
    (425, b"", exceptions.VeoContentNotReadyError),
    (403, b"<html>firewall</html>", exceptions.VeoContentServerError),
    (401, b"<html>who?</html>", exceptions.VeoContentServerError),
    (422, openai_shape("x"), exceptions.VeoContentServerError),
    (451, openai_shape("x"), exceptions.VeoContentServerError),
    (302, b"", exceptions.VeoContentServerError),
    (101, b"", exceptions.VeoContentServerError),
    (429, openai_shape("slow down"), exceptions.VeoRateLimitError),
    (502, b"bad gateway", exceptions.VeoContentServerError),
    (401, openai_shape("Invalid token"), exceptions.VeoAuthenticationError),
    (200, b"<html>", exceptions.VeoUnexpectedAnswerError),
    (200, {"url": "file:///etc/passwd"}, exceptions.VeoUnexpectedAnswerError),
]


@pytest.mark.parametrize(("status", "body", "kind"), CONTENT)
def test_a_download_that_is_no_video_becomes_its_error(status, body, kind):
    """On a download, 400 means not yet and 404 means gone."""
    with pytest.raises(exceptions.VeoAPIError) as caught:
        parse_content(answer(status, body, Content_Type="application/json"))
    assert type(caught.value) is kind
    assert "the generation itself has been charged" in str(caught.value)
    assert "correct the parameters" not in str(caught.value)


def test_a_filtered_video_is_spoken_of():
    """A 502 or 404 that stays may be the safety filter, and the error says so."""
    for status in (502, 404):
        with pytest.raises(exceptions.VeoAPIError, match="safety filter"):
            parse_content(answer(status, b""))


def test_content_is_the_video_or_a_link():
    """A video is taken as it is; JSON with a url, or a redirect, leads on."""
    assert parse_content(answer(200, b"", Content_Type="video/mp4")) is None
    for content_type in ("application/octet-stream; x=1", "application/mp4", ""):
        assert parse_content(answer(206, b"", Content_Type=content_type)) is None
    link = answer(200, {"url": "https://cdn.example/v.mp4"}, Content_Type="application/json")
    assert parse_content(link) == "https://cdn.example/v.mp4"
    redirect = answer(302, b"", Location="/v.mp4")
    assert parse_content(redirect, "https://cdn.example/a/b") == "https://cdn.example/v.mp4"


def test_another_hosts_refusal_says_nothing_about_the_key():
    """An expired link is answered 403 by a storage host that never saw the key."""
    refused = answer(403, b"<Error>expired</Error>")
    with pytest.raises(exceptions.VeoContentServerError):
        parse_content(refused, own_host=False)
    gone = answer(404, openai_shape("No such object"))
    with pytest.raises(exceptions.VeoContentServerError):
        parse_content(gone, own_host=False)
    with pytest.raises(exceptions.VeoContentGoneError):
        parse_content(gone)


def test_the_balance_is_in_dollars():
    """The quota is counted in 1/500000 USD, beside the API's own path."""
    assert protocol.parse_balance(answer(200, {"data": {"quota": 1_250_000}})) == 2.5
    assert protocol.account_url("https://api.apiyi.com/v1") == "https://api.apiyi.com/api/user/self"
    with pytest.raises(exceptions.VeoUnexpectedAnswerError):
        protocol.parse_balance(answer(200, {"data": None}))


def test_the_key_is_cut_out_of_an_answer():
    """Some gateways repeat the key in their error; it goes no further."""
    got = Response.received(401, b'{"error": {"message": "bad key sk-secret"}}', {}, secrets=("sk-secret",))
    with pytest.raises(exceptions.VeoAuthenticationError) as caught:
        protocol.parse_video(got)
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
