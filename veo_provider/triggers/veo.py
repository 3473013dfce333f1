"""What waits in the triggerer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from veo_provider.api.errors import VeoAPIError, VeoConnectionError, VeoError, VeoRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from veo_provider.api.aio import AsyncVeoClient
    from veo_provider.api.video import Video

FIRST_EVENT_SECONDS = 6.0
"""Airflow's scheduler takes a task that resumes sooner after its deferral for a lost one, and fails it."""


class VeoTaskTrigger(BaseTrigger):
    """Wait for a generation, through any outage, until a deadline.

    Sends one event: ``{"status": "finished", "video": {…}}``, ``{"status": "timeout"}``, or
    ``{"status": "error", "message": …}`` for an error that waiting cannot mend.

    :param veo_task_id: the API's task id.
    :param veo_conn_id: connection of type ``veo``; its secrets are looked up here and stored nowhere.
    :param poll_interval: seconds between two looks at the status.
    :param deadline: Unix seconds at which to give up; absolute, so that a restart does not prolong it.
    """

    def __init__(self, veo_task_id: str, veo_conn_id: str, poll_interval: float, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow left this one untyped
        self.veo_task_id = veo_task_id
        self.veo_conn_id = veo_conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to rebuild this trigger; no secret is among it."""
        return (
            "veo_provider.triggers.veo.VeoTaskTrigger",
            {
                "veo_task_id": self.veo_task_id,
                "veo_conn_id": self.veo_conn_id,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the one event."""
        await asyncio.sleep(FIRST_EVENT_SECONDS)
        try:
            async with await self._connect() as client:
                video = await self._wait(client)
        except VeoError as error:
            yield TriggerEvent({"status": "error", "message": str(error)})
            return
        if video is None:
            yield TriggerEvent({"status": "timeout"})
            return
        yield TriggerEvent({"status": "finished", "video": video.to_dict()})

    async def _connect(self) -> AsyncVeoClient:
        """Look the connection up, again and again while Airflow's own API or database is away.

        :raises VeoError: the connection cannot be used, or was not to be had before the deadline.
        """
        from airflow.providers.common.compat.sdk import AirflowNotFoundException

        from veo_provider.hooks.veo import VeoHook

        while True:
            try:
                return await VeoHook(self.veo_conn_id).get_async_conn()
            except VeoError:
                raise
            except AirflowNotFoundException as error:
                raise VeoRequestError(f"There is no connection {self.veo_conn_id}: {error}.") from error
            # The database, the API server or a secrets backend: each has errors of its own.
            except Exception as error:
                if time.time() >= self.deadline:
                    raise VeoConnectionError(
                        f"The connection {self.veo_conn_id} was not to be had."
                    ) from error
                self.log.warning("The connection %s is not to be had now. Waiting on.", self.veo_conn_id)
                await asyncio.sleep(self.poll_interval)

    async def _wait(self, client: AsyncVeoClient) -> Video | None:
        """Return the finished video, or None when the deadline has passed.

        :raises VeoError: an error that waiting cannot mend.
        """
        while True:
            pause = self.poll_interval
            try:
                video = await client.get(self.veo_task_id)
            except VeoError as error:
                if not error.temporary:
                    raise
                self.log.warning("%s Waiting on.", error)
                pause = max(pause, _asked_pause(error))
            else:
                self.log.info("%s is %s (%d %%).", video.id, video.status.value, video.progress)
                if video.finished:
                    return video
            left = self.deadline - time.time()
            if left <= 0:
                return None
            await asyncio.sleep(min(pause, left))


def _asked_pause(error: VeoError) -> float:
    """Return the seconds that the service asked to wait."""
    return (error.retry_after or 0) if isinstance(error, VeoAPIError) else 0


class VeoClaimTrigger(BaseTrigger):
    """Give another attempt, which is submitting the same video, the time to do so.

    Sends one event: ``{"status": "claim"}``. The task that resumes reads the receipt again.

    :param seconds: how long to wait.
    """

    def __init__(self, seconds: float = 15.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow left this one untyped
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to rebuild this trigger."""
        return "veo_provider.triggers.veo.VeoClaimTrigger", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the one event."""
        await asyncio.sleep(max(self.seconds, FIRST_EVENT_SECONDS))
        yield TriggerEvent({"status": "claim"})
        return
