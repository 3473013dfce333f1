"""VeoTaskSensor and its trigger against the sandbox: outages, deadlines, failures."""

import time

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from support.moments import PATIENCE

from veo_provider.hooks.veo import VeoHook
from veo_provider.polling import poller
from veo_provider.polling import poller as poller_module
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.triggers import veo as trigger_module
from veo_provider.triggers.veo import VeoTaskTrigger

pytestmark = pytest.mark.usefixtures("connections")


async def event_of(trigger):
    """Run a trigger as the triggerer does, and return the one event's payload."""
    path, kwargs = trigger.serialize()
    assert path == f"{VeoTaskTrigger.__module__}.{VeoTaskTrigger.__name__}"
    (event,) = [event async for event in VeoTaskTrigger(**kwargs).run()]
    return event.payload


def wait(veo_task_id, *, left=PATIENCE, poll_interval=0.1):
    return VeoTaskTrigger(veo_task_id, "veo_default", poll_interval, time.time() + left)


def test_a_finished_video_is_told_without_deferring(completed):
    """Who comes late does not wait at all; the XCom value is a small dict."""
    result = VeoTaskSensor(task_id="wait", veo_task_id=completed).execute({})
    assert result["veo_task_id"] == completed
    assert result["status"] == "completed"
    assert result["completed_at"] >= result["created_at"] > 1_700_000_000
    assert set(result) == {"veo_task_id", "status", "created_at", "completed_at"}


def test_an_unfinished_one_is_deferred_with_an_absolute_deadline(queued, client, sandbox):
    """The trigger's kwargs hold ids, an interval, times and what is known of the video, and no secret."""
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=queued, timeout=600, poll_interval=9)
    began = time.time()
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute({})
    _, kwargs = deferral.value.trigger.serialize()
    assert began <= kwargs["deadline"] - 600 <= time.time()
    assert kwargs == {
        "veo_task_id": queued,
        "veo_conn_id": "veo_default",
        "poll_interval": 9,
        "deadline": kwargs["deadline"],
        "model": "veo-3.1-fast-generate-preview",
        "resolution": "",
        "submitted_at": client.get(queued).created_at,
    }
    assert sandbox.api_key not in repr(vars(deferral.value)) + repr(kwargs)
    # Where no triggerer runs, Airflow itself ends the wait, a little later.
    assert deferral.value.timeout.total_seconds() > 600


def test_the_sensors_own_interval_is_understood():
    """poke_interval means the same as poll_interval."""
    assert VeoTaskSensor(task_id="a", veo_task_id="x", poke_interval=5).poke_interval == 5
    defaults = {"poke_interval": 99}
    assert VeoTaskSensor(task_id="c", veo_task_id="x", default_args=defaults).poke_interval == 99
    assert VeoTaskSensor(task_id="d", veo_task_id="x", poke_interval=5).poll_interval == 5


def test_without_an_interval_the_schedule_counts(queued):
    """The trigger learns when to look; on a worker it is every eight seconds, as documented."""
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=queued)
    assert (sensor.poll_interval, sensor.poke_interval) == (None, 8)
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute({})
    assert deferral.value.trigger.serialize()[1]["poll_interval"] is None


async def test_a_trigger_of_an_older_release_is_read(completed, at_once):
    """Triggers that are in flight while the provider is upgraded have these arguments, and run on."""
    stored = {
        "veo_task_id": completed,
        "veo_conn_id": "veo_default",
        "poll_interval": 8,
        "deadline": time.time() + 60,
    }
    assert (await event_of(VeoTaskTrigger(**stored)))["status"] == "finished"


async def test_a_trigger_without_an_interval_brings_the_video(completed, at_once, monkeypatch):
    """The learned schedule leads to the same event."""
    monkeypatch.setattr(poller_module.Poller, "next_delay", lambda _: 0.05)
    kind = {"model": "veo-3.1-fast-generate-preview", "resolution": "720p", "submitted_at": time.time() - 90}
    trigger = VeoTaskTrigger(completed, "veo_default", None, time.time() + 60, **kind)
    assert (await event_of(trigger))["status"] == "finished"


async def test_the_trigger_brings_the_finished_video(client, request_4s, at_once):
    """The event carries what the sensor returns after its resumption."""
    video = client.submit(request_4s)
    event = await event_of(wait(video.id))
    result = VeoTaskSensor(task_id="wait", veo_task_id=video.id).execute_complete({}, event)
    assert (result["veo_task_id"], result["status"]) == (video.id, "completed")


