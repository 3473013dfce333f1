"""Both clients against the sandbox, over real sockets."""

import hashlib
import signal
import socket
import threading

import pytest
from support.moments import at_moment, until

from veo_provider import exceptions
from veo_provider.api import config
from veo_provider.api.client import VeoClient
from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.api.video import VideoStatus


@pytest.fixture
def either(new_client, sandbox):
    """A client of either kind for the sandbox."""
    return new_client(sandbox.api_key, sandbox.api)


def test_a_submission_carries_image_and_fields(either, sandbox, request_4s, photo):
    """What the service got is what was asked for, the image byte for byte."""
    video = either.submit(request_4s)
    (task,) = sandbox.tasks()
    assert task["task_id"] == video.id
    assert video.status is VideoStatus.QUEUED
    assert task["fields"] == request_4s.form_fields()
    (file,) = task["files"]
    assert file["field"] == "input_reference"
    assert file["content_type"] == "image/jpeg"
    assert file["sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest()


def test_text_to_video_goes_as_json(either, sandbox):
    """Without an image the service gets JSON with nested details, and makes the video asked for."""
    either.submit(VeoRequest(prompt="A rocket", resolution="1080p", aspect_ratio="9:16"))
    (task,) = sandbox.tasks()
    assert task["mode"] == "text-to-video"
    assert (task["seconds"], task["size"]) == ("8", "1080x1920")


def test_an_image_just_under_the_limit_is_accepted(either, sandbox, photo):
    """20 MB go through the streamed body whole."""
    data = photo.read_bytes()
    padded = data + bytes(20_000_000 - len(data))
    either.submit(VeoRequest(prompt="A rocket", image=Image.from_bytes(padded), seconds="4"))
    assert sandbox.tasks()[0]["files"][0]["sha256"] == hashlib.sha256(padded).hexdigest()


def test_the_status_is_read(either, sandbox, request_4s):
    """A poll tells how the generation stands."""
    video = either.submit(request_4s)
    assert either.get(video.id).id == video.id


@pytest.mark.parametrize("word", ["unknown", "warming_up"])
def test_an_odd_status_is_not_the_end(either, sandbox, request_4s, word):
    """What a gateway says beyond the documented words counts as not finished."""
    sandbox.add_faults([{"call": "poll", "task_status": word}])
    assert not either.get(either.submit(request_4s).id).finished


def test_a_wrong_model_in_a_poll_changes_nothing(either, sandbox, request_4s):
    """A poll may carry another model and an early completed_at: the status alone counts."""
    sandbox.add_faults(
        [
            {
                "call": "poll",
                "set": {"model": "x", "completed_at": 1, "status": "in_progress"},
                "drop": ["progress"],
            }
        ]
    )
    assert not either.get(either.submit(request_4s).id).finished


REFUSALS = [
    ({"status": 429, "headers": {"Retry-After": "7"}}, exceptions.VeoRateLimitError),
    ({"status": 429}, exceptions.VeoRateLimitError),
    (
        {"status": 403, "body": {"code": "upstream_load_saturated", "message": "busy", "data": None}},
        exceptions.VeoRateLimitError,
    ),
    (
        {"status": 403, "body": {"error": {"code": "insufficient_user_quota", "message": "no money"}}},
        exceptions.VeoQuotaError,
    ),
    ({"status": 400, "body": {"error": {"message": "PUBLIC_ERROR_UNSAFE"}}}, exceptions.VeoModerationError),
    ({"status": 400, "body": {"code": "x", "message": "no", "data": None}}, exceptions.VeoBadRequestError),
    ({"status": 413, "body": {"error": {"message": "too large"}}}, exceptions.VeoBadRequestError),
    (
        {"status": 503, "body": {"error": {"code": "model_not_found", "message": "no available channels"}}},
        exceptions.VeoNoChannelError,
    ),
    (
        {"status": 500, "body": {"code": "get_channel_failed", "message": "none left", "data": None}},
        exceptions.VeoNoChannelError,
    ),
]


@pytest.mark.parametrize(("fault", "kind"), REFUSALS)
def test_a_refused_submission_costs_nothing(either, sandbox, request_4s, fault, kind):
    """A definite no raises its error, and the bill stays empty."""
    sandbox.add_faults([{"call": "submit", **fault}])
    with pytest.raises(exceptions.VeoAPIError) as caught:
        either.submit(request_4s)
    assert type(caught.value) is kind
    assert sandbox.tasks() == []
    assert caught.value.retry_after == (7 if "headers" in fault else None)


LOST = [
    {"status": 413, "text": "too large"},
    {"status": 404, "text": "<html>nginx</html>"},
    {"status": 409, "accept": True},
    {"status": 302, "headers": {"Location": "/elsewhere"}, "accept": True},
    {"reset": "after"},
    {"reset": "before"},
    {"status": 502, "accept": True},
    {"status": 503, "accept": False},
    {"status": 500, "body": {"code": "INTERNAL", "message": "trouble", "data": None}},
    {"garbage": True, "accept": True},
    {"garbage": "json", "accept": True},
]


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_answer_is_unknown_and_never_sent_again(either, sandbox, request_4s, fault):
    """When the answer is lost or nonsense, the error says that it may be charged; nobody resubmits."""
    sandbox.add_faults([{"call": "submit", **fault}])
    with pytest.raises(exceptions.VeoSubmissionUnknown, match="It may have been accepted"):
        either.submit(request_4s)
    assert [rule["matched"] for rule in sandbox.faults()] == [1]
    assert len(sandbox.tasks()) == (fault.get("accept", fault.get("reset") == "after"))


def test_a_submission_that_times_out_is_unknown(either, sandbox, request_4s, monkeypatch):
    """An answer that comes too late is a lost one."""
    monkeypatch.setattr(config, "SUBMIT_TIMEOUT", 1.0)
    either = type(either)(sandbox.api_key, sandbox.api, timeout=1.0)
    sandbox.add_faults([{"call": "submit", "delay": 600}])
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        either.submit(request_4s)
    assert len(until(sandbox.tasks)) == 1
    either.close()


def test_an_interrupted_submission_is_unknown(sandbox, request_4s):
    """Airflow's execution timeout is a signal in the middle of the wait: it must not lead to a retry."""

    def interrupt(*_):
        raise KeyboardInterrupt

    sandbox.add_faults([{"call": "submit", "delay": 600}])
    before, me = signal.signal(signal.SIGALRM, interrupt), threading.get_ident()
    interrupter = at_moment(sandbox.tasks, lambda: signal.pthread_kill(me, signal.SIGALRM))
    try:
        with (
            VeoClient(sandbox.api_key, sandbox.api) as client,
            pytest.raises(exceptions.VeoSubmissionUnknown),
        ):
            client.submit(request_4s)
    finally:
        interrupter.join()
        signal.signal(signal.SIGALRM, before)
    assert len(sandbox.tasks()) == 1


@pytest.fixture
def closed_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def test_a_refused_connection_sent_nothing(new_client, request_4s, closed_port):
    """Where no connection came about, submitting again is safe, and the error says so."""
    with pytest.raises(exceptions.VeoNotSentError, match="No money was spent"):
        new_client("sk-x", f"http://127.0.0.1:{closed_port}/v1").submit(request_4s)


def test_an_unknown_host_was_sent_nothing(new_client, request_4s):
    """The same goes for a name that does not resolve."""
    with pytest.raises(exceptions.VeoNotSentError):
        new_client("sk-x", "http://nowhere.invalid/v1").submit(request_4s)


def test_a_failed_tls_handshake_sent_nothing(new_client, sandbox, request_4s):
    """The same goes for TLS that does not come about."""
    with pytest.raises(exceptions.VeoNotSentError):
        new_client("sk-x", sandbox.api.replace("http://", "https://")).submit(request_4s)


def test_an_accepted_submission_keeps_its_id_without_a_status(either, sandbox, request_4s):
    """An answer that lacks the status still names what was bought."""
    sandbox.add_faults([{"call": "submit", "drop": ["status"]}])
    assert either.submit(request_4s).id == sandbox.tasks()[0]["task_id"]


def test_an_image_that_breaks_off_was_not_accepted(either, sandbox, photo):
    """If the image's source fails midway, the service never gets a whole request."""

    class Broken:
        def __init__(self):
            self.left = 3

        def read(self, size=-1):
            self.left -= 1
            if not self.left:
                raise OSError("the store went away")
            return bytes(10)

        def close(self):
            pass

    header = photo.read_bytes()[:12]
    image = Image.check("p.jpg", size=5_000_000, header=header, open_stream=Broken)
    with pytest.raises(exceptions.VeoImageUnavailableError, match="the store went away") as caught:
        either.submit(VeoRequest(prompt="A rocket", image=image))
    # An exception that is its own cause sends some of structlog's releases round in circles.
    assert caught.value.__cause__ is not caught.value
    assert sandbox.tasks() == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 503}, exceptions.VeoServerError),
        ({"status": 429}, exceptions.VeoRateLimitError),
        ({"reset": "before"}, exceptions.VeoConnectionError),
        ({"garbage": True}, exceptions.VeoUnexpectedAnswerError),
        ({"garbage": "json"}, exceptions.VeoUnexpectedAnswerError),
    ],
)
def test_a_poll_that_fails_is_temporary(either, sandbox, request_4s, fault, kind):
    """Whatever goes wrong with a poll, asking again is safe."""
    video = either.submit(request_4s)
    sandbox.add_faults([{"call": "poll", **fault}])
    with pytest.raises(kind) as caught:
        either.get(video.id)
    assert caught.value.retryable


