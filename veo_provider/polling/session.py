"""The HTTP session, connection settings and rate limit that all waits on one connection share."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from veo_provider.concurrency.rate_limiter import AdaptiveRateLimiter
from veo_provider.exceptions import VeoAuthenticationError, VeoError, VeoRateLimitError, VeoRequestError
from veo_provider.hooks.veo import DEFAULT_POLLS_PER_SECOND, VeoHook

if TYPE_CHECKING:
    from typing_extensions import Self

    from veo_provider.api.async_client import AsyncVeoClient
    from veo_provider.api.video import Video
    from veo_provider.hooks.veo import VeoSettings

log = logging.getLogger(__name__)

CONNECTION_TTL = 300.0
"""Seconds after which the connection is read again, so that a key changed in Airflow reaches all waits."""

_sessions: dict[tuple[asyncio.AbstractEventLoop, str], PollingSession] = {}
"""The open sessions: a triggerer has one event loop for all triggers, ``dag.test()`` a new one for each."""


def shared_session(veo_conn_id: str) -> PollingSession:
    """Return the session that all users of a connection on this event loop share; use it in ``async with``.

    :param veo_conn_id: connection of type ``veo``; its secrets are read here and stored nowhere.
    """
    key = (asyncio.get_running_loop(), veo_conn_id)
    return _sessions.get(key) or _sessions.setdefault(key, PollingSession(veo_conn_id))


class PollingSession:
    """One HTTP session, one set of connection settings and one rate limit; the last user closes it.

    Get it from :func:`shared_session`. It is its own context manager: a generator would add two objects to
    each of thousands of waits, and a full garbage collection, which blocks the event loop, visits them all.

    :param veo_conn_id: connection of type ``veo``.
    """

    def __init__(self, veo_conn_id: str) -> None:
        self.users = 0
        self._loop = asyncio.get_running_loop()
        self._veo_conn_id = veo_conn_id
        self._rate_limiter = AdaptiveRateLimiter(DEFAULT_POLLS_PER_SECOND)
        self._settings: VeoSettings | None = None
        self._client: AsyncVeoClient | None = None
        self._former_client: AsyncVeoClient | None = None
        self._refresh: asyncio.Task[None] | None = None
        self._refreshed_at = 0.0
        self._connection_error: VeoError | None = None

    async def __aenter__(self) -> Self:
        self.users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.users -= 1
        if not self.users:
            del _sessions[self._loop, self._veo_conn_id]
            await self.close()

    async def get(self, veo_task_id: str, until: float) -> Video | None:
        """Poll a generation within the rate limit; None if there is no permit in time.

        :param until: Unix seconds at which to give up. A permit that is available at once is used even later.
        :raises VeoError: the service responded with an error or not at all, or the connection is wrong.
        """
        client = await self._connect(until)
        if client is None or not await self._rate_limiter.acquire(until - time.time()):
            return None
        # While this poll was queueing, the connection may have changed.
        client, started_at = self._client or client, self._loop.time()
        try:
            video = await client.get(veo_task_id)
        except VeoRateLimitError as error:
            self._rate_limiter.on_throttled(started_at, error.retry_after)
            raise
        except VeoAuthenticationError:
            # The key may have been replaced meanwhile, both at the service and in Airflow.
            if not await self._has_changed(client, started_at, until):
                raise
            return await self.get(veo_task_id, until)
        self._rate_limiter.on_success()
        return video

    async def acquire(self, until: float) -> bool:
        """Wait for the permit to submit, ahead of all polls; False if there is none in time.

        :param until: Unix seconds at which to give up.
        :raises VeoError: the connection is wrong.
        """
        connected = await self._connect(until) is not None
        return connected and await self._rate_limiter.acquire(until - time.time(), priority=True)

    async def close(self) -> None:
        """Close the HTTP connections."""
        if self._refresh is not None:
            self._refresh.cancel()
        for client in (self._client, self._former_client):
            if client is not None:
                await client.close()

    async def _connect(self, until: float) -> AsyncVeoClient | None:
        """Return the client; before the connection has been read, wait for that.

        :raises VeoError: there is no such connection, or it is wrong.
        """
        if self._client is None:
            refresh = self._refreshing()
            await asyncio.wait({refresh}, timeout=_seconds_until(until))
            if self._connection_error is not None:
                raise self._connection_error.with_traceback(None)
            if refresh.done():
                refresh.result()
        elif self._loop.time() > self._refreshed_at + CONNECTION_TTL:
            self._refreshing()
        return self._client

    async def _has_changed(self, client: AsyncVeoClient, started_at: float, until: float) -> bool:
        """Return whether the connection differs from the client's, as of a call's start or later."""
        while self._client is client and self._refreshed_at < started_at:
            done, _ = await asyncio.wait({self._refreshing()}, timeout=_seconds_until(until))
            if not done:
                break
        return self._client is not client

    def _refreshing(self) -> asyncio.Task[None]:
        """Return the running refresh, or start one: a thousand waits share it."""
        if self._refresh is None or self._refresh.done():
            self._refresh = self._loop.create_task(self._read_connection())
        return self._refresh

    async def _read_connection(self) -> None:
        """Read the connection, waiting until Airflow responds, and use it from now on."""
        from airflow.providers.common.compat.sdk import AirflowNotFoundException

        started_at = self._loop.time()
        try:
            await self._use(await VeoHook(self._veo_conn_id).wait_for_settings())
            self._connection_error = None
        except VeoError as error:
            self._connection_error = error
        except AirflowNotFoundException as error:
            self._connection_error = VeoRequestError(f"There is no connection {self._veo_conn_id}: {error}.")
        finally:
            self._refreshed_at = started_at
        if self._connection_error is not None and self._client is not None:
            log.warning("%s Continuing with its earlier settings.", self._connection_error)

    async def _use(self, settings: VeoSettings) -> None:
        """Use these settings from now on."""
        if settings == self._settings:
            return
        client = await settings.async_client()
        unused, self._former_client, self._client = self._former_client, self._client, client
        self._rate_limiter.limit = settings.polls_per_second
        self._settings = settings
        # Calls may be in flight on the former client; those on the one before it ended long ago.
        if unused is not None:
            await unused.close()


def _seconds_until(until: float) -> float:
    return max(0.0, until - time.time())
