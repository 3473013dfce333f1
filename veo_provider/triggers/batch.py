"""The trigger that runs a segment of a batch: it submits and polls, and leaves storing to a worker."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from veo_provider.exceptions import VeoError
from veo_provider.triggers.veo import FIRST_EVENT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.segment import BatchSpec


class VeoBatchTrigger(BaseTrigger):
    """Submit images and wait for their videos, until many are completed or nothing is left to do.

    Submitting here is safe, because a receipt claims each submission first: another triggerer that takes over
    reads the receipts and continues from them. Blocking calls run in a few threads.

    Sends one event: ``{"status": "leg", "job": {…}, "progress": {…}}``, with the job as it was given, or
    ``{"status": "error", "message": …, "temporary": …}``.

    :param job: the batch, see :class:`veo_provider.batch.segment.BatchSpec`.
    :param progress: the state of the batch, see :class:`veo_provider.batch.checkpoint.Checkpoint`.
    """

    def __init__(self, job: dict[str, Any], progress: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow left this one untyped
        self.job = job
        self.progress = progress

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to rebuild this trigger; none of it is secret."""
        path = "veo_provider.triggers.batch.VeoBatchTrigger"
        return path, {"job": self.job, "progress": self.progress}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Run one segment, and send the one event."""
        started_at = time.monotonic()
        try:
            progress = await self._go()
        except VeoError as error:
            event = {"status": "error", "message": str(error), "temporary": error.retryable}
        else:
            event = {"status": "leg", "job": self.job, "progress": progress.to_dict()}
        await asyncio.sleep(max(0.0, FIRST_EVENT_SECONDS - (time.monotonic() - started_at)))
        yield TriggerEvent(event)
        return

    async def _go(self) -> Checkpoint:
        job, progress = await asyncio.to_thread(_read, self.job, self.progress)
        return await job.go(progress, stores=False)


def _read(job: dict[str, Any], progress: dict[str, Any]) -> tuple[BatchSpec, Checkpoint]:
    """Parse job and progress; in a thread, as the first imports would block the event loop for long."""
    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.segment import BatchSpec

    return BatchSpec.from_dict(job), Checkpoint.from_dict(progress)
