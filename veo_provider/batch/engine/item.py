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

from veo_provider.batch.engine.account import ItemAccount
from veo_provider.batch.engine.state import Phase
from veo_provider.batch.engine.submission_gate import (
    STOPPERS,
    StoppedError,
    is_denied,
    one_submission,
    require_permission,
)
from veo_provider.batch.engine.watch import Watch
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
from veo_provider.generation.lifecycle import existing
from veo_provider.generation.state_machine import (
    CLAIM_POLL_SECONDS,
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
    from veo_provider.batch.report.summary import SummaryRow
    from veo_provider.generation.lifecycle import VideoJob
    from veo_provider.generation.state_machine import Step
    from veo_provider.receipts.receipt import VersionedReceipt

    Seen = tuple[Step, VersionedReceipt | None]
    """A receipt, and what was decided from it."""

log = logging.getLogger(__name__)

MOST_TRIES = 6
"""Attempts at an item that fail for a reason that may pass, while others succeed."""
LAST_TRIES = 12
"""The same where no others are left; that is some seven minutes."""
RECENT_SUCCESS = 30.0
"""Seconds without a success after which a failure is not the item's own fault."""
LONGEST_PAUSE = 60.0
"""Seconds between two attempts at an item, at most."""

_MAYBE_CHARGED = (Outcome.UNKNOWN, Outcome.UNDER_WAY)
_RECEIPT_ERRORS = (VeoReceiptUnavailableError, VeoReceiptChangedError)
"""A submission that ends so may have been accepted: its answer, or its receipt, is not settled yet."""


class ItemTask:
    """Drives the video of one item through a segment: read, submitted, polled, and stored.

    :param item: the image, and where its video goes.
    :param job: the steps of its video.
    :param leg: what it shares with the others.
    :param known: its row of the summary, if its video was stored before.
    """

    def __init__(
        self, item: ManifestItem, job: VideoJob, leg: SegmentState, known: SummaryRow | None = None
    ) -> None:
        self.item = item
        self._account = ItemAccount(item.output, leg)
        self._job = job
        self._leg = leg
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
        """What others were found to have submitted for it since the leg began."""
        return self._account.late

    async def look(self) -> None:
        """Read the item's receipt, and decide; an error is kept, and raised by :meth:`travel`."""
        if self._known is not None:
            return
        try:
            self._seen = await self._leg.threads.call(self._read_and_decide)
            self._leg.denials = 0
        except Exception as error:  # noqa: BLE001 - it becomes the item's own, not the walk's
            self._seen = error
            self._leg.denials += not self._tries and is_denied(error)

    def _read_and_decide(self) -> Seen:
        held = self._job.read()
        return self._job.decide(held), held

    def begin(self) -> ItemResult | None:
        """Start the item after its receipt was read; return its result if nothing needs to be done."""
        leg = self._leg
        self._account.count_found()
        if self._known is not None:
            self._account.charge(Charges(self._known.cost_usd, self._known.unknown_usd))
            return ItemResult(self._known.outcome)
        if isinstance(self._seen, Exception):
            return None
        step, held = self._seen
        if held is not None:
            self._account.recharge(held)
        if isinstance(step, Done):
            return self._done(existing(held))
        if isinstance(step, Attach):
            self._account.take_slot()
        elif isinstance(step, (NeedsImage, Submit)) and (leg.stopped or leg.phases[Phase.BLOCKED]):
            # Do not queue more items for budget: later ones may already be paid for and need storing.
            return ItemResult(Outcome.NOT_STARTED, leg.stopped or leg.ceiling_reached)
        return None

    async def travel(self) -> ItemResult:
        """Drive the item to its end, or to where this leg leaves it: that ends with the leg.

        :raises VeoReceiptsDeniedError: receipts may not be read.
        """
        while True:
            try:
                return await self._drive()
            except Exception as error:  # noqa: BLE001 - a bad image is one row, and never the batch's end
                self._account.leave_slot()
                if self._leg.cancelled:
                    await self._wait_for_the_end()
                ending = self._ending(error)
                if ending is not None:
                    return ending
            # An item whose receipt could not be read may be paid as well.
            paid = self._accepted or isinstance(self._seen, Exception)
            if self._leg.stopped and not paid:
                await self._wait_for_the_end()
            self._account.enter(Phase.TROUBLED)
            await self._leg.sleep(min(2.0**self._tries, LONGEST_PAUSE))
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
        step, held = self._first_step()
        while True:
            match step:
                case NeedsImage() | Submit():
                    held = await self._submit(held)
                case Verify():
                    held = await self._leg.threads.call(self._job.verify, existing(held))
                case WaitForClaim():
                    held = await self._read_later()
                case Attach():
                    held = await self._attach(existing(held))
                case Done():
                    return self._done(existing(held))
                case Refuse(error):
                    raise error
                case _:
                    assert_never(step)
            self._account.recharge(held)
            step = await self._leg.threads.call(self._job.decide, held)

    def _first_step(self) -> Seen:
        """Return what was decided when the receipt was read last, or raise what kept it from being read."""
        if isinstance(self._seen, Exception):
            require_permission(self._leg, self._seen)
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
        self._account.enter(Phase.CLAIMED)
        await self._leg.sleep(CLAIM_POLL_SECONDS)
        self._account.enter(Phase.READY)
        return await self._leg.threads.call(self._job.read)

    async def _attach(self, held: VersionedReceipt) -> VersionedReceipt:
        """Poll a generation until it is finished, and store its video or record its failure.

        :raises VeoChargeOpenError: it failed, and may be charged: nothing is submitted in its place.
        """
        self._accepted = held.receipt.veo_task_id or "without an id"
        video = await self._watch(held)
        if video.status is video.status.COMPLETED:
            return await self._store(held, video)
        count("failed")
        log.warning("%s of %s failed: %s", video.id, self.item.image, video.failure_reason)
        held = await self._leg.threads.call(self._job.record_failure, held, video)
        self._accepted = ""
        self._account.enter(Phase.READY)
        return held

    def _done(self, held: VersionedReceipt) -> ItemResult:
        return ItemResult(outcome_of_video(held.receipt, self._leg.terms.run), receipt=held.receipt)

    # Submitting

    async def _submit(self, held: VersionedReceipt | None) -> VersionedReceipt | None:
        """Submit the item, unless its image shows that there is something else to do; few images at once."""
        leg, job = self._leg, self._job
        if leg.stopped:
            await self._wait_for_the_end()
        await self._account.reserve()
        try:
            with leg.may_leave():
                await leg.hands.acquire()
            try:
                prepared = await leg.threads.call(job.prepare, held)
                if not isinstance(await leg.threads.call(job.decide, held), Submit):
                    return held
                if prepared.image_error is not None:
                    raise prepared.image_error
                return await self._submit_prepared()
            finally:
                job.release_image()
                leg.hands.release()
        finally:
            self._account.give_back()

    async def _submit_prepared(self) -> VersionedReceipt | None:
        """Submit, again and again as long as the service provably accepts nothing."""
        leg = self._leg
        while True:
            with leg.may_leave():
                await leg.caught_up.wait()
                await self._account.wait_for_slot()
            leg.starting += 1
            try:
                async with one_submission(leg):
                    await self._take_turn()
                    return await self._submit_once()
            except (VeoRateLimitError, VeoNotSentError) as error:
                log.warning("%s: %s", self.item.image, error)
            finally:
                leg.starting -= 1

    async def _take_turn(self) -> None:
        """Wait for the turn that the line gives; a connection that is no good is so for every image.

        :raises StoppedError: the batch has stopped.
        """
        leg = self._leg
        try:
            with leg.may_leave():
                await leg.line.turn(math.inf)
        except VeoError as error:
            leg.stop(error)
        if leg.stopped:
            raise StoppedError

    async def _submit_once(self) -> VersionedReceipt | None:
        """Submit, in a slot and with the money set aside; the slot is kept while the generation runs."""
        leg, began = self._leg, asyncio.get_running_loop().time()
        self._account.enter(Phase.SUBMITTING)
        try:
            held = await leg.threads.call(self._job.submit_once)
        except (VeoRateLimitError, VeoNotSentError) as error:
            self._account.leave_slot()
            too_many = isinstance(error, VeoRateLimitError)
            leg.window.refused(began, getattr(error, "retry_after", None), too_many=too_many)
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
        self._account.recharge(held)
        if self._job.has_submitted(held):
            count("submitted")
            leg.accepted()
            self._fresh = True
        else:
            self._account.leave_slot()
        return held

    # Watching and storing

    async def _watch(self, held: VersionedReceipt) -> Video:
        """Poll a generation until it is finished; it has a slot for as long."""
        self._account.take_slot()
        fresh, self._fresh = self._fresh, False
        self._account.enter(Phase.FLYING if fresh else Phase.UNSEEN)
        watch = Watch(self._leg, held.receipt, fresh=fresh, polled=lambda: self._account.enter(Phase.FLYING))
        video = await watch.until_finished()
        self._account.leave_slot()
        return video

    async def _store(self, held: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Store a completed video, or leave that to the next leg, on a worker."""
        self._account.enter(Phase.COMPLETED)
        if self._leg.cancelled or not self._leg.stores:
            await self._leg.sleep(math.inf)
        stored = await self._leg.threads.store(self._job.store, held, video)
        count("completed")
        count("cost_cents", round(100 * (held.receipt.price_usd or 0.0)))
        self._leg.succeeded()
        return stored

    # Ending

    def _ending(self, error: Exception) -> ItemResult | None:
        """Return how an error ends the item, or None if it is tried again.

        :raises VeoReceiptsDeniedError: it is the end of the whole batch.
        """
        leg = self._leg
        if isinstance(error, VeoReceiptsDeniedError):
            raise error
        if isinstance(error, STOPPERS):
            leg.stop(error)
        if self._accepted:
            return self._ending_of_accepted(error)
        if leg.stopped and isinstance(error, (*STOPPERS, StoppedError)):
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
        leg = self._leg
        self._tries += 1
        leg.last_trouble = str(error) or repr(error)
        log.warning("%s: %s", self.item.image, error, exc_info=not isinstance(error, VeoError))
        alone = leg.without_success() > RECENT_SUCCESS
        return self._tries < (LAST_TRIES if alone else MOST_TRIES) or (alone and not leg.walked)

    async def _wait_for_the_end(self) -> None:
        self._account.enter(Phase.BLOCKED)
        await self._leg.sleep(math.inf)
