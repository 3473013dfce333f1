"""VeoImageToVideoOperator: the whole way in one task, paid for once whoever comes next."""

import json
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from veo_provider import exceptions
from veo_provider.exceptions import VeoReceiptError
from veo_provider.generation import state_machine
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.triggers import veo as trigger_module
from veo_provider.triggers.veo import VeoTaskTrigger

pytestmark = pytest.mark.usefixtures("connections")

KEY = "clips/one.mp4"
RECEIPT = KEY + ".veo.json"


@pytest.fixture(autouse=True)
def _empty_bucket(s3):
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, task_id, map_index = "product_clips", "make", -1

    def __init__(self, run_id="monday", try_number=1):
        self.run_id, self.try_number = run_id, try_number


def operator(**fields):
    fields = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4", **fields}
    fields = {"output": f"s3://videos/{KEY}", "deferrable": False, "poll_interval": 0.1, **fields}
    return VeoImageToVideoOperator(task_id="make", **fields)


def make(run_id="monday", try_number=1, **fields):
    return operator(**fields).execute({"ti": Instance(run_id, try_number)})


def receipt(s3):
    return json.loads(s3.get_object(Bucket="videos", Key=RECEIPT)["Body"].read())


def rewrite(s3, **changes):
    """Change a receipt by hand, as a person would."""
    s3.put_object(Bucket="videos", Key=RECEIPT, Body=json.dumps({**receipt(s3), **changes}).encode())


def calls(sandbox):
    return [(task["polls"], task["content_requests"]) for task in sandbox.tasks()]


def test_an_image_becomes_a_video_with_its_receipt(sandbox, s3):
    """One task leads to one video, one receipt beside it, and one charge; the result describes all three."""
    result = make()
    found = receipt(s3)
    assert result == {**found["video"], "receipt_uri": f"s3://videos/{RECEIPT}", "price_usd": 0.30}
    assert result["uri"] == f"s3://videos/{KEY}"
    assert found["state"] == "stored"
    assert [step["state"] for step in found["history"]] == ["claimed", "submitted", "stored"]
    assert found["claimed_by"] == "product_clips / monday / make try 1"
    assert found["request"]["prompt"] == "The rocket lifts off"
    assert sandbox.charges()["usd"] == 0.30
    assert sandbox.api_key not in json.dumps(found)


@pytest.mark.parametrize(
    "again", [{"try_number": 2}, {}, {"run_id": "tuesday"}], ids=["retry", "clear", "other run"]
)
def test_whoever_comes_next_finds_it_done(sandbox, again):
    """A retry, a clear and another run return the same result without a single call to the API."""
    first, before = make(), calls(sandbox)
    assert make(**again) == first
    assert calls(sandbox) == before
    assert sandbox.charges()["count"] == 1


def test_deferral_leads_to_the_same_end(sandbox, s3, monkeypatch):
    """Submitted, deferred, resumed by a new instance that needs no image any more, and stored."""
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
    s3.copy_object(Bucket="images", Key="passing.jpg", CopySource={"Bucket": "images", "Key": "rocket.jpg"})
    with pytest.raises(TaskDeferred) as deferral:
        make(deferrable=True, image="s3://images/passing.jpg")
    s3.delete_object(Bucket="images", Key="passing.jpg")
    event = run_trigger(deferral.value.trigger)
    assert event["status"] == "finished"
    resumed = operator(deferrable=True, image="s3://images/passing.jpg")
    result = resumed.execute_complete({"ti": Instance()}, event)
    assert result["duration_seconds"] == 4.0
    assert sandbox.charges()["count"] == 1


def run_trigger(trigger):
    """Run a trigger as the triggerer does: built anew from what it says of itself."""
    import asyncio

    async def first():
        _, kwargs = trigger.serialize()
        (event,) = [event async for event in VeoTaskTrigger(**kwargs).run()]
        return event.payload

    return asyncio.run(first())


def test_a_timeout_keeps_the_id(sandbox, s3):
    """The next attempt waits on for the same generation."""
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    with pytest.raises(exceptions.VeoWaitTimeoutError, match="waits for the same generation"):
        make(timeout=0.3)
    sandbox.clear_faults()
    make(try_number=2)
    assert len(sandbox.tasks()) == 1


def test_an_outage_while_waiting_is_waited_out(sandbox):
    """Resets and 5xx while polling lead to no second submission."""
    sandbox.add_faults(
        [{"call": "poll", "first": 2, "reset": "before"}, {"call": "poll", "occurrence": 3, "status": 503}]
    )
    make()
    assert sandbox.charges()["count"] == 1


def test_a_lost_answer_ends_the_task_and_every_later_one(sandbox, s3):
    """Nobody submits again by itself, and the error says how to go on."""
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    with pytest.raises(AirflowFailException, match="may have been accepted"):
        make()
    sandbox.clear_faults()
    for run_id in ("monday", "tuesday"):
        with pytest.raises(AirflowFailException, match=r"its response was lost.*settle attach.*resubmit"):
            make(run_id, 2)
    assert len(sandbox.tasks()) == 1


