"""The gate before each submission: what failures of it close it for all, and when it opens again.

Which errors count is decided here; when that is too often, by the
:class:`~veo_provider.concurrency.circuit_breaker.CircuitBreaker` that the items of a batch share.
"""

from __future__ import annotations

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

    from veo_provider.batch.engine.state import SegmentState

log = logging.getLogger(__name__)

STOPPERS = (VeoQuotaError, VeoAuthenticationError, VeoWrongHostError, VeoModelRetiredError)
"""What is wrong with the account, the host or the model for every image: one of them stops a batch."""
CHECK_PATIENCE = 60.0
"""Seconds that a free check may wait for its turn."""

MOST_DENIALS = 3
"""Receipts in a row that may not be read, each of another video, after which the batch ends."""

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
"""About one image, its prompt or its receipt; and too many at once, for which the window becomes smaller."""
_NOT_WELL = (VeoAuthenticationError, VeoRateLimitError, VeoWrongHostError)
"""A check that is answered so has not found the service well, nor has one without any of these statuses."""
_ANSWERS = range(400, 501)
_ABOUT_THE_IMAGE = re.compile(
    r"\b(image(?!-to-)|picture|photo|file|input_reference|prompt)s?\b", re.IGNORECASE
)
"""A refusal with one of these words is about what was sent for this one image."""
_OF_THIS_ONE = re.compile(r"\S+://\S+|\S*\d\S*")
"""Addresses, ids and numbers: they differ from one refusal to the next though the cause is the same."""
_CHECKED_TASK_ID = "task_connection_test"
_TROUBLE = "trouble"


class StoppedError(Exception):
    """The batch has stopped while an item was waiting for its turn."""


class Fault(NamedTuple):
    """What a failed submission says about those to come.

    :param kind: the same for failures with the same cause.
    :param may_pass: whether waiting may help.
    """

    kind: str
    may_pass: bool


def fault_of(error: Exception) -> Fault | None:
    """Return what a failed submission says about the next ones; None if it is about its own image only.

    Whatever may pass is of one kind: a service in trouble answers now this, now that, and then not at all.
    Refusals are of one kind if class, code and message are the same.
    """
    if not isinstance(error, VeoError):
        return Fault(_TROUBLE, may_pass=True)
    if isinstance(error, _NOT_COUNTED) or _is_about_the_image(error):
        return None
    if not is_denied(error) and (
        error.retryable or isinstance(error, (VeoSubmissionUnknown, VeoRecordLostError))
    ):
        return Fault(_TROUBLE, may_pass=True)
    message = " ".join(_OF_THIS_ONE.sub("", error.what.lower()).split())
    return Fault(f"{type(error).__name__} {getattr(error, 'code', '')} {message}", may_pass=False)


def require_permission(leg: SegmentState, error: Exception) -> None:
    """End the batch if receipts may not be read: then nobody knows what is paid.

    :param error: why a receipt was not read.
    :raises VeoReceiptsDeniedError: these are :data:`MOST_DENIALS` in a row.
    """
    if leg.denials >= MOST_DENIALS and is_denied(error):
        raise VeoReceiptsDeniedError(f"Several receipts in a row may not be read: {error}") from error


def is_denied(error: BaseException) -> bool:
    """Whether the store of receipts refuses access, or cannot be what it is meant to be."""
    return isinstance(error, (VeoReceiptDeniedError, VeoStorageDeniedError))


def _is_about_the_image(error: VeoError) -> bool:
    if not isinstance(error, VeoBadRequestError) or isinstance(error, STOPPERS):
        return False
    too_large = error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return too_large or _ABOUT_THE_IMAGE.search(error.what) is not None


@asynccontextmanager
async def one_submission(leg: SegmentState) -> AsyncIterator[None]:
    """Wait until one more submission may be on its way, and count how it fails.

    That it was accepted is for the body to tell, see
    :meth:`veo_provider.batch.engine.state.SegmentState.accepted`.

    :raises StoppedError: the batch has stopped meanwhile.
    """
    await _enter(leg)
    try:
        yield
    except Exception as error:
        _count(leg, error)
        raise
    finally:
        leg.breaker.release()
        leg.breaker_changed()


async def _enter(leg: SegmentState) -> None:
    breaker = leg.breaker
    while not leg.stopped:
        if not breaker.try_acquire():
            await leg.until_breaker_changes(breaker.next_change)
        elif not breaker.is_open:
            return
        else:
            well = False
            try:
                well = await _is_well(leg)
            finally:
                if not well:
                    breaker.release()
                    leg.breaker_changed()
            if well:
                return
    raise StoppedError


def _count(leg: SegmentState, error: Exception) -> None:
    """Count a failed submission; it may be the one after which all others have to wait, or to stay away."""
    fault = fault_of(error)
    if fault is None:
        return
    paused = leg.breaker.on_failure(fault.kind, retryable=fault.may_pass)
    if not leg.breaker.gave_up:
        if paused:
            log.warning("No submissions for %.0f s: %s", leg.breaker.pause_left, error)
    elif isinstance(error, VeoError) and not fault.may_pass:
        leg.stop(error)
    else:
        _give_up(leg, error)


def _give_up(leg: SegmentState, error: Exception) -> None:
    what = error.what if isinstance(error, VeoError) else repr(error)
    leg.stop(
        VeoOutageError(
            f"No submission was accepted for {leg.breaker.failing_for:.0f} s, not even one at a time. "
            f"The last trouble was: {what}"
        )
    )


async def _is_well(leg: SegmentState) -> bool:
    """Ask the service for a task that cannot exist, which is free, before an image is risked.

    A gateway that knows no better than 500 for such a task may be well all the same: that one is passed over.
    """
    try:
        with leg.may_leave():
            await leg.line.get(_CHECKED_TASK_ID, until=time.time() + CHECK_PATIENCE)
    except VeoTaskNotFoundError:
        return True
    except VeoError as error:
        answered = isinstance(error, VeoAPIError) and error.status in _ANSWERS
        if answered and not isinstance(error, _NOT_WELL):
            return True
        if leg.breaker.on_check_failed():
            log.warning("No submissions for another %.0f s: %s", leg.breaker.pause_left, error)
        else:
            _give_up(leg, error)
        return False
    return True
