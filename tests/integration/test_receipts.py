"""Receipts in a real S3: who is first, who finds out, and what happens when nobody can tell."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import boto3
import pytest
import requests
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from support import generations

from veo_provider.api import protocol
from veo_provider.api.client import VeoClient
from veo_provider.exceptions import (
    ReceiptConflictError,
    VeoRateLimitError,
    VeoReceiptDeniedError,
    VeoReceiptError,
    VeoReceiptUnavailableError,
    VeoRequestError,
    VeoSubmissionUnknown,
)
from veo_provider.generation import recording, retries
from veo_provider.generation.fingerprint import PreparedRequest, sha256_of
from veo_provider.generation.state_machine import Attach, GenerationPolicy, WaitForClaim
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.conditional_writes import ConditionalWrites
from veo_provider.receipts.receipt import SUFFIX, ReceiptState, claim
from veo_provider.receipts.s3_store import S3ReceiptStore
from veo_provider.receipts.task_state_store import TaskStateReceiptStore
from veo_provider.s3.uri import S3Uri

TARGET = S3Uri("videos", "clips/rocket.mp4" + SUFFIX)
ME, OTHER = Attempt("dag / run / me"), Attempt("dag / run / other")
RACES = int(os.environ.get("VEO_RACES", "100"))


@pytest.fixture(autouse=True)
def _fresh(s3, monkeypatch):
    """An empty bucket, and nothing known of it yet."""
    monkeypatch.setattr(ConditionalWrites, "_supported", {})
    for key in keys(s3):
        s3.delete_object(Bucket="videos", Key=key)


def keys(s3):
    return [found["Key"] for found in s3.list_objects_v2(Bucket="videos").get("Contents", [])]


@pytest.fixture
def new_s3(sandbox):
    """Makes S3 clients of their own, which do not try again."""
    made = []

    def make(**changes):
        options = {
            "endpoint_url": sandbox.s3,
            "aws_access_key_id": sandbox.aws_access_key_id,
            "aws_secret_access_key": sandbox.aws_secret_access_key,
            "region_name": "us-east-1",
            "config": Config(retries={"max_attempts": 0}, connect_timeout=2),
        }
        made.append(boto3.session.Session().client("s3", **{**options, **changes}))
        return made[-1]

    yield make
    for client in made:
        client.close()


def new_claim(by=ME, **changes):
    return claim("f" * 64, {"prompt": "Ein Fjord"}, 0.3, by, seconds=60, **changes)


def names_of(call, client):
    """Count the calls of one kind that a client makes."""
    seen = []
    client.meta.events.register(f"before-call.s3.{call}", lambda params, **_: seen.append(params["url_path"]))
    return seen


def test_a_receipt_is_created_read_and_changed(s3):
    """What is written is read again, and can be changed as it was read."""
    store = S3ReceiptStore(s3, TARGET)
    assert store.read() is None
    created = store.write(new_claim(), None)
    assert store.read() == created
    changed = store.write(
        created.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1"), created
    )
    assert store.read() == changed
    assert changed.etag != created.etag
    assert [step["state"] for step in changed.receipt.history] == ["claimed", "submitted"]
    assert store.uri == "s3://videos/clips/rocket.mp4.veo.json"


def test_the_second_to_create_finds_out(s3, new_s3):
    """Of two that found no receipt, one writes it and the other learns that it is there."""
    first, second = S3ReceiptStore(s3, TARGET), S3ReceiptStore(new_s3(), TARGET)
    written = first.write(new_claim(), None)
    with pytest.raises(ReceiptConflictError):
        second.write(new_claim(OTHER), None)
    assert second.read() == written


def test_the_second_to_change_finds_out(s3):
    """Of two that read the same receipt, one changes it and the other learns that it has changed."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(), None)
    written = store.write(read.receipt.transition(ReceiptState.REFUSED, ME), read)
    with pytest.raises(ReceiptConflictError):
        store.write(read.receipt.transition(ReceiptState.UNKNOWN, OTHER), read)
    assert store.read() == written


