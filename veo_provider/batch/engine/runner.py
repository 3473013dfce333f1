"""A whole archive at once: many videos under way, in one event loop, in the triggerer and in the worker.

A batch goes its way in legs. In the triggerer it submits and waits; in the worker it does the same, and also
stores what is completed. Both are this engine. A leg may break off at any point: each video's receipt says
how it stands, so the next leg, or another process after a crash, goes on with it and pays nothing twice.

Here the items are taken up in their order, and here it is decided when a leg is over. What becomes of one
item is told in :mod:`~veo_provider.batch.engine.item`, and what the items share in
:mod:`~veo_provider.batch.engine.state`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from veo_provider.batch.engine import orphans
from veo_provider.batch.engine.balance import check_balance, watch_balance
from veo_provider.batch.engine.item import ItemTask
from veo_provider.batch.engine.progress import tell_often
from veo_provider.batch.engine.state import Phase, SegmentState, happens
from veo_provider.batch.manifest import ManifestItem
from veo_provider.batch.outcome import WITH_VIDEO, ItemResult, Outcome
from veo_provider.concurrency.executors import CALLING_THREADS
from veo_provider.exceptions import VeoError, VeoOutageError
from veo_provider.polling.session import shared_session
from veo_provider.receipts.charges import Charges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.limits import Terms
    from veo_provider.batch.manifest import Manifest
    from veo_provider.batch.report.journal import JournalReplay
    from veo_provider.batch.report.summary import SummaryRow
    from veo_provider.batch.requests import ItemJobs

log = logging.getLogger(__name__)

STORE_BATCH_SIZE = 50
"""Completed videos for which it pays to launch a worker."""
LOOK_AHEAD_SECONDS = 30.0
"""A worker stays if a lot of completions is to be expected within this time."""
MAX_OPEN_KEYS = 5_000
"""Keys between the oldest item that is not finished and the newest one that was taken up, at most."""
OUTAGE_PATIENCE = 900.0
"""Seconds without any success after which the batch gives up, and leaves it to the task's retries."""
LIST_PAUSE = 15.0
"""Seconds after which an archive that could not be listed is listed again."""


_BUSY = (Phase.COMPLETED, Phase.UNSEEN, Phase.SUBMITTING, Phase.TROUBLED)
"""While an item is in one of these, a worker has something to do, or will have soon."""