async def test_the_trigger_outlasts_every_outage(client, sandbox, request_4s, at_once):
    """Resets, 5xx, 429, garbage and odd statuses while polling are waited out."""
    video = client.submit(request_4s)
    trouble = [
        {"reset": "before"},
        {"status": 503},
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"garbage": True},
        {"garbage": "json"},
        {"status": 408},
        {"task_status": "unknown"},
    ]
    sandbox.add_faults([{"call": "poll", "occurrence": n, **fault} for n, fault in enumerate(trouble, 1)])
    event = await event_of(wait(video.id))
    assert event["status"] == "finished"
    assert sandbox.faults()[-1]["matched"] == 1


@pytest.mark.parametrize(("conn_id", "status"), [("veo_default", "finished"), ("nowhere", "error")])
async def test_the_trigger_never_fires_in_the_first_seconds(completed, monkeypatch, conn_id, status):
    """Airflow takes a task that resumes too soon for a lost one, so any news waits."""
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(trigger_module.asyncio, "sleep", sleep)
    trigger = VeoTaskTrigger(completed, conn_id, 0.1, time.time() + 1)
    assert (await event_of(trigger))["status"] == status
    assert pauses == [trigger_module.FIRST_EVENT_SECONDS]


@pytest.mark.parametrize("outage", [False, True])
async def test_a_deadline_in_the_trigger_keeps_the_id(sandbox, queued, at_once, outage):
    """A timeout is no failure: it says that the id is still good, and what to do."""
    if outage:
        sandbox.add_faults([{"call": "poll", "reset": "before"}])
    event = await event_of(wait(queued, left=0.3))
    assert event == {"status": "timeout"}
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=queued, timeout=1)
    with pytest.raises(AirflowSensorTimeout, match=rf"{queued} was not finished.*Do not submit it again"):
        sensor.execute_complete({}, event)


async def test_a_deadline_that_has_passed_still_looks_once(completed, at_once):
    """A triggerer that was down past the deadline finds the video all the same."""
    assert (await event_of(wait(completed, left=-100)))["status"] == "finished"


async def test_a_failed_generation_ends_the_task_with_the_reason(client, sandbox, request_4s, at_once):
    """No retry of a sensor can mend a failed generation."""
    sandbox.add_faults([{"call": "submit", "fail": {"code": "video_failed", "message": "upstream broke"}}])
    video = client.submit(request_4s)
    event = await event_of(wait(video.id))
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=video.id)
    with pytest.raises(AirflowFailException, match=r"upstream broke.*not charged"):
        sensor.execute_complete({}, event)
    assert sandbox.charges()["count"] == 0


async def test_a_trigger_with_a_wrong_key_ends_at_once(sandbox, queued, at_once, monkeypatch):
    """Waiting does not mend a wrong key, nor a task that does not exist."""
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", sandbox.veo_conn().replace(sandbox.api_key, "sk-wrong"))
    event = await event_of(wait(queued))
    assert event["status"] == "error"
    with pytest.raises(AirflowFailException, match="Pay-per-request"):
        VeoTaskSensor(task_id="wait", veo_task_id=queued).execute_complete({}, event)


def test_a_task_that_does_not_exist_ends_the_wait(monkeypatch):
    """An id that the service does not know, again and again, is not waited for until the timeout."""
    monkeypatch.setattr(poller_module, "REFUSED_SECONDS", 0.0)
    sensor = VeoTaskSensor(
        task_id="wait", veo_task_id="task_" + "0" * 32, deferrable=False, poll_interval=0.01
    )
    with pytest.raises(AirflowFailException, match="task_not_exist"):
        sensor.execute({})


def look_once(veo_task_id, **fields):
    """Run a sensor that reschedules, as Airflow does: each look is a process with an operator of its own."""
    sensor = VeoTaskSensor(
        task_id="wait", veo_task_id=veo_task_id, deferrable=False, mode="reschedule", **fields
    )
    return sensor.poke({})


def test_a_look_of_its_own_outlasts_a_moment_without_the_id(client, sandbox, request_4s, no_pause):
    """A sensor that reschedules asks again before it ends, for it cannot count from look to look."""
    missing = {"code": "task_not_exist", "message": "task_not_exist", "data": None}
    video = client.submit(request_4s)
    sandbox.add_faults([{"call": "poll", "first": 3, "status": 404, "body": missing}])
    look_once(video.id)
    assert no_pause == [15.0] * 3