def test_an_unknown_task_is_told(either):
    """The service's task_not_exist ends the wait."""
    with pytest.raises(exceptions.VeoTaskNotFoundError) as caught:
        either.get("task_" + "0" * 32)
    assert not caught.value.retryable


def test_a_wrong_key_is_told_and_kept_secret(new_client, sandbox, request_4s):
    """A 401 names the key's type as the cause, and never the key."""
    wrong = new_client("sk-wrong-key-5f7", sandbox.api)
    with pytest.raises(exceptions.VeoAuthenticationError, match="Pay-per-request") as caught:
        wrong.submit(request_4s)
    assert "5f7" not in f"{caught.value} {caught.value!r} {wrong!r}"


def test_a_key_that_the_service_repeats_is_cut_out(new_client, sandbox):
    """Some gateways repeat the key in their error."""
    body = {"error": {"message": f"bad key {sandbox.api_key}"}}
    sandbox.add_faults([{"call": "poll", "status": 401, "body": body}])
    with pytest.raises(exceptions.VeoAuthenticationError, match=r"bad key \*\*\*"):
        new_client(sandbox.api_key, sandbox.api).get("task_x")


def test_a_netrc_does_not_replace_the_key(either, sandbox, tmp_path, monkeypatch):
    """An entry for the host in ~/.netrc does not take the place of the API key."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with pytest.raises(exceptions.VeoTaskNotFoundError):
        either.get("task_x")


def test_a_proxy_of_the_environment_is_used(new_client, sandbox, monkeypatch, closed_port):
    """Both clients go through the proxy that the environment names, and not past it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    with pytest.raises(exceptions.VeoConnectionError):
        new_client(sandbox.api_key, sandbox.api).get("task_x")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(exceptions.VeoTaskNotFoundError):
        new_client(sandbox.api_key, sandbox.api).get("task_x")


