"""The same outputs under another host: what is stored stays valid, and what is in flight is told."""

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from support import batches

from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator

OUTPUT = "s3://videos/moving/one.mp4"
RECEIPT = f"{OUTPUT}.veo.json"
HABITS = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}


@pytest.fixture
def move(connections, monkeypatch):
    """Moves the default connection to another name of the same server: another host, another account."""

    def move():
        there = json.loads(connections.veo_conn())
        there["host"] = there["host"].replace("127.0.0.1", "localhost")
        assert there["host"] != json.loads(connections.veo_conn())["host"]
        monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", json.dumps(there))

    return move


class Instance(batches.Instance):
    """What a receipt wants to know of a task instance."""

    task_id = "move"


def make(run_id="monday", **fields):
    task = VeoImageToVideoOperator(
        task_id="move", output=OUTPUT, deferrable=False, poll_interval=0.1, **HABITS, **fields
    )
    return task.execute({"ti": Instance(run_id)})


def submit():
    return VeoSubmitOperator(task_id="move", receipt=RECEIPT, **HABITS).execute({"ti": Instance()})


@pytest.fixture(autouse=True)
def _no_receipt(s3):
    for key in ("moving/one.mp4", "moving/one.mp4.veo.json"):
        s3.delete_object(Bucket="videos", Key=key)


@pytest.mark.parametrize("run_id", ["monday", "tuesday"])
def test_a_stored_video_stays_valid_under_another_host(move, sandbox, run_id):
    """The same request through another account finds it stored, and submits nothing."""
    before = make()
    move()
    assert make(run_id) == before
    assert len(sandbox.tasks()) == 1


def test_another_request_under_another_host_is_still_another_one(move, sandbox):
    """Only the account may differ."""
    make()
    move()
    with pytest.raises(AirflowFailException, match="belongs to another request"):
        make("tuesday", negative_prompt="fog")
    assert len(sandbox.tasks()) == 1


def test_a_generation_in_flight_is_told_with_its_host_and_finished_through_it(move, sandbox, monkeypatch):
    """The new account cannot poll it, so a person is told where it is; the old connection finishes it."""
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    veo_task_id = submit()
    move()
    with pytest.raises(AirflowFailException) as told:
        make("tuesday")
    host = json.loads(sandbox.veo_conn())["host"]
    assert f"submitted as {veo_task_id} with the connection veo_default at {host}" in str(told.value)
    sandbox.clear_faults()
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", sandbox.veo_conn())
    assert make("tuesday")["veo_task_id"] == veo_task_id
    assert len(sandbox.tasks()) == 1


def test_a_batch_keeps_its_videos_under_another_host(move, sandbox):
    """Neither the same run nor another one pays again for what is stored."""
    lot = {"images": ["s3://images/rocket.jpg"], "output_prefix": "s3://videos/moving-lot/"}
    first = batches.make(**lot)
    assert first["counts"] == {"stored": 1}
    move()
    assert batches.make(**lot)["counts"] == {"stored": 1}
    assert batches.make("tuesday", **lot)["counts"] == {"skipped": 1}
    assert len(sandbox.tasks()) == 1
