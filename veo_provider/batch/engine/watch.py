"""The watch over one generation of a batch: polled until it is finished, however badly a poll ends.

Once a generation is accepted, no answer to a poll is its end: it is paid for when it completes.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from veo_provider.batch.engine.submission_gate import STOPPERS
from veo_provider.exceptions import (
    VeoError,
    VeoNotFetchedError,
    VeoRequestError,
    VeoTaskNotFoundError,
    VeoWaitTimeoutError,
)
from veo_provider.metrics import time_taken
from veo_provider.polling.poller import LATE_LOOK_SECONDS, Poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.api.video import Video
    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.receipts.receipt import Receipt

log = logging.getLogger(__name__)

LEAST_REFUSALS = 5
"""Polls in a row that are refused before a generation is left to the next try."""
LEAST_REFUSED_SECONDS = 60.0
"""The time that they take, at least: a database that is a copy may be behind, a firewall may be wrong."""
_REFUSALS = (*STOPPERS, VeoTaskNotFoundError, VeoRequestError)
"""Wrong key, wrong host, no such task, no such connection: it makes no sense to poll on for hours."""


class Watch:
    """Polls one generation.

    :param state: what it shares with the others.
    :param receipt: of the generation.
    :param fresh: whether it was submitted just now.
    :param polled: called after each poll that did not end the watch.
    """

    def __init__(
        self, state: SegmentState, receipt: Receipt, *, fresh: bool, polled: Callable[[], None]
    ) -> None:
        self._state = state
        self._veo_task_id = receipt.veo_task_id or ""
        self._submitted_at = receipt.submitted_at or time.time()
        self._deadline = self._submitted_at + state.spec.timeout
        self._running = fresh
        self._polled = polled
        self._waiting = Poller(
            state.spec.poll_interval,
            model=receipt.request.get("model", ""),
            resolution=receipt.request.get("resolution", ""),
            submitted_at=receipt.submitted_at,
            mean=state.throughput.mean_seconds,
        )
        self._trouble: VeoError | None = None
        self._refusals = 0
        self._refused_since = 0.0

    async def until_finished(self) -> Video:
        """Return the generation when it is finished.

        :raises VeoWaitTimeoutError: it is not, and no poll has failed lately.
        :raises VeoNotFetchedError: it is not known to be, as the last polls failed.
        """
        if self._running:
            await self._state.waits.sleep(self._waiting.pause())
        while True:
            video, pause = await self._poll()
            if video is not None:
                return video
            self._polled()
            left = self._deadline - time.time()
            if left <= 0 or self._is_refused():
                raise self._not_finished()
            await self._state.waits.sleep(min(pause, left))

    async def _poll(self) -> tuple[Video | None, float]:
        """Poll once; return the generation if it is finished, and else the seconds to the next poll."""
        state, waiting = self._state, self._waiting
        try:
            with state.waits.cancel_at_end():
                last_turn = max(self._deadline, time.time() + LATE_LOOK_SECONDS)
                video = await state.session.get(self._veo_task_id, until=last_turn)
        except VeoError as error:
            self._failed(error)
            return None, waiting.pause_after(error)
        if video is not None:
            self._trouble, self._refusals = None, 0
            waiting.saw(video)
            state.throughput.on_success()
            if video.finished:
                self._measure()
                return video, 0.0
            self._running = True
        return None, waiting.pause()

    def _failed(self, error: VeoError) -> None:
        """Note a poll that failed; a wrong key is one for submissions, too."""
        if isinstance(error, STOPPERS):
            self._state.gate.stop(error)
        if self._waiting.is_news(error.what):
            log.warning("%s: %s Waiting on.", self._veo_task_id, error)
        self._trouble = error
        if not isinstance(error, _REFUSALS):
            self._refusals = 0
            return
        if not self._refusals:
            self._refused_since = time.monotonic()
        self._refusals += 1

    def _is_refused(self) -> bool:
        long = time.monotonic() - self._refused_since >= LEAST_REFUSED_SECONDS
        return self._refusals >= LEAST_REFUSALS and long

    def _not_finished(self) -> VeoError:
        if self._trouble is None:
            timeout = self._state.spec.timeout
            return VeoWaitTimeoutError(
                f"The generation {self._veo_task_id} was not finished within {timeout:.0f} s."
            )
        return VeoNotFetchedError(
            f"Whether the generation {self._veo_task_id} is finished is not known, as the last polls failed: "
            f"{self._trouble.what}"
        )

    def _measure(self) -> None:
        """Note what the generation has taken, unless it may have been finished before this segment."""
        if self._running:
            seconds = time.time() - self._submitted_at
            self._state.throughput.on_completed(seconds)
            time_taken("generation_seconds", seconds)
