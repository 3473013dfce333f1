"""A whole archive at once: many videos under way, in one event loop, in the triggerer and in the worker.

A batch goes its way in legs. In the triggerer it submits and waits; in the worker it does the same, and also
stores what is completed. Both are this engine. A leg may break off at any point: each video's receipt says
how it stands, so the next leg, or another process after a crash, goes on with it and pays nothing twice.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from veo_provider.api.errors import (
    VeoAuthenticationError,
    VeoBadRequestError,
    VeoError,
    VeoGenerationFailed,
    VeoModerationError,
    VeoNotSentError,
    VeoQuotaError,
    VeoRateLimitError,
    VeoRequestError,
    VeoSubmissionUnknown,
    VeoWrongHostError,
)
from veo_provider.budget import Budget, charges, receipts_below
from veo_provider.compat import count, time_taken
from veo_provider.generation import (
    Attach,
    Done,
    Refuse,
    Submit,
    VeoRecordLostError,
    VeoRequestChangedError,
    WaitForClaim,
)
from veo_provider.line import line_to
from veo_provider.maker import Maker
from veo_provider.outcomes import Outcome
from veo_provider.waiting import Waiting
from veo_provider.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from veo_provider.api.video import Video
    from veo_provider.archive import Archive, Item
    from veo_provider.generation import Plan, Step
    from veo_provider.maker import Making
    from veo_provider.progress import Progress
    from veo_provider.receipts import Held, Receipt

    T = TypeVar("T")
    Seen = tuple[Step | None, Held | None] | Exception

log = logging.getLogger(__name__)

LOT = 50
"""Completed videos for which it pays to launch a worker."""
LOOK_AHEAD_SECONDS = 30.0
"""A worker stays if a lot of completions is to be expected within this time."""
CALLING_THREADS = 8
"""For receipts, images and submissions."""
STORING_THREADS = 4
"""For downloads into S3: each may hold 15 MB."""
SPAN = 5_000
"""Keys between the oldest item that is not finished and the newest one that was taken up, at most."""
CLAIM_PAUSE = 15.0
"""Seconds between two looks at a receipt that another attempt has claimed."""
MOST_TRIES = 6
"""Attempts at an item that fail for a reason that may pass, while others succeed."""
OUTAGE_PATIENCE = 900.0
"""Seconds without any success after which the batch gives up, and leaves it to the task's retries."""
LATE_LOOK_SECONDS = 30.0
"""How long a wait whose deadline has passed may queue for its last look."""
TELL_EVERY = 30.0
"""Seconds between two lines about the progress."""
BALANCE_EVERY = 180.0
"""Seconds between two looks at the balance."""
_STOPPERS = (VeoQuotaError, VeoAuthenticationError, VeoWrongHostError)
"""What is wrong with the account and not with an image."""


@dataclass(frozen=True)
class Terms:
    """Under which terms a batch goes its way.

    :param veo_conn_id: connection of type ``veo``, for the waiting.
    :param price_usd: what one video costs; 0 where that is not known and there is no ceiling.
    :param max_in_flight: generations under way at once, at most.
    :param max_cost_usd: what the run may be charged at most; None for no ceiling.
    :param poll_interval: seconds between two looks at a generation; None for the learned schedule.
    :param timeout: seconds from a submission after which its video is not waited for any more.
    :param output_prefix: where the videos go, ``s3://bucket/prefix/``.
    """

    veo_conn_id: str
    output_prefix: str
    price_usd: float
    max_in_flight: int = 10
    max_cost_usd: float | None = None
    poll_interval: float | None = None
    timeout: float = 2 * 60 * 60


class VeoNotInTimeError(VeoError):
    """A generation was not finished in time; it is not known to have failed."""

    money = "It may still complete, and is then charged once."
    advice = "Its receipt keeps the id: the next attempt waits on for the same generation."
    temporary = True


class VeoOutageError(VeoError):
    """Nothing has succeeded for a long time."""

    money = "What was submitted is kept by its receipts."
    advice = "Trying again is safe."
    temporary = True


class _StoppedError(Exception):
    """The batch has stopped while an item was waiting for its slot."""


