"""Credentials that expire in the middle: the connection is looked up again, and what was paid is stored."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from support.s3_proxy import Proxy, refusal, running

from veo_provider.exceptions import VeoNotFetchedError, VeoStorageDeniedError, VeoStorageUnavailableError
from veo_provider.generation import recording
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.receipts.conditional_writes import ConditionalWrites
from veo_provider.s3 import credentials
from veo_provider.s3.client import head_object, s3_client
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Uri
from veo_provider.triggers import batch as trigger_module
from veo_provider.triggers.batch import VeoBatchTrigger

pytestmark = pytest.mark.usefixtures("connections", "impatient")

TARGET = S3Uri("videos", "tokens/clip.mp4")


class Renewal:
    """Which credentials are good, and which the connection has.

    :param refused: the calls that were refused.
    """

    def __init__(self, endpoint, extra):
        self.good = "OLD"
        self.refused = []
        self._endpoint = endpoint
        self._extra = extra
        self.code = "ExpiredToken"
        self.connect("OLD")

    def connect(self, key):
        """Write a session's credentials into the connection, as whoever renews them does."""
        extra = {"endpoint_url": self._endpoint, "region_name": "us-east-1", "aws_session_token": f"{key}-t"}
        connection = {"conn_type": "aws", "login": key, "password": f"{key}-s", "extra": extra | self._extra}
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(connection)

    def check(self, call):
        if call.access_key == self.good:
            return None
        self.refused.append(call)
        return refusal(400, self.code, "The provided token has expired.")


@pytest.fixture
def proxy(sandbox):
    with running(Proxy(sandbox)) as one:
        yield one


@pytest.fixture
def renewal(proxy, s3, monkeypatch):
    """A connection with a session token, which may expire and be renewed."""
    monkeypatch.setattr(ConditionalWrites, "_supported", {})
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "")
    made = Renewal(proxy.url, {})
    proxy.script = made.check
    return made


def write(client):
    with translate_errors(f"{TARGET} cannot be written"):
        client.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=b"x")


def test_a_renewed_connection_is_looked_up_once(renewal):
    """Of sixty calls with a client that was made before, one is refused."""
    client = s3_client("aws_default")
    write(client)
    renewal.good = "NEW"
    renewal.connect("NEW")
    for _ in range(30):
        write(client)
        assert head_object(client, TARGET) is not None
    assert len(renewal.refused) == 1
    client.close()


def test_a_head_is_answered_with_no_code_and_renewed_all_the_same(renewal):
    """All that S3 says to it is 400."""
    client = s3_client("aws_default")
    write(client)
    renewal.good = "NEW"
    renewal.connect("NEW")
    assert head_object(client, TARGET) is not None
    client.close()


async def test_a_signal_handler_in_an_event_loop_looks_nothing_up(renewal):
    """A look-up could wait for the handler's own loop; what it was to abort is left to the next try."""
    s3 = s3_client("aws_default")
    renewal.good = "NEW"
    renewal.connect("NEW")
    with pytest.raises(VeoStorageUnavailableError, match="ExpiredToken"), translate_errors("It failed"):
        s3.list_buckets()
    await asyncio.to_thread(s3.list_buckets)


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"]
)
def test_many_threads_renew_once(renewal, code, caplog):
    """Each repeats its own call, and one of them looks up."""
    caplog.set_level("INFO", "veo_provider")
    client = s3_client("aws_default", connections=8)
    write(client)
    renewal.good, renewal.code = "NEW", code
    renewal.connect("NEW")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: write(client), range(80)))
    assert len(renewal.refused) <= 8
    assert caplog.text.count("continuing with the connection's current ones") == 1
    client.close()


def test_a_token_that_nobody_renews_is_told_and_may_pass(renewal, caplog):
    """The error says what has expired; the connection is not looked up for each call."""
    client = s3_client("aws_default")
    renewal.good = "NEW"
    for _ in range(20):
        with pytest.raises(VeoStorageUnavailableError, match="session token has expired: renew it") as caught:
            write(client)
    assert caught.value.retryable
    assert len(renewal.refused) == 20
    assert caplog.text.count("the connection has no other ones") == 1
    client.close()


def test_new_tokens_that_are_refused_too_come_to_an_end(renewal, monkeypatch):
    """Whatever the connection says, a call is repeated once."""
    monkeypatch.setattr(credentials, "LOOK_UP_PAUSE", 0.0)
    client = s3_client("aws_default")
    renewal.good = "NONE"

    connect = lambda **_: renewal.connect(f"NEW-{len(renewal.refused)}")  # noqa: E731 - of one test
    client.meta.events.register_first("before-send.s3", connect)
    with pytest.raises(VeoStorageUnavailableError):
        write(client)
    assert len(renewal.refused) == 2
    client.close()


def test_a_token_that_is_no_good_is_denied(renewal):
    """What S3 does not know is no matter of time, unless the connection has another one."""
    client = s3_client("aws_default")
    renewal.good, renewal.code = "NONE", "InvalidToken"
    with pytest.raises(VeoStorageDeniedError):
        write(client)
    client.close()