def test_after_a_lost_answer_the_image_makes_no_difference(sandbox):
    """What may be paid is said first, even where the image is gone by now."""
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    with pytest.raises(AirflowFailException):
        make()
    with pytest.raises(AirflowFailException, match=r"its response was lost"):
        make("tuesday", image="s3://images/gone.jpg")


def test_a_retry_looks_at_its_image_again(sandbox, s3):
    """A receipt of the same task is not trusted for the image: other bytes are another request."""
    for name in ("rocket.jpg", "chelsea.png"):
        s3.copy_object(Bucket="images", Key="twice.jpg", CopySource={"Bucket": "images", "Key": name})
        if name == "rocket.jpg":
            make(image="s3://images/twice.jpg")
    with pytest.raises(AirflowFailException, match="belongs to another request"):
        make(try_number=2, image="s3://images/twice.jpg")
    assert len(sandbox.tasks()) == 1


def test_after_a_lost_answer_the_id_can_be_put_into_the_receipt(sandbox, s3):
    """Who finds the task in the service's log goes on with it, and pays once."""
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    with pytest.raises(AirflowFailException):
        make()
    rewrite(s3, state="submitted", veo_task_id=sandbox.tasks()[0]["task_id"])
    make(try_number=2)
    assert sandbox.charges()["count"] == 1


def test_after_a_lost_answer_resubmit_submits_again(sandbox):
    """Who finds nothing there says so, and the video is made."""
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "reset": "before"}])
    with pytest.raises(AirflowFailException):
        make()
    make(try_number=2, on_unknown_submission="resubmit")
    assert sandbox.charges()["count"] == 1


def test_a_refusal_leaves_the_way_open(sandbox, s3, monkeypatch):
    """What was provably not accepted is submitted by the next attempt."""
    sandbox.add_faults(
        [{"call": "submit", "occurrence": 1, "status": 401, "body": {"error": {"message": "no"}}}]
    )
    with pytest.raises(AirflowFailException, match="Pay-per-request"):
        make()
    assert receipt(s3)["state"] == "refused"
    make(try_number=2)
    assert sandbox.charges()["count"] == 1


@pytest.mark.parametrize("allowed", [1, 2])
def test_a_failed_generation_is_submitted_again_as_often_as_allowed(sandbox, s3, allowed):
    """A failure is not charged, so another submission is no second payment."""
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "fail": {"code": "oops", "message": "broke"}}])
    if allowed == 1:
        with pytest.raises(AirflowFailException, match=r"failed once as.*oops: broke.*not charged"):
            make(max_generations=1)
    else:
        make(max_generations=2)
    assert len(sandbox.tasks()) == allowed
    assert sandbox.charges()["count"] == allowed - 1
    assert [step["state"] for step in receipt(s3)["history"]][:3] == ["claimed", "submitted", "failed"]


def test_moderation_is_not_repeated_but_a_changed_prompt_is_welcome(sandbox):
    """The same request would be refused again; another one for the same output is not."""
    fail = {"code": "PUBLIC_ERROR_UNSAFE", "message": "blocked"}
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "fail": fail}])
    with pytest.raises(AirflowFailException, match="Change the image or the prompt"):
        make(max_generations=5)
    with pytest.raises(AirflowFailException, match="Change the image or the prompt"):
        make(max_generations=5)
    make(prompt="A gentle rocket")
    assert len(sandbox.tasks()) == 2


@pytest.mark.parametrize(
    "change", [{"prompt": "Another"}, {"image": "s3://images/chelsea.png"}, {"seed": 3}, {"seconds": "6"}]
)
def test_a_changed_request_fails_before_any_money_is_spent(sandbox, change):
    """An output that belongs to another request is kept, and the error names the choices."""
    make()
    with pytest.raises(AirflowFailException, match=r"belongs to another request.*regenerate.*keep"):
        make("tuesday", **change)
    assert len(sandbox.tasks()) == 1


def test_a_changed_request_may_be_kept_or_made_anew(sandbox):
    """To keep returns what there is; regenerate pays for a new video, once."""
    first = make()
    assert make("tuesday", prompt="Another", on_changed_request="keep") == first
    second = make("tuesday", prompt="Another", on_changed_request="regenerate")
    assert second["veo_task_id"] != first["veo_task_id"]
    assert make("wednesday", prompt="Another", on_changed_request="regenerate") == second
    assert sandbox.charges()["count"] == 2


def test_the_same_picture_under_another_name_is_the_same_request(sandbox, photo):
    """The image counts by its bytes."""
    first = make()
    assert make("tuesday", image=str(photo)) == first


