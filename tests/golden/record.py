"""Write what a release leaves behind, by running it against its own sandbox.

    PYTHONPATH=<a checkout of the release> python tests/golden/record.py tests/golden/<its version>

Releases after it must still understand all of this: a receipt lies beside its video for years, and a trigger
may be in flight while the provider is upgraded.
"""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

HOME = tempfile.TemporaryDirectory(prefix="veo-golden-")
os.environ.update({"AIRFLOW_HOME": HOME.name, "AWS_EC2_METADATA_DISABLED": "true"})

import boto3  # noqa: E402 - after Airflow's home is set, as all below
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred  # noqa: E402

from veo_provider import batch, bulletin, notes  # noqa: E402
from veo_provider.api.client import VeoClient  # noqa: E402
from veo_provider.operators.batch import VeoBatchOperator  # noqa: E402
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator  # noqa: E402
from veo_provider.sandbox.process import Sandbox  # noqa: E402
from veo_provider.sensors.veo import VeoTaskSensor  # noqa: E402
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator  # noqa: E402
from veo_provider.triggers import batch as batch_triggers  # noqa: E402
from veo_provider.triggers import veo as triggers  # noqa: E402
from veo_provider.triggers.batch import VeoBatchTrigger  # noqa: E402
from veo_provider.triggers.veo import VeoClaimTrigger, VeoTaskTrigger  # noqa: E402

REQUEST = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}
OUTPUT = "s3://videos/clips/rocket.mp4"
REJECTED_KEY = {"call": "submit", "status": 401, "body": {"error": {"message": "no"}}}
EMPTY_ACCOUNT = {"error": {"message": "insufficient_user_quota", "code": "insufficient_user_quota"}}
UNSAFE = {"code": "PUBLIC_ERROR_UNSAFE", "message": "Blocked by safety"}
BROKEN = {"code": "upstream_error", "message": "The upstream broke"}
STILL_RUNNING = {"call": "poll", "task_status": "in_progress"}


class Instance:
    """A task instance, as far as the operators ask."""

    dag_id, task_id, map_index = "clips", "make", -1

    def __init__(self, run_id="monday", try_number=1):
        self.run_id, self.try_number = run_id, try_number
        self.xcoms = {}

    def xcom_push(self, key, value):
        self.xcoms[key] = value


class State(dict):
    """Airflow's task state store, as far as a receipt asks."""

    def set(self, key, value):
        self[key] = value