class BatchRunner:
    """One leg of a batch's way. Belongs to the event loop that it is made in.

    :param archive: the images.
    :param jobs: makes the job of each video.
    :param terms: under which terms.
    :param progress: how far the legs before have come; it is brought up to date.
    :param stores: whether to store what is completed, as a worker does.
    :param defers: whether one that stores leaves off when there is nothing but waiting to do.
    :param known: which items had their videos before; their receipts are not read again.
    :param leftovers: returns what is still to be fetched of images that are in the archive no more, in a
        thread; asked where it stores, after all items were taken up.
    :param again: whether an earlier try may have left such: then they come first.
    :param note: called with each item that is finished, and what has become of it.
    :param tell: called now and then with figures of the progress, in a thread.
    :param balance: returns the account's balance in USD, in a thread; None where nobody may know it.
    """

    def __init__(
        self,
        archive: Manifest,
        jobs: ItemJobs,
        terms: Terms,
        progress: Checkpoint,
        *,
        stores: bool,
        defers: bool = True,
        known: JournalReplay | None = None,
        leftovers: Callable[[], Iterable[ManifestItem]] = lambda: (),
        again: bool = False,
        note: Callable[[ManifestItem, ItemResult], None] = lambda *_: None,
        tell: Callable[[dict[str, Any]], None] = lambda _: None,
        balance: Callable[[], float] | None = None,
    ) -> None:
        self.progress = progress
        self._archive = archive
        self._jobs = jobs
        self._terms = terms
        self._stores = stores
        self._defers = defers
        self._known = known
        self._find_leftovers = leftovers
        self._again = again
        self._leftovers: set[str] = set()
        self._note = note
        self._tell = tell
        self._balance = balance
        self._leg = SegmentState(terms, progress, jobs.attempt.id, stores=stores, changed=self._changed)
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._failure: BaseException | None = None
        self._taken_up = 0
        self._order: deque[str] = deque()
        self._ways: dict[asyncio.Task[None], ItemTask] = {}

    async def run(self) -> None:
        """Go this leg, to the point where the next one is to begin or nothing is left to do.

        :raises VeoError: the archive cannot be listed, or nothing at all has succeeded for
            :data:`OUTAGE_PATIENCE` seconds.
        """
        leg = self._leg
        try:
            async with shared_session(self._terms.veo_conn_id) as leg.line:
                await self._recount()
                if self._balance is not None:
                    await check_balance(leg, self._balance)
                await self._go()
        finally:
            leg.threads.close()
        self._close()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._leg.cancelled

    def cancel(self) -> None:
        """End the leg, and take back what is being uploaded; from a signal, in the thread of the batch."""
        self._leg.cancelled = True
        self._news.set()
        for way in list(self._ways.values()):
            way.cancel()

    async def _recount(self) -> None:
        """Where a ceiling holds, count what an attempt that died has submitted since the last account."""
        terms, leg = self._terms, self._leg
        if terms.max_cost_usd is None:
            return
        recount = leg.ledger.recount, self._jobs.s3, terms.output_prefix, self.progress.at
        found = await leg.threads.call(*recount)
        leg.budget.add(found.total)
        leg.budget.doubt(found.unknown)

    async def _go(self) -> None:
        """Walk and bring items on their ways, until the leg is over."""
        leg, walker = self._leg, asyncio.create_task(self._walk())
        helpers = [asyncio.create_task(tell_often(leg, self._archive, self._tell))]
        if self._balance is not None:
            helpers.append(asyncio.create_task(watch_balance(leg, self._balance)))
        for helper in helpers:
            helper.add_done_callback(_tell_of_trouble)
        try:
            while not self._is_over(walker):
                self._news.clear()
                # The rate of completions changes without news, too.
                await happens(self._news, 1.0)
                self._require_success()
            leg.end()
            await asyncio.wait({walker, *self._ways})
        finally:
            leg.end()
            for task in (walker, *helpers, *self._ways):
                task.cancel()

    def _is_over(self, walker: asyncio.Task[None]) -> bool:
        """Whether another leg is due, or nothing is left to do."""
        failure = self._failure or (walker.exception() if walker.done() else None)
        if failure is not None:
            raise failure
        leg, phases = self._leg, self._leg.phases
        if leg.cancelled:
            return True
        walks = not leg.walked and self._has_room()
        kept = phases[Phase.BLOCKED] + (0 if self._stores else phases[Phase.COMPLETED])
        if not walks and len(self._ways) == kept:
            return True
        if not self._stores:
            return phases[Phase.COMPLETED] >= STORE_BATCH_SIZE
        # Who left with a video that cannot be stored now would be launched again at once, for the same video.
        busy = sum(phases[phase] for phase in _BUSY)
        submits = (
            leg.starting or (phases[Phase.READY] and leg.window.is_open)
        ) and not leg.breaker.is_pausing
        return (
            self._defers
            and not (walks or busy or submits)
            and leg.expected(LOOK_AHEAD_SECONDS) < STORE_BATCH_SIZE
        )

    def _require_success(self) -> None:
        leg = self._leg
        # Whoever waits for the breaker is told by it when there is no more sense in that.
        patience = OUTAGE_PATIENCE * (2 if leg.breaker.is_open else 1)
        if not leg.phases[Phase.FLYING] and leg.without_success() > patience:
            last = f" The last trouble was: {leg.last_trouble}" if leg.last_trouble else ""
            raise VeoOutageError(f"Nothing has succeeded for {patience:.0f} s.{last}")

    def _close(self) -> None:
        """Bring the progress up to date for the next leg."""
        progress, leg = self.progress, self._leg
        blocked = leg.phases[Phase.BLOCKED]
        progress.open = len(self._order) - len(progress.finished)
        # What others have submitted meanwhile is for the next leg to count: by a recount, or as it meets it.
        met_again = sum((way.late for way in self._ways.values()), Charges())
        late = met_again if self._terms.max_cost_usd is None else leg.late
        progress.committed_usd = round(leg.budget.committed - late.total, 2)
        progress.unknown_usd = round(leg.budget.unknown - late.unknown, 2)
        progress.legs = leg.ledger.counted
        others = leg.ledger.found_others or late.total
        progress.at = leg.ledger.read_at if others and leg.ledger.read_at else time.time()
        left = (way.item for way in self._ways.values() if way.item.key in self._leftovers)
        progress.leftovers = {item.output: item.image for item in left}
        progress.breaker = leg.breaker.to_dict()
        progress.window = leg.window.size
        progress.done = len(self._ways) == blocked and leg.walked
        progress.stopped, progress.stopped_for_now = leg.stopped, leg.stopped_for_now
        if progress.done and blocked and not leg.stopped:
            progress.stopped = leg.ceiling_reached

    # The walk

    async def _walk(self) -> None:
        """Take up items in their order, as many as there is room for."""
        carried = self.progress.leftovers.items()
        with self._leg.may_leave():
            await self._meet([ManifestItem(output, image, output, output) for output, image in carried])
            if self._again:
                await self._patiently(self._meet_leftovers)
            self._catch_up()
            await self._patiently(self._walk_on)
            if self._stores:
                await self._patiently(self._meet_leftovers)
        self._leg.walked = True
        self._leg.caught_up.set()
        self._news.set()

    async def _patiently(self, stage: Callable[[], Awaitable[None]]) -> None:
        """Go through a stage of the walk, again and again while what it lists cannot be listed."""
        while True:
            try:
                return await stage()
            except VeoError as error:
                if not error.retryable:
                    raise
                log.warning("%s Going on in %.0f s.", error, LIST_PAUSE)
                await asyncio.sleep(LIST_PAUSE)

    async def _meet_leftovers(self) -> None:
        await self._meet(await self._leg.threads.call(lambda: list(self._find_leftovers())))

    async def _meet(self, leftovers: Iterable[ManifestItem]) -> None:
        """Take up what is to be fetched of images that are in the archive no more."""
        under_way = {way.item.output for way in self._ways.values()}
        new = [item for item in leftovers if item.output not in under_way]
        ways = [ItemTask(item, self._jobs.fetch_only(item, orphans.refusal), self._leg) for item in new]
        self._leftovers.update(item.key for item in new)
        await asyncio.gather(*(way.look() for way in ways))
        for way in ways:
            self._begin(way)

    async def _walk_on(self) -> None:
        items = self._archive.items(self._order[-1] if self._order else self.progress.cursor)
        while taken := await self._leg.threads.call(self._next, items):
            await self._until_room()
            ways = [ItemTask(item, self._jobs.job_for(item), self._leg, row) for item, row in taken]
            await asyncio.gather(*(way.look() for way in ways if self._is_open(way.item)))
            for way in ways:
                await self._until_room()
                self._take_up(way)

    def _next(self, items: Iterator[ManifestItem]) -> list[tuple[ManifestItem, SummaryRow | None]]:
        """Return the next items, and the rows of those that had their videos before; this call blocks."""
        taken = islice(items, 2 * CALLING_THREADS)
        return [(item, self._known.pop(item) if self._known else None) for item in taken]

    def _is_open(self, item: ManifestItem) -> bool:
        """Whether it takes a look to know what has become of an item."""
        return item.key not in self.progress.finished and item.outcome is None

    async def _until_room(self) -> None:
        """Wait while enough items are open; an end of the leg ends it here."""
        while not self._has_room():
            self._room.clear()
            self._news.set()
            await self._room.wait()

    def _has_room(self) -> bool:
        phases = self._leg.phases
        waiting = phases[Phase.READY] + phases[Phase.SUBMITTING]
        return not self._leg.caught_up.is_set() or (
            waiting < 2 * CALLING_THREADS
            and len(self._ways) < self._terms.max_in_flight + 4 * STORE_BATCH_SIZE
            and len(self._order) < MAX_OPEN_KEYS
        )

    def _changed(self) -> None:
        """Let those look again who wait for something to change."""
        self._news.set()
        if self._has_room():
            self._room.set()

    # The items

    def _take_up(self, way: ItemTask) -> None:
        """Begin the way of the next item, unless it is finished."""
        item = way.item
        self._order.append(item.key)
        if item.key in self.progress.finished:
            self._advance_cursor()
            return
        self._taken_up += 1
        self._catch_up()
        self._begin(way)

    def _begin(self, way: ItemTask) -> None:
        item = way.item
        ending = way.begin() if item.outcome is None else ItemResult(item.outcome, item.reason)
        if ending is not None:
            self._finish(item, ending)
            return
        task = asyncio.create_task(self._bring(way))
        self._ways[task] = way
        self._leg.phases[way.phase] += 1
        task.add_done_callback(self._arrived)

    def _catch_up(self) -> None:
        """Let submissions begin when all that is under way has been met again."""
        if self._taken_up >= self.progress.open:
            self._leg.caught_up.set()

    async def _bring(self, way: ItemTask) -> None:
        self._finish(way.item, await way.travel())

    def _arrived(self, task: asyncio.Task[None]) -> None:
        # What is cancelled is the next leg's.
        if not task.cancelled():
            self._leg.phases[self._ways.pop(task).phase] -= 1
            self._failure = self._failure or task.exception()
        self._changed()

    def _finish(self, item: ManifestItem, ending: ItemResult) -> None:
        """Count an item that needs nothing more."""
        if item.key not in self._leftovers:
            self.progress.count(ending.outcome)
            self.progress.finished.add(item.key)
            self._advance_cursor()
        self._note(item, ending)
        if ending.outcome not in (*WITH_VIDEO, Outcome.NOT_STARTED):
            log.warning("%s is %s: %s", item.image, ending.outcome.value, ending.reason)

    def _advance_cursor(self) -> None:
        progress = self.progress
        while self._order and self._order[0] in progress.finished:
            progress.cursor = self._order.popleft()
            progress.finished.discard(progress.cursor)


def _tell_of_trouble(helper: asyncio.Task[None]) -> None:
    """A batch goes on without its helpers, but not without a word."""
    if not helper.cancelled() and (error := helper.exception()) is not None:
        log.warning("The batch goes on, but without one of its helpers.", exc_info=error)
