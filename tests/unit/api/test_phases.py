"""Arbitrary answers in each phase: what a refusal is, is told by an oracle of its own."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.http.response import Response
from veo_provider.api.parsing import task_ids
from veo_provider.api.parsing.download import ResumePoint, parse_content
from veo_provider.api.video import Video

TASK = "task_" + "a1B2" * 8
REQUEST_STATUSES = {400, 401, 402, 403, 404, 405, 410, 411, 413, 414, 415, 422, 429, 431, 451}
CODES = ["", "x", "INTERNAL", "UNAVAILABLE", "task_not_exist", "model_not_found", "get_channel_failed"]
CODES += ["fail_to_fetch_task", "insufficient_user_quota", "upstream_load_saturated", "not_found"]
MESSAGES = ["", " ", "no", "the model is no longer available", "PUBLIC_ERROR_UNSAFE", "Video not found"]
MESSAGES += ["Invalid URL (POST /v1/videos)", "your balance", "blocked by a safety filter", "our policy"]
WORDS = ["queued", "completed", "FAILURE", "expired", "warming_up", "", TASK, "task_other"]
AFTERWARDS = (
    exceptions.VeoAuthenticationError,
    exceptions.VeoTaskNotFoundError,
    exceptions.VeoContentGoneError,
)
"""Nothing else ends a wait or a download for good."""

texts = st.sampled_from(CODES + MESSAGES + WORDS) | st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers(-1, 700) | st.floats(allow_nan=False) | texts


def errors_of(inner):
    """Return a strategy for both shapes of error, around any message."""
    fields = {"message": inner, "code": st.sampled_from(CODES) | scalars, "type": texts, "status": texts}
    one = st.fixed_dictionaries({}, optional=fields)
    return one | st.fixed_dictionaries({"error": one | texts}, optional={"id": texts, "status": texts})


messages = st.sampled_from(MESSAGES) | errors_of(texts).map(json.dumps)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["id", "task_id", "status", "error", "code", "message", "data", "url"]), inner
        )
    ),
    max_leaves=6,
)
bodies = (
    st.binary(max_size=60)
    | errors_of(messages).map(lambda value: json.dumps(value).encode())
    | values.map(lambda value: json.dumps(value).encode())
)
statuses = st.sampled_from(sorted(REQUEST_STATUSES | {200, 500, 503})) | st.integers(100, 999)
headers = st.dictionaries(
    st.sampled_from(["Retry-After", "Content-Type", "Location", "ETag", "Content-Encoding"]),
    st.sampled_from(["5", "video/mp4", "text/html", "gzip", "deflate", '"x"', "https://cdn.example/v", "é"]),
)


def texts_of(value, name):
    return isinstance(value, dict) and isinstance(value.get(name), str) and value[name].strip()


def may_be_refused(status, body):
    """Whether a submission may be called refused, as the documentation has the closed list."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return False
    inner = data.get("error") if isinstance(data, dict) else None
    if isinstance(inner, dict):
        shaped = texts_of(inner, "message") or texts_of(inner, "code")
        code, message = inner.get("code"), inner.get("message")
    else:
        shaped = texts_of(data, "code") and texts_of(data, "message")
        code, message = (data.get("code"), data.get("message")) if isinstance(data, dict) else (None, None)
    if not shaped:
        return False
    if (status, code) in ((503, "model_not_found"), (500, "get_channel_failed")):
        return True
    if status == 500:
        return code == "fail_to_fetch_task" and "is no longer available" in str(message)
    trouble = str(code).upper() in ("INTERNAL", "UNAVAILABLE") or (type(code) is int and code >= 500)
    return status in REQUEST_STATUSES and not trouble


def outcome(read, *args, **kwargs):
    """Return what a reader returned, or the error of ours that it raised; any other fails the test."""
    try:
        return read(*args, **kwargs)
    except exceptions.VeoError as error:
        str(error).encode()  # each can be logged
        return error


