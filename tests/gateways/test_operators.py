"""Every operator through a real LiteLLM proxy."""

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from gateways import proxy
from support import batches

from veo_provider.exceptions import VeoAuthenticationError
from veo_provider.hooks.veo import VeoHook
from veo_provider.operators.veo import VeoSubmitOperator
from veo_provider.receipts.charges import charges_of
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator
from veo_provider.triggers import batch as batch_trigger

ASKED = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4", "model": "veo"}


def test_submit_wait_and_store(relayed, s3):
    """Three operators make one video, whose id is the proxy's long one."""
    veo_task_id = VeoSubmitOperator(task_id="submit", **ASKED).execute({})
    assert len(veo_task_id) > 150
    waited = VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id, deferrable=False, poke_interval=0.1)
    waited.execute({})
    VeoToS3Operator(task_id="store", veo_task_id=veo_task_id, s3_key="s3://videos/relayed/1.mp4").execute({})
    assert s3.head_object(Bucket="videos", Key="relayed/1.mp4")["Metadata"]["veo_task_id"] == veo_task_id
    (task,) = relayed.tasks()
    assert task["mode"] == "image-to-video"


def test_one_task_its_receipt_and_its_bill(relayed, make_one, receipt):
    """The receipt has the price of the bill and the proxy's name of the call; a second run calls nobody."""
    result = make_one()
    found = receipt()
    assert (found.state.value, found.gateway, found.generations) == ("stored", "litellm", 1)
    assert found.price_usd == charges_of(found, found.claimant).charged == relayed.charges()["usd"] == 0.40
    assert found.call_id
    # The proxy's own idea of the cost is told beside that.
    assert found.told_usd == pytest.approx(4 * proxy.TOLD_PER_SECOND)
    assert make_one() == result
    assert len(relayed.tasks()) == 1
    assert proxy.KEY.encode() not in found.to_json()


def test_a_batch_equals_its_bill(relayed, s3, monkeypatch):
    """Three images become three videos, and three charges."""
    monkeypatch.setattr(batch_trigger, "FIRST_EVENT_SECONDS", 0.0)
    for number in range(3):
        source = {"Bucket": "images", "Key": "rocket.jpg"}
        s3.copy_object(Bucket="images", Key=f"lot/{number}.jpg", CopySource=source)
    result = batches.make(model="veo")
    assert result["counts"] == {"stored": 3}
    assert result["cost_usd"] == relayed.charges()["usd"] == 1.20


def test_a_moved_proxy_keeps_what_is_stored(relayed, proxy_url, make_one, monkeypatch):
    """Under another name of the host, the stored video stays valid."""
    before = make_one()
    moved = proxy.connection(proxy_url.replace("127.0.0.1", "localhost"))
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", moved)
    assert make_one("tuesday") == before
    assert len(relayed.tasks()) == 1


def test_the_connection_test_asks_for_the_models(relayed):
    """It passes, and costs nothing."""
    good, says = VeoHook().test_connection()
    assert good, says
    assert relayed.tasks() == []


def test_a_wrong_key_is_called_one(relayed, proxy_url, make_one, monkeypatch):
    """Without a database the proxy answers 400 "No connected db.": in the test, and to a submission."""
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", proxy.connection(proxy_url, key="sk-wrong"))
    good, says = VeoHook().test_connection()
    assert not good
    assert "Check the password of the connection" in says
    with pytest.raises((AirflowFailException, VeoAuthenticationError), match="password of the connection"):
        make_one()
    assert relayed.tasks() == []


@pytest.mark.parametrize("veo_task_id", ["operations/veo?alt=1", "projects/p/operations/0f3c", "x" * 200])
def test_an_upstreams_odd_id_is_inside_the_proxys_own(relayed, veo_task_id):
    """With slashes, question marks or two hundred characters, it is accepted and named."""
    named = {"id": veo_task_id, "task_id": veo_task_id}
    relayed.add_faults([{"call": "submit", "set": named}])
    assert len(VeoSubmitOperator(task_id="submit", **ASKED).execute({})) > len(veo_task_id)
    assert len(relayed.tasks()) == 1