def test_another_live_attempt_is_waited_for(sandbox, s3, monkeypatch):
    """A claim of another task is respected while it may be alive, and its video is used."""
    make()
    stored = receipt(s3)
    monkeypatch.setattr(state_machine, "CLAIM_POLL_SECONDS", 0.0)
    claimed = {"state": "claimed", "claimant": "another task", "claimed_until": time.time() + 100}
    rewrite(s3, **claimed)
    with pytest.raises(exceptions.VeoWaitTimeoutError):
        make("tuesday", timeout=0.2)
    with pytest.raises(TaskDeferred) as deferral:
        make("tuesday", deferrable=True)
    assert deferral.value.trigger.serialize()[0].endswith("VeoClaimTrigger")
    rewrite(s3, **{name: stored[name] for name in ("state", "claimant", "claimed_until")})
    operator(deferrable=True).execute_complete({"ti": Instance("tuesday")}, {"status": "claim"})
    assert len(sandbox.tasks()) == 1


def test_a_deleted_video_is_fetched_again(sandbox, s3):
    """As long as the service has the file, a missing object costs nothing."""
    first = make()
    s3.delete_object(Bucket="videos", Key=KEY)
    assert make("tuesday") == first
    sandbox.add_faults([{"call": "content", "gone": True}])
    s3.delete_object(Bucket="videos", Key=KEY)
    with pytest.raises(AirflowFailException, match="about 2 days"):
        make("wednesday")
    assert len(sandbox.tasks()) == 1


def test_an_object_without_a_receipt_is_not_overwritten(sandbox, s3):
    """Somebody's object is kept, before any money is spent, unless replace says otherwise."""
    s3.put_object(Bucket="videos", Key=KEY, Body=b"somebody's")
    with pytest.raises(AirflowFailException, match="has no receipt"):
        make()
    assert sandbox.tasks() == []
    make(replace=True)


@pytest.mark.parametrize(
    ("body", "said"), [(b"not json", "cannot be understood"), (b'{"schema_version": 99}', "upgrade")]
)
def test_a_receipt_that_cannot_be_understood_stops_everything(sandbox, s3, body, said):
    """A damaged receipt, or a newer release's, is neither overwritten nor paid past."""
    s3.put_object(Bucket="videos", Key=RECEIPT, Body=body)
    with pytest.raises(AirflowFailException, match=said):
        make()
    assert s3.get_object(Bucket="videos", Key=RECEIPT)["Body"].read() == body
    assert sandbox.tasks() == []


def test_a_receipt_that_cannot_be_read_is_not_taken_for_none(sandbox):
    """A bucket that is not there ends the task at once, and pays nothing."""
    with pytest.raises(AirflowFailException, match=r"NoSuchBucket.*Nothing is submitted"):
        make(output="s3://nowhere/clip.mp4")
    assert sandbox.tasks() == []


@pytest.mark.parametrize(
    "fields", [{"on_unknown_submission": "maybe"}, {"on_changed_request": "x"}, {"max_generations": 0}]
)
def test_a_policy_that_does_not_exist_is_refused(sandbox, fields):
    """A wrong policy is told before any money is spent."""
    with pytest.raises(AirflowFailException, match="must be"):
        make(**fields)
    assert sandbox.tasks() == []


def test_outlets_get_the_result_as_their_extra():
    """The asset event of an outlet carries what the task returns."""
    from airflow.providers.common.compat.sdk import Asset

    clip = Asset(f"s3://videos/{KEY}")

    class Event:
        extra = None

    events = {clip: Event()}
    result = operator(outlets=[clip]).execute({"ti": Instance(), "outlet_events": events})
    assert events[clip].extra == result


class State(dict):
    """What Airflow 3.3's task state store does, as far as a receipt is concerned."""

    def set(self, key, value):
        self[key] = value


def test_a_submission_is_not_repeated_by_a_retry_or_a_clear(sandbox):
    """With Airflow's task state store, VeoSubmitOperator returns the same id and pays nothing."""
    state = State()

    def submit(try_number):
        fields = {"image": "s3://images/rocket.jpg", "prompt": "p", "seconds": "4"}
        context = {"ti": Instance(try_number=try_number), "task_state_store": state}
        return VeoSubmitOperator(task_id="submit", **fields).execute(context)

    assert submit(1) == submit(2) == submit(1)
    assert len(sandbox.tasks()) == 1
    assert sandbox.api_key not in json.dumps(state)


def test_a_submission_may_keep_its_receipt_in_s3(sandbox, s3, monkeypatch):
    """On older versions a receipt in S3 gives the same, and a failed generation is submitted anew."""
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "fail": True}])

    def submit(run_id):
        fields = {"image": "s3://images/rocket.jpg", "prompt": "p", "seconds": "4"}
        uri = "s3://videos/receipts/one.json"
        return VeoSubmitOperator(task_id="submit", receipt=uri, **fields).execute({"ti": Instance(run_id)})

    first = submit("monday")
    while sandbox.tasks()[0]["status"] != "failed":
        time.sleep(0.05)
    second = submit("tuesday")
    assert second != first
    assert submit("wednesday") == second
    assert len(sandbox.tasks()) == 2


def test_a_receipt_error_costs_nothing():
    """What receipts say of themselves fits into the tree of errors."""
    assert issubclass(VeoReceiptError, exceptions.VeoError)
    assert not VeoReceiptError.retryable
