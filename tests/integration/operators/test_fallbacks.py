"""One video, two services, two bills: the second is asked after a provable refusal of the first only."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from support import batches
from support.refusals import (
    BAD_GATEWAY,
    BAD_REQUEST,
    EMPTY,
    FAILED,
    LOST,
    MODERATED,
    NO_CHANNEL,
    NO_CHANNEL_LEFT,
    RETIRED,
    SERVER_ERROR,
    WRONG_KEY,
)

from veo_provider import exceptions
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.receipts.charges import charges_of
from veo_provider.receipts.receipt import Receipt
from veo_provider.triggers.veo import VeoTaskTrigger

pytestmark = pytest.mark.usefixtures("impatient", "at_once")

FAST, STANDARD = "veo-3.1-fast-generate-preview", "veo-3.1-generate-preview"
KEY = "fallbacks/one.mp4"
RECEIPT = f"{KEY}.veo.json"
HABITS = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}
RUN = "archive / {} / make"


@pytest.fixture(autouse=True)
def _no_receipt(s3, backup):
    for key in (KEY, RECEIPT):
        s3.delete_object(Bucket="videos", Key=key)


def operator(**fields):
    fields = {"fallbacks": [("backup", STANDARD)], "deferrable": False, "poll_interval": 0.1, **fields}
    return VeoImageToVideoOperator(task_id="make", output=f"s3://videos/{KEY}", **{**HABITS, **fields})


def make(run_id="monday", try_number=1, **fields):
    return operator(**fields).execute({"ti": batches.Instance(run_id, try_number)})


def receipt(s3):
    return Receipt.from_json(s3.get_object(Bucket="videos", Key=RECEIPT)["Body"].read(), RECEIPT)


def refuse(sandbox, answer, **when):
    sandbox.add_faults([{"call": "submit", **when, **answer}])


def accepted(*sandboxes):
    return [len(each.tasks()) for each in sandboxes]


def require_bills(s3, sandbox, backup, run_id="monday"):
    """The receipt says what both bills say together."""
    billed = sandbox.charges()["usd"] + backup.charges()["usd"]
    paid = charges_of(receipt(s3), RUN.format(run_id))
    assert (paid.charged, paid.unknown) == (pytest.approx(billed), 0.0)


REFUSALS = {
    "no channel": (NO_CHANNEL, "503: model_not_found"),
    "no channel left": (NO_CHANNEL_LEFT, "500: get_channel_failed"),
    "retired": (RETIRED, "no longer available"),
    "empty": (EMPTY, "403: insufficient_user_quota"),
}


@pytest.mark.parametrize(("answer", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_a_provable_refusal_goes_on_to_the_next_route(sandbox, backup, s3, answer, reason):
    """The video is made and fetched by the second; the history says who refused, and why."""
    refuse(sandbox, answer)
    result = make()
    assert accepted(sandbox, backup) == [0, 1]
    assert backup.tasks()[0]["model"] == STANDARD
    assert (result["price_usd"], result["veo_task_id"]) == (1.2, backup.tasks()[0]["task_id"])
    require_bills(s3, sandbox, backup)
    history = receipt(s3).history
    assert [step["state"] for step in history] == ["claimed", "refused", "claimed", "submitted", "stored"]
    told = [(step["account"].partition(" ")[0], step["model"]) for step in history if "account" in step]
    assert told == [("veo_default", FAST), ("backup", STANDARD)]
    assert reason in history[1]["reason"]
    assert make("tuesday") == result
    assert accepted(sandbox, backup) == [0, 1]


NO_REFUSALS = {
    "500": SERVER_ERROR,
    "502": BAD_GATEWAY,
    "a lost answer": LOST,
    "an answer that is cut": {"status": 200, "text": '{"id": '},
    "a bad request": BAD_REQUEST,
    "a wrong key": WRONG_KEY,
    "moderation": MODERATED,
}


@pytest.mark.parametrize("answer", NO_REFUSALS.values(), ids=NO_REFUSALS)
def test_nothing_else_asks_the_next_route(sandbox, backup, answer):
    """What is unknown may be charged, and what is wrong with the request or the key is for a person."""
    refuse(sandbox, answer)
    for try_number in (1, 2):
        with pytest.raises(AirflowException):
            make(try_number=try_number)
    assert accepted(backup) == [0]


@pytest.mark.parametrize("answer", [SERVER_ERROR, LOST], ids=["500", "a lost answer"])
def test_an_unknown_submission_of_the_second_route_stays_there(sandbox, backup, s3, answer):
    """It is not known to be free, so that neither route is asked again, not even once the first is well."""
    refuse(sandbox, NO_CHANNEL, first=1)
    refuse(backup, answer)
    for try_number in (1, 2):
        with pytest.raises(AirflowFailException, match="may have been accepted"):
            make(try_number=try_number)
    assert receipt(s3).state.value in ("unknown", "claimed")
    assert receipt(s3).request["account"].startswith("backup at ")
    assert accepted(sandbox, backup) == [0, 1]
    assert charges_of(receipt(s3), RUN.format("monday")).unknown == pytest.approx(1.2)


def test_an_unknown_submission_that_named_its_id_is_verified_by_its_own_route(sandbox, backup, s3):
    """The first service does not know the id that the second has given."""
    refuse(sandbox, NO_CHANNEL)
    backup.add_faults([{"call": "submit", "framing": "cut"}])
    result = make()
    assert (accepted(sandbox, backup), result["veo_task_id"]) == ([0, 1], backup.tasks()[0]["task_id"])
    require_bills(s3, sandbox, backup)


def test_moderation_goes_on_only_if_the_user_wishes_it(sandbox, backup, s3):
    """Another service may judge otherwise, which the user has to want."""
    refuse(sandbox, MODERATED)
    make(fallback_on_moderation=True)
    assert accepted(sandbox, backup) == [0, 1]
    require_bills(s3, sandbox, backup)


def test_a_failed_generation_is_no_refusal(sandbox, backup, s3):
    """It was accepted, so the first route is asked again, and the second only if that refuses."""
    refuse(sandbox, FAILED)
    with pytest.raises(AirflowFailException, match="failed 2 times"):
        make()
    assert accepted(sandbox, backup) == [2, 0]
    require_bills(s3, sandbox, backup)


def test_all_routes_share_max_generations(sandbox, backup, s3):
    """One accepted and failed here, one accepted and failed there: that makes two."""
    refuse(sandbox, FAILED, occurrence=1)
    refuse(sandbox, NO_CHANNEL, after=1)
    refuse(backup, FAILED)
    with pytest.raises(AirflowFailException, match="failed 2 times"):
        make()
    assert accepted(sandbox, backup) == [1, 1]
    with pytest.raises(AirflowFailException, match="failed 2 times"):
        make("tuesday")
    assert accepted(sandbox, backup) == [1, 1]
    require_bills(s3, sandbox, backup)


def test_a_failure_that_may_be_charged_goes_nowhere(sandbox, backup, monkeypatch):
    """Where the gateway does not say that failures are free, a person decides."""
    connection = json.loads(sandbox.veo_conn())
    connection["extra"]["gateway"] = "openai"
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", json.dumps(connection))
    refuse(sandbox, FAILED)
    for try_number in (1, 2):
        with pytest.raises(AirflowFailException):
            make(try_number=try_number, model=FAST)
    assert accepted(sandbox, backup) == [1, 0]


def test_a_later_attempt_starts_with_the_first_route_after_a_refusal(sandbox, backup, s3):
    """All refuse, so nothing is in flight; once the first has a channel again, it makes the video."""
    refuse(sandbox, NO_CHANNEL)
    refuse(backup, EMPTY)
    with pytest.raises(exceptions.VeoNoChannelError) as told:
        make()
    assert f"{FAST} with the connection veo_default at" in str(told.value)
    sandbox.clear_faults()
    make(try_number=2)
    assert accepted(sandbox, backup) == [1, 0]
    require_bills(s3, sandbox, backup)


def test_a_video_in_flight_by_the_second_route_is_finished_by_it(sandbox, backup, s3):
    """The first is well again, but the second has accepted: a retry attaches there and pays nothing."""
    refuse(sandbox, NO_CHANNEL)
    backup.add_faults([{"call": "poll", "task_status": "in_progress"}])
    with pytest.raises(exceptions.VeoWaitTimeoutError):
        make(timeout=0.3)
    sandbox.clear_faults()
    backup.clear_faults()
    make(try_number=2)
    make("tuesday")
    assert accepted(sandbox, backup) == [0, 1]
    assert sandbox.summary()["polls"] == 0
    require_bills(s3, sandbox, backup)


def test_a_deferred_task_waits_and_resumes_with_the_route_that_accepted(sandbox, backup, s3):
    """The trigger polls by the second connection, and a new operator stores by it."""
    refuse(sandbox, NO_CHANNEL)
    with pytest.raises(TaskDeferred) as deferral:
        make(deferrable=True)
    sandbox.clear_faults()
    _, kwargs = deferral.value.trigger.serialize()
    assert kwargs["veo_conn_id"] == "backup"
    assert backup.api_key not in json.dumps(kwargs)
    event = run_trigger(json.loads(json.dumps(kwargs)))
    assert event["status"] == "finished"
    result = operator(deferrable=True).execute_complete({"ti": batches.Instance()}, event)
    assert result["veo_task_id"] == backup.tasks()[0]["task_id"]
    assert accepted(sandbox, backup) == [0, 1]
    assert sandbox.summary()["polls"] == 0
    require_bills(s3, sandbox, backup)


def run_trigger(kwargs):
    import asyncio

    async def first():
        (event,) = [event async for event in VeoTaskTrigger(**kwargs).run()]
        return event.payload

    return asyncio.run(first())


def test_a_stored_video_is_stored_by_whichever_route(sandbox, backup, s3):
    """With the routes the other way round, or without the first, it is still this video."""
    refuse(sandbox, NO_CHANNEL)
    result = make()
    sandbox.clear_faults()
    turned = {"veo_conn_id": "backup", "model": STANDARD, "fallbacks": [("veo_default", FAST)]}
    assert make("tuesday", **turned) == result
    assert make("wednesday", **{**turned, "fallbacks": []}) == result
    assert accepted(sandbox, backup) == [0, 1]


def test_another_prompt_is_another_request_by_every_route(sandbox, backup):
    """It is refused as before, and replaced only as on_changed_request says, beginning with the first."""
    refuse(sandbox, NO_CHANNEL)
    make()
    sandbox.clear_faults()
    with pytest.raises(AirflowFailException, match="belongs to another request"):
        make("tuesday", prompt="The rocket lands")
    make("tuesday", prompt="The rocket lands", on_changed_request="regenerate")
    assert accepted(sandbox, backup) == [1, 1]


def ends(sandbox, monkeypatch, day, conn_id="VEO_DEFAULT", model=FAST):
    connection = json.loads(sandbox.veo_conn())
    connection["extra"]["models"] = {
        **connection["extra"]["models"],
        model: {"ends": day.isoformat(), "usd_per_video": 0.3},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection))


def test_a_model_past_its_end_is_not_asked(sandbox, backup, s3, monkeypatch):
    """Nothing is sent to the first service, and the claim says why."""
    ends(sandbox, monkeypatch, datetime.now(timezone.utc).date() - timedelta(days=1))
    make()
    assert accepted(sandbox, backup) == [0, 1]
    (claim,) = [step for step in receipt(s3).history if step["state"] == "claimed"]
    (skipped,) = claim["skipped"]
    assert (skipped["model"], skipped["account"].partition(" ")[0]) == (FAST, "veo_default")
    assert "ended on" in skipped["reason"]
    require_bills(s3, sandbox, backup)


def test_if_every_model_has_ended_all_are_told(sandbox, backup, s3, monkeypatch):
    """The task ends without a claim."""
    yesterday = datetime.now(timezone.utc).date() - timedelta(days=1)
    ends(sandbox, monkeypatch, yesterday)
    ends(backup, monkeypatch, yesterday, "BACKUP", STANDARD)
    with pytest.raises(AirflowFailException, match=f"{STANDARD} ended on .*{FAST} ended on "):
        make()
    assert "Contents" not in s3.list_objects_v2(Bucket="videos", Prefix="fallbacks/")
    assert accepted(sandbox, backup) == [0, 0]


def test_a_route_that_cannot_make_the_video_is_told_before_anything_is_sent(sandbox, backup):
    """Its limits are known: the task does not wait for the day on which the first refuses."""
    connection = json.loads(backup.veo_conn())
    connection["extra"]["models"] = {"short": {"seconds": [6], "default_seconds": 6}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_BACKUP", json.dumps(connection))
        with pytest.raises(AirflowFailException, match=r"short with the connection backup at .*seconds must"):
            make(fallbacks=[("backup", "short")])
    assert accepted(sandbox, backup) == [0, 0]


def test_what_is_in_flight_is_fetched_even_if_a_fallback_cannot_make_it(sandbox, backup, s3):
    """The video is paid; what another route could do does not matter any more."""
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    with pytest.raises(exceptions.VeoWaitTimeoutError):
        make(timeout=0.3)
    sandbox.clear_faults()
    connection = json.loads(backup.veo_conn())
    connection["extra"]["models"] = {"short": {"seconds": [6], "default_seconds": 6}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_BACKUP", json.dumps(connection))
        make("tuesday", fallbacks=[("backup", "short")])
    assert accepted(sandbox, backup) == [1, 0]


def test_two_models_of_one_connection_are_two_routes(sandbox, s3):
    """Each is refused by itself, and found by its name."""
    refuse(sandbox, NO_CHANNEL, first=1)
    result = make(fallbacks=[("veo_default", STANDARD)])
    assert (result["price_usd"], [task["model"] for task in sandbox.tasks()]) == (1.2, [STANDARD])


WRONG = {
    "a text": ("backup", "fallbacks must be a list of pairs"),
    "a connection alone": (["backup"], r"fallbacks\[0\] must be a pair"),
    "three": ([("a", "b"), ("a", "b", "c")], r"fallbacks\[1\] must be a pair"),
    "no model": ([("backup", None)], r"fallbacks\[0\] must name a connection and a model"),
    "a number": ([("backup", 3.5), 7], r"fallbacks\[1\] must be a pair"),
    "a list for a model": ([("backup", ["m"])], r"model of fallbacks\[0\] must be a text"),
    "twice": ([("backup", "m"), ("backup", "m")], r"fallbacks\[1\] is \('backup', 'm'\), which is in"),
}


@pytest.mark.parametrize(("value", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_fallback_is_refused_when_the_dag_is_parsed(value, said):
    """The message names the element."""
    with pytest.raises(exceptions.VeoRequestError, match=said):
        operator(fallbacks=value)


def test_the_first_route_is_no_fallback(sandbox, backup):
    """Its model may be the connection's default, so this is known when the task runs."""
    with pytest.raises(AirflowFailException, match=r"fallbacks\[0\] is the connection veo_default and"):
        make(fallbacks=[("veo_default", FAST)])


def test_fallbacks_are_templated(sandbox, backup, s3):
    """Each text in them is a template, and what renders to nothing is refused."""
    refuse(sandbox, NO_CHANNEL)
    task = operator(fallbacks=[("{{ params.conn }}", "{{ params.model }}")])
    task.render_template_fields({"params": {"conn": "backup", "model": STANDARD}})
    task.execute({"ti": batches.Instance()})
    assert accepted(backup) == [1]
    task = operator(fallbacks=[("{{ params.conn }}", "{{ params.model }}")])
    task.render_template_fields({"params": {"conn": "backup", "model": ""}})
    with pytest.raises(AirflowFailException, match=r"fallbacks\[0\] must name a connection and a model"):
        task.execute({"ti": batches.Instance("tuesday")})
