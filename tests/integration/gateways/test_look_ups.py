"""Lost responses, settled without a person: by a gateway's list, or by the key that it knows a request by.

``GATEWAY_VIDEOS`` says how many videos the batch has.
"""

import json
import os
from datetime import datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from support.batches import Instance, make, receipts, rows
from support.faces import MODELS
from support.moments import until

from veo_provider.exceptions import VeoLookUpPendingError
from veo_provider.generation import look_up
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sandbox.process import Sandbox
from veo_provider.triggers import batch as batch_trigger

VIDEOS = int(os.environ.get("GATEWAY_VIDEOS", "12"))
ASKED = ("apiyi", "openai", "inworld")
"""The gateways that tell what became of a submission."""
MODELS = {"apiyi": "veo-3.1-fast-generate-preview", **MODELS}
LOST = [
    {"call": "submit", "reset": "after"},
    {"call": "submit", "status": 502, "accept": True},
    {"call": "submit", "garbage": "json", "accept": True},
]
"""What the gateway does to a submission that it accepts, so that nobody learns its id."""
BY_LIST = pytest.mark.parametrize("_asked", ["apiyi", "openai"], indirect=True)
"""For the gateways that have a list. Another one is asked by its key."""
pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture(scope="module", params=ASKED)
def _asked(request):
    with Sandbox(gateway=request.param, latency=0.2, film="small", s3=False) as running:
        yield running


@pytest.fixture
def asked(_asked, connections, monkeypatch, tune):
    """A sandbox whose gateway can be asked, with Airflow's default connection to it."""
    _asked.reset()
    _asked.clear_faults()
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", _asked.veo_conn())
    monkeypatch.setattr(look_up, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(batch_trigger, "FIRST_EVENT_SECONDS", 0.0)
    tune(look_up_pause=0.2, claim_pause=0.2)
    return _asked


def video(face, name="one", **fields):
    """Make one video by the operator of one task, in a folder that others share."""
    fields = {"image": "s3://images/rocket.jpg", "prompt": f"The {name} lifts off", "seconds": "4", **fields}
    fields = {"output": f"s3://videos/lot/{name}.mp4", **fields}
    return VeoImageToVideoOperator(
        task_id="make",
        model=MODELS[face.gateway],
        deferrable=False,
        poll_interval=0.1,
        **fields,
    ).execute({"ti": Instance(name)})


def bill(face):
    """The ids of what was charged, once nothing is in flight."""
    until(lambda: set(face.summary()["statuses"]) <= {"completed", "failed"})
    return {task["task_id"] for task in face.charges()["tasks"]}


@pytest.mark.parametrize("fault", LOST, ids=["reset", "502", "broken"])
def test_a_lost_response_is_found_in_the_same_try(asked, s3, fault):
    """The task goes on with the generation that was accepted: one charge, and nobody was asked."""
    video(asked, "known")
    asked.add_faults([{**fault, "first": 1}])
    result = video(asked)
    assert bill(asked) == {one["veo_task_id"] for one in receipts(s3).values()}
    assert len(bill(asked)) == 2
    found = receipts(s3)["lot/one.mp4.veo.json"]
    assert [step["state"] for step in found["history"]] == ["claimed", "unknown", "submitted", "stored"]
    assert result["veo_task_id"] == found["veo_task_id"]


def test_an_operator_that_only_submits_finds_it_too(asked, s3):
    """Its receipt is beside others, by which the list is checked."""
    fields = {"image": "s3://images/rocket.jpg", "seconds": "4", "model": MODELS[asked.gateway]}

    def submit(name):
        task = VeoSubmitOperator(
            task_id="ask", prompt=f"The {name}", receipt=f"s3://videos/lot/{name}.veo.json", **fields
        )
        return task.execute({"ti": Instance(name)})

    submit("known")
    asked.add_faults([{**LOST[0], "first": 1}])
    assert submit("one") in bill(asked)
    assert len(bill(asked)) == 2


@pytest.mark.timeout(3000)
def test_a_batch_settles_all_its_lost_responses(asked, s3, put_images):
    """A third of the responses is lost: each video is stored, each charge has its receipt."""
    for number, fault in enumerate(LOST):
        asked.add_faults([{**fault, "probability": 0.12, "seed": number}])
    put_images(VIDEOS)
    result = make(model=MODELS[asked.gateway], fail_on="never")
    lost = [one for one in receipts(s3).values() if "unknown" in [step["state"] for step in one["history"]]]
    persons = result["counts"].get("unknown", 0)
    print(f"{asked.gateway}: {VIDEOS} videos, {len(lost)} responses lost, {persons} left for a person")
    assert lost
    assert result["counts"] == {"stored": VIDEOS}
    assert len(bill(asked)) == VIDEOS
    assert {row["veo_task_id"] for row in rows(s3, result)} == bill(asked)


def test_a_new_run_settles_what_an_earlier_one_has_left(asked, s3, put_images):
    """The first run asks nobody; the next one finds each generation, and pays for none again."""
    asked.add_faults([{**LOST[0], "occurrence": [1, 4, 7]}])
    put_images(9)
    first = make(model=MODELS[asked.gateway], fail_on="never", on_unknown_submission="fail")
    assert first["counts"]["unknown"] >= 2
    asked.clear_faults()
    second = make("tuesday", model=MODELS[asked.gateway], fail_on="never")
    assert set(second["counts"]) <= {"stored", "skipped"}
    assert len(bill(asked)) == 9


def test_the_same_prompt_for_all_leaves_doubt_only_where_there_is_some(asked, s3, put_images):
    """With a list, two lost ones of the same moment cannot be told apart; whatever is stored is right."""
    asked.add_faults([{**LOST[0], "probability": 0.3, "seed": 1}])
    put_images(10)
    result = make(model=MODELS[asked.gateway], prompt="It comes alive", fail_on="never", max_in_flight=2)
    assert len(bill(asked)) == 10
    ids = [one["veo_task_id"] for one in receipts(s3).values() if one["veo_task_id"]]
    assert len(ids) == len(set(ids))
    assert set(ids) <= bill(asked)
    if asked.gateway == "inworld":
        assert result["counts"] == {"stored": 10}


@BY_LIST
def test_nothing_is_submitted_again_without_proof(asked, s3):
    """Without a known generation the list proves nothing: the task fails, and says why."""
    asked.add_faults([{**LOST[0], "first": 1}])
    with pytest.raises(VeoLookUpPendingError, match="by which it could be checked"):
        video(asked)
    assert len(bill(asked)) == 1


@BY_LIST
def test_what_was_not_accepted_is_sent_again_if_that_is_proved(asked, s3, monkeypatch):
    """The list shows a later generation and not this one, and ten minutes are over: it was never accepted."""
    video(asked, "known")
    asked.add_faults([{"call": "submit", "status": 502, "first": 1}])
    with pytest.raises(VeoLookUpPendingError):
        video(asked)
    video(asked, "later")
    grow_old(s3, "lot/one.mp4.veo.json")
    with pytest.raises(AirflowFailException, match=r"was not accepted\. Nothing was charged") as refused:
        video(asked)
    assert "look_up_or_resubmit" in str(refused.value)
    assert len(bill(asked)) == 2
    video(asked, on_unknown_submission="look_up_or_resubmit")
    assert len(bill(asked)) == 3
    found = receipts(s3)["lot/one.mp4.veo.json"]
    assert "refused" in [step["state"] for step in found["history"]]


def grow_old(s3, key, minutes=30):
    """Move a receipt's history into the past, as if so many minutes had gone by."""
    found = receipts(s3)[key]
    for step in found["history"]:
        step["at"] = (datetime.fromisoformat(step["at"]) - timedelta(minutes=minutes)).isoformat()
    s3.put_object(Bucket="videos", Key=key, Body=json.dumps(found).encode())


@BY_LIST
@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"garbage": "json"}, {"empty": True}, {"stale": 3600}],
    ids=["500", "broken", "empty", "stale"],
)
def test_a_list_that_cannot_be_trusted_settles_nothing(asked, s3, fault):
    """A failing, empty or stale list leaves the submission open, and later looks find it."""
    video(asked, "known")
    asked.add_faults([{**LOST[0], "first": 1}, {"call": "list", **fault}])
    with pytest.raises(VeoLookUpPendingError):
        video(asked, on_unknown_submission="look_up_or_resubmit")
    asked.clear_faults()
    video(asked)
    assert len(bill(asked)) == 2