def test_a_receipt_that_is_gone_cannot_be_changed(s3):
    """A receipt that somebody removed meanwhile is not made anew by a change."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(), None)
    s3.delete_object(Bucket=TARGET.bucket, Key=TARGET.key)
    with pytest.raises(ReceiptConflictError):
        store.write(read.receipt.transition(ReceiptState.REFUSED, ME), read)
    assert store.read() is None


@pytest.mark.parametrize("after", ["nothing", "a receipt"])
def test_a_repeated_write_of_our_own_is_adopted(s3, after):
    """boto3 repeats a PUT whose answer was lost: the refusal of the second is not taken for a rival's win."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(OTHER), None) if after == "a receipt" else None
    ours = new_claim()
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=ours.to_json())
    adopted = store.write(ours, read)
    assert adopted.receipt == ours
    store.write(ours.transition(ReceiptState.REFUSED, ME), adopted)


def test_a_write_whose_answer_is_lost_is_repeated_by_boto3_and_adopted(s3, new_s3):
    """The same, with boto3's own retry after an answer that never came back."""
    client = new_s3(config=Config(retries={"max_attempts": 2, "mode": "standard"}))
    store = S3ReceiptStore(client, TARGET)
    store.write(new_claim(), None)
    read, ours, sent = store.read(), new_claim(), []

    def lose_first_answer(request, **_):
        sent.append(request.url)
        if len(sent) > 1:
            return None
        s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=ours.to_json())
        return answer(request, 503, "SlowDown")

    client.meta.events.register("before-send.s3.PutObject", lose_first_answer)
    assert store.write(ours, read).receipt == ours
    assert len(sent) == 2


REFUSALS = [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed"), (404, "NoSuchKey")]


def refuse_writes(client, times, status, code, state="submitted"):
    """Refuse the first writes of a receipt in that state, and return how many of them were sent."""
    seen = []

    def refuse(request, **_):
        if f'"state": "{state}"'.encode() not in request.body.read():
            request.body.seek(0)
            return None
        request.body.seek(0)
        seen.append(request.url)
        return answer(request, status, code) if len(seen) <= times else None

    client.meta.events.register("before-send.s3.PutObject", refuse)
    return seen


@pytest.mark.parametrize(("status", "code"), REFUSALS)
@pytest.mark.parametrize("after", ["nothing", "a receipt"])
def test_a_refusal_is_no_lost_race_while_nobody_has_changed_the_receipt(s3, new_s3, status, code, after):
    """S3 refuses conditional writes for other reasons as well: what is stored shows what to do."""
    S3ReceiptStore(s3, S3Uri("videos", f"clips/known{SUFFIX}")).write(new_claim(), None)
    read = S3ReceiptStore(s3, TARGET).write(new_claim(), None) if after == "a receipt" else None
    client = new_s3()
    sent = refuse_writes(client, 1, status, code)
    ours = new_claim().transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1")
    assert S3ReceiptStore(client, TARGET).write(ours, read).receipt == ours
    assert S3ReceiptStore(s3, TARGET).read().receipt == ours
    assert len(sent) == 2


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_a_refusal_that_stays_may_pass(s3, new_s3, status, code):
    """Refused again and again, the write is tried again later, and is not given up for lost."""
    read = S3ReceiptStore(s3, TARGET).write(new_claim(), None)
    client = new_s3()
    refuse_writes(client, 100, status, code)
    with pytest.raises(VeoReceiptUnavailableError, match="nobody has changed it"):
        S3ReceiptStore(client, TARGET).write(
            read.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1"), read
        )
    assert S3ReceiptStore(s3, TARGET).read() == read


@pytest.mark.parametrize("state", ["claimed", "submitted"])
def test_the_one_paid_task_id_is_recorded_in_spite_of_refusals(
    s3, new_s3, sandbox, client, request_4s, state
):
    """Claim and id are written as soon as S3 lets us, and one generation is submitted."""
    S3ReceiptStore(s3, S3Uri("videos", f"clips/known{SUFFIX}")).write(new_claim(), None)
    stubborn = new_s3()
    refuse_writes(stubborn, 3, 409, "ConditionalRequestConflict", state)
    _, held = advance(S3ReceiptStore(stubborn, TARGET), client, plan_of(request_4s), ME)
    assert S3ReceiptStore(s3, TARGET).read() == held
    assert [held.receipt.veo_task_id] == [task["task_id"] for task in sandbox.tasks()]


def test_a_receipt_that_the_store_has_rewritten_is_still_the_same(s3):
    """Copied in parts, as a migration does it, the same receipt has another ETag: nobody has changed it."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(), None)
    where = {"Bucket": TARGET.bucket, "Key": TARGET.key}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=read.receipt.to_json())
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    assert store.read().etag != read.etag
    changed = read.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1")
    assert store.write(changed, read) == store.read()
    assert store.read().receipt == changed


def test_what_a_person_changed_meanwhile_is_not_overwritten(s3):
    """Edited by hand, a receipt keeps its revision, and is another one all the same."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(), None)
    edited = replace(read.receipt, state=ReceiptState.SUBMITTED, veo_task_id="task_1")
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=edited.to_json())
    with pytest.raises(ReceiptConflictError):
        store.write(read.receipt.transition(ReceiptState.UNKNOWN, ME), read)
    assert store.read().receipt == edited


