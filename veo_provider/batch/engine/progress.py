"""The bulletin of a batch: how far it has come, in the log and for whoever wants to know."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from veo_provider.batch.engine.state import Phase
from veo_provider.exceptions import VeoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.batch.manifest import Manifest

log = logging.getLogger(__name__)

TELL_EVERY = 10.0
"""Seconds between two bulletins."""
LOG_EVERY = 3
"""One bulletin of so many goes to the log, too."""


async def tell_often(leg: SegmentState, archive: Manifest, tell: Callable[[dict[str, Any]], None]) -> None:
    """Tell the figures again and again, till the end of the leg.

    :param tell: called with the figures; may block.
    """
    with leg.may_leave():
        with suppress(VeoError):
            leg.progress.images = leg.progress.images or await leg.threads.run_io(_size_of, archive)
        for number in itertools.count(1):
            await asyncio.sleep(TELL_EVERY)
            figures = figures_of(leg)
            if not number % LOG_EVERY:
                log.info("%s", ", ".join(f"{name}: {value}" for name, value in figures.items()))
            await leg.threads.run_io(tell, figures)


def figures_of(leg: SegmentState) -> dict[str, Any]:
    """Return how far the batch has come, and how long the rest will take at this rate."""
    progress = leg.progress
    minutes = max(time.time() - progress.began, 1.0) / 60
    rate = progress.total / minutes
    left = (progress.images - progress.total) / rate if rate else None
    return {
        "images": progress.images,
        "finished": progress.total,
        **progress.counts,
        "under_way": leg.under_way,
        "completed": leg.phases[Phase.COMPLETED],
        "window": int(leg.window.size),
        "cost_usd": round(leg.budget.committed - leg.budget.unknown, 2),
        "unknown_usd": leg.budget.unknown,
        "per_minute": round(rate, 1),
        "minutes_left": None if left is None else round(left, 1),
    }


def _size_of(archive: Manifest) -> int:
    return sum(1 for _ in archive.items())
