"""What submissions write into receipts in a real S3: whatever happens, one generation is paid for."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from support.receipts import (
    DAMAGED,
    ME,
    OTHER,
    TARGET,
    advance,
    new_claim,
    plan_of,
    refuse_writes,
)

from veo_provider.api import protocol
from veo_provider.api.client import VeoClient
from veo_provider.exceptions import (
    VeoRateLimitError,
    VeoReceiptError,
    VeoSubmissionUnknown,
)
from veo_provider.generation import recording, retries
from veo_provider.generation.state_machine import Attach, WaitForClaim
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import SUFFIX, ReceiptState
from veo_provider.receipts.s3_store import S3ReceiptStore
from veo_provider.s3.uri import S3Uri

RACES = int(os.environ.get("VEO_RACES", "100"))


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


@pytest.mark.parametrize("body", [DAMAGED["cut"], b'{"schema_version": 3}'], ids=["damaged", "newer"])
def test_nothing_is_submitted_on_a_receipt_that_cannot_be_understood(s3, sandbox, client, request_4s, body):
    """The whole way stops before any money moves, and the receipt stays as it is."""
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=body)
    with pytest.raises(VeoReceiptError):
        advance(S3ReceiptStore(s3, TARGET), client, plan_of(request_4s), ME)
    assert sandbox.tasks() == []
    assert s3.get_object(Bucket=TARGET.bucket, Key=TARGET.key)["Body"].read() == body


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
    "gateway",
    "price_form",
    "told_usd",
    "call_id",
    "idempotency_key",
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
    assert text.startswith('{\n  "schema_version": 2,\n  "state": "stored",\n')
    assert "Die Rakete über dem Fjord 🚀" in text
    assert [step["state"] for step in data["history"]] == ["claimed", "submitted", "stored"]
    assert data["history"][1]["veo_task_id"] == data["veo_task_id"] == sandbox.tasks()[0]["task_id"]
    assert data["price_usd"] == 0.30
    assert sandbox.api_key not in text


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
    where = (protocol, "parse_submission") if when == "read" else (requests.Session, "close")
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
