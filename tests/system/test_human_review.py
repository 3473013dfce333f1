"""A person approves or rejects a video in a whole running Airflow, by its REST API as the UI does it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from support.buckets import s3_client_of

from demo.airflow import LocalAirflow
from tests.system.conftest import ROOT
from veo_provider.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("airflow.providers.standard.operators.hitl", reason="Questions came with Airflow 3.1.")

DAG_ID = "veo_human_review"
SITE = "https://media.example.com/videos"
WAITING = {"awaiting_input", "deferred"}
"""The states of a question: since Airflow 3.3, and before."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a fast sandbox."""
    with Sandbox(latency=1) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[LocalAirflow]:
    """Run an Airflow that keeps posters."""
    env = {
        "AIRFLOW_CONN_VEO_DEFAULT": sandbox.veo_conn(),
        "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
        "AIRFLOW__VEO__POSTERS": "True",
    }
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), ROOT / "dags", env=env) as running:
        running.wait_for_dag(DAG_ID)
        yield running


def question(airflow: LocalAirflow, run_id: str) -> dict[str, Any]:
    """Wait for the question, and return it."""
    while True:
        states = {one["task_id"]: one["state"] for one in airflow.task_instances(DAG_ID, run_id)}
        if states.get("review") in WAITING:
            return airflow.question(DAG_ID, run_id, "review")
        assert "failed" not in states.values(), airflow.task_log(DAG_ID, run_id, "make")
        time.sleep(0.5)


def decide(airflow: LocalAirflow, run_id: str, option: str) -> dict[str, str]:
    """Answer the question, wait for the end of the run, and return the states of its tasks.

    Airflow asks again if the answer comes before its scheduler has noticed that the task waits.
    """
    while (state := airflow.dag_run(DAG_ID, run_id)["state"]) not in {"success", "failed"}:
        states = {one["task_id"]: one["state"] for one in airflow.task_instances(DAG_ID, run_id)}
        if (
            states["review"] in WAITING
            and not airflow.question(DAG_ID, run_id, "review")["response_received"]
        ):
            airflow.answer(DAG_ID, run_id, "review", option)
        time.sleep(1)
    assert state == "success"
    return {one["task_id"]: one["state"] for one in airflow.task_instances(DAG_ID, run_id)}


def keys(sandbox: Sandbox) -> list[str]:
    """Return the names of the bucket's objects."""
    s3 = s3_client_of(sandbox)
    found = [one["Key"] for one in s3.list_objects_v2(Bucket="videos").get("Contents", [])]
    s3.close()
    return found


def test_what_is_approved_is_published_and_what_is_rejected_is_not(
    airflow: LocalAirflow, sandbox: Sandbox
) -> None:
    """The question shows poster, link and price; approval copies the video and emits one asset event."""
    runs = [airflow.trigger(DAG_ID, conf={"prompt": prompt}) for prompt in ("Lift off", "Stay")]
    for run_id in runs:
        asked = question(airflow, run_id)
        assert asked["subject"] == "Publish the video of s3://images/rocket.jpg?"
        draft = f"{SITE}/veo_human_review/drafts/{run_id.replace('+', '%2B').replace(':', '%3A')}.mp4"
        assert f"[![The first picture]({draft}.veo.jpg)]({draft})" in asked["body"]
        assert "which has cost $0.3." in asked["body"]
        assert f"veo_human_review/drafts/{run_id}.mp4.veo.jpg" in keys(sandbox)
    assert not [key for key in keys(sandbox) if "/published/" in key]
    made = {"make": "success", "review": "success"}
    assert decide(airflow, runs[0], "Approve") == {**made, "publish": "success"}
    assert decide(airflow, runs[1], "Reject") == {**made, "publish": "skipped"}
    published = f"veo_human_review/published/{runs[0]}.mp4"
    assert [key for key in keys(sandbox) if "/published/" in key] == [published]
    (event,) = airflow.asset_events(DAG_ID)
    assert event["extra"]["uri"] == f"s3://videos/{published}"
    assert sandbox.charges()["count"] == 2