class Recorder:
    """Runs the release, and keeps what it leaves.

    :param folder: where to.
    :param sandbox: what it runs against.
    :param s3: boto3's client for the same.
    """

    def __init__(self, folder, sandbox, s3):
        self.folder = folder
        self.sandbox = sandbox
        self.s3 = s3

    def keep(self, name, body):
        """Keep bytes as they are, or anything else as JSON."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(body, bytes):
            body = json.dumps(body, indent=2, ensure_ascii=False).encode() + b"\n"
        path.write_bytes(body)

    def body(self, key):
        return self.s3.get_object(Bucket="videos", Key=key)["Body"].read()

    def keys(self, prefix=""):
        found = self.s3.list_objects_v2(Bucket="videos", Prefix=prefix).get("Contents", [])
        return [one["Key"] for one in found]

    def keep_receipt(self, name):
        self.keep(f"receipts/{name}.json", self.body("clips/rocket.mp4.veo.json"))

    def fresh(self, *faults):
        """Begin with an empty bucket, an empty bill, and faults."""
        for key in self.keys():
            self.s3.delete_object(Bucket="videos", Key=key)
        self.sandbox.reset()
        self.sandbox.clear_faults()
        self.sandbox.add_faults(faults)

    def event_of(self, trigger):
        """Return the payload of the one event of a trigger that is built anew from its kwargs."""

        async def run():
            _, kwargs = trigger.serialize()
            (event,) = [event async for event in type(trigger)(**kwargs).run()]
            return event.payload

        return asyncio.run(run())

    def receipts(self):
        """Keep a receipt in each state, and what the whole way in one task leaves besides."""
        self.fresh()
        trigger = deferral_of(make)
        self.keep_receipt("submitted")
        self.keep_trigger("task", trigger)
        event = self.event_of(trigger)
        self.keep("events/task-finished.json", event)
        self.keep("xcoms/image-to-video.json", video().execute_complete({"ti": Instance()}, event))
        self.keep_receipt("stored")
        self.fresh(REJECTED_KEY)
        failing(make)
        self.keep_receipt("refused")
        self.fresh({"call": "submit", "reset": "after"})
        failing(make)
        self.keep_receipt("unknown")
        self.fresh({"call": "submit", "fail": BROKEN})
        failing(lambda: make(deferrable=False, max_generations=1))
        self.keep_receipt("failed")
        self.fresh({"call": "submit", "fail": UNSAFE})
        failing(lambda: make(deferrable=False))
        self.keep_receipt("moderated")
        self.fresh({"call": "submit", "occurrence": 1, "fail": BROKEN})
        make(deferrable=False)
        self.keep_receipt("stored-by-the-second-generation")
        make(deferrable=False, prompt="Another", on_changed_request="regenerate", run_id="tuesday")
        self.keep_receipt("regenerated")

    def claim(self):
        """Keep the receipt of a submission that is not answered yet, and what waits for it."""
        self.fresh({"call": "submit", "delay": 10.0})
        first = threading.Thread(target=lambda: failing(make, TaskDeferred))
        first.start()
        while not self.keys() or json.loads(self.body(*self.keys()))["state"] != "claimed":
            time.sleep(0.05)
        self.keep_receipt("claimed")
        trigger = deferral_of(lambda: make(run_id="tuesday"))
        assert isinstance(trigger, VeoClaimTrigger)
        self.keep_trigger("claim", trigger)
        self.keep("events/claim.json", self.event_of(VeoClaimTrigger(0.0)))
        first.join()

    def keep_trigger(self, name, trigger):
        classpath, kwargs = trigger.serialize()
        self.keep(f"triggers/{name}.json", {"classpath": classpath, "kwargs": kwargs})

    def waits(self):
        """Keep what the other operators and their triggers say."""
        self.fresh(STILL_RUNNING)
        state = State()
        submit = VeoSubmitOperator(task_id="submit", **REQUEST)
        veo_task_id = submit.execute({"ti": Instance(), "task_state_store": state})
        self.keep("receipts/in-airflows-task-state.json", state["veo_receipt"].encode())
        self.keep("xcoms/submit.json", veo_task_id)
        sensor = VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id)
        trigger = deferral_of(lambda: sensor.execute({}))
        self.keep_trigger("task-of-a-sensor", trigger)
        late = VeoTaskTrigger(veo_task_id, "veo_default", 0.1, deadline=0.0)
        self.keep("events/task-timeout.json", self.event_of(late))
        self.sandbox.add_faults([{"call": "poll", "status": 401, "body": {"error": {"message": "no"}}}])
        hopeless = VeoTaskTrigger(veo_task_id, "veo_default", 0.1, deadline=time.time() + 60)
        self.keep("events/task-error.json", self.event_of(hopeless))
        self.sandbox.clear_faults()
        finished = self.event_of(hopeless)
        self.keep("xcoms/sensor.json", sensor.execute_complete({}, finished))
        store = VeoToS3Operator(task_id="store", veo_task_id=veo_task_id, s3_key=OUTPUT)
        self.keep("xcoms/to-s3.json", store.execute({}))

    def videos(self):
        """Keep a video in each status, as XCom and events carry it."""
        self.fresh({"call": "submit", "occurrence": 2, "fail": BROKEN})
        with VeoClient(self.sandbox.api_key, self.sandbox.api) as client:
            submit = VeoSubmitOperator(task_id="submit", **REQUEST)
            ids = [submit.execute({}) for _ in range(2)]
            for status in ("queued", "in_progress", "held"):
                self.sandbox.add_faults([{"call": "poll", "task_status": status}])
                self.keep(f"videos/{client.get(ids[0]).status.value}.json", client.get(ids[0]).to_dict())
                self.sandbox.clear_faults()
            for veo_task_id in ids:
                while not (video := client.get(veo_task_id)).finished:
                    time.sleep(0.05)
                self.keep(f"videos/{video.status.value}.json", video.to_dict())

    def put_images(self, *names):
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket="images", Prefix="lot/"):
            for found in page.get("Contents", []):
                self.s3.delete_object(Bucket="images", Key=found["Key"])
        source = {"Bucket": "images", "Key": "rocket.jpg"}
        for name in names:
            self.s3.copy_object(Bucket="images", Key=f"lot/{name}.jpg", CopySource=source)

    def batch_in_flight(self):
        """Keep a batch's triggers and events: before the first leg, and with some finished out of order."""
        self.put_images(*"abcdef")
        self.fresh({**STILL_RUNNING, "task": 1}, {**STILL_RUNNING, "task": 3})
        batch.LOT = 2
        first = deferral_of(lambda: archive().execute({"ti": Instance()}))
        self.keep_trigger("batch", first)
        event = self.event_of(first)
        self.keep_lot("batch")
        assert event["status"] == "leg"
        self.keep("events/batch-leg.json", event)
        second = deferral_of(lambda: archive().execute_complete({"ti": Instance()}, event))
        assert second.progress["finished"]
        self.keep_trigger("batch-with-finished-keys", second)
        self.keep_lot("batch-with-finished-keys")
        batch.LOT = 50
        job, progress = first.job, first.progress
        wrong = VeoBatchTrigger({**job, "images": "s3://images"}, progress)
        self.keep("events/batch-error.json", self.event_of(wrong))
        nowhere = VeoBatchTrigger({**job, "output_prefix": "s3://nowhere/lot/"}, progress)
        batch.OUTAGE_PATIENCE = -1.0
        self.keep("events/batch-temporary-error.json", self.event_of(nowhere))
        batch.OUTAGE_PATIENCE = 900.0

    def batch_with_every_outcome(self):
        """Keep the rows of all outcomes, and the notes that they are made of."""
        self.put_images("b-skipped")
        self.fresh()
        self.run_batch("sunday")
        self.put_images("c-changed")
        self.run_batch("sunday", prompt="Another")
        self.put_images("b-skipped", "c-changed", "d-error", *(f"e-{number}" for number in range(6)))
        self.s3.put_object(Bucket="images", Key="lot/a-rejected.jpg", Body=b"no picture at all")
        self.s3.put_object(Bucket="videos", Key="lot/d-error.jpg.mp4.veo.json", Body=b"damaged")
        self.run_batch("monday", dry_run=True, max_cost_usd=1.2)
        self.keep("summaries/dry-run.jsonl", self.body("lot/_veo/clips/monday/make/dry-run/summary.jsonl"))
        accepted_before = len(self.sandbox.tasks())
        self.sandbox.add_faults(
            [
                {"call": "submit", "occurrence": 1, "fail": UNSAFE},
                {"call": "submit", "occurrence": 2, "fail": BROKEN},
                {"call": "submit", "occurrence": 3, "reset": "after"},
                {**STILL_RUNNING, "task": accepted_before + 5},
                {"call": "submit", "occurrence": 6, "status": 403, "body": EMPTY_ACCOUNT},
            ]
        )
        bulletin.TELL_EVERY = 0.5
        task_instance = Instance()
        fields = {"max_in_flight": 1, "max_generations": 1, "timeout": 8.0, "fail_on": "never"}
        result = self.run_batch(
            "monday", task_instance=task_instance, before_the_end=self.keep_notes, **fields
        )
        folder = "lot/_veo/clips/monday/make/"
        self.keep("summaries/summary.jsonl", self.body(f"{folder}summary.jsonl"))
        self.keep("summaries/progress.json", self.body(f"{folder}progress.json"))
        self.keep("xcoms/batch.json", result)
        self.keep("xcoms/batch-folder.json", task_instance.xcoms["folder"])

    def keep_lot(self, name):
        """Keep the receipts of an archive, by their keys."""
        keys = [key for key in self.keys("lot/") if key.endswith(".veo.json")]
        self.keep(f"lots/{name}.json", {key: json.loads(self.body(key)) for key in keys})

    def run_batch(self, run_id, task_instance=None, before_the_end=lambda: None, **fields):
        clear = notes.Notes.clear

        def keep_and_clear(self):
            before_the_end()
            clear(self)

        notes.Notes.clear = keep_and_clear
        try:
            task_instance = task_instance or Instance(run_id)
            return archive(deferrable=False, **fields).execute({"ti": task_instance})
        finally:
            notes.Notes.clear = clear

    def keep_notes(self):
        folder = "lot/_veo/clips/monday/make/"
        for key in self.keys(f"{folder}notes/"):
            self.keep(f"summaries/{key.removeprefix(folder)}", self.body(key))


