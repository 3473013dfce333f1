"""Public reports about deferrable, mapped and rescheduled tasks of other providers, tried on this one."""

import os
import sqlite3
import subprocess
import sys

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.triggers.veo import VeoTaskTrigger

pytestmark = [pytest.mark.usefixtures("connections"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def _empty_bucket(s3):
    for found in s3.list_objects_v2(Bucket="videos", Prefix="habits/").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


class Instance:
    """A task instance as Airflow counts its tries."""

    dag_id, run_id, task_id, map_index = "habits", "monday", "make", -1

    def __init__(self, try_number=1, max_tries=1):
        self.try_number, self.max_tries = try_number, max_tries

    def xcom_push(self, *, key, value):
        pass


def operator(**fields):
    fields = {"prompt": "The rocket lifts off", "poll_interval": 0.1, "retries": 1, **fields}
    return VeoImageToVideoOperator(
        task_id="make",
        image="s3://images/rocket.jpg",
        seconds="4",
        output="s3://videos/habits/report.mp4",
        **fields,
    )


def context(task, try_number=1, max_tries=1):
    return {"ti": Instance(try_number, max_tries), "task": task}


def deferred(**fields):
    """Start a task, and return its trigger as the database keeps it."""
    task = operator(**fields)
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(context(task))
    return deferral.value.trigger.serialize()[1]


def names_of_mapped_tasks():
    """Return what Airflow's grid shows instead of the numbers of the mapped tasks."""
    with sqlite3.connect(f"{os.environ['AIRFLOW_HOME']}/airflow.db") as db:
        asked = "SELECT rendered_map_index FROM task_instance WHERE task_id = 'mapped' AND map_index >= 0"
        return [name for (name,) in db.execute(asked)]


@pytest.mark.usefixtures("airflow_db")
def test_mapped_natively_rendered_and_deferred_tasks_make_what_was_written(sandbox, s3):
    """apache/airflow 22931, 33733, 35987, 73475: XComs outlive the deferral, and templates are rendered."""
    command = [sys.executable, "-m", "airflow", "dags", "test", "habits", "2026-01-05"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    tasks = sandbox.tasks()
    assert sorted(task["prompt"] for task in tasks) == ["1984", *2 * ["On 2026-01-05 the rocket lifts off"]]
    assert sandbox.charges()["count"] == 3
    found = [each["Key"] for each in s3.list_objects_v2(Bucket="videos", Prefix="habits/")["Contents"]]
    assert sum(key.endswith(".mp4") for key in found) == 3
    assert names_of_mapped_tasks() == ["images/rocket.jpg"] * 2


async def test_a_trigger_that_runs_twice_submits_nothing(sandbox, at_once):
    """apache/airflow 67945: a triggerer that restarts runs the trigger anew, which then paid again."""
    kwargs = deferred()
    for _ in range(2):
        (event,) = [event.payload async for event in VeoTaskTrigger(**kwargs).run()]
        assert event["status"] == "finished"
    assert sandbox.summary()["accepted"] == 1


@pytest.mark.parametrize("max_tries", [1, 3], ids=["retried", "cleared"])
@pytest.mark.parametrize("retries", [0, 1, 5])
def test_a_task_that_is_cleared_or_lost_in_its_deferral_goes_on(sandbox, max_tries, retries):
    """apache/airflow 36090, 15588: nobody calls on_kill then, and the job that runs was started again."""
    first = deferred()
    task = operator(retries=retries, deferrable=False)
    result = task.execute(context(task, 2, max_tries))
    assert result["veo_task_id"] == first["veo_task_id"]
    assert sandbox.summary()["accepted"] == 1


def test_a_retry_after_an_edit_of_retries_asks_for_what_was_asked(sandbox):
    """apache/airflow 21585: the first try was counted back by a DAG's retries that had been edited."""
    first = deferred(prompt="At noon", retries=2)
    later = {"prompt": "At one", "on_changed_request": "regenerate", "deferrable": False}
    for retries in (0, 1, 5):
        task = operator(retries=retries, **later)
        assert task.execute(context(task, 2, 1))["veo_task_id"] == first["veo_task_id"]
    assert sandbox.summary()["accepted"] == 1


@pytest.mark.parametrize(
    ("soft", "error", "ends"),
    [
        (False, "Trigger timeout", AirflowSensorTimeout),
        (True, "Trigger timeout", AirflowSkipException),
    ],
)
def test_where_no_triggerer_runs_airflows_own_timeout_ends_the_wait(queued, soft, error, ends):
    """apache/airflow 61130: a soft sensor that Airflow itself times out is skipped, others fail for good."""
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=queued, soft_fail=soft, timeout=60)
    with pytest.raises(ends, match=rf"{queued} was not finished.*Do not submit it again"):
        sensor.resume_execution(next_method="__fail__", next_kwargs={"error": error}, context={})


def test_a_sensor_whose_trigger_crashed_is_no_skip(queued):
    """apache/airflow 71255: a soft sensor hid that its trigger had never worked."""
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=queued, soft_fail=True)
    crashed = {"error": "Trigger failure", "traceback": ["RuntimeError: no such module"]}
    with pytest.raises(Exception, match="Trigger failure") as caught:
        sensor.resume_execution(next_method="__fail__", next_kwargs=crashed, context={})
    assert not isinstance(caught.value, AirflowSkipException)
    event = {"status": "error", "message": "There is no connection veo_default."}
    with pytest.raises(AirflowFailException, match="no connection"):
        sensor.resume_execution(next_method="execute_complete", next_kwargs={"event": event}, context={})
    timeout = {"event": {"status": "timeout"}}
    with pytest.raises(AirflowSkipException, match=f"{queued} was not finished"):
        sensor.resume_execution(next_method="execute_complete", next_kwargs=timeout, context={})
