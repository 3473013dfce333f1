"""Tasks that an earlier release has deferred are resumed by this one, and pay nothing again."""

import asyncio
import hashlib
import importlib
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.batch.manifest import open_manifest
from veo_provider.batch.outcome import Outcome
from veo_provider.batch.report.journal import ResultJournal
from veo_provider.batch.spec import BatchTuning
from veo_provider.exceptions import VeoNotFetchedError, VeoWaitTimeoutError
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator
from veo_provider.triggers import batch as batch_triggers

GOLDEN = Path(__file__).parents[2] / "golden"
RELEASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and path.name[0].isdigit())
KEY = "clips/rocket.mp4"
RECEIPT = f"{KEY}.veo.json"
REQUEST = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}
FOLDER = "lot/_veo/clips/monday/make/"

pytestmark = [pytest.mark.parametrize("release", RELEASES), pytest.mark.usefixtures("connections", "at_once")]


class Instance:
    """The task instance that has left all of it."""

    dag_id, run_id, task_id, map_index, try_number = "clips", "monday", "make", -1, 1

    def xcom_push(self, key, value):
        pass


@pytest.fixture(autouse=True)
def _empty(s3, monkeypatch):
    monkeypatch.setattr(batch_triggers, "FIRST_EVENT_SECONDS", 0.0)
    for bucket, prefix in (("images", "lot/"), ("videos", "")):
        for found in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=found["Key"])


def read(release, name):
    return json.loads((GOLDEN / release / name).read_bytes())


@pytest.fixture
def move(client, sandbox, photo, s3):
    """Moves a receipt to this sandbox: its generation is submitted, and is known by this account's name.

    The rest is as the release wrote it. The generation's id is returned, and None where there is none.
    """

    def move(old, key):
        request = {**old["request"], "account": f"veo_default at {sandbox.api}"}
        asked = {name: value for name, value in request.items() if name != "image"}
        canonical = json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()
        moved = {**old, "request": request, "fingerprint": hashlib.sha256(canonical).hexdigest()}
        if old["state"] == "submitted":
            image = Image.from_path(photo)
            id_ = client.submit(VeoRequest(prompt=request["prompt"], image=image, seconds="4")).id
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            history = [{**step, "at": now} for step in old["history"]]
            history[-1]["veo_task_id"] = id_
            moved.update(veo_task_id=id_, history=history)
        s3.put_object(Bucket="videos", Key=key, Body=json.dumps(moved, indent=2).encode())
        return moved["veo_task_id"]

    return move


def video(**fields):
    fields = {**REQUEST, "output": f"s3://videos/{KEY}", "poll_interval": 0.1, **fields}
    return VeoImageToVideoOperator(task_id="make", **fields)


def archive():
    return VeoBatchOperator(
        task_id="make",
        images="s3://images/lot/",
        output_prefix="s3://videos/lot/",
        prompt="Picture $stem comes alive",
        seconds="4",
        poll_interval=0.1,
    )


def rebuilt(release, name, **changes):
    """Return a trigger as the triggerer builds it from the database."""
    old = read(release, f"triggers/{name}.json")
    module, _, kind = old["classpath"].rpartition(".")
    return getattr(importlib.import_module(module), kind)(**{**old["kwargs"], **changes})


def event_of(trigger):
    async def run():
        (event,) = [event async for event in trigger.run()]
        return event.payload

    return json.loads(json.dumps(asyncio.run(run())))


def to_its_end(operator, event):
    """Resume a task with an event, and go on until it returns its result."""
    while True:
        try:
            return operator.execute_complete({"ti": Instance()}, event)
        except TaskDeferred as deferral:
            event = event_of(deferral.trigger)


def require_paid_once(release, sandbox, s3, result):
    assert set(read(release, "xcoms/image-to-video.json")) <= set(result)
    assert result["uri"] == f"s3://videos/{KEY}"
    receipt = json.loads(s3.get_object(Bucket="videos", Key=RECEIPT)["Body"].read())
    assert (receipt["state"], receipt["veo_task_id"]) == ("stored", result["veo_task_id"])
    assert [step["state"] for step in receipt["history"]] == ["claimed", "submitted", "stored"]
    assert len(sandbox.tasks()) == sandbox.charges()["count"] == 1


def test_a_wait_in_flight_is_resumed(release, sandbox, s3, move):
    """The trigger is built from the kwargs of the release before, and its event leads to a stored video."""
    veo_task_id = move(read(release, "receipts/submitted.json"), RECEIPT)
    deadline = datetime.now(timezone.utc).timestamp() + 600
    event = event_of(rebuilt(release, "task", veo_task_id=veo_task_id, deadline=deadline))
    assert event["status"] == "finished"
    result = to_its_end(video(), event)
    require_paid_once(release, sandbox, s3, result)


