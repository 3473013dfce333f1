"""The session that all waits on a connection share; no call to the service is made here."""

import asyncio
import json
import time

import pytest

from veo_provider.exceptions import VeoAuthenticationError, VeoRequestError
from veo_provider.hooks import veo as hook_module
from veo_provider.hooks.veo import VeoHook, VeoSettings
from veo_provider.polling.session import shared_session


@pytest.fixture
def connection(monkeypatch):
    """A connection that permits one call in a hundred seconds."""
    fields = {"conn_type": "veo", "password": "sk-x", "extra": {"polls_per_second": 0.01}}
    monkeypatch.setenv("AIRFLOW_CONN_VEO_SLOW", json.dumps(fields))
    return "veo_slow"


def soon():
    return time.time() + 300


def test_each_event_loop_has_its_own_session(connection):
    """``dag.test()`` runs each trigger in a new loop, to which nothing of an earlier loop may belong."""

    async def opened():
        async with shared_session(connection) as session:
            assert shared_session(connection) is session
            async with shared_session("veo_other") as other:
                assert other is not session
            return session

    assert asyncio.run(opened()) is not asyncio.run(opened())


async def test_a_permit_that_is_not_available_in_time_is_not_given(connection):
    """The first one is available at once, even after the time is up; the next one is not."""
    async with shared_session(connection) as session:
        assert await session.acquire(soon())
        assert not await session.acquire(time.time() - 1)
        assert await session.get("task_x", time.time() + 0.01) is None


async def test_a_connection_that_does_not_exist_is_named():
    """It is an error of this package, which ends the wait with what to do."""
    async with shared_session("nowhere") as session:
        with pytest.raises(VeoRequestError, match="There is no connection nowhere"):
            await session.acquire(soon())


async def test_an_unexpected_error_is_no_timeout(connection, monkeypatch):
    """A wait that cannot even make its client fails with the reason, instead of running out of time."""

    async def broken(_settings):
        raise ImportError("no HTTP library")

    monkeypatch.setattr(VeoSettings, "async_client", broken)
    async with shared_session(connection) as session:
        with pytest.raises(ImportError, match="no HTTP library"):
            await session.acquire(soon())


@pytest.fixture
def airflow(monkeypatch):
    """Airflow's database fails as often as ``failures`` says; ``asked`` counts the attempts."""

    class Airflow:
        failures, asked = 0, 0

    async def look_up(hook):
        Airflow.asked += 1
        if Airflow.asked <= Airflow.failures:
            raise OSError("no route to the database")
        return await really_look_up(hook)

    really_look_up = VeoHook.get_async_settings
    monkeypatch.setattr(VeoHook, "get_async_settings", look_up)
    monkeypatch.setattr(hook_module, "LOOK_UP_PAUSE", 0.0)
    return Airflow


async def test_the_settings_are_read_until_airflow_responds(connection, airflow):
    """However long its database is away."""
    airflow.failures = 20
    assert (await VeoHook(connection).wait_for_settings()).polls_per_second == 0.01
    assert airflow.asked == 21


async def test_attempts_to_read_the_settings_may_be_limited(connection, airflow):
    """Then the last error is raised as it is."""
    airflow.failures = 20
    with pytest.raises(OSError, match="no route"):
        await VeoHook(connection).wait_for_settings(max_attempts=3)
    assert airflow.asked == 3


async def test_a_wrong_connection_is_not_waited_for(airflow, monkeypatch):
    """What is wrong with it does not pass with time."""
    monkeypatch.setenv("AIRFLOW_CONN_VEO_KEYLESS", '{"conn_type": "veo"}')
    with pytest.raises(VeoAuthenticationError):
        await VeoHook("veo_keyless").wait_for_settings()
    assert airflow.asked == 1