def test_a_proxys_password_is_not_repeated(new_client, sandbox, monkeypatch, closed_port):
    """The environment's proxy may carry a password, which no error shows."""
    monkeypatch.setenv("http_proxy", f"http://user:s3cretpw@127.0.0.1:{closed_port}")
    with pytest.raises(exceptions.VeoConnectionError) as caught:
        new_client(sandbox.api_key, sandbox.api).get("task_x")
    assert "s3cretpw" not in str(caught.value)
    both = new_client("sk-x", "http://user:s3cretpw@127.0.0.1:1/v1")
    assert "s3cretpw" not in repr(both)


def test_both_clients_read_no_proxy_alike(new_client, sandbox, monkeypatch, closed_port):
    """A network in no_proxy counts for both, as requests has it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")
    with pytest.raises(exceptions.VeoTaskNotFoundError):
        new_client(sandbox.api_key, sandbox.api).get("task_x")


def test_a_wrong_account_token_is_not_taken_for_a_wrong_key(sandbox):
    """The check says which of the two secrets is wrong."""
    with (
        VeoClient(sandbox.api_key, sandbox.api, account_token="wrong") as client,
        pytest.raises(exceptions.VeoWrongTokenError, match="The key is right, but the account token is not"),
    ):
        client.check()


def test_the_balance_needs_the_account_token_alone(client, sandbox, completed):
    """The balance comes with its own token, and knows of the generation that was paid."""
    assert client.balance() == pytest.approx(100 - 0.30)


def test_the_check_tells_key_and_host_apart(sandbox, closed_port):
    """A right key passes; a wrong key, path, host or service each says what is wrong."""
    with VeoClient(sandbox.api_key, sandbox.api) as good:
        assert "accepts the key" in good.check()
    cases = [
        ("sk-wrong", sandbox.api, exceptions.VeoAuthenticationError),
        (sandbox.api_key, sandbox.api.removesuffix("/v1") + "/v2", exceptions.VeoWrongHostError),
        (sandbox.api_key, sandbox.s3, exceptions.VeoAPIError),
        (sandbox.api_key, f"http://127.0.0.1:{closed_port}", exceptions.VeoConnectionError),
    ]
    for key, host, kind in cases:
        with VeoClient(key, host) as bad, pytest.raises(kind):
            bad.check()
    assert sandbox.tasks() == []
