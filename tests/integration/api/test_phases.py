"""An error is judged in its phase: after acceptance nothing is refused, and what was paid is fetched."""

import asyncio
import json
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from veo_provider.exceptions import VeoNotFetchedError
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.triggers.veo import VeoTaskTrigger

pytestmark = pytest.mark.usefixtures("connections", "impatient")

KEY = "clips/one.mp4"
REFUSED = {"error": {"message": "Invalid token", "code": "invalid_api_key"}}
RECEIPT = f"{KEY}.veo.json"


@pytest.fixture(autouse=True)
def _empty_bucket(s3):
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


class Task:
    """What is asked of a task: how often Airflow retries it."""

    retries = 2


class Instance:
    """A task instance in its first round of three tries."""

    dag_id, task_id, map_index, max_tries = "clips", "make", -1, 2

    def __init__(self, try_number=1, run_id="monday"):
        self.try_number, self.run_id = try_number, run_id


def context(try_number=1, run_id="monday", **more):
    return {"ti": Instance(try_number, run_id), "task": Task(), **more}


def operator(**fields):
    fields = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4", **fields}
    fields = {"output": f"s3://videos/{KEY}", "deferrable": False, "poll_interval": 0.1, **fields}
    return VeoImageToVideoOperator(task_id="make", **fields)


def make(try_number=1, run_id="monday", **fields):
    return operator(**fields).execute(context(try_number, run_id))


def receipt(s3):
    return json.loads(s3.get_object(Bucket="videos", Key=RECEIPT)["Body"].read())


POLLS = [
    {"status": 400, "text": "<html>400 Bad Request</html>"},
    {"status": 400, "body": {"error": {"message": "request blocked by access policy"}}},
    {"status": 403, "text": "<html>Web application firewall</html>"},
    {"status": 404, "text": "<html>nginx</html>"},
    {"status": 409, "text": "conflict"},
    {"status": 422, "body": {"detail": "unprocessable"}},
    {"status": 451, "text": "unavailable"},
]


@pytest.mark.parametrize("fault", POLLS)
def test_no_answer_to_a_poll_is_taken_for_a_refusal(sandbox, s3, fault):
    """Whatever a poll is answered, the generation was accepted: the wait goes on to the video."""
    sandbox.add_faults([{"call": "poll", "first": 2, **fault}])
    make()
    assert sandbox.charges()["count"] == 1
    assert receipt(s3)["state"] == "stored"


CONTENT = [
    {"status": 403, "text": "<html>Web application firewall</html>"},
    {"status": 409, "body": {"error": {"message": "file is being moved", "code": "conflict"}}},
    {"status": 422, "text": "unprocessable"},
    {"status": 451, "text": "unavailable"},
    {"status": 404, "text": "<html>nginx</html>"},
    {"status": 502, "body": {"error": {"message": "Failed to fetch video content", "code": ""}}},
]


@pytest.mark.parametrize("fault", CONTENT)
def test_a_paid_video_that_cannot_be_fetched_now_is_told_and_fetched_by_the_retry(sandbox, s3, fault):
    """The error names the id, speaks of one payment, and leaves the rest to Airflow's retries."""
    sandbox.add_faults([{"call": "content", **fault}])
    with pytest.raises(VeoNotFetchedError) as caught:
        make()
    (task,) = sandbox.tasks()
    assert task["task_id"] in str(caught.value)
    assert "paid for once" in str(caught.value)
    assert receipt(s3)["state"] == "submitted"
    sandbox.clear_faults()
    make(2)
    assert sandbox.charges()["count"] == 1


def test_a_refused_key_after_acceptance_keeps_the_id(sandbox, s3, monkeypatch):
    """A key that ends while a generation is in flight costs a retry, and no video."""
    refused = {"error": {"message": "Invalid token", "code": "invalid_api_key"}}
    sandbox.add_faults([{"call": "poll", "status": 401, "body": refused}])
    with pytest.raises(VeoNotFetchedError, match="Check the password"):
        make()
    sandbox.clear_faults()
    make(2)
    assert sandbox.charges()["count"] == 1


