"""Triggers that wait for one generation, or for another attempt's claim."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.triggers.base import BaseTrigger, TriggerEvent

from veo_provider.exceptions import VeoError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from airflow.providers.common.compat.sdk import BaseOperator

    from veo_provider.api.video import Video

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
            # The first imports would hold up the event loop for a good while.
            wait = await asyncio.to_thread(self._prepare)
            video = await wait()
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

    def _prepare(self) -> Callable[[], Awaitable[Video | None]]:
        """Return what waits for the video, once it is called in the event loop."""
        from veo_provider.polling.poller import Poller
        from veo_provider.polling.wait import wait_for_video

        poller = Poller(
            self.poll_interval,
            deadline=self.deadline,
            model=self.model,
            resolution=self.resolution,
            submitted_at=self.submitted_at,
        )
        return partial(
            wait_for_video, self.veo_task_id, self.veo_conn_id, poller, earliest=FIRST_EVENT_SECONDS
        )


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

    def __init__(self, seconds: float, request: dict[str, Any] | None = None) -> None:
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
