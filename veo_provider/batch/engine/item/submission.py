"""Submits one item of a batch, once there are money, a slot and a permit for it."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from veo_provider.batch.engine.item.errors import may_be_charged
from veo_provider.batch.engine.state import Phase
from veo_provider.batch.engine.submission_gate import StoppedError
from veo_provider.exceptions import (
    VeoError,
    VeoLookUpPendingError,
    VeoNotSentError,
    VeoRateLimitError,
    VeoSubmissionUnknown,
)
from veo_provider.generation.fallbacks import ROUTE_REFUSALS
from veo_provider.generation.state_machine import Submit
from veo_provider.metrics import count
from veo_provider.receipts.receipt import ReceiptState

if TYPE_CHECKING:
    from veo_provider.batch.engine.item.account import ItemAccount
    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.generation.routed_job import RoutedVideoJob
    from veo_provider.polling.session import PollingSession
    from veo_provider.receipts.store import VersionedReceipt

log = logging.getLogger(__name__)

_NOT_ACCEPTED = (VeoRateLimitError, VeoNotSentError)
"""After these, the service certainly has not accepted the submission, and it is repeated."""


class ItemSubmission:
    """Submits one item.

    :param image: the item's image, for the log.
    :param job: the steps of its video.
    :param state: what the item shares with the others.
    :param account: what the item occupies in the segment.
    """

    def __init__(self, image: str, job: RoutedVideoJob, state: SegmentState, account: ItemAccount) -> None:
        self._image = image
        self._job = job
        self._state = state
        self._account = account

    async def submit(self, current: VersionedReceipt | None) -> tuple[VersionedReceipt | None, bool]:
        """Submit the item, unless its image shows that another step is due. This spends money.

        :returns: the receipt afterwards, and whether this submission was accepted.
        :raises StoppedError: the batch has stopped submitting.
        :raises VeoSubmissionUnknown: the submission may have been accepted.
        :raises VeoError: nothing was submitted, or it was refused.
        """
        if self._state.gate.stopped:
            await self._account.block()
        self._job.start_over()
        await self._account.reserve()
        try:
            return await self._prepare_and_submit(current)
        finally:
            self._account.release_reservation()

    async def look_up(self, current: VersionedReceipt) -> VersionedReceipt:
        """Return the receipt after its lost submission was looked up, which may take its image.

        The errors are those of :meth:`~veo_provider.generation.lifecycle.GenerationJob.look_up`.
        """
        with self._state.waits.cancel_at_end():
            await self._state.prepare_slots.acquire()
        try:
            return await self._state.executors.run_io(self._job.look_up, current)
        finally:
            self._job.release_image()
            self._state.prepare_slots.release()

    async def _prepare_and_submit(
        self, current: VersionedReceipt | None
    ) -> tuple[VersionedReceipt | None, bool]:
        """Read the image and submit; only so many items have an image in memory at the same time."""
        state, job = self._state, self._job
        with state.waits.cancel_at_end():
            await state.prepare_slots.acquire()
        try:
            await state.executors.run_io(job.prepare, current)
            if not isinstance(await state.executors.run_io(job.decide, current), Submit):
                return current, False
            job.require_submittable()
            return await self._submit_prepared()
        finally:
            job.release_image()
            state.prepare_slots.release()

    async def _submit_prepared(self) -> tuple[VersionedReceipt | None, bool]:
        """Submit, and repeat that for as long as the service certainly has not accepted it."""
        state = self._state
        while True:
            with state.waits.cancel_at_end():
                await state.reattached.wait()
                await self._account.wait_for_slot()
            state.gate.starting += 1
            try:
                self._job.skip(state.refused_routes.paused)
                async with state.gate.submission(self._session):
                    return await self._submit_by_routes()
            except _NOT_ACCEPTED as error:
                log.warning("%s: %s", self._image, error)
            finally:
                state.gate.starting -= 1

    async def _submit_by_routes(self) -> tuple[VersionedReceipt | None, bool]:
        """Submit, and ask the next route after a refusal that permits it; the following images do as well.

        :raises VeoError: nothing was submitted, or the last route that was asked has refused.
        """
        # While it waited for the gate, other images may have learned more.
        self._job.skip(self._state.refused_routes.pass_image())
        while True:
            await self._acquire_permit()
            number = self._job.next_number
            try:
                current, accepted = await self._submit_once()
            except VeoError as error:
                refusal = self._job.use_next_route(error)
                if type(error) in ROUTE_REFUSALS:
                    self._state.refused_routes.add(number, refusal)
            else:
                if accepted:
                    self._state.refused_routes.remove(number)
                return current, accepted

    @property
    def _session(self) -> PollingSession:
        """The session of the route that is asked next."""
        return self._state.sessions[self._job.next_route.veo_conn_id]

    async def _acquire_permit(self) -> None:
        """Wait for a permit of the rate limit; a connection that does not work concerns every image.

        :raises StoppedError: the batch has stopped submitting.
        """
        state = self._state
        try:
            with state.waits.cancel_at_end():
                await self._session.acquire(math.inf)
        except VeoError as error:
            state.gate.stop(error)
        if state.gate.stopped:
            raise StoppedError

    async def _submit_once(self) -> tuple[VersionedReceipt | None, bool]:
        """Submit with a slot and a reservation; the slot is kept if the submission is accepted."""
        started_at = asyncio.get_running_loop().time()
        self._account.enter(Phase.SUBMITTING)
        try:
            current = await self._state.executors.run_io(self._job.submit_once)
            _require_response(current)
        except Exception as error:
            self._on_error(error, started_at)
            if isinstance(error, VeoError):
                raise
            raise VeoSubmissionUnknown(f"The submission ended with {error!r}.") from error
        finally:
            self._account.enter(Phase.READY)
        self._account.count_receipt(current)
        accepted = self._job.submitted_by_this_attempt(current)
        if accepted:
            count("submitted")
            self._state.on_accepted()
        else:
            self._account.release_slot()
        return current, accepted

    def _on_error(self, error: Exception, started_at: float) -> None:
        """Count what the failed submission may cost, and slow down if the service asks for that."""
        if may_be_charged(error):
            self._account.count_reservation()
        if isinstance(error, _NOT_ACCEPTED):
            self._account.release_slot()
            throttled = isinstance(error, VeoRateLimitError)
            retry_after = getattr(error, "retry_after", None)
            self._state.limiter.on_throttled(started_at, retry_after, overloaded=throttled)


def _require_response(current: VersionedReceipt | None) -> None:
    """Check that the response to a submission has come.

    :raises VeoLookUpPendingError: it was lost; it is looked up later, and the circuit breaker counts it now.
    """
    if current is not None and current.receipt.state is ReceiptState.UNKNOWN:
        raise VeoLookUpPendingError(f"The response to the submission was lost: {current.receipt.reason}")
