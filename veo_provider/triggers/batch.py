"""A segment of a batch in the triggerer: it submits and polls, and leaves storing to a worker."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from veo_provider.exceptions import VeoError
from veo_provider.triggers.veo import FIRST_EVENT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from veo_provider.batch.checkpoint import Checkpoint


class VeoBatchTrigger(BaseTrigger):
    """Submit images and wait for their videos, until there is a batch to store or nothing left to do.

    Submitting here is safe, because a receipt claims each submission first: another triggerer that takes over
    reads the receipts and goes on from them. A few threads make the calls that block.

    Sends one event: ``{"status": "leg", "job": {…}, "progress": {…}}``, with the job as it was given, or
    ``{"status": "error", "message": …, "temporary": …}``.

    :param job: what is asked for, see :class:`veo_provider.batch.spec.BatchSpec`.
    :param progress: how far the batch has come, see :class:`veo_provider.batch.checkpoint.Checkpoint`.
    """

    def __init__(self, job: dict[str, Any], progress: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow left this one untyped
        self.job = job
        self.progress = progress

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to rebuild this trigger; it contains no secret."""
        path = "veo_provider.triggers.batch.VeoBatchTrigger"
        return path, {"job": self.job, "progress": self.progress}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Run one segment, and send the one event."""
        began = time.monotonic()
        try:
            checkpoint = await self._run_segment()
        except VeoError as error:
            event = {"status": "error", "message": str(error), "temporary": error.retryable}
        else:
            event = {"status": "leg", "job": self.job, "progress": checkpoint.to_dict()}
        await asyncio.sleep(max(0.0, FIRST_EVENT_SECONDS - (time.monotonic() - began)))
        yield TriggerEvent(event)
        return

    async def _run_segment(self) -> Checkpoint:
        # The first imports would hold up the event loop for a good while.
        run_segment = await asyncio.to_thread(_segment_of, self.job, self.progress)
        return await run_segment()


def _segment_of(job: dict[str, Any], progress: dict[str, Any]) -> Callable[[], Awaitable[Checkpoint]]:
    """Return what runs the segment, once it is called in the event loop."""
    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.segment import run_segment
    from veo_provider.batch.spec import BatchSpec

    spec, checkpoint = BatchSpec.from_dict(job), Checkpoint.from_dict(progress)
    return partial(run_segment, spec, checkpoint, store_videos=False)