class Raw:
    """The body of an answer that a test makes up."""

    def __init__(self, body):
        self._body = body

    def stream(self, **_):
        yield self._body

    def read(self, *_):
        body, self._body = self._body, b""
        return body


def answer(request, status, code):
    """Return what S3 would answer to a request that it refuses."""
    body = f"<Error><Code>{code}</Code><Message>So the test has it.</Message></Error>".encode()
    return AWSResponse(request.url, status, {"content-length": str(len(body))}, Raw(body))


TROUBLE = {
    "no bucket": ({}, S3Uri("no-such-bucket", TARGET.key)),
    "refused connection": ({"endpoint_url": "http://127.0.0.1:1"}, TARGET),
    "wrong key": ({"aws_secret_access_key": "wrong"}, TARGET),
    "unknown user": ({"aws_access_key_id": "nobody"}, TARGET),
}


MAY_PASS = ("refused connection",)


def error_of(trouble):
    return VeoReceiptUnavailableError if trouble in MAY_PASS else VeoReceiptDeniedError


@pytest.mark.parametrize("trouble", TROUBLE)
def test_what_cannot_be_read_is_not_taken_for_absent(new_s3, trouble):
    """Trouble with the store is an error, tried again where it may pass, and never taken for none."""
    changes, target = TROUBLE[trouble]
    with pytest.raises(error_of(trouble), match=r"cannot be read.*Nothing is submitted") as caught:
        S3ReceiptStore(new_s3(**changes), target).read()
    assert caught.value.retryable == (trouble in MAY_PASS)


@pytest.mark.parametrize("known", [False, True], ids=["first write", "later write"])
# Without "no bucket": the sandbox's S3 makes a bucket for the first object that is put there.
@pytest.mark.parametrize("trouble", ["refused connection", "wrong key", "unknown user"])
def test_what_cannot_be_written_is_our_error(new_s3, trouble, known, monkeypatch):
    """Trouble with the store while writing is the same error, whether the store is known already or not."""
    changes, target = TROUBLE[trouble]
    client = new_s3(**changes)
    if known:
        ConditionalWrites._supported[client.meta.endpoint_url, target.bucket, "If-Match"] = True
    with pytest.raises(error_of(trouble), match="cannot be written"):
        S3ReceiptStore(client, target).write(new_claim(), None)


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (429, "SlowDown"), (404, "NotFound")]
)
def test_only_a_missing_key_means_that_there_is_no_receipt(s3, new_s3, status, code):
    """Any other answer leaves open whether there is one."""
    S3ReceiptStore(s3, TARGET).write(new_claim(), None)
    client = new_s3()
    client.meta.events.register(
        "before-send.s3.GetObject", lambda request, **_: answer(request, status, code)
    )
    with pytest.raises(VeoReceiptUnavailableError):
        S3ReceiptStore(client, TARGET).read()


