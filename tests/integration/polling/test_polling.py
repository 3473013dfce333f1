"""Sensor, trigger, operator and batch outlast the same troubles, and give up on the same."""

import asyncio
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from support.archive import fill
from support.batches import Run
from support.moments import PATIENCE

from veo_provider import exceptions
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.polling import poller
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.triggers import batch as batch_trigger
from veo_provider.triggers.veo import VeoTaskTrigger

pytestmark = pytest.mark.usefixtures("connections", "at_once")

INTERVAL = 0.05
NO_SUCH_TASK = {"status": 404, "body": {"code": "task_not_exist", "message": "no such task", "data": None}}
TROUBLES = [
    {"reset": "before"},
    {"status": 503},
    NO_SUCH_TASK,
    {"garbage": True},
    {"status": 429, "headers": {"Retry-After": "0"}},
    NO_SUCH_TASK,
    {"task_status": "in_progress"},
    {"status": 408},
    {"task_status": "unknown"},
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(batch_trigger, "FIRST_EVENT_SECONDS", 0.0)


class Instance:
    """What a receipt needs of a task instance."""

    dag_id, task_id, map_index, run_id, try_number = "clips", "make", -1, "monday", 1


@pytest.fixture
def waits(client, request_4s, s3, request):
    """A wait of each kind, as a function that returns when the video is there."""
    name = request.node.name.translate(str.maketrans("[] ", "---"))

    def sensor():
        veo_task_id = client.submit(request_4s).id
        return VeoTaskSensor(
            task_id="wait", veo_task_id=veo_task_id, deferrable=False, poll_interval=INTERVAL
        ).execute({})

    def trigger():
        waiting = VeoTaskTrigger(
            client.submit(request_4s).id, "veo_default", INTERVAL, time.time() + PATIENCE
        )

        async def event():
            (sent,) = [one.payload async for one in waiting.run()]
            return sent

        sent = asyncio.run(event())
        if sent["status"] == "error":
            raise AirflowException(sent["message"])
        assert sent["status"] == "finished"

    def operator():
        VeoImageToVideoOperator(
            task_id="make",
            image="s3://images/rocket.jpg",
            prompt="The rocket lifts off",
            seconds="4",
            output=f"s3://videos/{name}.mp4",
            deferrable=False,
            poll_interval=INTERVAL,
        ).execute({"ti": Instance()})

    def batch():
        fill(s3, "images", f"{name}/", 1)
        places = {"images": f"s3://images/{name}/", "output_prefix": f"s3://videos/{name}/"}
        assert Run(**places, poll_interval=INTERVAL).to_its_end()["counts"] == {"stored": 1}

    return {"sensor": sensor, "trigger": trigger, "operator": operator, "batch": batch}


@pytest.mark.parametrize("kind", ["sensor", "trigger", "operator", "batch"])
def test_every_wait_outlasts_the_same_troubles(sandbox, waits, kind):
    """Each is met by a poll of its own, and none of them ends the wait."""
    sandbox.add_faults([{"call": "poll", "occurrence": n, **fault} for n, fault in enumerate(TROUBLES, 1)])
    waits[kind]()
    assert [fault["matched"] for fault in sandbox.faults()] == [1] * len(TROUBLES)
    assert len(sandbox.tasks()) == 1


@pytest.mark.parametrize("kind", ["sensor", "trigger", "operator", "batch"])
def test_every_wait_gives_up_on_an_unknown_id_after_as_many_polls(sandbox, waits, monkeypatch, kind):
    """The same number in a row for all four; the minute that they have to take is none here."""
    monkeypatch.setattr(poller, "REFUSED_SECONDS", 0.0)
    sandbox.add_faults([{"call": "poll", **NO_SUCH_TASK}])
    with pytest.raises((AirflowException, exceptions.VeoError), match=r"no such task|1 under way"):
        waits[kind]()
    assert sandbox.faults()[-1]["matched"] == poller.REFUSED_POLLS
