"""Triggers that wait for one generation, or for another attempt's claim."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.triggers.base import BaseTrigger, TriggerEvent

from veo_provider.exceptions import VeoError
from veo_provider.generation.state_machine import CLAIM_POLL_SECONDS
from veo_provider.polling.poller import Finished, PollAgain, Poller, Refused, TimedOut
from veo_provider.polling.session import shared_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.providers.common.compat.sdk import BaseOperator

    from veo_provider.api.video import Video
    from veo_provider.polling.poller import Decision
    from veo_provider.polling.session import PollingSession

# Airflow's ``self.log`` keeps three objects for each wait, all of which a full garbage collection visits.
log = logging.getLogger(__name__)

FIRST_EVENT_SECONDS = 6.0
"""A trigger that fires sooner makes Airflow's scheduler treat the task as lost, and fail it."""
_TRIGGERER_GRACE = timedelta(minutes=5)


class VeoTaskTrigger(BaseTrigger):
    """Wait for a generation, through any outage, until a deadline.

    Sends one event: ``{"status": "finished", "video": {…}}``, ``{"status": "timeout"}``, or
    ``{"status": "error", "message": …, "what": …}`` for an error that waiting cannot fix. Each carries the
    ``request`` that the trigger was given. All waits on a connection share one HTTP session, its settings and
    its rate limit.

    :param veo_task_id: the API's task id.
    :param veo_conn_id: connection of type ``veo``; its secrets are read here and stored nowhere.
    :param poll_interval: seconds between two polls of the status; None for the schedule that is learned from
        how long generations take.
    :param deadline: Unix seconds at which to give up; absolute, so that a restart does not extend it.
    :param model: the model's id, for the schedule.
    :param resolution: the resolution, for the schedule.
    :param submitted_at: Unix seconds of the submission, for the schedule.
    :param request: the task's template fields as rendered when it first ran, for when it resumes.
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
        """Return what the triggerer needs to rebuild this trigger; none of it is secret."""
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
        """Return the finished video, or None if the deadline has passed.

        :raises VeoError: an error that waiting cannot fix.
        """
        poller = Poller(
            self.poll_interval,
            deadline=self.deadline,
            model=self.model,
            resolution=self.resolution,
            submitted_at=self.submitted_at,
        )
        # The task polled just before it deferred.
        await asyncio.sleep(max(FIRST_EVENT_SECONDS, poller.next_delay()))
        async with shared_session(self.veo_conn_id) as session:
            while True:
                match await self._poll(session, poller):
                    case PollAgain(seconds):
                        await asyncio.sleep(seconds)
                    case Finished(video):
                        return video
                    case TimedOut():
                        return None
                    case Refused(error):
                        raise error

    async def _poll(self, session: PollingSession, poller: Poller) -> Decision:
        """Poll once, and log what is new."""
        try:
            video = await session.get(self.veo_task_id, until=poller.permit_deadline)
        except VeoError as error:
            decision = poller.on_error(error)
            if poller.has_news and isinstance(decision, PollAgain):
                log.warning("%s Polling again.", error)
            return decision
        decision = poller.on_video(video)
        if poller.has_news and video is not None:
            log.info("%s is %s (%d %%).", video.id, video.status.value, video.progress)
        return decision


def defer_to(trigger: VeoTaskTrigger, operator: BaseOperator, timeout: float) -> NoReturn:
    """Defer an operator until the trigger's event, with which it resumes in ``execute_complete``.

    :param timeout: seconds until the trigger's deadline, which the trigger keeps itself; if no triggerer runs
        it, Airflow ends the wait a little later.
    """
    operator.defer(
        trigger=trigger,
        method_name="execute_complete",
        timeout=timedelta(seconds=timeout) + _TRIGGERER_GRACE,
    )
    raise AssertionError("defer() has raised TaskDeferred")


class VeoClaimTrigger(BaseTrigger):
    """Wait while another attempt submits the same video.

    Sends one event: ``{"status": "claim"}``, with the ``request`` that the trigger was given. The task then
    reads the receipt again.

    :param seconds: how long to wait.
    :param request: the task's template fields as rendered when it first ran, for when it resumes.
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
    """Return the request as a trigger and its event carry it: not at all if there is none."""
    return {} if request is None else {"request": request}
