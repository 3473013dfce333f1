"""One item of a batch in its event loop: it drives a :class:`~veo_provider.generation.lifecycle.VideoJob`.

An error is the result of an item, too, if trying again would not help: one bad image is one row of the
summary, and never the end of the batch.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from typing_extensions import assert_never

from veo_provider.batch.engine.item.account import ItemAccount
from veo_provider.batch.engine.item.watch import watch
from veo_provider.batch.engine.state import Phase
from veo_provider.batch.engine.submission_gate import STOPPERS, StoppedError, is_denied, require_permission
from veo_provider.batch.outcome import RETRYABLE, ItemResult, Outcome, outcome_of_error, outcome_of_video
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
from veo_provider.generation.lifecycle import require_receipt
from veo_provider.generation.state_machine import (
    Attach,
    Done,
    NeedsImage,
    Refuse,
    Submit,
    Verify,
    WaitForClaim,
)
from veo_provider.metrics import count
from veo_provider.receipts.charges import Charges

if TYPE_CHECKING:
    from veo_provider.api.video import Video
    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.batch.report.row import SummaryRow
    from veo_provider.generation.lifecycle import VideoJob
    from veo_provider.generation.state_machine import Step
    from veo_provider.receipts.receipt import VersionedReceipt

    Seen = tuple[Step, VersionedReceipt | None]
    """A receipt, and what was decided from it."""

log = logging.getLogger(__name__)


_MAYBE_CHARGED = (Outcome.UNKNOWN, Outcome.UNDER_WAY)
_RECEIPT_ERRORS = (VeoReceiptUnavailableError, VeoReceiptChangedError)
"""A submission that ends so may have been accepted: its answer, or its receipt, is not settled yet."""


class ItemTask:
    """Drives the video of one item through a segment: read, submitted, polled, and stored.

    :param item: the image, and where its video goes.
    :param job: the steps of its video.
    :param state: what it shares with the others.
    :param known: its row of the summary, if its video was stored before.
    """

    def __init__(
        self, item: ManifestItem, job: VideoJob, state: SegmentState, known: SummaryRow | None = None
    ) -> None:
        self.item = item
        self._account = ItemAccount(item.output, state)
        self._job = job
        self._state = state
        self._known = known
        self._seen: Seen | Exception = NeedsImage(), None
        self._accepted = ""
        """The generation that was accepted, and is not known to have failed."""
        self._fresh = False
        """Whether that was just now."""
        self._tries = 0

    @property
    def phase(self) -> Phase:
        """What the item is waiting for."""
        return self._account.phase

    @property
    def late(self) -> Charges:
        """What others were found to have submitted for it since the segment began."""
        return self._account.late

    async def look(self) -> None:
        """Read the item's receipt, and decide; an error is kept, and raised by :meth:`travel`."""
        if self._known is not None:
            return
        try:
            self._seen = await self._state.executors.run_io(self._read_and_decide)
            self._state.denials = 0
        except Exception as error:  # noqa: BLE001 - it becomes the item's own, not the walk's
            self._seen = error
            self._state.denials += not self._tries and is_denied(error)

    def _read_and_decide(self) -> Seen:
        current = self._job.read()
        return self._job.decide(current), current

    def begin(self) -> ItemResult | None:
        """Start the item after its receipt was read; return its result if nothing needs to be done."""
        state = self._state
        self._account.count_found()
        if self._known is not None:
            self._account.charge(Charges(self._known.cost_usd, self._known.unknown_usd))
            return ItemResult(self._known.outcome)
        if isinstance(self._seen, Exception):
            return None
        step, current = self._seen
        if current is not None:
            self._account.recharge(current)
        if isinstance(step, Done):
            return self._done(require_receipt(current))
        if isinstance(step, Attach):
            self._account.take_slot()
        elif isinstance(step, (NeedsImage, Submit)) and (state.gate.stopped or state.phases[Phase.BLOCKED]):
            # Do not queue more items for budget: later ones may already be paid for and need storing.
            return ItemResult(Outcome.NOT_STARTED, state.gate.stopped or state.ceiling_reached)
        return None

    async def travel(self) -> ItemResult:
        """Drive the item to its end, or to where this segment leaves it: that ends with the segment.

        :raises VeoReceiptsDeniedError: receipts may not be read.
        """
        while True:
            try:
                return await self._drive()
            except Exception as error:  # noqa: BLE001 - a bad image is one row, and never the batch's end
                self._account.leave_slot()
                if self._state.cancelled:
                    await self._wait_for_the_end()
                ending = self._ending(error)
                if ending is not None:
                    return ending
            # An item whose receipt could not be read may be paid as well.
            paid = self._accepted or isinstance(self._seen, Exception)
            if self._state.gate.stopped and not paid:
                await self._wait_for_the_end()
            self._account.enter(Phase.BACKOFF)
            await self._state.waits.sleep(min(2.0**self._tries, self._state.tuning.longest_retry_pause))
            self._account.enter(Phase.READY)
            await self.look()
            if not isinstance(self._seen, Exception):
                self._account.recharge(self._seen[1])

    def cancel(self) -> None:
        """Abort the upload; from a signal handler, too."""
        if self.phase is Phase.COMPLETED:
            self._job.cancel()

    async def _drive(self) -> ItemResult:
        """Do one step after another until the video is stored, or nothing can be done."""
        step, current = self._first_step()
        while True:
            match step:
                case NeedsImage() | Submit():
                    current = await self._submit(current)
                case Verify():
                    current = await self._state.executors.run_io(self._job.verify, require_receipt(current))
                case WaitForClaim():
                    current = await self._read_later()
                case Attach():
                    current = await self._attach(require_receipt(current))
                case Done():
                    return self._done(require_receipt(current))
                case Refuse(error):
                    raise error
                case _:
                    assert_never(step)
            self._account.recharge(current)
            step = await self._state.executors.run_io(self._job.decide, current)

    def _first_step(self) -> Seen:
        """Return what was decided when the receipt was read last, or raise what kept it from being read."""
        if isinstance(self._seen, Exception):
            require_permission(self._state, self._seen)
            raise self._seen
        if self._seen[1] is None and self._accepted:
            raise VeoReceiptError(
                f"The receipt of {self.item.output} is gone, though {self._accepted} was submitted by it: "
                "put it back first, or the output is paid for again."
            )
        self._accepted, self._fresh = "", False
        return self._seen

    async def _read_later(self) -> VersionedReceipt | None:
        """Let the claim holder submit, and read the receipt again later."""
        self._account.enter(Phase.AWAITING_CLAIM)
        await self._state.waits.sleep(self._state.tuning.claim_pause)
        self._account.enter(Phase.READY)
        return await self._state.executors.run_io(self._job.read)

    async def _attach(self, current: VersionedReceipt) -> VersionedReceipt:
        """Poll a generation until it is finished, and store its video or record its failure.

        :raises VeoChargeOpenError: it failed, and may be charged: nothing is submitted in its place.
        """
        self._accepted = current.receipt.veo_task_id or "without an id"
        video = await self._watch(current)
        if video.status is video.status.COMPLETED:
            return await self._store(current, video)
        count("failed")
        log.warning("%s of %s failed: %s", video.id, self.item.image, video.failure_reason)
        current = await self._state.executors.run_io(self._job.record_failure, current, video)
        self._accepted = ""
        self._account.enter(Phase.READY)
        return current

    def _done(self, current: VersionedReceipt) -> ItemResult:
        return ItemResult(outcome_of_video(current.receipt, self._state.spec.run), receipt=current.receipt)

    # Submitting

    async def _submit(self, current: VersionedReceipt | None) -> VersionedReceipt | None:
        """Submit the item, unless its image shows that there is something else to do; few images at once."""
        state, job = self._state, self._job
        if state.gate.stopped:
            await self._wait_for_the_end()
        await self._account.reserve()
        try:
            with state.waits.cancel_at_end():
                await state.prepare_slots.acquire()
            try:
                prepared = await state.executors.run_io(job.prepare, current)
                if not isinstance(await state.executors.run_io(job.decide, current), Submit):
                    return current
                if prepared.image_error is not None:
                    raise prepared.image_error
                return await self._submit_prepared()
            finally:
                job.release_image()
                state.prepare_slots.release()
        finally:
            self._account.give_back()

    async def _submit_prepared(self) -> VersionedReceipt | None:
        """Submit, again and again as long as the service provably accepts nothing."""
        state = self._state
        while True:
            with state.waits.cancel_at_end():
                await state.reattached.wait()
                await self._account.wait_for_slot()
            state.gate.starting += 1
            try:
                async with state.gate.submission():
                    await self._take_turn()
                    return await self._submit_once()
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

    async def _submit_once(self) -> VersionedReceipt | None:
        """Submit, in a slot and with the money set aside; the slot is kept while the generation runs."""
        state, began = self._state, asyncio.get_running_loop().time()
        self._account.enter(Phase.SUBMITTING)
        try:
            current = await state.executors.run_io(self._job.submit_once)
        except (VeoRateLimitError, VeoNotSentError) as error:
            self._account.leave_slot()
            too_many = isinstance(error, VeoRateLimitError)
            state.limiter.on_throttled(began, getattr(error, "retry_after", None), overloaded=too_many)
            raise
        except VeoError as error:
            if outcome_of_error(error) in _MAYBE_CHARGED or isinstance(error, _RECEIPT_ERRORS):
                self._account.charge_reserved()
            raise
        except Exception as error:
            self._account.charge_reserved()
            raise VeoSubmissionUnknown(f"The submission ended with {error!r}.") from error
        finally:
            self._account.enter(Phase.READY)
        self._account.recharge(current)
        if self._job.submitted_by_this_attempt(current):
            count("submitted")
            state.on_accepted()
            self._fresh = True
        else:
            self._account.leave_slot()
        return current

    # Watching and storing

    async def _watch(self, current: VersionedReceipt) -> Video:
        """Poll a generation until it is finished; it has a slot for as long."""
        self._account.take_slot()
        fresh, self._fresh = self._fresh, False
        self._account.enter(Phase.GENERATING if fresh else Phase.ATTACHING)
        video = await watch(
            self._state, current.receipt, fresh=fresh, polled=lambda: self._account.enter(Phase.GENERATING)
        )
        self._account.leave_slot()
        return video

    async def _store(self, current: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Store a completed video, or leave that to the next segment, on a worker."""
        self._account.enter(Phase.COMPLETED)
        if self._state.cancelled or not self._state.store_videos:
            await self._state.waits.sleep(math.inf)
        stored = await self._state.executors.run_transfer(self._job.store, current, video)
        count("completed")
        count("cost_cents", round(100 * (current.receipt.price_usd or 0.0)))
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
        self._account.enter(Phase.BLOCKED)
        await self._state.waits.sleep(math.inf)
