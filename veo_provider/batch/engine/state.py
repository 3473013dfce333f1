"""What the item tasks of one segment share: slots, money, phases, and the end of the segment.

:class:`~veo_provider.batch.engine.runner.BatchRunner` starts and ends a segment; each
:class:`~veo_provider.batch.engine.item.task.ItemTask` takes one item through it.
"""

from __future__ import annotations

import asyncio
import enum
import math
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from veo_provider.batch.engine.budget import Budget
from veo_provider.batch.engine.refused_routes import RefusedRoutes
from veo_provider.batch.engine.submission_gate import SubmissionGate
from veo_provider.concurrency.circuit_breaker import CircuitBreaker
from veo_provider.concurrency.concurrency_limiter import AdaptiveConcurrencyLimiter
from veo_provider.concurrency.executors import Executors
from veo_provider.receipts.charges import Charges, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Self

    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.engine.item.task import ItemTask
    from veo_provider.batch.spec import BatchSpec, BatchTuning
    from veo_provider.polling.session import PollingSession

_REMEMBERED = 1000
"""Maximum number of completions that the completion rate is estimated from."""
_MEMORY = 20
"""Generations after which an older one counts for a third of its weight in the mean duration."""
_SHORTEST_ESTIMATE = 5.0
"""Minimum observation window for the completion rate, in seconds."""


class Phase(enum.Enum):
    """What an item task is waiting for."""

    READY = enum.auto()
    """A slot to be submitted in."""
    BLOCKED = enum.auto()
    """Money that others may release, or the end of the segment."""
    SUBMITTING = enum.auto()
    """The response to its submission."""
    AWAITING_CLAIM = enum.auto()
    """Another attempt, which is submitting it."""
    ATTACHING = enum.auto()
    """The first poll of a generation that was submitted before."""
    GENERATING = enum.auto()
    """The end of its generation."""
    COMPLETED = enum.auto()
    """The storing of its video."""
    BACKOFF = enum.auto()
    """The end of a pause after an error."""


