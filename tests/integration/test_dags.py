"""Whole DAGs under `dag.test()`: the real task runner, templates, XCom and triggers, without a scheduler."""

import inspect
import os
import runpy
from datetime import datetime, timezone
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("airflow_db", "connections")


def run(dag_id, when):
    """Run a DAG of tests/dags to its end."""
    file = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]) / "three_operators.py"
    dag = runpy.run_path(str(file))["dags"][dag_id]
    # Airflow 2 calls it the execution date.
    name = "logical_date" if "logical_date" in inspect.signature(dag.test).parameters else "execution_date"
    return dag.test(**{name: datetime(2026, 1, when, tzinfo=timezone.utc)})


@pytest.mark.parametrize("way", ["deferrable", "poke", "reschedule"])
def test_three_operators_make_one_video(sandbox, s3, way):
    """Templates, XCom and all ways of waiting lead to one generation and one object."""
    assert run(way, 1).state == "success"
    (task,) = sandbox.tasks()
    assert task["prompt"] == "On 2026-01-01 the rocket lifts off"
    found = s3.head_object(Bucket="videos", Key=f"{way}/2026-01-01.mp4")
    assert found["Metadata"]["veo_task_id"] == task["task_id"]
    assert sandbox.charges()["usd"] == 0.30


def test_a_failed_generation_fails_the_run_and_costs_nothing(sandbox):
    """The reason is told by the sensor; nothing is stored and nothing is charged."""
    sandbox.add_faults([{"call": "submit", "fail": {"code": "PUBLIC_ERROR_UNSAFE", "message": "blocked"}}])
    states = {ti.task_id: ti.state for ti in run("deferrable", 2).get_task_instances()}
    assert states == {"submit": "success", "wait": "failed", "store": "upstream_failed"}
    assert sandbox.charges()["count"] == 0


def test_no_secret_reaches_airflows_home(sandbox):
    """After a run the database and the logs know the task id, and neither key nor token."""
    run("deferrable", 3)
    home = b"".join(
        path.read_bytes() for path in Path(os.environ["AIRFLOW_HOME"]).rglob("*") if path.is_file()
    )
    assert sandbox.tasks()[0]["task_id"].encode() in home
    assert sandbox.api_key.encode() not in home
    assert sandbox.account_token.encode() not in home
