"""Drives one item of a batch: the loop around the :class:`~veo_provider.generation.lifecycle.VideoJob`."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from typing_extensions import assert_never

from veo_provider.batch.engine.item.account import ItemAccount
from veo_provider.batch.engine.item.errors import Attempts, retry_or_end
from veo_provider.batch.engine.item.submission import ItemSubmission
from veo_provider.batch.engine.item.watch import watch
from veo_provider.batch.engine.state import Phase
from veo_provider.batch.engine.submission_gate import STOPPERS, StoppedError, is_denied, require_permission
from veo_provider.batch.outcome import ItemResult, Outcome, outcome_of_video
from veo_provider.exceptions import (
    VeoError,
    VeoLookUpPendingError,
    VeoReceiptError,
    VeoReceiptsDeniedError,
)
from veo_provider.generation.lifecycle import require_receipt
from veo_provider.generation.state_machine import (
    Attach,
    Done,
    LookUp,
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
    from veo_provider.generation.routed_job import RoutedVideoJob
    from veo_provider.generation.state_machine import Step
    from veo_provider.receipts.store import VersionedReceipt

    Decision = tuple[Step, VersionedReceipt | None]
    """The next step, and the receipt that it was decided from."""

log = logging.getLogger(__name__)


class ItemTask:
    """Takes one item through a segment: its receipt is read, its video submitted, polled and stored.

    :param item: the image, and where its video goes.
    :param job: the steps of its video.
    :param state: what the item shares with the others.
    :param known: its row of the summary, if its video is known to be stored.
    """

    def __init__(
        self, item: ManifestItem, job: RoutedVideoJob, state: SegmentState, known: SummaryRow | None = None
    ) -> None:
        self.item = item
        self._job = job
        self._state = state
        self._known = known
        self._account = ItemAccount(item.output, state)
        self._submission = ItemSubmission(item.image, job, state, self._account)
        self._decision: Decision | Exception = NeedsImage(), None
        """What followed from the receipt when it was last read, or why it could not be read."""
        self._accepted = ""
        """The generation that was accepted, and is not known to have failed."""
        self._fresh = False
        """Whether that generation was submitted just now."""
        self._attempts = 0

    @property
    def phase(self) -> Phase:
        """What the item is waiting for."""
        return self._account.phase

    @property
    def late(self) -> Charges:
        """What others were found to have submitted for the item since the segment started."""
        return self._account.late

    async def read_receipt(self) -> None:
        """Read the receipt and decide the first step; an error is kept, and raised by :meth:`run`."""
        if self._known is not None:
            return
        try:
            self._decision = await self._state.executors.run_io(self._read_and_decide)
            self._state.denials = 0
        except Exception as error:  # noqa: BLE001 - it is the item's own error, not the feeder's
            self._decision = error
            self._state.denials += not self._attempts and is_denied(error)

    def _read_and_decide(self) -> Decision:
        current = self._job.read()
        return self._job.decide(current), current

    def start(self) -> ItemResult | None:
        """Start the item after its receipt was read; return its result if there is nothing to do."""
        self._account.count_found()
        if self._known is not None:
            self._account.count(Charges(self._known.cost_usd, self._known.unknown_usd))
            return ItemResult(self._known.outcome)
        if isinstance(self._decision, Exception):
            return None
        step, current = self._decision
        if current is not None:
            self._account.count_receipt(current)
        if isinstance(step, Done):
            return self._stored_result(require_receipt(current))
        if isinstance(step, (NeedsImage, Submit)):
            return self._result_without_submission()
        if isinstance(step, Attach):
            self._account.take_slot()
        return None

    def _result_without_submission(self) -> ItemResult | None:
        """Return the result of an item that is not submitted in this segment; None if it may be."""
        state = self._state
        if state.gate.stopped or state.phases[Phase.BLOCKED]:
            # Do not queue more items for budget: later ones may already be paid for and need storing.
            return ItemResult(Outcome.NOT_STARTED, state.gate.stopped or state.ceiling_reached)
        return None

    async def run(self) -> ItemResult:
        """Drive the item to its end, and return its result; the end of the segment cancels this.

        :raises VeoReceiptsDeniedError: access to the receipts is denied.
        """
        while True:
            try:
                return await self._drive()
            except Exception as error:  # noqa: BLE001 - a bad image is one row, and never the batch's end
                self._account.release_slot()
                if self._state.cancelled:
                    await self._account.block()
                result = self._retry_or_end(error)
            if result is not None:
                return result
            await self._pause()

    def cancel(self) -> None:
        """Abort the upload; safe in a signal handler."""
        if self.phase is Phase.COMPLETED:
            self._job.cancel()

    async def _drive(self) -> ItemResult:
        """Carry out one step after another until the video is stored or nothing can be done."""
        step, current = self._first_step()
        while True:
            match step:
                case NeedsImage() | Submit():
                    current, self._fresh = await self._submission.submit(current)
                case Verify():
                    current = await self._state.executors.run_io(self._job.verify, require_receipt(current))
                case LookUp():
                    current = await self._look_up(require_receipt(current))
                case WaitForClaim():
                    await self._account.pause(Phase.AWAITING_CLAIM, self._state.tuning.claim_pause)
                    current = await self._state.executors.run_io(self._job.read)
                case Attach():
                    current = await self._attach(require_receipt(current))
                case Done():
                    return self._stored_result(require_receipt(current))
                case Refuse(error):
                    raise error
                case _:
                    assert_never(step)
            self._account.count_receipt(current)
            step = await self._state.executors.run_io(self._job.decide, current)

    def _first_step(self) -> Decision:
        """Return the step that was decided when the receipt was last read, or raise why it was not read."""
        if isinstance(self._decision, Exception):
            require_permission(self._state, self._decision)
            raise self._decision
        if self._decision[1] is None and self._accepted:
            raise VeoReceiptError(
                f"The receipt of {self.item.output} is gone, but {self._accepted} was submitted: put the "
                "receipt back first, or the output is paid for again."
            )
        self._accepted, self._fresh = "", False
        return self._decision

    async def _look_up(self, current: VersionedReceipt) -> VersionedReceipt | None:
        """Look up what became of a lost submission; pause and read again if that is not known yet."""
        try:
            return await self._submission.look_up(current)
        except VeoLookUpPendingError as error:
            self._state.last_error = str(error)
            log.warning("%s: %s", self.item.image, error)
        await self._account.pause(Phase.AWAITING_CLAIM, self._state.tuning.look_up_pause)
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

    async def _watch(self, current: VersionedReceipt) -> Video:
        """Poll a generation until it is finished; it has a slot for as long."""
        self._account.take_slot()
        fresh, self._fresh = self._fresh, False
        self._account.enter(Phase.GENERATING if fresh else Phase.ATTACHING)
        video = await watch(
            self._state,
            self._state.sessions[self._job.route_of(current.receipt).veo_conn_id],
            current.receipt,
            fresh=fresh,
            polled=lambda: self._account.enter(Phase.GENERATING),
        )
        self._account.release_slot()
        return video

    async def _store(self, current: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Store a completed video; in the triggerer, leave that to the next segment, on a worker."""
        self._account.enter(Phase.COMPLETED)
        if self._state.cancelled or not self._state.store_videos:
            await self._state.waits.sleep(math.inf)
        stored = await self._state.executors.run_transfer(self._job.store, current, video)
        count("completed")
        count("cost_cents", round(100 * (current.receipt.price_usd or 0.0)))
        self._state.throughput.on_success()
        return stored

    def _stored_result(self, current: VersionedReceipt) -> ItemResult:
        return ItemResult(outcome_of_video(current.receipt, self._state.spec.run), receipt=current.receipt)

    # After an error

    def _retry_or_end(self, error: Exception) -> ItemResult | None:
        """Return how an error ends the item; None if it is tried again.

        :raises VeoReceiptsDeniedError: the error ends the whole batch.
        """
        state = self._state
        if isinstance(error, VeoReceiptsDeniedError):
            raise error
        if isinstance(error, STOPPERS):
            state.gate.stop(error)
        if state.gate.stopped and not self._accepted and isinstance(error, (*STOPPERS, StoppedError)):
            return None
        self._attempts += 1
        outage = state.throughput.seconds_without_success() > state.tuning.recent_success
        result = retry_or_end(
            error,
            Attempts(made=self._attempts, outage=outage, all_started=state.all_started),
            state.tuning,
            accepted=self._accepted,
            storing=self.phase is Phase.COMPLETED,
        )
        if result is None or not isinstance(error, VeoError):
            state.last_error = str(error) or repr(error)
            log.warning("%s: %s", self.item.image, error, exc_info=not isinstance(error, VeoError))
        elif result.outcome is Outcome.LOST:
            count("lost")
        return result

    async def _pause(self) -> None:
        """Pause before another attempt, and read the receipt again; a stopped batch starts none."""
        # An item whose receipt could not be read may be paid for as well.
        maybe_paid = self._accepted or isinstance(self._decision, Exception)
        if self._state.gate.stopped and not maybe_paid:
            await self._account.block()
        longest = self._state.tuning.longest_retry_pause
        await self._account.pause(Phase.BACKOFF, min(2.0**self._attempts, longest))
        await self.read_receipt()
        if not isinstance(self._decision, Exception):
            self._account.count_receipt(self._decision[1])