async def happens(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or for so many seconds; None for no limit.

    Before Python 3.12, ``asyncio.wait_for`` loses a cancellation that comes together with the event. A
    trigger that Airflow has given to another triggerer would then go on.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


class SegmentWaits:
    """The waits that the end of a segment cancels. Belongs to one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._ended = False

    def end(self) -> None:
        """Cancel every wait, and each one that is started from now on."""
        self._ended = True
        for task in list(self._waiting):
            task.cancel()

    @contextmanager
    def cancel_at_end(self) -> Iterator[None]:
        """Mark a wait that the end of the segment cancels; a call in a thread is not such a wait."""
        if self._ended:
            raise asyncio.CancelledError
        me = asyncio.current_task()
        assert me is not None, "only tasks come here"  # noqa: S101 - for the type
        self._waiting.add(me)
        try:
            yield
        finally:
            self._waiting.discard(me)

    async def sleep(self, seconds: float) -> None:
        """Wait so long, or until the segment ends."""
        with self.cancel_at_end():
            if seconds == math.inf:
                await self._loop.create_future()
            await asyncio.sleep(seconds)


class Throughput:
    """How fast generations finish, and when something last succeeded. Belongs to one event loop.

    :param mean_seconds: recent mean duration of a generation; None if that is unknown.
    """

    def __init__(self, mean_seconds: float | None) -> None:
        self.mean_seconds = mean_seconds
        self._loop = asyncio.get_running_loop()
        self._started_at = self._succeeded_at = self._loop.time()
        self._completions: deque[float] = deque(maxlen=_REMEMBERED)

    def on_success(self) -> None:
        """Record that something has succeeded."""
        self._succeeded_at = self._loop.time()

    def on_completed(self, seconds: float) -> None:
        """Record that a generation has just finished.

        :param seconds: since its submission.
        """
        self._completions.append(self._loop.time())
        mean = self.mean_seconds
        self.mean_seconds = seconds if mean is None else mean + (seconds - mean) / _MEMORY

    def seconds_without_success(self) -> float:
        """Return for how many seconds nothing has succeeded."""
        return self._loop.time() - self._succeeded_at

    def expected_completions(self, seconds: float) -> float:
        """Return how many completions the next seconds bring, judged by the last seconds."""
        now = self._loop.time()
        window = min(seconds, max(now - self._started_at, _SHORTEST_ESTIMATE))
        recent = sum(then > now - window for then in self._completions)
        return recent / window * seconds


@dataclass(kw_only=True, eq=False)
class SegmentState:
    """What the item tasks of one segment share. Belongs to one event loop.

    :param spec: of the batch.
    :param checkpoint: how far the earlier segments have come; it is brought up to date.
    :param tuning: of the engine.
    :param store_videos: whether this segment stores completed videos, as on a worker.
    :param sessions: for polls, and for the permits of submissions, by the connection of a route.
    :param refused_routes: which routes the images need not ask.
    :param executors: the threads of the segment.
    :param gate: before each submission.
    :param limiter: hands out a slot for each generation in flight.
    :param budget: of the run.
    :param ledger: which charges the budget has counted.
    :param throughput: how fast generations finish.
    :param waits: what the end of the segment cancels.
    :param prepare_slots: for item tasks that prepare and submit, with one image in memory each.
    """

    spec: BatchSpec
    checkpoint: Checkpoint
    tuning: BatchTuning
    store_videos: bool
    sessions: Mapping[str, PollingSession]
    refused_routes: RefusedRoutes
    executors: Executors
    gate: SubmissionGate
    limiter: AdaptiveConcurrencyLimiter
    budget: Budget
    ledger: Ledger
    throughput: Throughput
    waits: SegmentWaits
    prepare_slots: asyncio.Semaphore

    running: dict[asyncio.Task[None], ItemTask] = field(default_factory=dict)
    """The items that are started and not finished."""
    phases: Counter[Phase] = field(default_factory=Counter)
    late: Charges = field(default_factory=Charges)
    """What others were found to have submitted since this segment started."""
    cancelled: bool = False
    all_started: bool = False
    """Whether all items of the manifest were started."""
    reattached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once every generation in flight at the last checkpoint is attached; submissions may start."""
    last_error: str = ""
    """The last error after which an item was tried again."""
    denials: int = 0
    """Receipts in a row, each of another item, that the store refused to read."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the segment may have come to its end."""
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be room for another item."""

    @classmethod
    def start(
        cls,
        spec: BatchSpec,
        checkpoint: Checkpoint,
        attempt: str,
        session: PollingSession,
        tuning: BatchTuning,
        *,
        store_videos: bool,
        others: Sequence[PollingSession] = (),
    ) -> Self:
        """Return the state of a segment that starts at a checkpoint.

        :param attempt: the id of the segment in receipts, see
            :class:`~veo_provider.receipts.attempt.Attempt`.
        :param session: of the first route.
        :param others: the sessions of the other routes.
        """
        waits = SegmentWaits()
        breaker = CircuitBreaker(
            checkpoint.breaker,
            shortest_pause=tuning.breaker_shortest_pause,
            longest_pause=tuning.breaker_longest_pause,
            patience=tuning.breaker_patience,
        )
        return cls(
            spec=spec,
            checkpoint=checkpoint,
            tuning=tuning,
            store_videos=store_videos,
            sessions=dict(zip(spec.conn_ids, (session, *others), strict=False)),
            refused_routes=RefusedRoutes(checkpoint.refused_routes, pause=tuning.route_pause),
            executors=Executors(tuning.io_threads, tuning.transfer_threads),
            gate=SubmissionGate(
                breaker,
                waits,
                check_patience=tuning.check_patience,
                stopped=checkpoint.stopped,
                stopped_for_now=checkpoint.stopped_for_now,
            ),
            limiter=AdaptiveConcurrencyLimiter(
                spec.max_in_flight,
                checkpoint.window,
                shortest_pause=tuning.limiter_shortest_pause,
                longest_pause=tuning.limiter_longest_pause,
            ),
            budget=Budget(spec.max_cost_usd, checkpoint.committed_usd, checkpoint.unknown_usd),
            ledger=Ledger(spec.run, attempt, checkpoint.legs),
            throughput=Throughput(checkpoint.mean_seconds),
            waits=waits,
            prepare_slots=asyncio.Semaphore(tuning.io_threads),
        )

    @property
    def in_flight(self) -> int:
        """Number of generations in flight."""
        phases = self.phases
        return phases[Phase.GENERATING] + phases[Phase.ATTACHING] + phases[Phase.SUBMITTING]

    @property
    def ceiling_reached(self) -> str:
        """Why an item is not started for which no money is left."""
        return f"max_cost_usd={self.spec.max_cost_usd} does not pay for one more video."

    def on_change(self) -> None:
        """Let the runner and the feeder check again whether to end, or to go on."""
        self.news.set()
        self.room.set()

    def on_accepted(self) -> None:
        """Record that the service has accepted a submission."""
        self.limiter.on_success()
        self.gate.on_accepted()
        self.throughput.on_success()