def test_an_event_in_flight_is_taken(release, sandbox, s3, client, move):
    """It was sent by the release before, and the task resumes after the upgrade."""
    veo_task_id = move(read(release, "receipts/submitted.json"), RECEIPT)
    while not client.get(veo_task_id).finished:
        pass
    event = read(release, "events/task-finished.json")
    event["video"]["id"] = veo_task_id
    result = video().execute_complete({"ti": Instance()}, event)
    require_paid_once(release, sandbox, s3, result)


def test_who_waited_for_a_claim_goes_on(release, sandbox, s3, move):
    """The event says nothing, and the receipt everything."""
    move(read(release, "receipts/submitted.json"), RECEIPT)
    result = to_its_end(video(), read(release, "events/claim.json"))
    require_paid_once(release, sandbox, s3, result)


def test_a_timeout_and_an_error_in_flight_are_told(release, sandbox, move):
    """Neither is taken for a video, or leads to another submission."""
    move(read(release, "receipts/submitted.json"), RECEIPT)
    with pytest.raises(VeoWaitTimeoutError):
        video().execute_complete({"ti": Instance()}, read(release, "events/task-timeout.json"))
    with pytest.raises(VeoNotFetchedError, match="Pay-per-request"):
        video().execute_complete({"ti": Instance()}, read(release, "events/task-error.json"))
    assert len(sandbox.tasks()) == 1


@pytest.fixture
def move_lot(s3, move):
    """Moves the receipts of an archive, and puts its images into their place."""

    def move_lot(lot):
        source = {"Bucket": "images", "Key": "rocket.jpg"}
        for key, old in lot.items():
            image = key.removesuffix(".mp4.veo.json")
            s3.copy_object(Bucket="images", Key=image, CopySource=source)
            move(old, key)

    return move_lot


@pytest.mark.parametrize(("name", "open_ones"), [("batch", 6), ("batch-with-finished-keys", 2)])
def test_a_batch_in_flight_is_resumed(release, sandbox, move_lot, name, open_ones):
    """What was submitted is waited for and stored, and what was stored is not looked at again."""
    move_lot(read(release, f"lots/{name}.json"))
    event = event_of(rebuilt(release, name))
    assert event["status"] == "leg"
    result = to_its_end(archive(), event)
    assert set(read(release, "xcoms/batch.json")) <= set(result)
    assert result["counts"] == {"stored": 6}
    assert result["cost_usd"] == 1.80
    assert len(sandbox.tasks()) == sandbox.charges()["count"] == open_ones


def test_an_event_of_a_batch_in_flight_is_taken(release, sandbox, move_lot):
    """It was sent by the release before: the worker goes on where the leg in the triggerer ended."""
    move_lot(read(release, "lots/batch.json"))
    result = to_its_end(archive(), read(release, "events/batch-leg.json"))
    assert result["counts"] == {"stored": 6}
    assert len(sandbox.tasks()) == sandbox.charges()["count"] == 6


def test_notes_are_read(release, s3):
    """What a try has noted before the upgrade is in its summary, which is written after it."""
    golden = GOLDEN / release / "summaries"
    for path in golden.glob("notes/*/*.jsonl"):
        key = f"{FOLDER}{path.relative_to(golden)}"
        s3.put_object(Bucket="videos", Key=key, Body=path.read_bytes())
    lines = [json.loads(line) for line in (golden / "summary.jsonl").read_text().splitlines()]
    for row in lines:
        s3.put_object(Bucket="images", Key=row["key"], Body=b"an image")
    (with_videos,) = golden.glob("notes/videos-*")
    notes = ResultJournal(
        s3,
        f"s3://videos/{FOLDER}",
        "clips / monday / make",
        with_videos.name[len("videos-") :],
        1,
        tuning=BatchTuning(),
    )
    rows = {
        row.key: row for row in notes.rows(open_manifest("s3://images/lot/", "s3://videos/lot/", s3).items())
    }
    for old in lines:
        row = rows[old["key"]]
        if old["outcome"] != "not started":
            assert (row.outcome, row.reason) == (Outcome(old["outcome"]), old["reason"])
        if old["outcome"] in ("stored", "skipped"):
            assert {name: row.to_dict()[name] for name in old} == old


def test_what_other_tasks_read_is_still_there(release, sandbox):
    """The XComs of submit, wait and store have the form that tasks downstream of them know."""
    veo_task_id = VeoSubmitOperator(task_id="submit", **REQUEST).execute({})
    assert type(veo_task_id) is type(read(release, "xcoms/submit.json"))
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id, deferrable=False, poll_interval=0.1)
    store = VeoToS3Operator(task_id="store", veo_task_id=veo_task_id, s3_key=f"s3://videos/{KEY}")
    for name, operator in (("sensor", sensor), ("to-s3", store)):
        old, new = read(release, f"xcoms/{name}.json"), operator.execute({})
        assert {key: type(new[key]) for key in old} == {key: type(value) for key, value in old.items()}