def test_a_look_up_that_fails_leaves_the_error_as_it_is(renewal, caplog):
    """While Airflow or STS is away, the call is one that may pass, and no secret reaches the log."""
    client = s3_client("aws_default")
    renewal.good = "NEW"
    nowhere = {"sts": {"endpoint_url": "http://127.0.0.1:9"}}
    renewal._extra.update(role_arn="arn:aws:iam::123456789012:role/film", service_config=nowhere)
    renewal._extra["config_kwargs"] = {"retries": {"max_attempts": 0}}
    renewal.connect("OLD")
    with pytest.raises(VeoStorageUnavailableError, match="session token has expired"):
        write(client)
    assert "cannot be looked up again" in caplog.text
    assert "OLD-s" not in caplog.text
    client.close()


def role(expires_in):
    """Return what STS answers."""
    until = (datetime.now(timezone.utc) + timedelta(seconds=expires_in)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return 200, (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
        "<AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
        f"<Expiration>{until}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    ).encode()


def test_a_role_is_assumed_again_by_what_the_connection_has_now(renewal, proxy, monkeypatch):
    """A role renews itself; the token that it is assumed with may expire as well."""
    monkeypatch.setattr(credentials, "LOOK_UP_PAUSE", 0.0)
    renewal._extra.update(role_arn="arn:aws:iam::123456789012:role/film", service_config={})
    renewal._extra["service_config"] = {"sts": {"endpoint_url": proxy.url}}
    renewal.connect("OLD")
    assumed = []

    def answer(call):
        if call.bucket:
            return None
        assumed.append(call.access_key)
        # To be renewed at the next call, since botocore does that ten minutes before the end.
        refused = renewal.check(call)
        return role(expires_in=60) if refused is None else refusal(400, renewal.code, of="ErrorResponse")

    proxy.script = answer
    client = s3_client("aws_default")
    write(client)
    write(client)
    assert assumed[-2:] == ["OLD", "OLD"]
    renewal.good = "NEW"
    with pytest.raises(VeoStorageUnavailableError, match=r"AssumeRole.*session token has expired"):
        write(client)
    renewal.connect("NEW")
    write(client)
    assert assumed[-1] == "NEW"
    client.close()


# The same in a batch and in one video


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, run_id, task_id, map_index, try_number = "tokens", "monday", "make", -1, 1

    def __init__(self, try_number=1):
        self.try_number = try_number

    def xcom_push(self, key, value):
        pass


def run_batch(**fields):
    """Run a batch as Airflow does."""

    def operator():
        return VeoBatchOperator(
            task_id="make",
            images=["s3://images/rocket.jpg"],
            output_prefix="s3://videos/tokens/",
            prompt="It comes alive",
            seconds="4",
            poll_interval=0.1,
            **fields,
        )

    async def event_of(kwargs):
        (event,) = [event async for event in VeoBatchTrigger(**kwargs).run()]
        return event.payload

    step = lambda: operator().execute({"ti": Instance()})  # noqa: E731 - the first of several
    while True:
        try:
            return step()
        except TaskDeferred as deferral:
            event = asyncio.run(event_of(deferral.trigger.serialize()[1]))
            step = lambda event=event: operator().execute_complete({"ti": Instance()}, event)  # noqa: E731


@pytest.mark.parametrize("deferrable", [True, False], ids=["triggerer", "worker"])
@pytest.mark.parametrize("when", ["receipt", "video"])
def test_a_batch_goes_on_with_a_renewed_token(renewal, proxy, sandbox, deferrable, when):
    """Wherever it is when the token expires, it looks the connection up and pays once."""
    suffix = ".mp4" if when == "video" else ".veo.json"

    def expire(call):
        if renewal.good == "OLD" and call.method == "PUT" and call.key.endswith(suffix):
            renewal.good = "NEW"
            renewal.connect("NEW")
        return renewal.check(call)

    proxy.script = expire
    result = run_batch(deferrable=deferrable)
    assert result["counts"] == {"stored": 1}
    assert sandbox.charges()["count"] == 1
    assert 1 <= len(renewal.refused) <= 3


def one_video(try_number=1):
    operator = VeoImageToVideoOperator(
        task_id="make",
        image="s3://images/rocket.jpg",
        prompt="The rocket lifts off",
        seconds="4",
        output=str(TARGET),
        deferrable=False,
        poll_interval=0.1,
    )
    return operator.execute({"ti": Instance(try_number)})


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (".mp4", "ExpiredToken"),
        (".mp4", "AccessDenied"),
        (".veo.json", "RequestTimeTooSkewed"),
        (".veo.json", "InvalidToken"),
    ],
)
def test_a_paid_video_that_cannot_be_stored_is_not_lost(renewal, proxy, sandbox, monkeypatch, code, written):
    """The error says that it is paid and that a retry stores it; a retry does, and pays nothing."""
    monkeypatch.setattr(recording, "RECORD_PATIENCE", 0.1)
    renewal.code = code

    def expire(call):
        # From the video's write on; or from the write of the receipt that follows it.
        if call.method == "PUT" and call.key.endswith(".mp4") and written == ".mp4":
            renewal.good = "NEW"
        answer = renewal.check(call)
        if call.method == "PUT" and call.key.endswith(".mp4"):
            renewal.good = "NEW"
        return answer

    proxy.script = expire
    with pytest.raises(VeoNotFetchedError, match=r"paid for once.*A retry continues") as caught:
        one_video()
    assert code in str(caught.value)
    renewal.connect("NEW")
    assert one_video(2)["uri"] == str(TARGET)
    assert sandbox.charges()["count"] == 1
