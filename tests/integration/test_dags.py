"""Whole DAGs under `airflow dags test`: the real task runner, templates, XCom and triggers, no scheduler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.usefixtures("airflow_db", "connections"), pytest.mark.slow]


def run(dag_id, date):
    """Run a DAG of tests/dags to its end, and return the command's exit code and log."""
    command = [sys.executable, "-m", "airflow", "dags", "test", dag_id, date]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("way", ["deferrable", "poke", "reschedule"])
def test_three_operators_make_one_video(sandbox, s3, way):
    """Templates, XCom and all ways of waiting lead to one generation and one object."""
    code, log = run(way, "2026-01-01")
    assert code == 0, log
    (task,) = sandbox.tasks()
    assert task["prompt"] == "On 2026-01-01 the rocket lifts off"
    found = s3.head_object(Bucket="videos", Key=f"{way}/2026-01-01.mp4")
    assert found["Metadata"]["veo_task_id"] == task["task_id"]
    assert sandbox.charges()["usd"] == 0.30


def test_a_failed_generation_fails_the_run_and_costs_nothing(sandbox, s3):
    """The reason is told by the sensor; nothing is stored and nothing is charged."""
    sandbox.add_faults([{"call": "submit", "fail": {"code": "PUBLIC_ERROR_UNSAFE", "message": "blocked"}}])
    code, log = run("deferrable", "2026-01-02")
    assert code != 0
    assert "PUBLIC_ERROR_UNSAFE: blocked. A failed generation is not charged." in log
    assert s3.list_objects_v2(Bucket="videos", Prefix="deferrable/2026-01-02")["KeyCount"] == 0
    assert sandbox.charges()["count"] == 0


def test_no_secret_reaches_airflows_home(sandbox):
    """After a run the database and the logs know the task id, and neither key nor token."""
    _, log = run("deferrable", "2026-01-03")
    home = [path for path in Path(os.environ["AIRFLOW_HOME"]).rglob("*") if path.is_file()]
    everything = log.encode() + b"".join(path.read_bytes() for path in home)
    assert sandbox.tasks()[0]["task_id"].encode() in everything
    assert sandbox.api_key.encode() not in everything
    assert sandbox.account_token.encode() not in everything
