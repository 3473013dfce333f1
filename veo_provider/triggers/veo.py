"""What waits in the triggerer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from veo_provider.api.errors import VeoAPIError, VeoError

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
        from veo_provider.hooks.veo import VeoHook

        try:
            async with await VeoHook(self.veo_conn_id).get_async_conn() as client:
                video = await self._wait(client)
        except VeoError as error:
            yield TriggerEvent({"status": "error", "message": str(error)})
            return
        if video is None:
            yield TriggerEvent({"status": "timeout"})
            return
        yield TriggerEvent({"status": "finished", "video": video.to_dict()})

    async def _wait(self, client: AsyncVeoClient) -> Video | None:
        """Return the finished video, or None when the deadline has passed.

        :raises VeoError: an error that waiting cannot mend.
        """
        pause = max(self.poll_interval, FIRST_EVENT_SECONDS)
        while True:
            left = self.deadline - time.time()
            await asyncio.sleep(max(min(pause, left), 0))
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
            if time.time() >= self.deadline:
                return None


def _asked_pause(error: VeoError) -> float:
    """Return the seconds that the service asked to wait."""
    return (error.retry_after or 0) if isinstance(error, VeoAPIError) else 0
