"""Every operator against every gateway: three videos, and receipts that equal the bill."""

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from support.batches import Instance, make, receipts, rows
from support.faces import MODELS, USD

from veo_provider.hooks.veo import VeoHook
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator
from veo_provider.triggers import batch as batch_trigger

URI = "s3://videos/clips/one.mp4"


def request(face, **fields):
    """What is asked for, of any operator."""
    asked = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}
    return {**asked, "model": MODELS[face.gateway], **fields}


def one(face, **fields):
    """Make one video in one task."""
    operator = VeoImageToVideoOperator(
        task_id="make", output=URI, deferrable=False, poll_interval=0.1, **request(face, **fields)
    )
    return operator.execute({"ti": Instance()})


def receipt_of(s3):
    """The receipt of that video."""
    return json.loads(s3.get_object(Bucket="videos", Key="clips/one.mp4.veo.json")["Body"].read())


def test_submit_wait_and_store(connected, s3):
    """Three operators make one video of the very image, charged once at the gateway's price."""
    veo_task_id = VeoSubmitOperator(task_id="submit", **request(connected)).execute({})
    waited = VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id, deferrable=False, poke_interval=0.1)
    waited.execute({})
    VeoToS3Operator(task_id="store", veo_task_id=veo_task_id, s3_key=URI).execute({})
    (task,) = connected.tasks()
    assert (task["task_id"], task["mode"]) == (veo_task_id, "image-to-video")
    stored = s3.head_object(Bucket="videos", Key="clips/one.mp4")
    assert stored["Metadata"]["veo_task_id"] == veo_task_id
    assert connected.charges()["usd"] == USD


def test_one_task_and_its_receipt(connected, s3):
    """The receipt names the gateway, and has the price of the bill; a second run calls nobody."""
    result = one(connected)
    found = receipt_of(s3)
    assert (found["state"], found["gateway"]) == ("stored", connected.gateway)
    assert result["price_usd"] == found["price_usd"] == connected.charges()["usd"] == USD
    assert one(connected) == result
    assert len(connected.tasks()) == 1
    assert connected.api_key not in json.dumps(found)


def test_a_long_video_has_its_own_price(connected):
    """Length and resolution count: eight seconds at 1080p."""
    result = one(connected, seconds="8", resolution="1080p", aspect_ratio="9:16")
    (task,) = connected.tasks()
    assert (task["size"], task["seconds"]) == ("1080x1920", "8")
    assert result["price_usd"] == connected.charges()["usd"] == 0.96


@pytest.mark.parametrize("made", [3])
def test_a_batch_equals_its_bill(connected, s3, put_images, monkeypatch, made):
    """Three images become three videos; summary, receipts and bill are the same sum."""
    monkeypatch.setattr(batch_trigger, "FIRST_EVENT_SECONDS", 0.0)
    put_images(made)
    result = make(model=MODELS[connected.gateway])
    assert result["counts"] == {"stored": made}
    assert result["cost_usd"] == connected.charges()["usd"] == round(made * USD, 2)
    found = receipts(s3).values()
    assert sum(one["price_usd"] for one in found) == pytest.approx(made * USD)
    charged = {task["task_id"] for task in connected.charges()["tasks"]}
    assert {one["veo_task_id"] for one in found} == charged
    assert {row["gateway"] for row in rows(s3, result)} == {connected.gateway}


def test_the_connection_test_learns_something(connected, monkeypatch):
    """With the key it passes; with another one it says that the key is wrong."""
    good, says = VeoHook().test_connection()
    assert good, says
    conn = {**json.loads(connected.veo_conn()), "password": "sk-wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", json.dumps(conn))
    good, says = VeoHook().test_connection()
    assert not good
    assert "key" in says
    assert "sk-wrong" not in says


@pytest.mark.parametrize("code", ["upstream", "PUBLIC_ERROR_UNSAFE"])
def test_a_failed_generation_is_never_cheaper_than_its_receipt(connected, s3, code):
    """It ends the task, is not submitted again unasked, and its receipt allows for what the bill says."""
    connected.add_faults([{"call": "submit", "fail": {"code": code, "message": "It went wrong"}}])
    with pytest.raises(AirflowFailException, match="It went wrong"):
        one(connected)
    found = receipt_of(s3)
    assert found["state"] == "lost"
    charged_anyway = connected.gateway in ("openai", "litellm")
    assert connected.charges()["usd"] == (USD if charged_anyway else 0)
    assert len(connected.tasks()) == 1


@pytest.mark.parametrize("word", ["cancelled", "expired"])
def test_other_words_for_the_end_end_the_wait(connected, word):
    """A generation that was cancelled or has expired is not waited for any longer."""
    connected.add_faults(
        [{"call": "submit", "fail": True}, {"call": "poll", "words": {"failed": word}}],
    )
    with pytest.raises(AirflowFailException):
        one(connected)
    assert len(connected.tasks()) == 1