def test_the_trigger_waits_through_odd_answers(sandbox, s3, at_once):
    """In the triggerer the same holds: the event brings the video."""
    with pytest.raises(TaskDeferred) as deferral:
        make(deferrable=True)
    faults = [{"call": "poll", "occurrence": n, **fault} for n, fault in enumerate(POLLS, 1)]
    sandbox.add_faults(faults)
    event = event_of(deferral.value.trigger)
    assert event["status"] == "finished"
    operator(deferrable=True).execute_complete(context(), event)
    assert receipt(s3)["state"] == "stored"


def event_of(trigger):
    """Run a trigger as the triggerer does: built anew from what JSON carries of it."""

    async def first():
        _, kwargs = trigger.serialize()
        (event,) = [event async for event in VeoTaskTrigger(**json.loads(json.dumps(kwargs))).run()]
        return json.loads(json.dumps(event.payload))

    return asyncio.run(first())


def test_an_error_of_the_trigger_leaves_the_rest_to_the_retries(sandbox, s3):
    """What ends a wait in the triggerer is no end of the video that was paid for."""
    with pytest.raises(TaskDeferred):
        make(deferrable=True)
    event = {"status": "error", "message": "The service answered 401. Check the password."}
    with pytest.raises(VeoNotFetchedError, match=sandbox.tasks()[0]["task_id"]):
        operator(deferrable=True).execute_complete(context(), event)
    make(2)
    assert sandbox.charges()["count"] == 1


FILTERED = {"error": {"code": "filtered", "message": "The video was held back by the safety filter"}}


def test_a_video_that_was_charged_and_held_back_is_told_as_lost(sandbox, s3):
    """The task ends without a retry; the receipt says so; another try looks again before it pays again."""
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "filtered": 404}])
    with pytest.raises(AirflowFailException, match=r"no video of it.*was charged.*on_lost_video"):
        make()
    assert receipt(s3)["state"] == "lost"
    with pytest.raises(AirflowFailException, match="no video of it"):
        make(2)
    assert sandbox.charges()["count"] == 1
    make(3, on_lost_video="regenerate")
    assert receipt(s3)["state"] == "stored"
    assert sandbox.charges()["count"] == 2


def test_a_file_that_is_late_is_not_lost(sandbox, s3):
    """A 404 right after the completion may be that of a slow store: it is asked for with patience."""
    missing = {"error": {"message": "no such file", "code": "not_found"}}
    sandbox.add_faults([{"call": "content", "first": 5, "status": 404, "body": missing}])
    make()
    assert [step["state"] for step in receipt(s3)["history"]] == ["claimed", "submitted", "stored"]


def test_a_video_that_comes_back_is_stored_after_all(sandbox, s3):
    """That a video is lost is what the service said: if it says otherwise later, nothing more is paid."""
    sandbox.add_faults([{"call": "content", "gone": True}])
    with pytest.raises(AirflowFailException, match="no video of it"):
        make()
    sandbox.clear_faults()
    make(2)
    assert (receipt(s3)["state"], sandbox.charges()["count"]) == ("stored", 1)


def test_a_completion_that_carries_an_error_is_told_by_its_cause(sandbox, s3):
    """Completed, charged, and no file: the message has the service's own reason."""
    sandbox.add_faults(
        [
            {"call": "poll", "set": {"error": FILTERED["error"]}},
            {"call": "content", "status": 400, "body": FILTERED},
        ]
    )
    with pytest.raises(AirflowFailException, match=r"held back by the safety filter.*was charged"):
        make()
    assert receipt(s3)["state"] == "lost"


@pytest.mark.parametrize("there", [True, False])
def test_a_sensor_does_not_believe_a_completion_that_carries_an_error(client, sandbox, request_4s, there):
    """Charged and without a file, it ends without a retry and says why; with a file, all is well."""
    sandbox.add_faults([{"call": "poll", "set": {"error": FILTERED["error"]}}])
    if not there:
        sandbox.add_faults([{"call": "content", "status": 400, "body": FILTERED}])
    sensor = VeoTaskSensor(
        task_id="wait", veo_task_id=client.submit(request_4s).id, deferrable=False, poll_interval=0.1
    )
    if there:
        assert sensor.execute({})["status"] == "completed"
        return
    with pytest.raises(AirflowFailException, match=r"has no video.*held back.*was charged"):
        sensor.execute({})


