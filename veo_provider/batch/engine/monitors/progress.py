"""Progress reports of a batch: a line in the log, and ``progress.json`` beside the summary."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from veo_provider.batch.engine.state import Phase
from veo_provider.batch.report.summary import write_progress
from veo_provider.exceptions import VeoError, VeoSummaryUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.batch.manifest import Manifest
    from veo_provider.batch.report.journal import ResultJournal

log = logging.getLogger(__name__)

_REPORTS_PER_LOG_LINE = 3


class ProgressReporter:
    """Reports the progress regularly, and flushes the journal each time.

    :param state: of the segment.
    :param manifest: whose images are counted once.
    :param journal: of the run.
    :param s3: boto3's client.
    :param folder: of the run, see :func:`~veo_provider.batch.report.run_folder.run_folder`.
    """

    def __init__(
        self, state: SegmentState, manifest: Manifest, journal: ResultJournal, s3: S3Client, folder: str
    ) -> None:
        self._state = state
        self._manifest = manifest
        self._journal = journal
        self._s3 = s3
        self._folder = folder

    async def run(self) -> None:
        """Report until the segment ends."""
        state = self._state
        with state.waits.cancel_at_end():
            with suppress(VeoError):
                state.checkpoint.images = state.checkpoint.images or await state.executors.run_io(self._count)
            for number in itertools.count(1):
                await asyncio.sleep(state.tuning.report_interval)
                figures = snapshot(state)
                if not number % _REPORTS_PER_LOG_LINE:
                    log.info("%s", ", ".join(f"{name}: {value}" for name, value in figures.items()))
                await state.executors.run_io(self._write, figures)

    def _count(self) -> int:
        return sum(1 for _ in self._manifest.items())

    def _write(self, figures: dict[str, Any]) -> None:
        write_progress(self._s3, self._folder, figures)
        with suppress(VeoSummaryUnavailableError):  # the entries are kept for the next time
            self._journal.flush()


def snapshot(state: SegmentState) -> dict[str, Any]:
    """Return how far the batch has come, and how long the rest takes at this rate."""
    checkpoint = state.checkpoint
    minutes = max(time.time() - checkpoint.began, 1.0) / 60
    rate = checkpoint.total / minutes
    left = (checkpoint.images - checkpoint.total) / rate if rate else None
    return {
        "images": checkpoint.images,
        "finished": checkpoint.total,
        **checkpoint.counts,
        "under_way": state.in_flight,
        "completed": state.phases[Phase.COMPLETED],
        "window": int(state.limiter.size),
        "cost_usd": round(state.budget.committed - state.budget.unknown, 2),
        "unknown_usd": state.budget.unknown,
        "per_minute": round(rate, 1),
        "minutes_left": None if left is None else round(left, 1),
    }
