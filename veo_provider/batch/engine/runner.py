"""Runs one segment of a batch: many videos in flight in one event loop, in the triggerer or on a worker.

In the triggerer, a segment submits and polls; on a worker, it also stores completed videos. A segment can
stop at any point: each receipt holds its video's state, so the next segment, or another process after a
crash, goes on with it and pays nothing twice.

Here items are started, and here it is decided when the segment ends. Which items are started next is decided
in :mod:`~veo_provider.batch.engine.feeder`, and what happens to one item in
:mod:`~veo_provider.batch.engine.item.task`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from veo_provider.batch.engine.state import Phase, happens
from veo_provider.batch.outcome import WITH_VIDEO, ItemResult, Outcome
from veo_provider.exceptions import VeoOutageError
from veo_provider.receipts.charges import Charges
from veo_provider.receipts.receipt import describe

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.engine.feeder import ItemFeeder
    from veo_provider.batch.engine.item.task import ItemTask
    from veo_provider.batch.engine.monitors.balance import BalanceMonitor
    from veo_provider.batch.engine.monitors.progress import ProgressReporter
    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.batch.report.journal import ResultJournal

log = logging.getLogger(__name__)

_BUSY = (Phase.COMPLETED, Phase.ATTACHING, Phase.SUBMITTING, Phase.BACKOFF)
"""While an item is in one of these phases, a worker has work to do, or will have soon."""


@dataclass(frozen=True, kw_only=True)
class SegmentStats:
    """What decides whether a segment ends.

    :param store_videos: whether it stores completed videos, as on a worker.
    :param may_defer: on a worker: whether to defer once only polling is left.
    :param store_batch_size: completed videos for which a worker is worth launching.
    :param cancelled: whether the task was killed.
    :param feeding: whether there are more items, and room for them.
    :param submitting: whether an item is or may be submitted now.
    :param running: items that are started and not finished.
    :param blocked: items of these that wait for money, or for the end.
    :param completed: items of these whose videos wait to be stored.
    :param busy: items of these that keep a worker busy.
    :param expected_completions: completions that are expected soon.
    """

    store_videos: bool
    may_defer: bool = True
    store_batch_size: int
    cancelled: bool = False
    feeding: bool = False
    submitting: bool = False
    running: int = 0
    blocked: int = 0
    completed: int = 0
    busy: int = 0
    expected_completions: float = 0.0


def should_end(stats: SegmentStats) -> bool:
    """Whether a segment ends: because nothing is left to do, or because another kind of process is needed."""
    if stats.cancelled:
        return True
    left_to_the_next = stats.blocked + (0 if stats.store_videos else stats.completed)
    if not stats.feeding and stats.running == left_to_the_next:
        return True
    if not stats.store_videos:
        return stats.completed >= stats.store_batch_size
    # A worker does not defer while a video still has to be stored: the trigger would fire at once.
    has_work = stats.feeding or stats.submitting or stats.busy > 0
    return stats.may_defer and not has_work and stats.expected_completions < stats.store_batch_size


class BatchRunner:
    """Runs one segment. Belongs to the event loop of its state.

    :param state: of the segment; its checkpoint is brought up to date.
    :param feeder: yields the items.
    :param journal: records the result of each item.
    :param s3: boto3's client, for the receipts of earlier attempts.
    :param reporter: reports the progress.
    :param monitor: checks the account's balance; None if nobody may read it.
    :param may_defer: on a worker: whether to defer once only polling is left.
    """

    def __init__(
        self,
        state: SegmentState,
        feeder: ItemFeeder,
        journal: ResultJournal,
        s3: S3Client,
        reporter: ProgressReporter,
        monitor: BalanceMonitor | None = None,
        *,
        may_defer: bool = True,
    ) -> None:
        self._state = state
        self._feeder = feeder
        self._journal = journal
        self._s3 = s3
        self._reporter = reporter
        self._monitor = monitor
        self._may_defer = may_defer
        self._failure: BaseException | None = None

    async def run(self) -> Checkpoint:
        """Run the segment, and return the checkpoint at which the next one starts.

        :raises VeoError: the manifest cannot be listed, or nothing has succeeded for a long time.
        """
        try:
            await self._reconcile_budget()
            if self._monitor is not None:
                await self._monitor.check()
            await self._run()
        finally:
            self._state.executors.close()
        self._update_checkpoint()
        return self._state.checkpoint

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._state.cancelled

    def cancel(self) -> None:
        """End the segment, and abort uploads. A signal handler may call this in the event loop's thread."""
        self._state.cancelled = True
        self._state.news.set()
        for item_task in list(self._state.running.values()):
            item_task.cancel()

    async def _reconcile_budget(self) -> None:
        """Under a ceiling, count what an attempt that died has submitted since the checkpoint."""
        state = self._state
        if state.spec.max_cost_usd is None:
            return
        since = state.checkpoint.at
        found = await state.executors.run_io(
            state.ledger.count_others, self._s3, state.spec.output_prefix, since
        )
        state.budget.add(found.total)
        state.budget.add_unknown(found.unknown)

    async def _run(self) -> None:
        """Start items, and wait for the end of the segment."""
        state = self._state
        feeding = asyncio.create_task(self._feed())
        helpers = [asyncio.create_task(self._reporter.run())]
        if self._monitor is not None:
            helpers.append(asyncio.create_task(self._monitor.run()))
        for helper in helpers:
            helper.add_done_callback(_log_failure)
        try:
            while not self._ends(feeding):
                state.news.clear()
                # The expected completions change with time, too.
                await happens(state.news, 1.0)
                self._require_success()
            state.waits.end()
            await asyncio.wait({feeding, *state.running})
        finally:
            state.waits.end()
            for task in (feeding, *helpers, *state.running):
                task.cancel()

    async def _feed(self) -> None:
        with self._state.waits.cancel_at_end():
            async with aclosing(self._feeder.items()) as items:
                async for item_task in items:
                    self._start(item_task)
        self._state.all_started = True
        self._state.reattached.set()
        self._state.news.set()

    def _ends(self, feeding: asyncio.Task[None]) -> bool:
        failure = self._failure or (feeding.exception() if feeding.done() else None)
        if failure is not None:
            raise failure
        return should_end(self._stats())

    def _stats(self) -> SegmentStats:
        state, phases, gate = self._state, self._state.phases, self._state.gate
        may_start = phases[Phase.READY] > 0 and state.limiter.has_capacity
        return SegmentStats(
            store_videos=state.store_videos,
            may_defer=self._may_defer,
            store_batch_size=state.tuning.store_batch_size,
            cancelled=state.cancelled,
            feeding=not state.all_started and self._feeder.has_room(),
            submitting=(gate.starting > 0 or may_start) and not gate.breaker.is_pausing,
            running=len(state.running),
            blocked=phases[Phase.BLOCKED],
            completed=phases[Phase.COMPLETED],
            busy=sum(phases[phase] for phase in _BUSY),
            expected_completions=state.throughput.expected_completions(state.tuning.look_ahead_seconds),
        )

    def _require_success(self) -> None:
        """End the try if nothing has succeeded for too long.

        :raises VeoOutageError: that is so.
        """
        state = self._state
        # Items that wait for an open circuit breaker are stopped by the breaker itself.
        patience = state.tuning.outage_patience * (2 if state.gate.breaker.is_open else 1)
        if not state.phases[Phase.GENERATING] and state.throughput.seconds_without_success() > patience:
            last = f" The last error was: {state.last_error}" if state.last_error else ""
            raise VeoOutageError(f"Nothing has succeeded for {patience:.0f} s.{last}")

    def _update_checkpoint(self) -> None:
        """Bring the checkpoint up to date for the next segment."""
        state, checkpoint = self._state, self._state.checkpoint
        blocked, item_tasks = state.phases[Phase.BLOCKED], list(state.running.values())
        checkpoint.open = self._feeder.open_items
        # What others have submitted meanwhile is counted by the next segment: when it reconciles the budget,
        # or when it reaches the item.
        reached_again = sum((each.late for each in item_tasks), Charges())
        late = reached_again if state.spec.max_cost_usd is None else state.late
        checkpoint.committed_usd = round(state.budget.committed - late.total, 2)
        checkpoint.unknown_usd = round(state.budget.unknown - late.unknown, 2)
        checkpoint.legs = state.ledger.counted
        others = state.ledger.found_others or late.total
        checkpoint.at = state.ledger.read_at if others and state.ledger.read_at else time.time()
        orphans = (each.item for each in item_tasks if self._feeder.is_orphan(each.item))
        checkpoint.leftovers = {item.output: item.image for item in orphans}
        checkpoint.breaker = state.gate.breaker.to_dict()
        checkpoint.refused_routes = state.refused_routes.to_dict()
        checkpoint.window = state.limiter.size
        checkpoint.mean_seconds = state.throughput.mean_seconds
        checkpoint.done = len(item_tasks) == blocked and state.all_started
        checkpoint.stopped, checkpoint.stopped_for_now = state.gate.stopped, state.gate.stopped_for_now
        if checkpoint.done and blocked and not state.gate.stopped:
            checkpoint.stopped = state.ceiling_reached

    def _start(self, item_task: ItemTask) -> None:
        """Start an item, unless its name or its receipt shows that it is finished."""
        item = item_task.item
        result = item_task.start() if item.outcome is None else ItemResult(item.outcome, item.reason)
        if result is not None:
            self._finish(item, result)
            return
        task = asyncio.create_task(self._bring(item_task))
        self._state.running[task] = item_task
        self._state.phases[item_task.phase] += 1
        task.add_done_callback(self._on_done)

    async def _bring(self, item_task: ItemTask) -> None:
        self._finish(item_task.item, await item_task.run())

    def _on_done(self, task: asyncio.Task[None]) -> None:
        # A cancelled item is left to the next segment.
        if not task.cancelled():
            self._state.phases[self._state.running.pop(task).phase] -= 1
            self._failure = self._failure or task.exception()
        self._state.on_change()

    def _finish(self, item: ManifestItem, result: ItemResult) -> None:
        """Record the result of an item."""
        if not self._feeder.is_orphan(item):
            self._state.checkpoint.count(result.outcome)
            self._feeder.finish(item)
        self._journal.add(item, *result)
        if result.outcome not in (*WITH_VIDEO, Outcome.NOT_STARTED):
            log.warning("%s is %s: %s", item.image, result.outcome.value, result.reason)
        elif result.outcome is Outcome.STORED and result.receipt is not None:
            log.info("%s is stored: %s", item.image, describe(result.receipt))


def _log_failure(helper: asyncio.Task[None]) -> None:
    """Log that a helper has failed; the batch goes on without it."""
    if not helper.cancelled() and (error := helper.exception()) is not None:
        log.warning("The batch goes on without one of its helpers, which failed.", exc_info=error)