def test_a_receipt_that_may_not_be_read_names_the_permission(s3, new_s3):
    """Without s3:ListBucket S3 denies a missing object as well: that is said, and not tried for ever."""
    client = new_s3()
    client.meta.events.register(
        "before-send.s3.GetObject", lambda request, **_: answer(request, 403, "AccessDenied")
    )
    with pytest.raises(VeoReceiptDeniedError, match=r"s3:GetObject.*s3:ListBucket") as caught:
        S3ReceiptStore(client, TARGET).read()
    assert not caught.value.retryable


def with_fields(**fields):
    """Return a receipt as somebody has edited it by hand."""
    return json.dumps({**json.loads(new_claim().to_json()), **fields}).encode()


DAMAGED = {
    "nothing": b"",
    "cut": new_claim().to_json()[:100],
    "no UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "a word": b'"claimed"',
    "no version": b'{"state": "claimed"}',
    "an unknown field": with_fields(tempered=True),
    "an unknown state": with_fields(state="paid"),
    "no history": with_fields(history=None),
    "a text for a time": with_fields(claimed_until="soon"),
    "a text for a number": with_fields(generations="1"),
    "a text for a video": with_fields(video="x"),
    "submitted without an id": with_fields(state="submitted"),
    "nested too deep": b"[" * 200_000,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_receipt_is_told_and_left_alone(s3, damage):
    """What cannot be understood is no receipt to go by, and nothing to overwrite."""
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=DAMAGED[damage])
    with pytest.raises(VeoReceiptError, match=r"rocket\.mp4\.veo\.json"):
        S3ReceiptStore(s3, TARGET).read()
    assert s3.get_object(Bucket=TARGET.bucket, Key=TARGET.key)["Body"].read() == DAMAGED[damage]


def test_a_receipt_of_a_newer_release_is_told_and_left_alone(s3):
    """A newer version is refused with the way out, even where its fields are unknown."""
    newer = b'{"schema_version": 2, "state": "paid in advance"}'
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=newer)
    with pytest.raises(VeoReceiptError, match=r"version 2.*upgrade airflow-provider-veo"):
        S3ReceiptStore(s3, TARGET).read()
    assert s3.get_object(Bucket=TARGET.bucket, Key=TARGET.key)["Body"].read() == newer


@pytest.mark.parametrize("body", [DAMAGED["cut"], b'{"schema_version": 2}'], ids=["damaged", "newer"])
def test_nothing_is_submitted_on_a_receipt_that_cannot_be_understood(s3, sandbox, client, request_4s, body):
    """The whole way stops before any money moves, and the receipt stays as it is."""
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=body)
    with pytest.raises(VeoReceiptError):
        advance(S3ReceiptStore(s3, TARGET), client, plan_of(request_4s), ME)
    assert sandbox.tasks() == []
    assert s3.get_object(Bucket=TARGET.bucket, Key=TARGET.key)["Body"].read() == body


# A client of its own that leaves the conditions out, instead of a proxy that strips them: SigV4 signs
# If-None-Match and If-Match, so that a stripped request would be refused for its signature.
def careless(client):
    """Make a client's store one that ignores conditional writes."""

    def forget(params, **_):
        params.pop("IfNoneMatch", None)
        params.pop("IfMatch", None)

    client.meta.events.register("provide-client-params.s3.PutObject", forget)
    return client


def test_a_store_that_ignores_conditions_is_refused(s3, new_s3):
    """Where two could both win the claim, nothing is claimed, and the error names the way out."""
    store = S3ReceiptStore(careless(new_s3()), TARGET)
    for _ in range(2):
        with pytest.raises(VeoReceiptError, match=r"ignores conditional writes.*allow_unconditional_writes"):
            store.write(new_claim(), None)
    assert keys(s3) == []


