"""The line that waits share: one look-up, one session, one pace; against the sandbox."""

import asyncio
import gc
import json
import subprocess
import sys
import time

import pytest
from support.moments import PATIENCE

from veo_provider import exceptions
from veo_provider.hooks import veo as hook_module
from veo_provider.hooks.veo import VeoHook
from veo_provider.polling import session as line_module
from veo_provider.polling.session import shared_session
from veo_provider.triggers.veo import VeoTaskTrigger

pytestmark = pytest.mark.usefixtures("connections")


@pytest.fixture
def connect(sandbox, monkeypatch):
    """Changes the connection in Airflow."""

    def connect(**changes):
        connection = {**json.loads(sandbox.veo_conn()), **changes}
        monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", json.dumps(connection))

    return connect


def trigger(veo_task_id, *, left=PATIENCE):
    return VeoTaskTrigger(veo_task_id, "veo_default", 0.1, time.time() + left)


async def event_of(trigger):
    (event,) = [event async for event in trigger.run()]
    return event.payload


def soon():
    return time.time() + PATIENCE


async def until(condition):
    """Let the event loop go on until something has happened."""
    while not condition():  # noqa: ASYNC110  # what happens has no event of its own
        await asyncio.sleep(0.01)


COUNTING = """
import asyncio, json, os, time
from airflow.secrets import BaseSecretsBackend

asked = []

class Backend(BaseSecretsBackend):
    def get_conn_value(self, conn_id, **_):
        asked.append(conn_id)
        return os.environ["CONNECTION"]

async def wait(veo_task_id):
    from veo_provider.triggers.veo import VeoTaskTrigger

    (event,) = [e async for e in VeoTaskTrigger(veo_task_id, "veo_default", 0.1, time.time() + 600).run()]
    return event.payload["status"]

async def main():
    from veo_provider.triggers import veo

    veo.FIRST_EVENT_SECONDS = 0.0
    events = await asyncio.gather(*(wait(os.environ["VIDEO"]) for _ in range(200)))
    print(json.dumps([sorted(set(events)), asked]))
"""


def test_many_waits_need_one_look_up(sandbox, completed, tmp_path, monkeypatch):
    """However many begin together, Airflow's secrets backend is asked once."""
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "counting.Backend")
    monkeypatch.setenv("CONNECTION", sandbox.veo_conn())
    monkeypatch.setenv("VIDEO", completed)
    # Airflow first: it imports the backend while it is imported itself.
    code = "import airflow.secrets, asyncio, counting; asyncio.run(counting.main())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [["finished"], ["veo_default"]]


async def test_waits_share_a_line_and_the_last_one_closes_it(completed):
    """It is one object while anybody uses it, and its session is closed when nobody does."""
    async with shared_session("veo_default") as first, shared_session("veo_default") as second:
        assert first is second
        await asyncio.gather(*(first.get(completed, soon()) for _ in range(20)))
        session = first._client._session
        assert not session.closed
    assert session.closed
    assert line_module._sessions == {}


async def test_another_call_takes_its_turn_as_well(sandbox, completed):
    """A submission waits while the service wants to be left alone, as the looks do."""
    async with shared_session("veo_default") as line:
        assert await line.acquire(soon())
        sandbox.add_faults([{"call": "poll", "status": 429, "headers": {"Retry-After": "600"}}])
        with pytest.raises(exceptions.VeoRateLimitError):
            await line.get(completed, soon())
        assert not await line.acquire(time.time())


async def test_cancelled_waits_let_go_of_the_line(queued, at_once):
    """A triggerer that hands its triggers over leaves no session behind."""
    waits = [asyncio.ensure_future(event_of(trigger(queued))) for _ in range(20)]
    await until(lambda: line_module._sessions and next(iter(line_module._sessions.values()))._client)
    (line,) = line_module._sessions.values()
    await until(lambda: line._client._session)
    session = line._client._session
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    assert session.closed
    assert line_module._sessions == {}
    # An unclosed session would say so now, and warnings are errors here.
    gc.collect()


async def test_cancelled_while_looking_up_nothing_is_left(queued, at_once, monkeypatch):
    """The look-up ends with the last wait."""
    looking = asyncio.Event()

    async def hang(_hook):
        looking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(VeoHook, "get_async_settings", hang)
    wait = asyncio.ensure_future(event_of(trigger(queued)))
    await looking.wait()
    wait.cancel()
    await asyncio.gather(wait, return_exceptions=True)
    assert line_module._sessions == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_key_that_was_changed_is_found_upon_a_refusal(sandbox, completed, connect):
    """A 401 ends a wait only if the connection says nothing new."""
    connect(password="sk-old")
    async with shared_session("veo_default") as line:
        with pytest.raises(exceptions.VeoAuthenticationError):
            await line.get(completed, soon())
        connect(password=sandbox.api_key)
        videos = await asyncio.gather(*(line.get(completed, soon()) for _ in range(20)))
    assert {video.status.value for video in videos} == {"completed"}