def own_words(error):
    """Return what the package itself says, without what it repeats from the answer."""
    return f"{error.money} {error.advice}"


@settings(max_examples=1500, deadline=None)
@given(
    status=statuses, body=bodies, headers=headers, whole=st.booleans(), broken=st.sampled_from(["", "cut"])
)
@example(status=103, body=b"", headers={}, whole=True, broken="")
@example(status=404, body=b"<html>", headers={}, whole=True, broken="")
@example(
    status=503,
    body=b'{"error": {"message": "n", "type": "model_not_found"}}',
    headers={},
    whole=False,
    broken="",
)
@example(
    status=503,
    body=b'{"error": {"message": "no", "status": "model_not_found", "code": 1}}',
    headers={},
    whole=False,
    broken="",
)
def test_a_submission_is_refused_by_the_closed_list_only(status, body, headers, whole, broken):
    """Any other answer makes a video, or leaves open whether it was accepted."""
    answer = Response.received(status, body, headers, secrets=("sk-x",), broken=broken)
    result = outcome(protocol.parse_submission, answer, whole=whole)
    if isinstance(result, exceptions.VeoAPIError):
        assert may_be_refused(status, answer.body)
    elif isinstance(result, Video):
        assert answer.ok
        assert task_ids.check_task_id(result.id)
    elif isinstance(result, exceptions.VeoNotSentError):
        assert not whole
    else:
        assert type(result) is exceptions.VeoSubmissionUnknown
        assert not result.retryable
        assert result.veo_task_id is None or task_ids.check_task_id(result.veo_task_id)


def assert_after_acceptance(result):
    """Nothing is refused or free of charge any more, and what may pass is tried again."""
    if not isinstance(result, exceptions.VeoError):
        return
    assert result.retryable or isinstance(result, AFTERWARDS)
    words = own_words(result)
    assert "othing was charged" not in words
    assert "No money was spent" not in words
    assert "rejected" not in words
    assert "correct the parameters" not in words
    assert not isinstance(
        result, (exceptions.VeoBadRequestError, exceptions.VeoQuotaError, exceptions.VeoModerationError)
    )


@settings(max_examples=1500, deadline=None)
@given(status=statuses, body=bodies, headers=headers, broken=st.sampled_from(["", "cut"]))
@example(status=422, body=b"{}", headers={}, broken="")
def test_a_wait_ends_for_a_key_or_an_unknown_task_only(status, body, headers, broken):
    """Whatever else a poll is answered, the generation goes on."""
    answer = Response.received(status, body, headers, broken=broken)
    result = outcome(protocol.parse_video, answer, TASK)
    assert_after_acceptance(result)
    assert not isinstance(result, exceptions.VeoContentGoneError)
    if isinstance(result, exceptions.VeoAuthenticationError):
        assert status in (401, 403)
    if isinstance(result, exceptions.VeoTaskNotFoundError):
        assert status in (400, 404)
        assert may_be_refused(status, answer.body)  # in the API's own form
    if isinstance(result, Video):
        assert result.id == TASK
        assert Video.from_dict(json.loads(json.dumps(result.to_dict()))) == result


@settings(max_examples=1500, deadline=None)
@given(
    status=statuses,
    body=bodies,
    headers=headers,
    own_host=st.booleans(),
    wanted=st.sampled_from([ResumePoint(), ResumePoint(5, 9, '"x"'), ResumePoint(5, None, "")]),
)
def test_a_download_ends_for_a_key_or_a_lost_file_only(status, body, headers, own_host, wanted):
    """Whatever else it is answered, it is tried again; the generation has been charged."""
    answer = Response.received(status, body, headers)
    asked = "https://api.example/v1/videos/x/content"
    result = outcome(parse_content, answer, asked, own_host=own_host, wanted=wanted)
    assert_after_acceptance(result)
    if isinstance(result, AFTERWARDS):
        assert own_host
        assert status >= 300 or status < 200