@pytest.mark.parametrize("soft_fail", [True, False])
def test_a_sensor_takes_no_outage_for_a_lost_video(client, sandbox, request_4s, soft_fail):
    """While nobody can be asked for the video, a retry asks again; nothing is said to be lost."""
    sandbox.add_faults(
        [{"call": "poll", "set": {"error": FILTERED["error"]}}, {"call": "content", "reset": "before"}]
    )
    sensor = VeoTaskSensor(
        task_id="wait",
        veo_task_id=client.submit(request_4s).id,
        deferrable=False,
        poll_interval=0.1,
        soft_fail=soft_fail,
    )
    with pytest.raises(VeoNotFetchedError, match="still to be fetched"):
        sensor.execute({})


def test_a_completion_that_carries_an_error_and_a_file_is_stored(sandbox, s3):
    """The file is the proof: an error beside it changes nothing."""
    sandbox.add_faults([{"call": "poll", "set": {"error": FILTERED["error"]}}])
    make()
    assert receipt(s3)["state"] == "stored"


class State(dict):
    """What Airflow 3.3's task state store does, as far as it is used here."""

    def set(self, key, value, **_):
        self[key] = value


def test_a_resumed_task_stores_where_it_said_first(sandbox, s3, at_once):
    """A place that renders anew after the deferral changes nothing: one video, where it was asked for."""
    with pytest.raises(TaskDeferred) as deferral:
        make(deferrable=True)
    event = event_of(deferral.value.trigger)
    fields = {"output": "s3://videos/clips/two.mp4", "prompt": "Another", "seed": 7}
    result = operator(deferrable=True, **fields).execute_complete(context(), event)
    assert result["uri"] == f"s3://videos/{KEY}"
    assert len(sandbox.tasks()) == 1


@pytest.mark.parametrize("policy", ["fail", "regenerate"])
def test_a_retry_attaches_however_its_templates_render(sandbox, s3, policy):
    """With Airflow's task state, a retry keeps place, prompt and seed of the first try, and pays nothing."""
    state = State()
    sandbox.add_faults([{"call": "content", "first": 6, "status": 503}])
    first = operator(on_changed_request=policy, seed=1)
    with pytest.raises(VeoNotFetchedError):
        first.execute(context(1, task_state_store=state))
    again = operator(on_changed_request=policy, seed=2, output="s3://videos/clips/two.mp4", prompt="Another")
    assert again.execute(context(2, task_state_store=state))["uri"] == f"s3://videos/{KEY}"
    assert len(sandbox.tasks()) == 1


@pytest.mark.parametrize("policy", ["fail", "regenerate"])
def test_without_task_state_the_receipt_tells_a_retry_what_was_asked(sandbox, s3, policy):
    """On older versions a random seed or prompt changes nothing either, as long as the place is the same."""
    sandbox.add_faults([{"call": "content", "first": 6, "status": 503}])
    with pytest.raises(VeoNotFetchedError):
        make(1, seed=1, on_changed_request=policy)
    make(2, seed=2, prompt="Another", on_changed_request=policy)
    assert len(sandbox.tasks()) == 1
    assert receipt(s3)["request"]["seed"] == 1


def test_without_task_state_a_retry_keeps_to_its_first_image(sandbox, s3, photo):
    """An image whose name renders anew is another image: the receipt tells a retry which one was sent."""
    sandbox.add_faults([{"call": "content", "first": 6, "status": 503}])
    with pytest.raises(VeoNotFetchedError):
        make(1, on_changed_request="regenerate")
    s3.put_object(Bucket="images", Key="other.jpg", Body=photo.with_name("chelsea.png").read_bytes())
    make(2, on_changed_request="regenerate", image="s3://images/other.jpg")
    assert len(sandbox.tasks()) == 1


