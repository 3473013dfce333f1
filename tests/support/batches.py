"""Runs batches as Airflow does, and reads what they leave in S3."""

import asyncio
import json

from airflow.providers.common.compat.sdk import TaskDeferred
from support.archive import listed

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.triggers.batch import VeoBatchTrigger


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, task_id, map_index = "archive", "make", -1

    def __init__(self, run_id="monday", try_number=1, max_tries=None):
        self.run_id, self.try_number, self.max_tries = run_id, try_number, max_tries
        self.xcoms = {}

    def xcom_push(self, key, value):
        self.xcoms[key] = value


def operator(**fields):
    fields = {"images": "s3://images/lot/", "output_prefix": "s3://videos/lot/", "seconds": "4", **fields}
    fields = {"prompt": "Picture $stem comes alive", "poll_interval": 0.1, **fields}
    return VeoBatchOperator(task_id="make", **fields)


class Run:
    """Runs a task as Airflow does: a new operator for each leg, and a trigger built anew from its kwargs."""

    def __init__(self, run_id="monday", try_number=1, *, max_tries=None, **fields):
        task = operator(**fields)
        self.context = {"ti": Instance(run_id, try_number, max_tries), "task": task}
        self.fields = fields
        self.deferrals = 0
        self.kwargs = []

    def start(self):
        return self._until_deferred(lambda: operator(**self.fields).execute(self.context))

    def resume(self, event):
        return self._until_deferred(lambda: operator(**self.fields).execute_complete(self.context, event))

    def to_its_end(self):
        return self.go_on(*self.start())

    def go_on(self, result, trigger):
        while trigger is not None:
            result, trigger = self.resume(self.event_of(trigger))
        return result

    def event_of(self, trigger):
        _, kwargs = trigger.serialize()
        self.kwargs.append(json.dumps(kwargs))
        return json.loads(json.dumps(asyncio.run(first_event(json.loads(self.kwargs[-1])))))

    def _until_deferred(self, step):
        try:
            return step(), None
        except TaskDeferred as deferral:
            self.deferrals += 1
            return None, deferral.trigger


async def first_event(kwargs):
    (event,) = [event async for event in VeoBatchTrigger(**kwargs).run()]
    return event.payload


def make(run_id="monday", try_number=1, **fields):
    return Run(run_id, try_number, **fields).to_its_end()


def rows(s3, result):
    bucket, _, key = result["summary_uri"].removeprefix("s3://").partition("/")
    lines = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines()
    return [json.loads(line) for line in lines]


def receipts(s3):
    keys = [key for key in listed(s3, "videos", "lot/") if key.endswith(".veo.json")]
    return {key: json.loads(s3.get_object(Bucket="videos", Key=key)["Body"].read()) for key in keys}
