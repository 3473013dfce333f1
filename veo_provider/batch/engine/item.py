"""The way of one item through a segment: looked at, submitted, watched, and stored.

What an item comes to is its :class:`Ending`. An error is one, too, if trying again would not help: one bad
image is one row of the summary, and never the end of the batch.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, NamedTuple

from veo_provider.batch.engine.state import Phase
from veo_provider.batch.engine.submission_gate import (
    STOPPERS,
    StoppedError,
    is_denied,
    require_permission,
)
from veo_provider.batch.engine.watch import Watch
from veo_provider.batch.outcome import RETRYABLE, Outcome, outcome_of_error
from veo_provider.exceptions import (
    VeoError,
    VeoNotFetchedError,
    VeoNotSentError,
    VeoRateLimitError,
    VeoReceiptChangedError,
    VeoReceiptError,
    VeoReceiptsDeniedError,
    VeoReceiptUnavailableError,
    VeoSubmissionUnknown,
    VeoVideoLostError,
    VeoWaitTimeoutError,
)
from veo_provider.generation.state_machine import Attach, Done, Refuse, Submit, Verify, WaitForClaim
from veo_provider.metrics import count
from veo_provider.receipts.charges import Charges

if TYPE_CHECKING:
    from veo_provider.api.video import Video
    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.batch.report.row import SummaryRow
    from veo_provider.batch.requests import Maker
    from veo_provider.generation.state_machine import PreparedRequest, Step
    from veo_provider.receipts.receipt import Receipt, VersionedReceipt

    Seen = tuple[Step | None, VersionedReceipt | None]
    """What follows from a receipt, and the receipt; no step where it takes the image to tell."""

log = logging.getLogger(__name__)


_MAYBE_CHARGED = (Outcome.UNKNOWN, Outcome.UNDER_WAY)
_RECEIPT_ERRORS = (VeoReceiptUnavailableError, VeoReceiptChangedError)
"""A submission that ends so may have been accepted: its answer, or its receipt, is not settled yet."""


class ItemResult(NamedTuple):
    """What has become of an item.

    :param reason: why there is no video.
    :param receipt: of the video, where there is one.
    """

    outcome: Outcome
    reason: str = ""
    receipt: Receipt | None = None


class ItemTask:
    """The way of one item through a segment.

    :param maker: makes its video.
    :param state: what it shares with the others.
    :param known: its row of the summary, if it had its video before.
    """

    def __init__(self, maker: Maker, state: SegmentState, known: SummaryRow | None = None) -> None:
        self.item = maker.item
        self._known = known
        self.phase = Phase.READY
        self._maker = maker
        self._state = state
        self._seen: Seen | Exception = None, None
        self._accepted = ""
        self._cost = Charges()
        self.late = Charges()
        """What others were found to have submitted for it since the segment began."""
        self._reserved = 0.0
        self._has_slot = False
        self._tries = 0

    async def look(self) -> None:
        """Read the item's receipt; an error is kept as what was seen, for the way to deal with."""
        if self._known is not None:
            return
        try:
            self._seen = await self._state.executors.run_io(self._maker.look)
            self._state.denials = 0
        except Exception as error:  # noqa: BLE001 - it becomes the item's own, not the walk's
            self._seen = error
            self._state.denials += not self._tries and is_denied(error)

    def begin(self) -> ItemResult | None:
        """Take up the item after the first look; return what it has come to if nothing needs to be done."""
        state = self._state
        self._cost = state.ledger.found(self.item.output)
        if self._known is not None:
            self._charge(Charges(self._known.cost_usd, self._known.unknown_usd))
            return ItemResult(self._known.outcome)
        if isinstance(self._seen, Exception):
            return None
        step, held = self._seen
        if held is not None:
            self._recharge(held)
        if isinstance(step, Done):
            return self._done(held)
        if isinstance(step, Attach):
            self._take_slot()
        elif step is None and (state.gate.stopped or state.phases[Phase.BLOCKED]):
            # Some that wait for money are enough; behind them may be others that are paid, and not stored.
            return ItemResult(Outcome.NOT_STARTED, state.gate.stopped or state.ceiling_reached)
        return None

    async def travel(self) -> ItemResult:
        """Bring the item to its end, or to where this segment leaves it: that ends with the segment.

        :raises VeoReceiptsDeniedError: receipts may not be read.
        """
        while True:
            try:
                return await self._follow()
            except Exception as error:  # noqa: BLE001 - a bad image is one row, and never the batch's end
                self._leave_slot()
                if self._state.cancelled:
                    await self._wait_for_the_end()
                ending = self._ending(error)
                if ending is not None:
                    return ending
            # What could not be looked at may be paid as well.
            paid = self._accepted or isinstance(self._seen, Exception)
            if self._state.gate.stopped and not paid:
                await self._wait_for_the_end()
            self._enter(Phase.BACKOFF)
            await self._state.waits.sleep(min(2.0**self._tries, self._state.tuning.longest_retry_pause))
            self._enter(Phase.READY)
            await self.look()
            if not isinstance(self._seen, Exception):
                self._recharge(self._seen[1])

    def cancel(self) -> None:
        """Take back what is being uploaded; from a signal, too."""
        if self.phase is Phase.COMPLETED:
            self._maker.cancel()

    async def _follow(self) -> ItemResult:
        """Do one step after another until the video is stored, or nothing can be done."""
        if isinstance(self._seen, Exception):
            require_permission(self._state, self._seen)
            raise self._seen
        step, held = self._seen
        if held is None and self._accepted:
            raise VeoReceiptError(
                f"The receipt of {self.item.output} is gone, though {self._accepted} was submitted by it: "
                "put it back first, or the output is paid for again."
            )
        self._accepted = ""
        submitted = False
        while True:
            if step is None:
                step, held = await self._submit(held)
                submitted = isinstance(step, Attach) and self._has_slot
            if held is None or isinstance(step, Submit):
                step = None
            elif isinstance(step, Refuse):
                raise step.error
            elif isinstance(step, Done):
                return self._done(held)
            elif isinstance(step, Verify):
                step, held = await self._state.executors.run_io(self._maker.verify, held)
                self._recharge(held)
            elif isinstance(step, WaitForClaim):
                step, held = await self._look_later()
            else:
                self._accepted = held.receipt.veo_task_id or "without an id"
                video = await self._watch(held, fresh=submitted)
                if video.status is video.status.COMPLETED:
                    return self._done(await self._store(held, video))
                step, held = None, await self._record_failure(held, video)
                self._accepted = ""

    async def _look_later(self) -> Seen:
        """Leave a claim to who has it, and see what has become of it."""
        self._enter(Phase.AWAITING_CLAIM)
        await self._state.waits.sleep(self._state.tuning.claim_pause)
        self._enter(Phase.READY)
        step, held = await self._state.executors.run_io(self._maker.look)
        self._recharge(held)
        return step, held

    async def _record_failure(self, held: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Record that the service gave up on a generation, which is not charged.

        :raises VeoChargeOpenError: it may be charged: nothing is submitted in its place.
        """
        count("failed")
        log.warning("%s of %s failed: %s", video.id, self.item.image, video.failure_reason)
        held = await self._state.executors.run_io(self._maker.record_failure, held, video)
        self._recharge(held)
        self._enter(Phase.READY)
        return held

    def _done(self, held: VersionedReceipt | None) -> ItemResult:
        own = held is not None and held.receipt.claimant == self._state.spec.run
        outcome = Outcome.STORED if own else Outcome.SKIPPED
        return ItemResult(outcome, receipt=held.receipt if held else None)

    # Submitting

    async def _submit(self, held: VersionedReceipt | None) -> Seen:
        """Submit the item in its turn, unless its image tells that there is something else to do."""
        state, maker = self._state, self._maker
        maker.require_submittable(held)
        await self._reserve()
        try:
            with state.waits.cancel_at_end():
                await state.prepare_slots.acquire()
            try:
                plan = await state.executors.run_io(maker.plan, held)
                step = await state.executors.run_io(maker.next_step, held, plan.fingerprint)
                if not isinstance(step, Submit):
                    return step, held
                if plan.image_error is not None:
                    raise plan.image_error
                return await self._submit_planned(plan)
            finally:
                state.prepare_slots.release()
        finally:
            self._give_back()

    async def _reserve(self) -> None:
        """Set the money aside for one more submission, once there is enough of it."""
        state, price = self._state, self._state.spec.price_usd
        if state.gate.stopped:
            await self._wait_for_the_end()
        if not state.budget.can_afford(price):
            self._enter(Phase.BLOCKED)
        with state.waits.cancel_at_end():
            await state.budget.reserve(price)
        self._reserved = price
        self._enter(Phase.READY)

    def _give_back(self) -> None:
        self._state.budget.settle(self._reserved, 0.0)
        self._reserved = 0.0
        self._state.on_change()

    async def _submit_planned(self, plan: PreparedRequest) -> Seen:
        """Submit, again and again as long as the service provably accepts nothing."""
        state = self._state
        while True:
            with state.waits.cancel_at_end():
                await state.reattached.wait()
                await state.limiter.acquire()
                self._has_slot = True
            state.gate.starting += 1
            try:
                async with state.gate.submission():
                    await self._take_turn()
                    return await self._submit_once(plan)
            except (VeoRateLimitError, VeoNotSentError) as error:
                log.warning("%s: %s", self.item.image, error)
            finally:
                state.gate.starting -= 1

    async def _take_turn(self) -> None:
        """Wait for the turn that the line gives; a connection that is no good is so for every image.

        :raises StoppedError: the batch has stopped.
        """
        state = self._state
        try:
            with state.waits.cancel_at_end():
                await state.session.acquire(math.inf)
        except VeoError as error:
            state.gate.stop(error)
        if state.gate.stopped:
            raise StoppedError

    async def _submit_once(self, plan: PreparedRequest) -> Seen:
        """Submit, in a slot and with the money set aside; the slot is kept while the generation runs."""
        state, began = self._state, asyncio.get_running_loop().time()
        self._enter(Phase.SUBMITTING)
        try:
            step, held = await state.executors.run_io(self._maker.submit, plan)
        except (VeoRateLimitError, VeoNotSentError) as error:
            self._leave_slot()
            too_many = isinstance(error, VeoRateLimitError)
            state.limiter.on_throttled(began, getattr(error, "retry_after", None), overloaded=too_many)
            raise
        except VeoError as error:
            if outcome_of_error(error) in _MAYBE_CHARGED or isinstance(error, _RECEIPT_ERRORS):
                self._charge(self._cost + Charges(unknown=self._reserved))
            raise
        except Exception as error:
            self._charge(self._cost + Charges(unknown=self._reserved))
            raise VeoSubmissionUnknown(f"The submission ended with {error!r}.") from error
        finally:
            self._enter(Phase.READY)
        self._recharge(held)
        count("submitted")
        if isinstance(step, Attach):
            state.on_accepted()
        else:
            self._leave_slot()
        return step, held

    def _recharge(self, held: VersionedReceipt | None) -> None:
        """Count what a receipt tells now instead of what it told before, or what was feared."""
        state, before = self._state, self.late
        self._charge(state.ledger.charges(held.receipt) if held else Charges())
        self.late = state.ledger.late(held.receipt) if held else Charges()
        state.late += self.late - before

    def _charge(self, cost: Charges) -> None:
        """Count what the item costs in place of what was counted for it in this segment before."""
        change, self._cost = cost - self._cost, cost
        self._state.budget.add(change.total)
        self._state.budget.add_unknown(change.unknown)

    # Watching and storing

    async def _watch(self, held: VersionedReceipt, *, fresh: bool) -> Video:
        """Poll a generation until it is finished; it has a slot for as long.

        :param fresh: whether it was submitted just now.
        """
        self._take_slot()
        self._enter(Phase.GENERATING if fresh else Phase.ATTACHING)
        watch = Watch(self._state, held.receipt, fresh=fresh, polled=lambda: self._enter(Phase.GENERATING))
        video = await watch.until_finished()
        self._leave_slot()
        return video

    async def _store(self, held: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Store a completed video, or leave that to the next segment."""
        self._enter(Phase.COMPLETED)
        if self._state.cancelled or not self._state.store_videos:
            await self._state.waits.sleep(math.inf)
        stored = await self._state.executors.run_transfer(self._maker.store, held, video)
        count("completed")
        count("cost_cents", round(100 * (held.receipt.price_usd or 0.0)))
        self._state.throughput.on_success()
        return stored

    # Ending

    def _ending(self, error: Exception) -> ItemResult | None:
        """Return how an error ends the item, or None if it is tried again.

        :raises VeoReceiptsDeniedError: it is the end of the whole batch.
        """
        state = self._state
        if isinstance(error, VeoReceiptsDeniedError):
            raise error
        if isinstance(error, STOPPERS):
            state.gate.stop(error)
        if self._accepted:
            return self._ending_of_accepted(error)
        if state.gate.stopped and isinstance(error, (*STOPPERS, StoppedError)):
            return None
        outcome = outcome_of_error(error) if isinstance(error, VeoError) else Outcome.ERROR
        lasting = isinstance(error, VeoError) and not error.retryable
        if lasting or outcome not in RETRYABLE or not self._may_try_again(error):
            return ItemResult(outcome, str(error) or repr(error))
        return None

    def _ending_of_accepted(self, error: Exception) -> ItemResult | None:
        """Return how an error ends an item whose generation was accepted: never as refused or not charged."""
        if isinstance(error, VeoReceiptError):
            return ItemResult(Outcome.ERROR, str(error))
        if isinstance(error, VeoVideoLostError):
            count("lost")
            return ItemResult(Outcome.LOST, str(error))
        if isinstance(error, (VeoWaitTimeoutError, VeoNotFetchedError)) and self.phase is not Phase.COMPLETED:
            return ItemResult(Outcome.UNDER_WAY, str(error))
        if self._may_try_again(error):
            return None
        cause = error.what if isinstance(error, VeoError) else repr(error)
        what = f"The generation {self._accepted} was accepted, and its video was not fetched: {cause}"
        return ItemResult(Outcome.UNDER_WAY, str(VeoNotFetchedError(what)))

    def _may_try_again(self, error: Exception) -> bool:
        """Whether there is an attempt left; while nothing else succeeds, it is not the item's fault."""
        state = self._state
        self._tries += 1
        state.last_error = str(error) or repr(error)
        log.warning("%s: %s", self.item.image, error, exc_info=not isinstance(error, VeoError))
        alone = state.throughput.seconds_without_success() > state.tuning.recent_success
        return self._tries < (
            state.tuning.max_attempts_when_alone if alone else state.tuning.max_attempts
        ) or (alone and not state.all_started)

    async def _wait_for_the_end(self) -> None:
        self._enter(Phase.BLOCKED)
        await self._state.waits.sleep(math.inf)

    # Slots and phases

    def _take_slot(self) -> None:
        """Take a slot for a generation that is under way."""
        if not self._has_slot:
            self._has_slot = True
            self._state.limiter.acquire_nowait()

    def _leave_slot(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._state.limiter.release()

    def _enter(self, phase: Phase) -> None:
        self._state.phases[self.phase] -= 1
        self._state.phases[phase] += 1
        self.phase = phase
        self._state.on_change()
