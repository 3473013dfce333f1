"""What people's DAGs and Airflow's own habits do to the operators."""

import io
import logging
import traceback

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, Asset
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.retry_policy import VeoRetryPolicy
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

pytestmark = pytest.mark.usefixtures("connections")


@pytest.fixture(autouse=True)
def _empty_bucket(s3):
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="retry policies came with Airflow 3.3")
def test_a_mapped_task_keeps_the_retry_policy():
    """What the service asks to wait is kept between the tries of mapped tasks, too."""
    with DAG("mapped", schedule=None):
        mapped = VeoSubmitOperator.partial(task_id="a", prompt="p").expand(image=["s3://images/rocket.jpg"])
    task = mapped.unmap({"image": "s3://images/rocket.jpg"})
    assert isinstance(task.retry_policy, VeoRetryPolicy)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("conn", ["sk-wrong", None])
def test_a_soft_sensor_does_not_hide_a_wrong_connection(sandbox, queued, monkeypatch, conn, deferrable):
    """Only what is about waiting is soft: a skip would let a paid video expire in a green run."""
    if conn is None:
        monkeypatch.delenv("AIRFLOW_CONN_VEO_DEFAULT")
    else:
        monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", sandbox.veo_conn().replace(sandbox.api_key, conn))
    sensor = VeoTaskSensor(
        task_id="wait", veo_task_id=queued, soft_fail=True, deferrable=deferrable, poke_interval=0.1
    )
    with pytest.raises(Exception, match=r"sk-|Pay-per-request|veo_default") as caught:
        sensor.execute({})
    assert "Skip" not in type(caught.value).__name__


def test_an_error_of_a_sensor_says_that_the_video_is_paid_for(sandbox, queued):
    """After acceptance the message speaks of the video that is still to be fetched, with its id."""
    event = {"status": "error", "message": "There is no connection veo_default."}
    with pytest.raises(AirflowFailException, match=rf"{queued} is still to be fetched.*paid for once"):
        VeoTaskSensor(task_id="wait", veo_task_id=queued).execute_complete({}, event)


@pytest.mark.parametrize("veo_task_id", [None, "", "None "])
def test_a_missing_id_stores_nothing_and_passes_nothing_on(sandbox, s3, veo_task_id):
    """An upstream that returned nothing is told, and another's object is not taken for its video."""
    s3.put_object(Bucket="videos", Key="clip.mp4", Body=b"somebody's")
    store = VeoToS3Operator(
        task_id="t", veo_task_id=veo_task_id, s3_key="s3://videos/clip.mp4", replace=False
    )
    with pytest.raises(AirflowFailException, match="not a task id"):
        store.execute({})


def test_outlets_that_are_no_assets_are_left_alone(sandbox):
    """Entities of lineage have no events; the assets beside them get theirs."""

    class Entity:
        url = "s3://videos/clip.mp4"

    clip = Asset("s3://videos/clip.mp4")

    class Event:
        extra = None

    events = {clip: Event()}
    make = VeoImageToVideoOperator(
        task_id="make",
        image="s3://images/rocket.jpg",
        prompt="p",
        seconds="4",
        output="s3://videos/clip.mp4",
        deferrable=False,
        poll_interval=0.1,
    )
    make.outlets = [Entity(), clip]
    result = make.execute({"outlet_events": events})
    assert events[clip].extra == result


def test_the_last_line_of_a_traceback_is_the_sentence(sandbox):
    """A lost answer prints what happened, what it may cost and what to do, and no HTTP library's frames."""
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    task = VeoSubmitOperator(task_id="submit", image="s3://images/rocket.jpg", prompt="p", seconds="4")
    printed = io.StringIO()
    with pytest.raises(AirflowFailException) as caught:
        task.execute({})
    traceback.print_exception(caught.value, file=printed)
    lines = printed.getvalue().splitlines()
    assert "It may have been accepted, and would then be charged." in lines[-1]
    assert not any("urllib3" in line or "requests/" in line for line in lines)


def test_the_causes_are_told_at_debug_level(sandbox, caplog):
    """Who needs the chain of causes turns the log level up."""
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    task = VeoSubmitOperator(task_id="submit", image="s3://images/rocket.jpg", prompt="p", seconds="4")
    with caplog.at_level(logging.DEBUG, "veo_provider.retry_policy"), pytest.raises(AirflowFailException):
        task.execute({})
    assert "urllib3" in caplog.text