def test_a_look_of_its_own_believes_that_an_id_does_not_exist(sandbox, no_pause, monkeypatch):
    """After a minute and five denials the task ends, at its first look and not at its timeout."""
    monkeypatch.setattr(poller, "REFUSED_SECONDS", 0.0)
    with pytest.raises(AirflowFailException, match="task_not_exist"):
        look_once("task_" + "0" * 32)
    assert len(no_pause) == poller.REFUSED_POLLS - 1


@pytest.mark.parametrize("fault", [{"reset": "before"}, {"status": 503}, {"status": 429}, {"garbage": True}])
def test_a_look_of_its_own_leaves_an_outage_to_the_next(sandbox, queued, fault):
    """However many looks fail: only the sensor's timeout ends such a wait."""
    sandbox.add_faults([{"call": "poll", **fault}])
    for _ in range(7):
        assert look_once(queued).is_done is False


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("veo_task_id", [None, "", [], ["task_1"], {"id": "task_1"}, True, 2.5])
def test_what_is_no_id_ends_the_task_at_once(sandbox, veo_task_id, deferrable):
    """Nothing is asked of the service, and the error speaks of no video that could be fetched."""
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id, deferrable=deferrable)
    with pytest.raises(AirflowFailException, match=r"^veo_task_id=.* is not a task id"):
        sensor.execute({})


@pytest.mark.parametrize("deferrable", [True, False])
def test_an_id_may_be_too_new_to_be_known(client, sandbox, request_4s, deferrable):
    """A status that is not there in the first moments after the submission fails no task."""
    missing = {"code": "task_not_exist", "message": "task_not_exist", "data": None}
    video = client.submit(request_4s)
    sandbox.add_faults([{"call": "poll", "first": 3, "status": 404, "body": missing}])
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=video.id, deferrable=deferrable, poll_interval=0.1)
    if deferrable:
        with pytest.raises(TaskDeferred):
            sensor.execute({})
        return
    assert sensor.execute({})["status"] == "completed"


def test_poking_outlasts_an_outage(client, sandbox, request_4s):
    """Without a triggerer, on a worker, an outage is waited out as well."""
    video = client.submit(request_4s)
    sandbox.add_faults(
        [{"call": "poll", "first": 1, "reset": "before"}, {"call": "poll", "occurrence": 2, "status": 502}]
    )
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=video.id, deferrable=False, poll_interval=0.1)
    assert sensor.execute({})["status"] == "completed"


def test_poking_keeps_one_client_and_makes_another_after_a_refused_key(
    client, sandbox, request_4s, monkeypatch
):
    """The looks of one run share a connection; after a 401 it is looked up again before the task is ended."""
    made, real = [], VeoHook.get_conn

    def counted(hook):
        made.append(real(hook))
        return made[-1]

    monkeypatch.setattr(VeoHook, "get_conn", counted)
    sandbox.add_faults(
        [
            {"call": "poll", "first": 3, "task_status": "in_progress"},
            {"call": "poll", "occurrence": 4, "status": 401, "body": {"error": {"message": "expired"}}},
        ]
    )
    sensor = VeoTaskSensor(
        task_id="wait", veo_task_id=client.submit(request_4s).id, deferrable=False, poll_interval=0.1
    )
    assert sensor.execute({})["status"] == "completed"
    assert len(made) == 2
    assert sensor._client is None


def test_poking_times_out_with_the_id(queued):
    """The timeout of a poking sensor says the same as a trigger's."""
    sensor = VeoTaskSensor(
        task_id="wait", veo_task_id=queued, deferrable=False, poll_interval=0.05, timeout=0.2
    )
    with pytest.raises(AirflowSensorTimeout, match=f"{queued} was not finished"):
        sensor.execute({})


@pytest.mark.parametrize("soft", ["soft_fail", "never_fail"])
def test_a_soft_sensor_skips(client, sandbox, request_4s, soft):
    """With soft_fail or never_fail, a failed generation and a timeout skip the task."""
    sandbox.add_faults([{"call": "submit", "fail": True}])
    video = client.submit(request_4s)
    while not client.get(video.id).finished:
        time.sleep(0.05)
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=video.id, **{soft: True})
    with pytest.raises(AirflowSkipException, match="gave no reason"):
        sensor.execute({})
    with pytest.raises(AirflowSkipException, match="was not finished"):
        sensor.execute_complete({}, {"status": "timeout"})