async def test_a_refused_key_ends_all_waits_after_few_look_ups(queued, connect, at_once, monkeypatch):
    """They share the look-up that says that nothing has changed."""
    made, real = [], VeoHook.get_async_settings

    async def counted(hook):
        made.append(hook)
        return await real(hook)

    monkeypatch.setattr(VeoHook, "get_async_settings", counted)
    connect(password="sk-wrong")
    events = await asyncio.gather(*(event_of(trigger(queued)) for _ in range(10)))
    assert {event["status"] for event in events} == {"error"}
    assert 2 <= len(made) <= 11


async def test_a_changed_connection_reaches_running_waits_in_passing(
    completed, sandbox, connect, monkeypatch
):
    """Every few minutes it is looked up again; meanwhile, what it said before is good enough."""
    async with shared_session("veo_default") as line:
        await line.get(completed, soon())
        before = line._client
        monkeypatch.setattr(line_module, "CONNECTION_TTL", 0.0)
        connect(host=sandbox.api.replace("127.0.0.1", "localhost"), extra={"polls_per_second": 7})
        await line.get(completed, soon())
        await until(lambda: line._client is not before)
        assert line._rate_limiter.limit == 7
        assert (await line.get(completed, soon())).finished
        assert line._client.base_url.startswith("http://localhost")


@pytest.mark.parametrize("connection", [None, '{"conn_type": "veo"}'], ids=["gone", "without a key"])
async def test_a_look_up_that_fails_changes_nothing(completed, monkeypatch, connection):
    """A connection that cannot be read any more is used on as it was."""
    async with shared_session("veo_default") as line:
        await line.get(completed, soon())
        monkeypatch.setattr(line_module, "CONNECTION_TTL", 0.0)
        if connection is None:
            monkeypatch.delenv("AIRFLOW_CONN_VEO_DEFAULT")
        else:
            monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", connection)
        await line.get(completed, soon())
        await until(lambda: line._connection_error)
        assert (await line.get(completed, soon())).finished


@pytest.fixture
def airflow_is_away(monkeypatch):
    """Airflow's database or API does not answer; returns the event that brings it back.

    Its ``asked`` counts the attempts to look the connection up.
    """
    back, real = asyncio.Event(), VeoHook.get_async_settings
    back.asked = 0

    async def look_up(hook):
        back.asked += 1
        if not back.is_set():
            raise OSError("no route to the API server")
        return await real(hook)

    monkeypatch.setattr(VeoHook, "get_async_settings", look_up)
    monkeypatch.setattr(hook_module, "LOOK_UP_PAUSE", 0.01)
    return back


async def test_an_outage_of_airflow_is_waited_out(completed, at_once, airflow_is_away):
    """While the connection is not to be had, waits wait on."""
    waits = [asyncio.ensure_future(event_of(trigger(completed))) for _ in range(5)]
    await until(lambda: airflow_is_away.asked > 3)
    assert not any(wait.done() for wait in waits)
    airflow_is_away.set()
    assert {event["status"] for event in await asyncio.gather(*waits)} == {"finished"}


async def test_an_outage_of_airflow_is_no_reason_to_miss_the_deadline(completed, at_once, airflow_is_away):
    """It is a timeout then, after which a retry waits on; nothing is known to be wrong."""
    assert await event_of(trigger(completed, left=0.2)) == {"status": "timeout"}


async def test_a_rate_limit_holds_back_everybody(sandbox, client, request_4s):
    """After one 429 no wait on the connection calls before the time that it names."""
    video = client.submit(request_4s)
    sandbox.add_faults([{"call": "poll", "occurrence": 1, "status": 429, "headers": {"Retry-After": "600"}}])
    async with shared_session("veo_default") as line:
        with pytest.raises(exceptions.VeoRateLimitError):
            await line.get(video.id, soon())
        polls = sandbox.tasks()[0]["polls"]
        assert await asyncio.gather(*(line.get(video.id, time.time() + 0.2) for _ in range(5))) == [None] * 5
    assert sandbox.tasks()[0]["polls"] == polls


async def test_a_deadline_is_kept_while_queueing(sandbox, queued, connect, at_once):
    """A wait whose turn does not come in time sends its timeout all the same, and asks nothing."""
    connect(extra={"polls_per_second": 0.01})
    async with shared_session("veo_default") as line:
        await line.get(queued, soon())
        assert await event_of(trigger(queued, left=0.3)) == {"status": "timeout"}
    assert sandbox.tasks()[0]["polls"] == 1