def test_a_receipt_of_before_the_submission_is_not_paid_past(sandbox, s3, at_once):
    """Where an older receipt was put in place during the wait, the task says which video is missing in it."""
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "status": 401, "body": REFUSED}])
    with pytest.raises(AirflowFailException):
        make(deferrable=True)
    older = s3.get_object(Bucket="videos", Key=RECEIPT)["Body"].read()
    with pytest.raises(TaskDeferred) as deferral:
        make(2, deferrable=True)
    event = event_of(deferral.value.trigger)
    s3.put_object(Bucket="videos", Key=RECEIPT, Body=older)
    with pytest.raises(AirflowFailException, match=sandbox.tasks()[0]["task_id"]):
        operator(deferrable=True).execute_complete(context(2), event)
    assert len(sandbox.tasks()) == 1


def test_a_submission_keeps_to_its_first_rendering(sandbox):
    """VeoSubmitOperator with a random seed returns the same id in each of its tries."""
    state = State()

    def submit(try_number, seed):
        fields = {"image": "s3://images/rocket.jpg", "prompt": "p", "seconds": "4", "seed": seed}
        task = VeoSubmitOperator(task_id="submit", **fields)
        return task.execute(context(try_number, task_state_store=state))

    assert submit(1, 1) == submit(2, 2) == submit(3, 3)
    assert len(sandbox.tasks()) == 1


def test_the_log_says_where_a_clear_pays_again(sandbox, capsys):
    """Without receipt= the log warns of what a clear does; with it, it does not."""

    def submit(**fields):
        fields = {"image": "s3://images/rocket.jpg", "prompt": "p", "seconds": "4", **fields}
        VeoSubmitOperator(task_id="submit", **fields).execute(context(task_state_store=State()))
        return "pay again" in capsys.readouterr().out

    assert submit()
    assert not submit(receipt="s3://videos/receipts/one.json")


def test_a_run_stops_where_another_has_replaced_its_video(sandbox, s3):
    """Two runs that regenerate one output pay once each, and the later clear names both and what to do."""
    policy = {"on_changed_request": "regenerate"}
    make(run_id="monday", prompt="Monday", **policy)
    make(run_id="tuesday", prompt="Tuesday", **policy)
    with pytest.raises(AirflowFailException, match=r"tuesday.*monday.*run_id"):
        operator(prompt="Monday", **policy).execute({"ti": Instance(2, "monday")})
    assert sandbox.charges()["count"] == 2


def step(run_id, event=None):
    """Run one segment of a run that replaces what others made; return its result, or its trigger."""
    task = operator(prompt=run_id, on_changed_request="regenerate", deferrable=True)
    try:
        if event is None:
            return task.execute({"ti": Instance(1, run_id)})
        return task.execute_complete({"ti": Instance(1, run_id)}, event)
    except TaskDeferred as deferred:
        return deferred.trigger


def test_what_is_in_flight_is_stored_before_it_is_replaced(sandbox, s3, at_once):
    """A run that replaces another's output lets it finish, so that each gets the video that it pays for."""
    monday, tuesday = step("monday"), step("tuesday")
    assert len(sandbox.tasks()) == 1
    first = step("monday", event_of(monday))
    assert first["veo_task_id"] == sandbox.tasks()[0]["task_id"]
    tuesday = step("tuesday", event_of(tuesday))
    second = step("tuesday", event_of(tuesday))
    assert second["veo_task_id"] == sandbox.tasks()[1]["task_id"]
    deadline = time.monotonic() + 60
    while sandbox.charges()["count"] < 2:
        assert time.monotonic() < deadline
    assert len(sandbox.tasks()) == 2


def test_what_is_submitted_while_an_image_is_read_is_stored_before_it_is_replaced(
    sandbox, s3, at_once, monkeypatch
):
    """Another task may submit in the seconds that reading an image takes: its video is paid for as well."""
    read = VeoImageToVideoOperator._image
    monday = []

    def image(task):
        found = read(task)
        if task.prompt == "tuesday" and not monday:
            monday.append(step("monday"))
        return found

    monkeypatch.setattr(VeoImageToVideoOperator, "_image", image)
    tuesday = step("tuesday")
    assert len(sandbox.tasks()) == 1
    first = step("monday", event_of(monday[0]))
    second = step("tuesday", event_of(step("tuesday", event_of(tuesday))))
    assert [first["veo_task_id"], second["veo_task_id"]] == [task["task_id"] for task in sandbox.tasks()]
