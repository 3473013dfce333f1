"""An upgrade while tasks are under way: an older release, from its wheel, begins, and this one goes on."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
from support.buckets import s3_client_of
from support.moments import until
from upgrade import steps

from veo_provider.sandbox.process import Sandbox
from veo_provider.triggers import batch as batch_triggers
from veo_provider.triggers import veo as triggers

OLD = Path(os.environ.get("VEO_UPGRADE_FROM", ".venv-upgrade")).absolute() / "bin" / "python"


@pytest.fixture(scope="module")
def service():
    with Sandbox(latency=1.0, film="small") as running:
        yield running


@pytest.fixture(autouse=True)
def _connections(service, monkeypatch):
    service.reset()
    service.clear_faults()
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", service.veo_conn())
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", service.aws_conn())
    monkeypatch.setattr(triggers, "FIRST_EVENT_SECONDS", 0.0)
    monkeypatch.setattr(batch_triggers, "FIRST_EVENT_SECONDS", 0.0)
    s3 = s3_client_of(service)
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])
    s3.close()


def python(*arguments):
    """Run the old release's Python, which finds nothing of this tree, and return what it prints."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(OLD), "-P", *arguments]
    done = subprocess.run(command, env=env, cwd="/", check=True, capture_output=True, text=True, timeout=300)
    return done.stdout


def before(*step):
    """Run a step in the old release, and return what came of it."""
    return json.loads(python(str(Path(steps.__file__)), *step).splitlines()[-1])


def go_on(task, name, deferred):
    """Wait by the trigger that the old release has left, and resume in this one until the task has ended."""
    while "trigger" in deferred:
        path, fields = deferred["trigger"]
        event = asyncio.run(first_event(path, json.loads(json.dumps(fields))))
        resume = getattr(task(), deferred["method"])
        try:
            deferred = {"value": resume({"ti": steps.Instance(name)}, event)}
        except steps.TaskDeferred as deferral:
            deferred = {"trigger": deferral.trigger.serialize(), "method": deferral.method_name}
    return deferred["value"]


async def first_event(path, fields):
    module, _, name = path.rpartition(".")
    kind = getattr({"veo_provider.triggers.veo": triggers}.get(module, batch_triggers), name)
    (event,) = [event async for event in kind(**fields).run()]
    return json.loads(json.dumps(event.payload))


def bill(service):
    until(lambda: set(service.summary()["statuses"]) <= {"completed", "failed"})
    return service.charges()["count"]


def test_the_old_release_is_another_one():
    """What runs there is not this tree."""
    where = "import veo_provider; print(veo_provider.__file__)"
    assert "site-packages" in python("-c", where)


def test_a_video_that_was_waited_for_is_stored(service):
    """Its trigger waits on, its receipt is read, and it is paid for once."""
    result = go_on(steps.TASKS["video"], "video", before("video"))
    assert result["uri"] == "s3://videos/clips/deferred.mp4"
    assert bill(service) == 1


def test_a_batch_goes_on_with_its_checkpoint(service):
    """Each image has one video, paid for once."""
    result = go_on(steps.archive, "archive", before("archive"))
    assert result["counts"]["stored"] == bill(service) >= 3


def test_a_sensor_goes_on(service):
    """It waits for the same generation."""
    service.add_faults([{"call": "poll", "task_status": "in_progress"}])
    deferred = before("video")
    veo_task_id = service.tasks()[0]["task_id"]
    waiting = before("wait", veo_task_id)
    service.clear_faults()
    assert go_on(lambda: steps.sensor(veo_task_id), "wait", waiting)["status"] == "completed"
    go_on(steps.TASKS["video"], "video", deferred)
    assert bill(service) == 1


def test_a_stored_video_is_not_paid_again(service):
    """A receipt of the old release is believed."""
    first = before("stored")["value"]
    assert steps.run(steps.TASKS["stored"](), "stored", run_id="tuesday")["value"] == first
    assert bill(service) == 1


def test_a_lost_response_stays_lost_until_it_is_found(service):
    """The old release has failed; this one looks it up by what the old one has recorded of others."""
    before("stored")
    service.add_faults([{"call": "submit", "first": 1, "reset": "after"}])
    assert "no answer came" in before("lost")["error"]
    found = steps.run(steps.TASKS["lost"](), "lost", try_number=2)["value"]
    assert found["uri"] == "s3://videos/clips/lost.mp4"
    assert bill(service) == 2


def test_after_a_downgrade_nothing_is_paid(service):
    """The old release does not know what the new one has recorded, says so, and submits nothing."""
    assert "value" in steps.run(steps.TASKS["newer"](), "newer")
    refused = before("newer")["error"]
    assert "upgrade airflow-provider-veo" in refused
    assert bill(service) == 1