def video(**fields):
    fields = {**REQUEST, "output": OUTPUT, "poll_interval": 0.1, **fields}
    return VeoImageToVideoOperator(task_id="make", **fields)


def make(run_id="monday", **fields):
    return video(**fields).execute({"ti": Instance(run_id)})


def archive(**fields):
    fields = {"images": "s3://images/lot/", "output_prefix": "s3://videos/lot/", "seconds": "4", **fields}
    fields = {"prompt": "Picture $stem comes alive", "poll_interval": 0.1, **fields}
    return VeoBatchOperator(task_id="make", **fields)


def deferral_of(step):
    """Return the trigger to which a step defers."""
    try:
        step()
    except TaskDeferred as deferral:
        return deferral.trigger
    raise AssertionError("the step has not deferred")


def failing(step, error=AirflowFailException):
    with contextlib.suppress(error):
        step()
        raise AssertionError("the step has not failed")


def main(folder):
    """Record everything."""
    triggers.FIRST_EVENT_SECONDS = batch_triggers.FIRST_EVENT_SECONDS = 0.0
    with Sandbox(latency=0.3) as sandbox:
        os.environ["AIRFLOW_CONN_VEO_DEFAULT"] = sandbox.veo_conn()
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = sandbox.aws_conn()
        s3 = boto3.client(
            "s3",
            endpoint_url=sandbox.s3,
            aws_access_key_id=sandbox.aws_access_key_id,
            aws_secret_access_key=sandbox.aws_secret_access_key,
            region_name="us-east-1",
        )
        recorder = Recorder(folder, sandbox, s3)
        recorder.receipts()
        recorder.claim()
        recorder.waits()
        recorder.videos()
        recorder.batch_in_flight()
        recorder.batch_with_every_outcome()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
