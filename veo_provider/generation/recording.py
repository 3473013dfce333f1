"""What became of a generation, written into its receipt: a video, a failure, a loss."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import tenacity

from veo_provider.exceptions import (
    ReceiptConflictError,
    VeoChargeOpenError,
    VeoContentGoneError,
    VeoContentNotReadyError,
    VeoContentServerError,
    VeoNotFetchedError,
    VeoReceiptChangedError,
    VeoReceiptDeniedError,
    VeoReceiptError,
    VeoReceiptUnavailableError,
    VeoVideoLostError,
)
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, ReceiptState

if TYPE_CHECKING:
    from veo_provider.api.video import Video
    from veo_provider.exceptions import VeoError
    from veo_provider.receipts.receipt import Attempt, Receipt, ReceiptStore, VersionedReceipt

log = logging.getLogger(__name__)

KEPT_SECONDS = 2 * 24 * 60 * 60 + CLOCK_DIFFERENCE
"""How long the service keeps a video: "upstream keeps videos for 2 days", says its documentation."""
RECORD_PATIENCE = 45.0
"""Seconds for which a write of a claim or of a task id is tried."""
_NO_RECEIPT = (VeoReceiptDeniedError, VeoReceiptUnavailableError)
"""After a generation was accepted, either needs mending before its video can be fetched."""


def require_not_superseded(store: ReceiptStore, current: VersionedReceipt) -> None:
    """Pass where a video may be stored: the one of a later generation that is stored by now stays.

    :raises VeoReceiptChangedError: there is such a one.
    :raises VeoNotFetchedError: that cannot be told now.
    """
    try:
        found = store.read()
    except _NO_RECEIPT as error:
        raise VeoNotFetchedError.of(current.receipt.veo_task_id or "", error) from error
    if found is None or found.receipt.state is not ReceiptState.STORED:
        return
    if found.receipt.veo_task_id != current.receipt.veo_task_id:
        raise VeoReceiptChangedError(
            f"{found.receipt.claimed_by} has stored {found.receipt.veo_task_id} by now where the video of "
            f"{current.receipt.veo_task_id} belongs, as {store.uri} says."
        )


def record_video(
    store: ReceiptStore, current: VersionedReceipt, video: dict[str, Any], attempt: Attempt
) -> VersionedReceipt:
    """Record what was stored.

    :raises VeoReceiptChangedError: the receipt tells of another generation by now.
    :raises VeoNotFetchedError: the receipt cannot be written now; the next attempt finds the video.
    """
    try:
        return record(store, current, current.receipt.moved(ReceiptState.STORED, attempt, video=video))
    except _NO_RECEIPT as error:
        raise VeoNotFetchedError(
            f"The video of {current.receipt.veo_task_id} is in its place, but not recorded: {error.what}"
        ) from error


def record_failure(
    store: ReceiptStore, current: VersionedReceipt, video: Video, attempt: Attempt
) -> VersionedReceipt:
    """Record that the service gave up on a generation.

    :raises VeoChargeOpenError: it ended by a word that does not say whether it was charged, or it was charged
        before: what was completed once is not free because it is called failed later.
    :raises VeoReceiptChangedError: the receipt tells of another generation by now.
    """
    charged = current.receipt.state is ReceiptState.LOST or current.receipt.was_completed
    if charged or not video.resubmittable:
        before = ", though it was completed before" if current.receipt.was_completed else ""
        what = f"The generation {video.id} has ended without a video{before}: {video.failure_reason}."
        record_loss(store, current, what, attempt)
        raise VeoChargeOpenError(what)
    failed = current.receipt.moved(
        ReceiptState.FAILED, attempt, reason=video.failure_reason, moderated=video.moderated
    )
    return record(store, current, failed)


def classify_storing_error(
    store: ReceiptStore, current: VersionedReceipt, error: VeoError, video: Video | None, attempt: Attempt
) -> VeoError:
    """Return what an error means that kept a completed video from its place, and record a loss.

    :param error: of the download or of the store.
    :param video: as its status describes it, where that was asked for.
    :raises VeoReceiptChangedError: the receipt tells of another generation by now.
    """
    veo_task_id = current.receipt.veo_task_id or ""
    if not _is_lost(current.receipt, error, video):
        _record_completion(store, current, attempt)
        return VeoNotFetchedError.of(veo_task_id, error)
    cause = f"{error.what} {error.advice}"
    if video is not None and video.completed_with_error:
        cause = f"its status says {video.failure_reason}; {cause}"
    what = f"The generation {veo_task_id} was completed, and there is no video of it: {cause}"
    record_loss(store, current, what, attempt)
    return VeoVideoLostError(what)


def _record_completion(store: ReceiptStore, current: VersionedReceipt, attempt: Attempt) -> None:
    """Record that a generation is charged, before another attempt meets it under another status."""
    if current.receipt.was_completed or current.receipt.state is not ReceiptState.SUBMITTED:
        return
    try:
        record(store, current, current.receipt.completed_now(attempt))
    except _NO_RECEIPT as error:
        log.warning("%s", error)


def _is_lost(receipt: Receipt, error: VeoError, video: Video | None) -> bool:
    """Whether there is no video any more, or never was: a closed list, in which no outage is.

    The service says so itself; or it said in the status why there is none, and gives none; or it gives none
    after the time that it keeps videos for.
    """
    if isinstance(error, VeoContentGoneError):
        return True
    if not isinstance(error, (VeoContentNotReadyError, VeoContentServerError)):
        return False
    explained = video is not None and video.completed_with_error
    submitted_at = receipt.submitted_at
    expired = submitted_at is not None and time.time() - submitted_at > KEPT_SECONDS
    return explained or expired


def record_loss(
    store: ReceiptStore, current: VersionedReceipt, reason: str, attempt: Attempt
) -> VersionedReceipt:
    """Record that a generation was charged, or may have been, and that the service has no video of it.

    :param reason: why, in one sentence.
    :raises VeoReceiptChangedError: the receipt tells of another generation by now.
    """
    if current.receipt.state is ReceiptState.LOST:
        return current
    return record(store, current, current.receipt.moved(ReceiptState.LOST, attempt, reason=reason))


def record(store: ReceiptStore, current: VersionedReceipt, receipt: Receipt) -> VersionedReceipt:
    """Write a receipt, or take what another attempt has written about the same generation."""
    try:
        return write(store, receipt, current)
    except ReceiptConflictError as error:
        found = store.read()
        if found and (found.receipt.veo_task_id, found.receipt.state) == (receipt.veo_task_id, receipt.state):
            return found
        if found is None:
            raise VeoReceiptError(
                f"The receipt {store.uri} is gone, though {receipt.veo_task_id} was submitted by it: put it "
                "back first, or the output is paid for again."
            ) from error
        raise VeoReceiptChangedError(f"The receipt {store.uri} was changed by another attempt.") from error


def write(store: ReceiptStore, receipt: Receipt, after: VersionedReceipt | None) -> VersionedReceipt:
    """Write a receipt, and outlast a store that is unavailable for a moment.

    The store recognises its own write whose response was lost.

    :raises ReceiptConflictError: another attempt has changed it.
    """
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(VeoReceiptUnavailableError),
        wait=tenacity.wait_exponential(multiplier=0.5, max=10),
        stop=tenacity.stop_after_delay(RECORD_PATIENCE),
        reraise=True,
    )
    return patiently(store.write, receipt, after)
