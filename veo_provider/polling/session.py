"""The one line to the service that all waits on a connection share."""

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
"""Seconds after which the connection is looked up again: a key changed in Airflow reaches all waits."""
LOOK_UP_PAUSE = 8.0
"""Seconds between two attempts to look it up, while Airflow's own API or database is away."""

_lines: dict[tuple[asyncio.AbstractEventLoop, str], PollingSession] = {}
"""The lines in use: a triggerer has one event loop for all triggers, ``dag.test()`` a new one for each."""


def shared_session(veo_conn_id: str) -> PollingSession:
    """Return the line of a connection that all on this event loop share, to be used with ``async with``.

    :param veo_conn_id: connection of type ``veo``; its secrets are looked up here and stored nowhere.
    """
    key = (asyncio.get_running_loop(), veo_conn_id)
    return _lines.get(key) or _lines.setdefault(key, PollingSession(veo_conn_id))


class PollingSession:
    """One session, one connection that was looked up, and one pace; the last user to leave closes it.

    :func:`line_to` hands it out. A generator as context manager would be two more objects for each of
    thousands of waits, which every garbage collection walks over while the event loop stands still.

    :param veo_conn_id: connection of type ``veo``.
    """

    def __init__(self, veo_conn_id: str) -> None:
        self.users = 0
        self._loop = asyncio.get_running_loop()
        self._veo_conn_id = veo_conn_id
        self._pace = AdaptiveRateLimiter(DEFAULT_POLLS_PER_SECOND)
        self._settings: VeoSettings | None = None
        self._client: AsyncVeoClient | None = None
        self._former_client: AsyncVeoClient | None = None
        self._look_up: asyncio.Task[None] | None = None
        self._looked_up_at = 0.0
        self._trouble: VeoError | None = None

    async def __aenter__(self) -> Self:
        self.users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.users -= 1
        if not self.users:
            del _lines[self._loop, self._veo_conn_id]
            await self.close()

    async def get(self, veo_task_id: str, until: float) -> Video | None:
        """Ask how a generation stands, in one's turn; None if that does not come in time.

        :param until: Unix seconds at which to give up. What is possible at once is done even when it is past.
        :raises VeoError: the service answered with an error, no answer came, or the connection is no good.
        """
        client = await self._connect(until)
        if client is None or not await self._pace.acquire(until - time.time()):
            return None
        # The connection may have been looked up anew while this wait was queueing.
        client, called_at = self._client or client, self._loop.time()
        try:
            video = await client.get(veo_task_id)
        except VeoRateLimitError as error:
            self._pace.on_throttled(called_at, error.retry_after)
            raise
        except VeoAuthenticationError:
            # The key may have been changed meanwhile, here and there.
            if not await self._has_changed(client, called_at, until):
                raise
            return await self.get(veo_task_id, until)
        self._pace.on_success()
        return video

    async def turn(self, until: float) -> bool:
        """Wait for one's turn to submit, before all who only look; False if that does not come in time.

        :param until: Unix seconds at which to give up.
        :raises VeoError: the connection is no good.
        """
        connected = await self._connect(until) is not None
        return connected and await self._pace.acquire(until - time.time(), priority=True)

    async def close(self) -> None:
        """Close the connections."""
        if self._look_up is not None:
            self._look_up.cancel()
        for client in (self._client, self._former_client):
            if client is not None:
                await client.close()

    async def _connect(self, until: float) -> AsyncVeoClient | None:
        """Return the client; where none is known yet, wait for the look-up.

        :raises VeoError: there is no such connection, or it is no good.
        """
        if self._client is None:
            await asyncio.wait({self._looking_up()}, timeout=_left(until))
            if self._trouble is not None:
                raise self._trouble.with_traceback(None)
        elif self._loop.time() > self._looked_up_at + CONNECTION_TTL:
            self._looking_up()
        return self._client

    async def _has_changed(self, client: AsyncVeoClient, called_at: float, until: float) -> bool:
        """Look the connection up, unless that was done after a call; whether it differs from the client's."""
        while self._client is client and self._looked_up_at < called_at:
            done, _ = await asyncio.wait({self._looking_up()}, timeout=_left(until))
            if not done:
                break
        return self._client is not client

    def _looking_up(self) -> asyncio.Task[None]:
        """Return the look-up under way, or begin one: a thousand waits need no more than that."""
        if self._look_up is None or self._look_up.done():
            self._look_up = self._loop.create_task(self._look_up_until_known())
        return self._look_up

    async def _look_up_until_known(self) -> None:
        """Look the connection up, again and again while Airflow's own API or database is away."""
        from airflow.providers.common.compat.sdk import AirflowNotFoundException

        while True:
            began = self._loop.time()
            try:
                await self._use(await VeoHook(self._veo_conn_id).get_async_settings())
                self._trouble = None
            except VeoError as error:
                self._trouble = error
            except AirflowNotFoundException as error:
                self._trouble = VeoRequestError(f"There is no connection {self._veo_conn_id}: {error}.")
            # The database, the API server or a secrets backend: each has errors of its own.
            except Exception as error:  # noqa: BLE001
                log.warning(
                    "The connection %s is not to be had now (%s).", self._veo_conn_id, type(error).__name__
                )
                await asyncio.sleep(LOOK_UP_PAUSE)
                continue
            self._looked_up_at = began
            if self._trouble is not None and self._client is not None:
                log.warning("%s Waiting on with what the connection said before.", self._trouble)
            return

    async def _use(self, settings: VeoSettings) -> None:
        """Call with these settings from now on."""
        if settings == self._settings:
            return
        client = await settings.async_client()
        leaving, self._former_client, self._client = self._former_client, self._client, client
        self._pace.limit = settings.polls_per_second
        self._settings = settings
        # Calls may be under way on the former one; those of the one before have long ended.
        if leaving is not None:
            await leaving.close()


def _left(until: float) -> float:
    return max(0.0, until - time.time())
