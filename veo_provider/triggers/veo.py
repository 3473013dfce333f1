"""What waits in the triggerer."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.triggers.base import BaseTrigger, TriggerEvent

from veo_provider.exceptions import VeoError
from veo_provider.generation.state_machine import CLAIM_POLL_SECONDS
from veo_provider.polling.poller import LATE_LOOK_SECONDS, Poller
from veo_provider.polling.session import shared_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.providers.common.compat.sdk import BaseOperator

    from veo_provider.api.video import Video

# Airflow's ``self.log`` keeps three objects for each wait, which every garbage collection walks over.
log = logging.getLogger(__name__)

FIRST_EVENT_SECONDS = 6.0
"""Airflow's scheduler takes a task that resumes sooner after its deferral for a lost one, and fails it."""
_TRIGGERER_GRACE = timedelta(minutes=5)


class VeoTaskTrigger(BaseTrigger):
    """Wait for a generation, through any outage, until a deadline.

    Sends one event: ``{"status": "finished", "video": {…}}``, ``{"status": "timeout"}``, or
    ``{"status": "error", "message": …, "what": …}`` for an error that waiting cannot mend. Each carries the
    ``request`` that the trigger was given. All waits on a connection share one session, one look-up of the
    connection and one pace.

    :param veo_task_id: the API's task id.
    :param veo_conn_id: connection of type ``veo``; its secrets are looked up here and stored nowhere.
    :param poll_interval: seconds between two looks at the status; None for the schedule that is learned from
        what generations take.
    :param deadline: Unix seconds at which to give up; absolute, so that a restart does not prolong it.
    :param model: the model's id, for the schedule.
    :param resolution: the resolution, for the schedule.
    :param submitted_at: Unix seconds of the submission, for the schedule.
    :param request: the task's template fields as they rendered when it first ran, for its resumption.
    """

    def __init__(
        self,
        veo_task_id: str,
        veo_conn_id: str,
        poll_interval: float | None,
        deadline: float,
        model: str = "",
        resolution: str = "",
        submitted_at: float | None = None,
        request: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow left this one untyped
        self.veo_task_id = veo_task_id
        self.veo_conn_id = veo_conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.model = model
        self.resolution = resolution
        self.submitted_at = submitted_at
        self.request = request

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to rebuild this trigger; no secret is among it."""
        return (
            "veo_provider.triggers.veo.VeoTaskTrigger",
            {
                "veo_task_id": self.veo_task_id,
                "veo_conn_id": self.veo_conn_id,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "model": self.model,
                "resolution": self.resolution,
                "submitted_at": self.submitted_at,
                **_given(self.request),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the one event."""
        try:
            video = await self._wait()
        except VeoError as error:
            event: dict[str, Any] = {
                "status": "error",
                "message": str(error),
                "what": f"{error.what} {error.advice}",
            }
        else:
            finished = {"status": "finished", "video": video.to_dict()} if video else None
            event = finished or {"status": "timeout"}
        yield TriggerEvent({**event, **_given(self.request)})
        return

    async def _wait(self) -> Video | None:
        """Return the finished video, or None when the deadline has passed.

        :raises VeoError: an error that waiting cannot mend.
        """
        waiting = Poller(
            self.poll_interval,
            model=self.model,
            resolution=self.resolution,
            submitted_at=self.submitted_at,
        )
        # Whoever deferred has just looked.
        await asyncio.sleep(max(FIRST_EVENT_SECONDS, min(waiting.pause(), self.deadline - time.time())))
        # After a deadline that nobody was there to keep, there is one look all the same.
        last_turn = self.deadline if self.deadline > time.time() else time.time() + LATE_LOOK_SECONDS
        async with shared_session(self.veo_conn_id) as line:
            while True:
                try:
                    video = await line.get(self.veo_task_id, until=last_turn)
                except VeoError as error:
                    if waiting.ends_with(error):
                        raise
                    pause = waiting.pause_after(error)
                    if waiting.is_news(error.what):
                        log.warning("%s Waiting on.", error)
                else:
                    if video is None:
                        return None
                    waiting.saw(video)
                    if waiting.is_news(video.status):
                        log.info("%s is %s (%d %%).", video.id, video.status.value, video.progress)
                    if video.finished:
                        return video
                    pause = waiting.pause()
                left = self.deadline - time.time()
                if left <= 0:
                    return None
                await asyncio.sleep(min(pause, left))


def defer_to(trigger: VeoTaskTrigger, operator: BaseOperator, timeout: float) -> NoReturn:
    """Defer an operator until the trigger's event, which its ``execute_complete`` takes.

    :param timeout: seconds to the trigger's deadline, which it keeps itself; where no triggerer runs it,
        Airflow ends the wait a little later.
    """
    operator.defer(
        trigger=trigger,
        method_name="execute_complete",
        timeout=timedelta(seconds=timeout) + _TRIGGERER_GRACE,
    )
    raise AssertionError("defer() has raised TaskDeferred")


class VeoClaimTrigger(BaseTrigger):
    """Give another attempt, which is submitting the same video, the time to do so.

    Sends one event: ``{"status": "claim"}``, with the ``request`` that it was given. The task that resumes
    reads the receipt again.

    :param seconds: how long to wait.
    :param request: the task's template fields as they rendered when it first ran, for its resumption.
    """

    def __init__(self, seconds: float = CLAIM_POLL_SECONDS, request: dict[str, Any] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow left this one untyped
        self.seconds = seconds
        self.request = request

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to rebuild this trigger."""
        kwargs = {"seconds": self.seconds, **_given(self.request)}
        return "veo_provider.triggers.veo.VeoClaimTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the one event."""
        await asyncio.sleep(max(self.seconds, FIRST_EVENT_SECONDS))
        yield TriggerEvent({"status": "claim", **_given(self.request)})
        return


def _given(request: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a trigger and its event carry of a request: nothing for a wait that has none."""
    return {} if request is None else {"request": request}