_MAYBE_CHARGED = (VeoSubmissionUnknown, VeoRecordLostError)
_OUTCOMES: tuple[tuple[type[VeoError] | tuple[type[VeoError], ...], Outcome], ...] = (
    (_MAYBE_CHARGED, Outcome.UNKNOWN),
    (VeoNotInTimeError, Outcome.UNDER_WAY),
    (VeoModerationError, Outcome.MODERATED),
    (VeoGenerationFailed, Outcome.FAILED),
    (VeoRequestChangedError, Outcome.CHANGED),
    ((VeoRequestError, VeoBadRequestError), Outcome.REJECTED),
)


def outcome_of(error: VeoError) -> Outcome:
    """Return what an error makes of an image."""
    if isinstance(error, VeoGenerationFailed) and error.moderated:
        return Outcome.MODERATED
    return next((outcome for kinds, outcome in _OUTCOMES if isinstance(error, kinds)), Outcome.ERROR)


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


class Way:
    """The way of one item through a leg."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.item = maker.item
        self.phase = Phase.READY
        self.cost = 0.0
        self.reserved = 0.0
        self.has_slot = False
        self.tries = 0


class Batch:
    """One leg of a batch's way.

    :param archive: the images.
    :param making: how each video is made.
    :param terms: under which terms.
    :param progress: how far the legs before have come; it is brought up to date.
    :param stores: whether to store what is completed, as a worker does.
    :param defers: whether one that stores leaves off when there is nothing but waiting to do.
    :param note: called with each item that is finished, its outcome and the reason.
    :param tell: called now and then with figures of the progress, in a thread.
    :param balance: returns the account's balance in USD, in a thread; None where nobody may know it.
    """

    def __init__(
        self,
        archive: Archive,
        making: Making,
        terms: Terms,
        progress: Progress,
        *,
        stores: bool,
        defers: bool = True,
        note: Callable[[Item, Outcome, str], None] = lambda *_: None,
        tell: Callable[[dict[str, Any]], None] = lambda _: None,
        balance: Callable[[], float] | None = None,
    ) -> None:
        self.progress = progress
        self.cancelled = False
        self._news = asyncio.Event()
        self._stopped = progress.stopped
        self._archive = archive
        self._making = making
        self._terms = terms
        self._stores = stores
        self._defers = defers
        self._note = note
        self._tell_figures = tell
        self._balance = balance
        self._run = making.by.task_instance
        self._since = progress.at
        self._over = False
        self._walked = False
        self._failure: BaseException | None = None
        self._taken_up = 0
        self._order: deque[str] = deque()
        self._ways: dict[asyncio.Task[None], Way] = {}
        self._idle: set[asyncio.Task[Any]] = set()
        self._phases: Counter[Phase] = Counter()
        self._completions: deque[float] = deque(maxlen=20 * LOT)
        self._storing: set[Maker] = set()

    async def run(self) -> None:
        """Go this leg, to the point where the next one is to begin or nothing is left to do.

        :raises VeoError: the archive cannot be listed, or nothing at all has succeeded for
            :data:`OUTAGE_PATIENCE` seconds.
        """
        self._loop = asyncio.get_running_loop()
        self._began = self._succeeded_at = self._loop.time()
        self._window = Window(self._terms.max_in_flight, self.progress.window)
        self._budget = Budget(self._terms.max_cost_usd, self.progress.committed_usd)
        self._hands = asyncio.Semaphore(CALLING_THREADS)
        self._caught_up, self._room = asyncio.Event(), asyncio.Event()
        self._callers = ThreadPoolExecutor(CALLING_THREADS, "veo-batch")
        self._storers = ThreadPoolExecutor(STORING_THREADS, "veo-batch-store")
        try:
            async with line_to(self._terms.veo_conn_id) as self._line:
                await self._recount()
                if self._balance is not None:
                    await self._check_balance(self._balance)
                await self._go()
        finally:
            # A thread that is submitting cannot be stopped, and must not be: its receipt will tell the rest.
            self._callers.shutdown(wait=False, cancel_futures=True)
            self._storers.shutdown(wait=False, cancel_futures=True)
        self._close()

    def cancel(self) -> None:
        """End the leg, and take back what is being uploaded; from a signal, in the thread of the batch."""
        self.cancelled = True
        self._news.set()
        for maker in list(self._storing):
            maker.cancel()

    async def _recount(self) -> None:
        """Where a ceiling holds, count what an attempt that died has submitted since the last account."""
        if self._terms.max_cost_usd is None:
            return
        now = time.time()
        self._budget.add(await self._in_thread(self._claimed_since, self._since))
        self._since = now

    def _claimed_since(self, since: float) -> float:
        found = receipts_below(self._making.s3, self._terms.output_prefix, since)
        return sum(charges(receipt, self._run, since) for receipt in found)

    async def _go(self) -> None:
        """Walk and bring items on their ways, until the leg is over."""
        walker = asyncio.create_task(self._walk())
        helpers = [asyncio.create_task(self._tell_often()), asyncio.create_task(self._watch_balance())]
        self._idle.update(helpers)
        try:
            while not self._is_over(walker):
                self._news.clear()
                # The rate of completions changes without news, too.
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 1.0)
                self._require_success()
            self._over = True
            for task in list(self._idle):
                task.cancel()
            await asyncio.wait({walker, *self._ways})
        finally:
            self._over = True
            for task in (walker, *helpers, *self._ways):
                task.cancel()

    def _is_over(self, walker: asyncio.Task[None]) -> bool:
        """Whether another leg is due, or nothing is left to do."""
        failure = self._failure or (walker.exception() if walker.done() else None)
        if failure is not None:
            raise failure
        phases = self._phases
        kept = phases[Phase.BLOCKED] + (0 if self._stores else phases[Phase.COMPLETED])
        if self.cancelled:
            return True
        walks = not self._walked and self._has_room()
        if not walks and len(self._ways) == kept:
            return True
        if not self._stores:
            return phases[Phase.COMPLETED] >= LOT
        busy = phases[Phase.COMPLETED] + phases[Phase.UNSEEN] + phases[Phase.SUBMITTING]
        submits = phases[Phase.READY] and self._window.is_open
        return self._defers and not (walks or busy or submits) and self._expected() < LOT

    def _expected(self) -> float:
        """Return how many completions the next seconds will bring, by those of the last."""
        now = self._loop.time()
        seconds = min(LOOK_AHEAD_SECONDS, max(now - self._began, 5.0))
        recent = sum(then > now - seconds for then in self._completions)
        return recent / seconds * LOOK_AHEAD_SECONDS

    def _require_success(self) -> None:
        if self._phases[Phase.FLYING]:
            return
        if self._loop.time() > self._succeeded_at + OUTAGE_PATIENCE:
            raise VeoOutageError(f"Nothing has succeeded for {OUTAGE_PATIENCE:.0f} s.")

    def _succeed(self) -> None:
        self._succeeded_at = self._loop.time()

    def _close(self) -> None:
        """Bring the progress up to date for the next leg."""
        progress = self.progress
        progress.open = len(self._order) - len(progress.finished)
        progress.committed_usd = self._budget.committed
        progress.at = time.time()
        progress.window = self._window.size
        progress.stopped = self._stopped
        blocked = self._phases[Phase.BLOCKED]
        progress.done = len(self._ways) == blocked and self._walked
        if progress.done and blocked and not self._stopped:
            progress.stopped = self._ceiling_reached()

    def _ceiling_reached(self) -> str:
        return f"max_cost_usd={self._terms.max_cost_usd} does not pay for one more video."

    # Beside the walk

    async def _tell_often(self) -> None:
        """Say how far the batch has come, in the log and to whoever wants to know."""
        with suppress(VeoError):
            self.progress.images = self.progress.images or await self._in_thread(self._size_of_archive)
        while True:
            await asyncio.sleep(TELL_EVERY)
            figures = self._figures()
            log.info("%s", ", ".join(f"{name}: {value}" for name, value in figures.items()))
            await self._in_thread(self._tell_figures, figures)

    def _size_of_archive(self) -> int:
        return sum(1 for _ in self._archive.items())

    def _figures(self) -> dict[str, Any]:
        progress, phases = self.progress, self._phases
        minutes = max(time.time() - progress.began, 1.0) / 60
        rate = progress.total / minutes
        left = (progress.images - progress.total) / rate if rate else None
        return {
            "images": progress.images,
            "finished": progress.total,
            **progress.counts,
            "under_way": phases[Phase.FLYING] + phases[Phase.UNSEEN] + phases[Phase.SUBMITTING],
            "completed": phases[Phase.COMPLETED],
            "window": int(self._window.size),
            "cost_usd": self._budget.committed,
            "per_minute": round(rate, 1),
            "minutes_left": None if left is None else round(left, 1),
        }

    async def _watch_balance(self) -> None:
        """Submit nothing more when the account cannot pay for it."""
        while self._balance is not None:
            await asyncio.sleep(BALANCE_EVERY)
            await self._check_balance(self._balance)

    async def _check_balance(self, ask: Callable[[], float]) -> None:
        try:
            balance = await self._in_thread(ask)
        except VeoError as error:
            log.warning("The balance is not to be had: %s", error)
            return
        ceiling = self._terms.max_cost_usd
        if balance < self._terms.price_usd and not self._walked:
            self._stop(VeoQuotaError(f"The account has ${balance:.2f}, too little for one more video."))
        elif ceiling is not None and balance < ceiling - self._budget.committed:
            log.warning("The account has $%.2f, which is less than max_cost_usd would let be spent.", balance)

    def _stop(self, error: VeoError) -> None:
        """Submit nothing more; what is under way is brought to its end."""
        if not self._stopped:
            log.error("Nothing more is submitted: %s", error)
            self._stopped = str(error)
            self._tell()

    # The walk

    async def _walk(self) -> None:
        """Take up items in their order, as many as there is room for."""
        self._idle.add(self._me())
        self._catch_up()
        while True:
            try:
                await self._walk_on()
                break
            except VeoError as error:
                if not error.temporary:
                    raise
                log.warning("%s Going on in %.0f s.", error, CLAIM_PAUSE)
                await asyncio.sleep(CLAIM_PAUSE)
        self._walked = True
        self._caught_up.set()
        self._news.set()

    async def _walk_on(self) -> None:
        items = self._archive.items(self._order[-1] if self._order else self.progress.cursor)
        while taken := await self._in_thread(_next, items):
            await self._until_room()
            makers = [Maker(item, self._making) for item in taken]
            seen = await asyncio.gather(*(self._look(maker) for maker in makers))
            for maker, found in zip(makers, seen, strict=True):
                await self._until_room()
                self._take_up(maker, found)

    async def _until_room(self) -> None:
        """Wait while enough items are open; an end of the leg ends it here."""
        while not self._has_room():
            self._room.clear()
            self._news.set()
            await self._room.wait()

    def _has_room(self) -> bool:
        waiting = self._phases[Phase.READY] + self._phases[Phase.SUBMITTING]
        return not self._caught_up.is_set() or (
            waiting < 2 * CALLING_THREADS
            and len(self._ways) < self._terms.max_in_flight + 4 * LOT
            and len(self._order) < SPAN
        )

    async def _look(self, maker: Maker) -> Seen:
        """Read an item's receipt; an error is what was seen as well."""
        if maker.item.key in self.progress.finished or maker.item.outcome is not None:
            return None, None
        try:
            return await self._in_thread(maker.look)
        except Exception as error:  # noqa: BLE001 - it becomes the item's own, not the walk's
            return error

    def _take_up(self, maker: Maker, seen: Seen) -> None:
        """Begin the way of the next item, unless it is finished."""
        item = maker.item
        self._order.append(item.key)
        if item.key in self.progress.finished:
            self._advance_cursor()
            return
        self._taken_up += 1
        self._catch_up()
        if item.outcome is not None:
            self._finish(item, item.outcome, item.reason)
            return
        way = Way(maker)
        self._count(way, seen)
        step, held = (seen[0], seen[1]) if isinstance(seen, tuple) else (seen, None)
        if isinstance(step, Done):
            self._finish(item, *self._done(held))
            return
        if isinstance(step, Attach):
            self._enter(way)
        elif step is None and (self._stopped or self._phases[Phase.BLOCKED]):
            # Some that wait for money are enough; behind them may be others that are paid, and not stored.
            self._finish(item, Outcome.NOT_STARTED, self._stopped or self._ceiling_reached())
            return
        task = asyncio.create_task(self._travel(way, seen))
        self._ways[task] = way
        self._phases[way.phase] += 1
        task.add_done_callback(self._arrived)

    def _catch_up(self) -> None:
        """Let submissions begin when all that is under way has been met again."""
        if self._taken_up >= self.progress.open:
            self._caught_up.set()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        # What is cancelled is the next leg's.
        if not task.cancelled():
            self._phases[self._ways.pop(task).phase] -= 1
            self._failure = self._failure or task.exception()
        self._tell()

    def _finish(self, item: Item, outcome: Outcome, reason: str = "") -> None:
        """Count an item that needs nothing more."""
        self.progress.count(outcome)
        self.progress.finished.add(item.key)
        self._advance_cursor()
        self._note(item, outcome, reason)
        if outcome not in (Outcome.STORED, Outcome.SKIPPED, Outcome.NOT_STARTED):
            log.warning("%s is %s: %s", item.image, outcome.value, reason)

    def _advance_cursor(self) -> None:
        progress = self.progress
        while self._order and self._order[0] in progress.finished:
            progress.cursor = self._order.popleft()
            progress.finished.discard(progress.cursor)

    # One item's way

    async def _travel(self, way: Way, seen: Seen) -> None:
        """Bring an item to its end, or to where this leg leaves it."""
        while True:
            try:
                outcome, reason = await self._follow(way, *_unless_error(seen))
                break
            except Exception as error:  # noqa: BLE001 - a bad image is one row, and never the batch's end
                self._leave_slot(way)
                if self.cancelled:
                    await self._wait_for_the_end(way)
                ending = self._ending(way, error)
                if ending is not None:
                    outcome, reason = ending
                    break
            if self._stopped:
                await self._wait_for_the_end(way)
            self._enter_phase(way, Phase.TROUBLED)
            await self._sleep(min(2.0**way.tries, 60.0))
            self._enter_phase(way, Phase.READY)
            seen = await self._look(way.maker)
        self._finish(way.item, outcome, reason)

    async def _follow(self, way: Way, step: Step | None, held: Held | None) -> tuple[Outcome, str]:
        """Do one step after another until the video is stored, or nothing can be done."""
        submitted = False
        while True:
            if step is None:
                step, held = await self._submit(way, held)
                submitted = isinstance(step, Attach) and way.has_slot
            if held is None or isinstance(step, Submit):
                step = None
            elif isinstance(step, Refuse):
                raise step.error
            elif isinstance(step, Done):
                return self._done(held)
            elif isinstance(step, WaitForClaim):
                self._enter_phase(way, Phase.CLAIMED)
                await self._sleep(CLAIM_PAUSE)
                self._enter_phase(way, Phase.READY)
                step, held = await self._in_thread(way.maker.look)
            else:
                self._enter(way)
                video = await self._watch(way, held.receipt, fresh=submitted)
                self._leave_slot(way)
                if video.status is video.status.COMPLETED:
                    return self._done(await self._store(way, held))
                count("failed")
                log.warning("%s of %s failed: %s", video.id, way.item.image, video.failure_reason)
                held = await self._in_thread(way.maker.record_failure, held, video)
                self._recharge(way, held)
                self._enter_phase(way, Phase.READY)
                step = None

    def _done(self, held: Held | None) -> tuple[Outcome, str]:
        own = held is not None and held.receipt.claimant == self._run
        return (Outcome.STORED if own else Outcome.SKIPPED), ""

    async def _submit(self, way: Way, held: Held | None) -> tuple[Step | None, Held | None]:
        """Submit an item in its turn, unless its image tells that there is something else to do."""
        await self._reserve(way)
        try:
            with self._may_leave():
                await self._hands.acquire()
            try:
                plan = await self._in_thread(way.maker.plan, held)
                step = await self._in_thread(way.maker.next_step, held, plan.fingerprint)
                if not isinstance(step, Submit):
                    return step, held
                if plan.image_error is not None:
                    raise plan.image_error
                return await self._submit_planned(way, plan)
            finally:
                self._hands.release()
        finally:
            self._give_back(way)

    async def _reserve(self, way: Way) -> None:
        """Set the money aside for one more submission, once there is enough of it."""
        if self._stopped:
            await self._wait_for_the_end(way)
        if not self._budget.pays(self._terms.price_usd):
            self._enter_phase(way, Phase.BLOCKED)
        with self._may_leave():
            await self._budget.reserve(self._terms.price_usd)
        way.reserved = self._terms.price_usd
        self._enter_phase(way, Phase.READY)

    def _give_back(self, way: Way) -> None:
        self._budget.settle(way.reserved, 0.0)
        way.reserved = 0.0
        self._tell()

    async def _submit_planned(self, way: Way, plan: Plan) -> tuple[Step, Held]:
        """Submit, again and again as long as the service provably accepts nothing."""
        while True:
            with self._may_leave():
                await self._caught_up.wait()
                await self._window.enter()
            way.has_slot = True
            if self._stopped:
                raise _StoppedError
            try:
                return await self._submit_once(way, plan)
            except (VeoRateLimitError, VeoNotSentError) as error:
                log.warning("%s: %s", way.item.image, error)

    async def _submit_once(self, way: Way, plan: Plan) -> tuple[Step, Held]:
        """Submit, in a slot and with the money set aside; the slot is kept while the generation runs."""
        began = self._loop.time()
        self._enter_phase(way, Phase.SUBMITTING)
        try:
            step, held = await self._in_thread(way.maker.submit, plan)
        except (VeoRateLimitError, VeoNotSentError) as error:
            self._leave_slot(way)
            too_many = isinstance(error, VeoRateLimitError)
            self._window.refused(began, getattr(error, "retry_after", None), too_many=too_many)
            raise
        except Exception as error:
            if isinstance(error, VeoError) and not isinstance(error, _MAYBE_CHARGED):
                raise
            self._budget.add(way.reserved)
            if isinstance(error, VeoError):
                raise
            raise VeoSubmissionUnknown(f"The submission ended with {error!r}.") from error
        finally:
            self._enter_phase(way, Phase.READY)
        self._recharge(way, held)
        count("submitted")
        self._window.accepted()
        self._succeed()
        if not isinstance(step, Attach):
            self._leave_slot(way)
        return step, held

    async def _watch(self, way: Way, receipt: Receipt, *, fresh: bool) -> Video:
        """Look at a generation until it is finished."""
        veo_task_id, submitted_at = receipt.veo_task_id or "", receipt.submitted_at
        deadline = (submitted_at or time.time()) + self._terms.timeout
        waiting = Waiting(
            self._terms.poll_interval,
            model=receipt.request.get("model", ""),
            resolution=receipt.request.get("resolution", ""),
            submitted_at=submitted_at,
        )
        self._enter_phase(way, Phase.FLYING if fresh else Phase.UNSEEN)
        if fresh:
            await self._sleep(waiting.pause())
        while True:
            try:
                with self._may_leave():
                    last_turn = max(deadline, time.time() + LATE_LOOK_SECONDS)
                    video = await self._line.get(veo_task_id, until=last_turn)
            except VeoError as error:
                if not error.temporary:
                    raise
                pause = waiting.pause_after(error)
                if waiting.is_news(error.what):
                    log.warning("%s Waiting on.", error)
            else:
                if video is not None:
                    waiting.saw(video)
                    self._succeed()
                    if video.finished:
                        if way.phase is Phase.FLYING:
                            self._completions.append(self._loop.time())
                            time_taken("generation_seconds", time.time() - (submitted_at or time.time()))
                        return video
                pause = waiting.pause()
            self._enter_phase(way, Phase.FLYING)
            left = deadline - time.time()
            if left <= 0:
                raise VeoNotInTimeError(
                    f"The generation {veo_task_id} was not finished within {self._terms.timeout:.0f} s."
                )
            await self._sleep(min(pause, left))

    async def _store(self, way: Way, held: Held) -> Held:
        """Store a completed video, or leave that to the next leg."""
        self._enter_phase(way, Phase.COMPLETED)
        if not self._stores:
            await self._sleep(math.inf)
        self._storing.add(way.maker)
        try:
            stored = await self._in(self._storers, way.maker.store, held)
        finally:
            self._storing.discard(way.maker)
        count("completed")
        count("cost_cents", round(100 * (held.receipt.price_usd or 0.0)))
        self._succeed()
        return stored

    def _ending(self, way: Way, error: Exception) -> tuple[Outcome, str] | None:
        """Return how an error ends an item, or None if the item is tried again."""
        if isinstance(error, _STOPPERS):
            self._stop(error)
        if self._stopped and isinstance(error, (*_STOPPERS, _StoppedError)):
            return None
        if isinstance(error, VeoError):
            outcome = outcome_of(error)
            if outcome is not Outcome.ERROR or not error.temporary:
                return outcome, str(error)
        way.tries += 1
        log.warning("%s: %s", way.item.image, error, exc_info=not isinstance(error, VeoError))
        # While nothing else succeeds either, it is not the item's fault.
        if way.tries < MOST_TRIES or self._loop.time() > self._succeeded_at + LOOK_AHEAD_SECONDS:
            return None
        return Outcome.ERROR, str(error) or repr(error)

    async def _wait_for_the_end(self, way: Way) -> None:
        self._enter_phase(way, Phase.BLOCKED)
        await self._sleep(math.inf)

    # Small things

    def _count(self, way: Way, seen: Seen) -> None:
        """Count what a receipt tells of charges that are not counted yet."""
        held = None if isinstance(seen, Exception) else seen[1]
        if held is not None:
            way.cost = charges(held.receipt, self._run)
            self._budget.add(charges(held.receipt, self._run, self._since))

    def _recharge(self, way: Way, held: Held) -> None:
        """Count what a receipt tells now instead of what it told before."""
        cost = charges(held.receipt, self._run)
        self._budget.add(cost - way.cost)
        way.cost = cost

    def _enter(self, way: Way) -> None:
        """Take a slot for a generation that is under way."""
        if not way.has_slot:
            way.has_slot = True
            self._window.join()

    def _leave_slot(self, way: Way) -> None:
        if way.has_slot:
            way.has_slot = False
            self._window.leave()

    def _enter_phase(self, way: Way, phase: Phase) -> None:
        self._phases[way.phase] -= 1
        self._phases[phase] += 1
        way.phase = phase
        self._tell()

    def _tell(self) -> None:
        """Let those look again who wait for something to change."""
        self._news.set()
        if self._has_room():
            self._room.set()

    async def _in_thread(self, call: Callable[..., T], *args: Any) -> T:
        return await self._in(self._callers, call, *args)

    async def _in(self, threads: ThreadPoolExecutor, call: Callable[..., T], *args: Any) -> T:
        """Make a call that blocks, in the context of this task: by it, Airflow knows whose log lines are."""
        return await self._loop.run_in_executor(threads, copy_context().run, call, *args)

    async def _sleep(self, seconds: float) -> None:
        with self._may_leave():
            if seconds == math.inf:
                await self._loop.create_future()
            await asyncio.sleep(seconds)

    @contextmanager
    def _may_leave(self) -> Iterator[None]:
        """Mark a wait that the end of the leg ends; what a thread does is waited for."""
        if self._over:
            raise asyncio.CancelledError
        me = self._me()
        self._idle.add(me)
        try:
            yield
        finally:
            self._idle.discard(me)

    def _me(self) -> asyncio.Task[Any]:
        me = asyncio.current_task()
        assert me is not None, "only tasks come here"  # noqa: S101 - for the type
        return me


def _next(items: Iterator[Item]) -> list[Item]:
    return list(islice(items, 2 * CALLING_THREADS))


def _unless_error(seen: Seen) -> tuple[Step | None, Held | None]:
    if isinstance(seen, Exception):
        raise seen
    return seen