@BY_LIST
def test_a_clock_that_is_wrong_is_allowed_for(asked, s3):
    """The gateway's times are an hour ahead: the known generation shows it."""
    asked.add_faults([{"call": "list", "skew": 3600}])
    video(asked, "known")
    asked.add_faults([{**LOST[0], "first": 1}])
    video(asked)
    assert len(bill(asked)) == 2


def test_others_who_use_the_account_are_left_alone(asked, s3):
    """A generation of another application with another prompt is never taken for one's own."""
    asked.add_faults([{"call": "submit", "foreign": "other"}])
    video(asked, "known")
    asked.add_faults([{**LOST[0], "first": 1}])
    video(asked)
    ours = {one["veo_task_id"] for one in receipts(s3).values()}
    prompts = {task["task_id"]: task["prompt"] for task in asked.tasks()}
    assert {prompts[each] for each in ours} == {"The known lifts off", "The one lifts off"}


@BY_LIST
def test_another_folders_video_of_the_same_prompt_is_left_alone(asked, s3):
    """The submission was refused, and another task's generation fits in all: its receipt says whose it is."""
    video(asked, "known")
    asked.add_faults([{"call": "submit", "status": 502, "first": 1}])
    with pytest.raises(VeoLookUpPendingError):
        video(asked)
    video(asked, "other", prompt="The one lifts off", output="s3://videos/elsewhere/one.mp4")
    with pytest.raises(VeoLookUpPendingError, match="at least not yet"):
        video(asked)
    assert len(bill(asked)) == 2


@BY_LIST
def test_no_key_in_a_row_is_ever_shown(asked, s3, caplog):
    """Rows may hold keys; neither log nor receipt has them."""
    caplog.set_level("DEBUG")
    asked.add_faults([{"call": "list", "keys": True}])
    video(asked, "known")
    asked.add_faults([{**LOST[0], "first": 2}])
    video(asked)
    shown = caplog.text + json.dumps(receipts(s3))
    assert asked.api_key not in shown
