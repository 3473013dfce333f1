"""What all items share on one leg of a batch: the terms, the slots, the money, and when to leave off.

:class:`~veo_provider.batch.engine.runner.BatchRunner` begins and ends a leg; each
:class:`~veo_provider.batch.engine.item.ItemTask` is one item's way through it.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from veo_provider.concurrency.circuit_breaker import CircuitBreaker
from veo_provider.concurrency.concurrency_limiter import AdaptiveConcurrencyLimiter
from veo_provider.concurrency.executors import IO_THREADS, Executors
from veo_provider.receipts.charges import Budget, Charges, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.limits import Terms
    from veo_provider.exceptions import VeoError
    from veo_provider.polling.session import PollingSession

log = logging.getLogger(__name__)

_REMEMBERED = 1000
"""Completions from which the next ones are estimated, at most."""
_MEMORY = 20
"""Generations after which the mean of what they take counts for a third only."""
_SHORTEST_ESTIMATE = 5.0
"""Seconds that are looked back for that, at least: a leg that has just begun is no measure."""


class Phase(enum.Enum):
    """What the way of one item through a leg is waiting for."""

    READY = enum.auto()
    """Its turn to be submitted."""
    BLOCKED = enum.auto()
    """Money that others may give back, or the end of the leg."""
    SUBMITTING = enum.auto()
    CLAIMED = enum.auto()
    """Another attempt, which is submitting it."""
    UNSEEN = enum.auto()
    """Our first look at a generation that was submitted before."""
    FLYING = enum.auto()
    """Its generation to finish."""
    COMPLETED = enum.auto()
    """Its video to be stored."""
    TROUBLED = enum.auto()
    """The end of a pause after something went wrong."""


async def happens(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or for so many seconds; None for no limit.

    Before Python 3.12, ``asyncio.wait_for`` loses a cancellation that comes with the event, so that a trigger
    which Airflow has given to another triggerer would go on.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


class SegmentState:
    """What the ways of one leg share. Belongs to the event loop that it is made in.

    :param terms: under which terms the batch goes its way.
    :param progress: how far the legs before have come.
    :param attempt: the id by which receipts name this leg, see
        :class:`~veo_provider.receipts.receipt.Attempt`.
    :param stores: whether what is completed is stored on this leg.
    :param changed: called whenever something changes that may end the leg, or make room for another item.
    """

    line: PollingSession
    """To the service, while the leg lasts."""

    def __init__(
        self, terms: Terms, progress: Checkpoint, attempt: str, *, stores: bool, changed: Callable[[], None]
    ) -> None:
        self.terms = terms
        self.progress = progress
        self.stores = stores
        self.changed = changed
        self.stopped = progress.stopped
        """Why nothing more is submitted; empty while that is not so."""
        self.stopped_for_now = progress.stopped_for_now
        """Whether that may pass, so that the task's next try may go on."""
        self.last_trouble = ""
        """What went wrong last with an item that was tried again."""
        self.denials = 0
        """Receipts that could not be read for want of a permission, since one was read."""
        self.cancelled = False
        self.walked = False
        """Whether all items were taken up."""
        self.caught_up = asyncio.Event()
        """All that was under way before has been met again: submissions may begin."""
        self.window = AdaptiveConcurrencyLimiter(terms.max_in_flight, progress.window)
        self.breaker = CircuitBreaker(progress.breaker)
        self.starting = 0
        """Items that have a slot, and whose submission has not begun."""
        self.budget = Budget(terms.max_cost_usd, progress.committed_usd, progress.unknown_usd)
        self.ledger = Ledger(terms.run, attempt, progress.legs)
        self.late = Charges()
        """What others were found to have submitted since this leg began."""
        self.threads = Executors()
        self.hands = asyncio.Semaphore(IO_THREADS)
        """For who prepares and submits: an image in memory for each, at most."""
        self.phases: Counter[Phase] = Counter()
        self._loop = asyncio.get_running_loop()
        self._began = self._succeeded_at = self._loop.time()
        self._completions: deque[float] = deque(maxlen=_REMEMBERED)
        self._over = False
        self._breaker_change = asyncio.Event()
        self._idle: set[asyncio.Task[Any]] = set()

    @property
    def under_way(self) -> int:
        """How many generations are."""
        phases = self.phases
        return phases[Phase.FLYING] + phases[Phase.UNSEEN] + phases[Phase.SUBMITTING]

    @property
    def ceiling_reached(self) -> str:
        """What is said of items for which there is no money."""
        return f"max_cost_usd={self.terms.max_cost_usd} does not pay for one more video."

    def stop(self, error: VeoError) -> None:
        """Submit nothing more; what is under way is brought to its end."""
        if not self.stopped:
            log.error("Nothing more is submitted: %s", error)
            self.stopped = str(error)
            self.stopped_for_now = error.retryable
            self.breaker_changed()
            self.changed()

    def breaker_changed(self) -> None:
        """Let those look again who wait for the breaker to let them in."""
        self._breaker_change.set()
        self._breaker_change.clear()

    async def until_breaker_changes(self, seconds: float | None) -> None:
        """Wait for that.

        :param seconds: after which the wait ends in any case; None for no such limit.
        """
        with self.may_leave():
            await happens(self._breaker_change, seconds)

    def accepted(self) -> None:
        """Note that the service took a submission."""
        if self.breaker.is_open:
            log.info("The service accepts submissions again.")
        self.window.on_success()
        self.breaker.on_success()
        self.breaker_changed()
        self.succeeded()

    def succeeded(self) -> None:
        """Note that something has."""
        self._succeeded_at = self._loop.time()

    def without_success(self) -> float:
        """Return for how many seconds nothing has succeeded."""
        return self._loop.time() - self._succeeded_at

    def completed(self, seconds: float) -> None:
        """Note that a generation has just finished.

        :param seconds: since its submission.
        """
        self._completions.append(self._loop.time())
        mean = self.progress.mean_seconds
        self.progress.mean_seconds = seconds if mean is None else mean + (seconds - mean) / _MEMORY

    def expected(self, seconds: float) -> float:
        """Return how many completions the next seconds will bring, by those of the last."""
        now = self._loop.time()
        back = min(seconds, max(now - self._began, _SHORTEST_ESTIMATE))
        recent = sum(then > now - back for then in self._completions)
        return recent / back * seconds

    def end(self) -> None:
        """End every wait of the leg."""
        self._over = True
        for task in list(self._idle):
            task.cancel()

    @contextmanager
    def may_leave(self) -> Iterator[None]:
        """Mark a wait that the end of the leg ends; what a thread does is waited for."""
        if self._over:
            raise asyncio.CancelledError
        me = asyncio.current_task()
        assert me is not None, "only tasks come here"  # noqa: S101 - for the type
        self._idle.add(me)
        try:
            yield
        finally:
            self._idle.discard(me)

    async def sleep(self, seconds: float) -> None:
        """Wait so long, or till the end of the leg."""
        with self.may_leave():
            if seconds == math.inf:
                await self._loop.create_future()
            await asyncio.sleep(seconds)