def test_a_store_that_ignores_conditions_may_be_used_all_the_same(s3, new_s3, caplog):
    """With the user's word for it, receipts are kept there, with a warning."""
    store = S3ReceiptStore(careless(new_s3()), TARGET, allow_unconditional_writes=True)
    created = store.write(new_claim(), None)
    store.write(created.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1"), created)
    assert store.read().receipt.veo_task_id == "task_1"
    assert "no protection from races" in caplog.text
    assert keys(s3) == [TARGET.key]


def test_a_store_that_refuses_conditions_is_found_out_too(s3, new_s3):
    """A store that answers a condition with "not implemented" protects as little, and says so for good."""
    client = new_s3()

    def refuse(request, **_):
        conditional = {"if-none-match", "if-match"} & {name.lower() for name in request.headers}
        return answer(request, 501, "NotImplemented") if conditional else None

    client.meta.events.register("before-send.s3.PutObject", refuse)
    with pytest.raises(VeoReceiptError, match="allow_unconditional_writes"):
        S3ReceiptStore(client, TARGET).write(new_claim(), None)
    S3ReceiptStore(client, TARGET, allow_unconditional_writes=True).write(new_claim(), None)
    assert keys(s3) == [TARGET.key]


def test_a_store_is_found_out_once_for_each_bucket(s3, new_s3):
    """The first write tries the store; later ones, of other receipts and clients too, cost one call each."""
    client = new_s3()
    calls = names_of("PutObject", client)
    S3ReceiptStore(client, TARGET).write(new_claim(), None)
    assert len(calls) == 4
    for number in range(3):
        S3ReceiptStore(client, S3Uri("videos", f"clips/{number}{SUFFIX}")).write(new_claim(), None)
    assert len(calls) == 7
    again = new_s3()
    calls = names_of("PutObject", again)
    S3ReceiptStore(again, S3Uri("videos", f"clips/again{SUFFIX}")).write(new_claim(), None)
    assert len(calls) == 1
    S3ReceiptStore(again, S3Uri("images", f"clips/again{SUFFIX}")).write(new_claim(), None)
    assert len(calls) == 5
    again.delete_object(Bucket="images", Key=f"clips/again{SUFFIX}")


def test_finding_out_leaves_nothing_behind(s3):
    """Beside the receipts there is no other object, also after several buckets' worth of trials."""
    for _ in range(3):
        ConditionalWrites._supported.clear()
        S3ReceiptStore(s3, S3Uri("videos", f"clips/{time.monotonic_ns()}{SUFFIX}")).write(new_claim(), None)
    assert all(key.endswith(SUFFIX) for key in keys(s3))
    assert len(keys(s3)) == 3


def test_finding_out_takes_no_longer_name_than_the_receipt(new_s3):
    """A receipt whose name just fits is written, first in its bucket or not."""
    client = new_s3()
    names = names_of("PutObject", client)
    receipt = S3Uri("videos", f"clips/{'z' * 240}{SUFFIX}")
    S3ReceiptStore(client, receipt).write(new_claim(), None)
    assert max(len(name) for name in names) == len(f"/{receipt.key}")


def test_a_name_that_is_too_long_for_the_store_is_no_matter_of_time(s3):
    """Tried again and again, it would hold up a whole archive."""
    store = S3ReceiptStore(s3, S3Uri("videos", f"clips/{'z' * 256}{SUFFIX}"))
    with pytest.raises(VeoRequestError, match="too long"):
        store.write(new_claim(), None)


def test_finding_out_needs_no_right_to_delete(s3, new_s3):
    """Where a policy forbids to delete, receipts are written all the same."""
    client = new_s3()
    client.meta.events.register(
        "before-send.s3.DeleteObject", lambda request, **_: answer(request, 403, "AccessDenied")
    )
    held = S3ReceiptStore(client, TARGET).write(new_claim(), None)
    assert S3ReceiptStore(s3, TARGET).read() == held


FIELDS = {
    "schema_version",
    "state",
    "fingerprint",
    "request",
    "price_usd",
    "claimed_by",
    "claim_id",
    "claimant",
    "claimed_until",
    "veo_task_id",
    "generations",
    "reason",
    "moderated",
    "video",
    "history",
    "revision",
}


def test_a_receipt_can_be_read_by_people(s3, sandbox, client, request_4s):
    """It is indented JSON with the documented fields, the text as it was written, and no key."""
    store = S3ReceiptStore(s3, TARGET)
    plan = plan_of(request_4s, prompt="Die Rakete über dem Fjord 🚀")
    _, held = advance(store, client, plan, ME)
    recording.record_video(store, held, {"uri": "s3://videos/clips/rocket.mp4", "bytes": 1}, ME)
    found = s3.get_object(Bucket=TARGET.bucket, Key=TARGET.key)
    text = found["Body"].read().decode()
    data = json.loads(text)
    assert found["ContentType"] == "application/json"
    assert set(data) == FIELDS
    assert text.startswith('{\n  "schema_version": 1,\n  "state": "stored",\n')
    assert "Die Rakete über dem Fjord 🚀" in text
    assert [step["state"] for step in data["history"]] == ["claimed", "submitted", "stored"]
    assert data["history"][1]["veo_task_id"] == data["veo_task_id"] == sandbox.tasks()[0]["task_id"]
    assert data["price_usd"] == 0.30
    assert sandbox.api_key not in text


def test_airflows_task_state_keeps_a_receipt():
    """The store of Airflow's task state reads what it wrote, and nothing else."""
    state = State()
    store = TaskStateReceiptStore(state)
    assert store.read() is None
    created = store.write(new_claim(), None)
    assert store.read() == created
    changed = store.write(
        created.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1"), created
    )
    assert TaskStateReceiptStore(state).read() == changed
    assert list(state) == ["veo_receipt"]
    assert isinstance(state["veo_receipt"], str)


def test_airflows_task_state_keeps_a_receipt_for_ever():
    """Airflow removes task state after a month, and a receipt is needed for as long as its task may run."""
    sdk = pytest.importorskip("airflow.sdk")
    never = getattr(sdk, "NEVER_EXPIRE", None)
    state = State()
    TaskStateReceiptStore(state).write(new_claim(), None)
    assert state.retention is never


def test_an_older_task_state_keeps_a_receipt_as_long_as_it_can():
    """A store that knows no retention is written all the same."""

    class Older(State):
        def set(self, key, value):
            self[key] = value

    store = TaskStateReceiptStore(Older())
    assert store.read() is None
    assert store.write(new_claim(), None) == store.read()


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_receipt_in_airflows_task_state_is_told(damage):
    """The same damage is the same error there."""
    state = State(veo_receipt=DAMAGED[damage].decode("utf-8", "replace"))
    with pytest.raises(VeoReceiptError):
        TaskStateReceiptStore(state).read()


def test_airflows_task_state_may_be_away():
    """Whatever Airflow raises is told as a store that cannot be reached, never as no receipt."""
    store = TaskStateReceiptStore(State(broken=True))
    with pytest.raises(VeoReceiptUnavailableError, match="cannot be read"):
        store.read()
    with pytest.raises(VeoReceiptUnavailableError, match="cannot be written"):
        store.write(new_claim(), None)


class State(dict):
    """Airflow's task state store, as far as it is used: ``get`` and ``set``."""

    def __init__(self, *, broken=False, **found):
        super().__init__(found)
        self._broken = broken

    def get(self, key):
        if self._broken:
            raise RuntimeError("The API server is away.")
        return super().get(key)

    def set(self, key, value, *, retention=None):
        self.retention = retention
        if self._broken:
            raise RuntimeError("The API server is away.")
        self[key] = value


def plan_of(request, **changes):
    request = replace(request, **changes)
    digest = sha256_of(request)
    return PreparedRequest.of(request, image="rocket.jpg", image_sha256=digest, account="veo_default")


def advance(store, client, plan, by, policy=None):
    return generations.advance(store, client, plan, by, policy or GenerationPolicy())


def test_a_lost_answer_pays_nothing_more(s3, sandbox, client, request_4s):
    """The submission is accepted, its answer lost: the next attempts are refused, and one task is there."""
    sandbox.add_faults([{"call": "submit", "first": 1, "reset": "after"}])
    store, plan = S3ReceiptStore(s3, TARGET), plan_of(request_4s)
    for by in (ME, ME, OTHER):
        with pytest.raises(VeoSubmissionUnknown):
            advance(store, client, plan, by)
    assert store.read().receipt.state is ReceiptState.UNKNOWN
    assert len(sandbox.tasks()) == 1


class Interrupted(BaseException):
    """What a signal's handler raises, such as that of Airflow's execution_timeout."""


@pytest.mark.parametrize("when", ["read", "close"])
def test_a_signal_while_the_answer_is_read_pays_nothing_more(
    s3, sandbox, client, request_4s, monkeypatch, when
):
    """A task that is stopped just after its submission was answered does not let its retry submit again."""
    where = (protocol, "read_submission") if when == "read" else (requests.Session, "close")
    original, signals = getattr(*where), [Interrupted]

    def interrupt(*args, **kwargs):
        if signals:
            raise signals.pop()
        return original(*args, **kwargs)

    store, plan = S3ReceiptStore(s3, TARGET), plan_of(request_4s)
    with monkeypatch.context() as signal:
        signal.setattr(*where, interrupt)
        with pytest.raises((Interrupted, VeoSubmissionUnknown)):
            advance(store, client, plan, ME)
    with pytest.raises(VeoSubmissionUnknown):
        advance(store, client, plan, ME)
    assert len(sandbox.tasks()) == 1


def test_a_refused_submission_is_repeated_by_the_next_attempt(s3, sandbox, client, request_4s, monkeypatch):
    """A rate limit that outlasts the patience leaves a receipt that lets the next attempt submit."""
    monkeypatch.setattr(retries, "SUBMIT_PATIENCE", 0.0)
    sandbox.add_faults([{"call": "submit", "first": 1, "status": 429}])
    store, plan = S3ReceiptStore(s3, TARGET), plan_of(request_4s)
    with pytest.raises(VeoRateLimitError):
        advance(store, client, plan, ME)
    assert store.read().receipt.state is ReceiptState.REFUSED
    step, held = advance(store, client, plan, OTHER)
    assert step == Attach(sandbox.tasks()[0]["task_id"])
    assert held.receipt.claimant == OTHER.task_instance


def test_of_two_that_race_one_pays(sandbox, new_s3, request_4s):
    """In every race one submits, and the other waits for the claim or attaches to the very same task."""
    began = time.perf_counter()
    plan, start, outcomes = plan_of(request_4s), threading.Barrier(2), []

    def race(name):
        s3 = new_s3()
        with VeoClient(sandbox.api_key, sandbox.api) as client:
            for number in range(RACES):
                store = S3ReceiptStore(s3, S3Uri("videos", f"race/{number}.mp4{SUFFIX}"))
                start.wait(60)
                yield number, advance(store, client, plan, Attempt(f"dag / {name} / race {number}"))[0]

    with ThreadPoolExecutor(2) as pool:
        outcomes = [dict(found) for found in pool.map(lambda name: list(race(name)), ("a", "b"))]
    tasks = {task["task_id"] for task in sandbox.tasks()}
    assert len(tasks) == len(sandbox.tasks()) == RACES
    waited, ids = 0, set()
    for number in range(RACES):
        steps = [outcome[number] for outcome in outcomes]
        attached = {step.veo_task_id for step in steps if isinstance(step, Attach)}
        assert len(attached) == 1
        assert all(isinstance(step, (Attach, WaitForClaim)) for step in steps)
        waited += sum(isinstance(step, WaitForClaim) for step in steps)
        ids |= attached
    assert ids == tasks
    while any(task["status"] not in ("completed", "failed") for task in sandbox.tasks()):
        time.sleep(0.2)
    assert sandbox.charges()["count"] == RACES
    print(f"{RACES} races, {waited} of them met at the claim, in {time.perf_counter() - began:.1f} s")
