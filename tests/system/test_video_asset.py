"""The one-operator DAG in a whole running Airflow: whatever is run again, one generation is paid."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from support.buckets import s3_client_of

if TYPE_CHECKING:
    from demo.airflow import LocalAirflow
    from veo_provider.sandbox.process import Sandbox

DAG_ID = "veo_video_asset"
KEY = "veo_video_asset/rocket.mp4"


def finish(airflow: LocalAirflow, run_id: str) -> dict[str, Any]:
    """Wait for the end of a run, and return the result of its one task."""
    while (state := airflow.dag_run(DAG_ID, run_id)["state"]) not in {"success", "failed"}:
        time.sleep(0.5)
    assert state == "success", airflow.task_log(DAG_ID, run_id, "make")
    result: dict[str, Any] = airflow.xcom(DAG_ID, run_id, "make")
    return result


def calls(sandbox: Sandbox) -> list[tuple[str, int, int]]:
    """Return what the API was asked about each generation made for this DAG's prompt."""
    return [(task["task_id"], task["polls"], task["content_requests"]) for task in sandbox.tasks()]


@pytest.fixture(scope="module")
def first(airflow: LocalAirflow) -> tuple[str, dict[str, Any]]:
    """Run the DAG for the first time; its task is deferred and resumed on the way."""
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(DAG_ID, logical_date=datetime(2026, 1, 1, tzinfo=timezone.utc))
    return run_id, finish(airflow, run_id)


def receipt(sandbox: Sandbox) -> dict[str, Any]:
    """Read the receipt beside the video."""
    s3 = s3_client_of(sandbox)
    found: dict[str, Any] = json.loads(s3.get_object(Bucket="videos", Key=f"{KEY}.veo.json")["Body"].read())
    s3.close()
    return found


def test_the_video_and_its_receipt_are_there(sandbox: Sandbox, first: tuple[str, dict[str, Any]]) -> None:
    """One task in one try makes the video, and its receipt says which run it was."""
    run_id, result = first
    found = receipt(sandbox)
    assert found["state"] == "stored"
    assert found["veo_task_id"] == result["veo_task_id"]
    assert found["claimed_by"] == f"{DAG_ID} / {run_id} / make try 1"
    assert result["price_usd"] == 0.30


def test_the_task_links_to_its_video(
    airflow: LocalAirflow, sandbox: Sandbox, first: tuple[str, dict[str, Any]]
) -> None:
    """In the UI the task has links to its page, to the stored object and to the gateway's task log."""
    run_id, _ = first
    links = airflow.links(DAG_ID, run_id, "make")
    assert links == {
        "Video": f"/veo/task/{DAG_ID}/{quote(run_id, safe='')}/make/-1",
        "Video in S3": f"{sandbox.s3}/videos/{KEY}",
        "Veo task log": f"{sandbox.api.removesuffix('/v1')}/task",
    }


def test_a_deferred_task_asks_for_no_result(airflow: LocalAirflow, first: tuple[str, dict[str, Any]]) -> None:
    """Nothing reads the task's result before it has one, which Airflow would log as an error."""
    assert "XCom not found" not in airflow.component_log("scheduler").read_text()


def test_clearing_the_run_pays_nothing(
    airflow: LocalAirflow, sandbox: Sandbox, first: tuple[str, dict[str, Any]]
) -> None:
    """A cleared run finds the video, and asks the API for nothing."""
    run_id, result = first
    before, bill = calls(sandbox), sandbox.charges()
    airflow.clear(DAG_ID, run_id)
    assert finish(airflow, run_id) == result
    assert calls(sandbox) == before
    assert sandbox.charges() == bill


def test_another_date_with_the_same_output_pays_nothing(
    airflow: LocalAirflow, sandbox: Sandbox, first: tuple[str, dict[str, Any]]
) -> None:
    """A run for another day finds the same video."""
    _, result = first
    before = calls(sandbox)
    run_id = airflow.trigger(DAG_ID, logical_date=datetime(2026, 1, 2, tzinfo=timezone.utc))
    assert finish(airflow, run_id) == result
    assert calls(sandbox) == before


def test_clearing_the_three_operators_pays_nothing(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    """Without an output to keep it beside, the receipt lies in Airflow's task state store, and survives."""
    dag_id = "veo_image_to_video"
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id)
    states = []
    for _ in range(2):
        while (state := airflow.dag_run(dag_id, run_id)["state"]) not in {"success", "failed"}:
            time.sleep(0.5)
        states.append((state, airflow.xcom(dag_id, run_id, "submit"), len(sandbox.tasks())))
        airflow.clear(dag_id, run_id)
    assert states[0][0] == "success"
    assert states[0] == states[1]
