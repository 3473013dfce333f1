"""Which error each response becomes, in each phase."""

import json

import pytest
from support.responses import TASK, gateway_shape, openai_shape, response_with, upstream, video_object

from veo_provider import exceptions
from veo_provider.api import protocol

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
        protocol.parse_submission(response_with(status, body))
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
        protocol.parse_submission(response_with(status, body))
    if status:
        with pytest.raises(exceptions.VeoNotSentError):
            protocol.parse_submission(response_with(status, body), whole=False)


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
        protocol.parse_submission(response_with(status, body), whole=whole)
    assert caught.value.veo_task_id == TASK


def test_an_error_about_a_task_that_failed_is_a_refusal():
    """What failed at once is not charged."""
    body = {**video_object(status="failed"), **openai_shape("bad image", "invalid_image")}
    with pytest.raises(exceptions.VeoBadRequestError, match="bad image"):
        protocol.parse_submission(response_with(400, body))


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
        protocol.parse_video(response_with(status, body), TASK)
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
            protocol.parse_video(response_with(status, b"<html>nginx</html>"), TASK)


def test_a_message_that_is_json_text_is_unwrapped():
    """A gateway wraps upstream's error as JSON text into its own message."""
    inner = json.dumps({"error": {"code": "upstream_load_saturated", "message": "busy"}})
    with pytest.raises(exceptions.VeoRateLimitError, match="busy"):
        protocol.parse_submission(response_with(403, gateway_shape(inner, "fail")))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524, 408, 425, 499, 301, 302, 303])
def test_a_submission_answered_by_trouble_is_unknown(status):
    """After a 5xx nobody knows whether the submission was taken, so the error says what to check."""
    with pytest.raises(
        exceptions.VeoSubmissionUnknown, match=r"may have been accepted.*api\.apiyi\.com/task"
    ):
        protocol.parse_submission(response_with(status, b"trouble"))


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 405])
def test_a_submission_that_meets_another_server_is_unknown_and_says_so(status):
    """A page without the API's shape proves nothing, but the host is worth a look."""
    with pytest.raises(exceptions.VeoSubmissionUnknown, match="check the host"):
        protocol.parse_submission(response_with(status, b"<html>nginx</html>"))


def test_an_answer_before_the_request_was_whole_is_no_acceptance():
    """A 5xx in the middle of the upload leaves nothing to be accepted."""
    with pytest.raises(exceptions.VeoNotSentError):
        protocol.parse_submission(response_with(503, b"busy"), whole=False)


def test_a_refused_submission_is_not_unknown():
    """A definite no costs nothing and is told as such."""
    with pytest.raises(exceptions.VeoBadRequestError, match="Nothing was charged"):
        protocol.parse_submission(response_with(400, gateway_shape("bad field", "invalid_request")))


def litellm(upstream_body, outcome="No fallback was attempted.", kind="BadRequestError: OpenAIException"):
    """What LiteLLM's proxy 1.108.7 makes of an upstream's error."""
    text = upstream_body if isinstance(upstream_body, str) else json.dumps(upstream_body)
    message = f"litellm.{kind} - {text}\n\nLiteLLM: model group 'veo' failed with the error above. {outcome}"
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "400"}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, litellm(openai_shape("blocked", "PUBLIC_ERROR_UNSAFE")), exceptions.VeoModerationError),
        (400, litellm(openai_shape("Invalid size", "invalid_value")), exceptions.VeoBadRequestError),
        (404, litellm(upstream(RETIRED)), exceptions.VeoModelRetiredError),
        (402, litellm(openai_shape("quota", "insufficient_user_quota")), exceptions.VeoQuotaError),
        (401, litellm(openai_shape("bad key", "invalid_api_key")), exceptions.VeoAuthenticationError),
        (429, litellm(openai_shape("slow down", "busy")), exceptions.VeoRateLimitError),
        (429, litellm(openai_shape("Rate limit", "rate_limit_exceeded")), exceptions.VeoRateLimitError),
        (400, {"error": {"message": "No connected db.", "type": "no_db_connection", "code": "400"}},
         exceptions.VeoAuthenticationError),
    ],
)  # fmt: skip
def test_a_relayed_refusal_is_the_upstreams_own(status, body, kind):
    """LiteLLM writes its own words around upstream's error, which still decides."""
    with pytest.raises(kind) as caught:
        protocol.parse_submission(response_with(status, body))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("status", "body", "extra"),
    [
        # The first model refused; the fallback may have been accepted before it failed.
        (400, litellm(openai_shape("no"), "Fallback to second also failed: litellm.InternalServerError"), 1),
        (400, litellm(openai_shape("no"), "Fallback to a, b also failed: litellm.Timeout"), 2),
        (400, litellm(openai_shape("no"), "Fallback model group(s) configured: second."), 0),
        # LiteLLM answers 429 to any upstream's status whose text speaks of a rate limit.
        (429, litellm({"error": {"message": "upstream rate limit", "code": "upstream"}}), 0),
        (429, litellm("rate limit"), 0),
        (403, litellm("<html>Blocked"), 0),
        (400, litellm(openai_shape("oops", "internal_error")), 0),
        (400, litellm({"id": TASK, "object": "video", "status": "queued"}), 0),
        (503, litellm(openai_shape("busy")), 0),
    ],
)
def test_a_relayed_error_that_may_hide_an_acceptance_is_unknown(status, body, extra):
    """A status of the proxy is not one of its upstream, and says nothing about its fallbacks."""
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        protocol.parse_submission(response_with(status, body))
    assert caught.value.extra_generations == extra
    assert caught.value.veo_task_id is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, litellm(gateway_shape("task_not_exist", "task_not_exist")), exceptions.VeoTaskNotFoundError),
        (404, {"detail": "Video not found"}, exceptions.VeoTaskNotFoundError),
        (404, {"detail": "Video video_7 not found"}, exceptions.VeoTaskNotFoundError),
        (404, litellm({"detail": "Video not found"}), exceptions.VeoTaskNotFoundError),
        (404, {"detail": "Not Found"}, exceptions.VeoServerError),
        (500, {"detail": "Video not found"}, exceptions.VeoServerError),
        (404, litellm(upstream(RETIRED)), exceptions.VeoServerError),
    ],
)
def test_a_poll_understands_fastapi_and_what_litellm_relays(status, body, kind):
    """FastAPI's own error names the video; the proxy's one has it inside; an unknown route is no task."""
    with pytest.raises(kind) as caught:
        protocol.parse_video(response_with(status, body), TASK)
    assert type(caught.value) is kind
