"""The gate before each submission: which failures pause or stop all submissions of a batch.

Here it is decided which errors count; how many are too many is decided by the
:class:`~veo_provider.concurrency.circuit_breaker.CircuitBreaker` that the items share.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from veo_provider.exceptions import (
    VeoAPIError,
    VeoAuthenticationError,
    VeoBadRequestError,
    VeoError,
    VeoGenerationFailed,
    VeoImageUnavailableError,
    VeoInterruptedError,
    VeoModelRetiredError,
    VeoModerationError,
    VeoOutageError,
    VeoQuotaError,
    VeoRateLimitError,
    VeoReceiptChangedError,
    VeoReceiptDeniedError,
    VeoReceiptsDeniedError,
    VeoRecordLostError,
    VeoRequestChangedError,
    VeoRequestError,
    VeoStorageDeniedError,
    VeoSubmissionUnknown,
    VeoTaskNotFoundError,
    VeoWrongHostError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from veo_provider.batch.engine.state import SegmentState, SegmentWaits
    from veo_provider.concurrency.circuit_breaker import CircuitBreaker
    from veo_provider.polling.session import PollingSession

log = logging.getLogger(__name__)

STOPPERS = (VeoQuotaError, VeoAuthenticationError, VeoWrongHostError, VeoModelRetiredError)
"""Errors of the account, the host or the model concern every image: one of them stops a batch."""
MAX_DENIALS = 3
"""Denied receipts in a row, each of another item, after which the batch ends."""

_NOT_COUNTED = (
    VeoRequestError,
    VeoModerationError,
    VeoGenerationFailed,
    VeoImageUnavailableError,
    VeoInterruptedError,
    VeoRequestChangedError,
    VeoReceiptChangedError,
    VeoRateLimitError,
)
"""Errors of one image, its prompt or its receipt, and throttling, which the limiter answers."""
_NOT_WELL = (VeoAuthenticationError, VeoRateLimitError, VeoWrongHostError)
"""After these, the service does not count as well."""
_ANSWERS = range(400, 501)
"""Nor does it after a status outside of this range."""
_ABOUT_THE_IMAGE = re.compile(
    r"\b(image(?!-to-)|picture|photo|file|input_reference|prompt)s?\b", re.IGNORECASE
)
"""A refusal with one of these words concerns this one image only."""
_VARIABLE_WORD = re.compile(r"\S+://\S+|\S*\d\S*")
"""Addresses, ids and numbers, which differ between refusals that have the same cause."""
_CHECKED_TASK_ID = "task_connection_test"
_RETRYABLE = "trouble"


class StoppedError(Exception):
    """The batch was stopped while an item waited to be submitted."""


class Fault(NamedTuple):
    """What a failed submission says about the next ones.

    :param kind: equal for failures with the same cause.
    :param may_pass: whether waiting may help.
    """

    kind: str
    may_pass: bool


def fault_of(error: Exception) -> Fault | None:
    """Return what a failed submission says about the next ones; None if it concerns its own image only.

    All retryable errors are of one kind: in an outage, a service gives different answers, or none. Refusals
    are of one kind if their class, code and message are equal.
    """
    if not isinstance(error, VeoError):
        return Fault(_RETRYABLE, may_pass=True)
    if isinstance(error, _NOT_COUNTED) or _is_about_the_image(error):
        return None
    if not is_denied(error) and (
        error.retryable or isinstance(error, (VeoSubmissionUnknown, VeoRecordLostError))
    ):
        return Fault(_RETRYABLE, may_pass=True)
    message = " ".join(_VARIABLE_WORD.sub("", error.what.lower()).split())
    return Fault(f"{type(error).__name__} {getattr(error, 'code', '')} {message}", may_pass=False)


def require_permission(state: SegmentState, error: Exception) -> None:
    """End the batch if receipts may not be read any more: it is then unknown what is paid.

    A segment checks the permission when it starts, so this happens only if it is taken away meanwhile. One
    denied receipt does not end the batch: it may have a policy or a KMS key of its own, and is one row.

    :param error: why a receipt was not read.
    :raises VeoReceiptsDeniedError: these are :data:`MAX_DENIALS` in a row.
    """
    if state.denials >= MAX_DENIALS and is_denied(error):
        raise VeoReceiptsDeniedError(f"Several receipts in a row may not be read: {error}") from error


def is_denied(error: BaseException) -> bool:
    """Whether the store of receipts denies access."""
    return isinstance(error, (VeoReceiptDeniedError, VeoStorageDeniedError))


def _is_about_the_image(error: VeoError) -> bool:
    if not isinstance(error, VeoBadRequestError) or isinstance(error, STOPPERS):
        return False
    too_large = error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return too_large or _ABOUT_THE_IMAGE.search(error.what) is not None


class SubmissionGate:
    """Lets submissions pass, pauses them after failures, and closes for good. Belongs to one event loop.

    :param breaker: counts the failures.
    :param waits: cancelled at the end of the segment.
    :param check_patience: seconds that the free check may wait for its permit.
    :param stopped: why an earlier segment has closed the gate; empty if it is open.
    :param stopped_for_now: whether that may pass, so that the task's next try may go on.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        waits: SegmentWaits,
        *,
        check_patience: float,
        stopped: str = "",
        stopped_for_now: bool = False,
    ) -> None:
        self.breaker = breaker
        self.stopped = stopped
        self.stopped_for_now = stopped_for_now
        self.starting = 0
        """Items that have a slot, and wait here or are being submitted."""
        self._waits = waits
        self._check_patience = check_patience
        self._loop = asyncio.get_running_loop()
        self._change: asyncio.Future[None] = self._loop.create_future()

    def stop(self, error: VeoError) -> None:
        """Submit nothing more; generations in flight are finished."""
        if not self.stopped:
            log.error("Nothing more is submitted: %s", error)
            self.stopped = str(error)
            self.stopped_for_now = error.retryable
            self._notify()

    def on_accepted(self) -> None:
        """Record that the service has accepted a submission."""
        if self.breaker.is_open:
            log.info("The service accepts submissions again.")
        self.breaker.on_success()
        self._notify()

    @asynccontextmanager
    async def submission(self, session: PollingSession) -> AsyncIterator[None]:
        """Wait until one more submission may be sent, and count it if it fails.

        The body calls :meth:`on_accepted` if it was accepted.

        :param session: of the service, for a free check of it.
        :raises StoppedError: the batch has stopped meanwhile.
        """
        await self._enter(session)
        try:
            yield
        except Exception as error:
            self._count(error)
            raise
        finally:
            self._leave()

    async def _enter(self, session: PollingSession) -> None:
        breaker = self.breaker
        while not self.stopped:
            if not breaker.try_acquire():
                await self._until_change(breaker.next_change)
            elif not breaker.is_open:
                return
            else:
                well = False
                try:
                    well = await self._is_well(session)
                finally:
                    if not well:
                        self._leave()
                if well:
                    return
        raise StoppedError

    def _leave(self) -> None:
        self.breaker.release()
        self._notify()

    def _notify(self) -> None:
        """Wake all that wait for a change."""
        self._change.set_result(None)
        self._change = self._loop.create_future()

    async def _until_change(self, seconds: float | None) -> None:
        """Wait for a change, or for so many seconds; None for no limit."""
        with self._waits.cancel_at_end():
            await asyncio.wait({self._change}, timeout=seconds)

    def _count(self, error: Exception) -> None:
        """Count a failed submission, which may pause all others or stop the batch."""
        fault = fault_of(error)
        if fault is None:
            return
        paused = self.breaker.on_failure(fault.kind, retryable=fault.may_pass)
        if not self.breaker.gave_up:
            if paused:
                log.warning("No submissions for %.0f s: %s", self.breaker.pause_left, error)
        elif isinstance(error, VeoError) and not fault.may_pass:
            self.stop(error)
        else:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        what = error.what if isinstance(error, VeoError) else repr(error)
        self.stop(
            VeoOutageError(
                f"No submission was accepted for {self.breaker.failing_for:.0f} s, not even one at a time. "
                f"The last error was: {what}"
            )
        )

    async def _is_well(self, session: PollingSession) -> bool:
        """Ask the service for a task that cannot exist, which is free, before an image is risked.

        Some gateways answer 500 for such a task although they are well, so that answer passes.
        """
        try:
            with self._waits.cancel_at_end():
                await session.get(_CHECKED_TASK_ID, until=time.time() + self._check_patience)
        except VeoTaskNotFoundError:
            return True
        except VeoError as error:
            answered = isinstance(error, VeoAPIError) and error.status in _ANSWERS
            if answered and not isinstance(error, _NOT_WELL):
                return True
            if self.breaker.on_check_failed():
                log.warning("No submissions for another %.0f s: %s", self.breaker.pause_left, error)
            else:
                self._give_up(error)
            return False
        return True
