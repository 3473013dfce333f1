"""The row about a video that each task leaves as the XCom ``veo``: at each step, and whatever happens."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.receipts.video_row import MAX_BYTES
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

pytestmark = pytest.mark.usefixtures("connections")

OUTPUT = "s3://videos/rows/one.mp4"


@pytest.fixture(autouse=True)
def _empty_bucket(s3):
    for found in s3.list_objects_v2(Bucket="videos", Prefix="rows/").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


class Instance:
    """A task instance that keeps its XComs, or fails to."""

    dag_id, run_id, task_id, map_index, try_number = "rows", "monday", "make", -1, 1

    def __init__(self, *, broken=False):
        self.rows, self.broken = [], broken

    def xcom_push(self, *, key, value):
        if self.broken:
            raise ConnectionError("the API server is away")
        if key == "veo":
            assert len(json.dumps(value)) <= MAX_BYTES
            self.rows.append(value)


FIELDS = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}


def make(instance, **fields):
    fields = {**FIELDS, "output": OUTPUT, "deferrable": False, "poll_interval": 0.1, **fields}
    return VeoImageToVideoOperator(task_id="make", **fields).execute({"ti": instance})


def test_a_video_leaves_a_row_after_its_submission_and_at_its_end(sandbox):
    """The first row has the price and the id, the last one the video."""
    instance = Instance()
    result = make(instance)
    first, last = instance.rows
    assert (first["state"], last["state"]) == ("under way", "stored")
    for row in (first, last):
        assert (row["cost_usd"], row["price_usd"]) == (0.3, 0.3)
        assert row["veo_task_id"] == result["veo_task_id"]
        assert row["receipt"] == f"{OUTPUT}.veo.json"
        assert row["prompt"] == FIELDS["prompt"]
    assert last["bytes"] == result["bytes"]


def test_anothers_video_costs_nothing(sandbox):
    """A run that finds the video names who paid."""
    make(Instance())
    other = Instance()
    other.run_id = "tuesday"
    make(other)
    (row,) = other.rows
    assert (row["state"], row["cost_usd"], row["paid_by"]) == ("skipped", 0.0, "rows / monday / make")


def test_a_lost_response_leaves_its_cause_and_what_it_may_cost(sandbox, monkeypatch):
    """The row of a failure has what the error says."""
    connection = json.loads(sandbox.veo_conn())
    del connection["extra"]["account_token"]  # with it, the list of tasks tells what was lost
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", json.dumps(connection))
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    instance = Instance()
    with pytest.raises(AirflowFailException):
        make(instance)
    (row,) = instance.rows
    assert (row["state"], row["cost_usd"], row["unknown_usd"]) == ("unknown", 0.0, 0.3)
    assert "may have been accepted" in row["cause"]
    assert row["advice"]


def test_a_wrong_parameter_leaves_a_row(sandbox):
    """Without a receipt, the row has what was asked for."""
    instance = Instance()
    with pytest.raises(AirflowFailException):
        make(instance, image="s3://images/none.jpg")
    (row,) = instance.rows
    assert (row["state"], row["image"]) == ("rejected", "s3://images/none.jpg")
    assert "receipt" not in row


def test_a_row_that_cannot_be_written_fails_no_task(sandbox):
    """The video is paid for: the task goes on without its row."""
    assert make(Instance(broken=True))["uri"] == OUTPUT
    assert sandbox.charges()["count"] == 1


def test_the_rows_of_three_tasks_name_the_same_video(sandbox, s3):
    """The submission has the money, the transfer the object, whose metadata name the task."""
    submit, store = Instance(), Instance()
    task = VeoSubmitOperator(task_id="submit", receipt="s3://videos/rows/r.json", **FIELDS)
    veo_task_id = task.execute({"ti": submit})
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id, deferrable=False, poll_interval=0.1)
    sensor.execute({"ti": Instance()})
    VeoToS3Operator(task_id="store", veo_task_id=veo_task_id, s3_key=OUTPUT).execute({"ti": store})
    (submitted,), (stored,) = submit.rows, store.rows
    assert (submitted["part"], submitted["cost_usd"]) == ("submit", 0.3)
    assert (stored["part"], stored["object"], stored["state"]) == ("store", OUTPUT, "stored")
    assert submitted["veo_task_id"] == stored["veo_task_id"] == veo_task_id
    metadata = s3.head_object(Bucket="videos", Key="rows/one.mp4")["Metadata"]
    assert metadata["veo_stored_by"] == "rows%20/%20monday%20/%20make"


def test_a_sensor_tells_of_a_failed_generation(sandbox):
    """The row of the wait has the reason, so that the page counts no cost."""
    sandbox.add_faults([{"call": "submit", "fail": {"code": "oops", "message": "broke"}}])
    veo_task_id = VeoSubmitOperator(task_id="submit", **FIELDS).execute({"ti": Instance()})
    waiting = Instance()
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id, deferrable=False, poll_interval=0.1)
    with pytest.raises(AirflowFailException):
        sensor.execute({"ti": waiting})
    (row,) = waiting.rows
    assert (row["part"], row["state"], row["veo_task_id"]) == ("wait", "failed", veo_task_id)


def test_a_batch_leaves_its_sums(sandbox):
    """The last row of a batch has the counts and the cost of its summary."""
    instance = Instance()
    task = VeoBatchOperator(
        task_id="make",
        images=["s3://images/rocket.jpg"],
        prompt="A slow zoom",
        output_prefix="s3://videos/rows/batch/",
        seconds="4",
        deferrable=False,
        max_cost_usd=1,
    )
    result = task.execute({"ti": instance})
    first, last = instance.rows
    assert (first["state"], last["state"]) == ("running", "finished")
    assert (last["counts"], last["cost_usd"], last["max_cost_usd"]) == ({"stored": 1}, 0.3, 1.0)
    assert last["summary"] == result["summary_uri"]
