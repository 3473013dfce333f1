"""Records the end of a generation in its receipt: a stored video, a failure, or a lost video.

Nothing here spends money.
"""

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
    from veo_provider.api.gateways.gateway import Charging
    from veo_provider.api.video import Video
    from veo_provider.exceptions import VeoError
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.store import ReceiptStore, VersionedReceipt

log = logging.getLogger(__name__)

KEPT_SECONDS = 2 * 24 * 60 * 60 + CLOCK_DIFFERENCE
"""Seconds after which the service has deleted a video: its documentation says "upstream keeps videos for 2
days"."""
RECORD_PATIENCE = 45.0
"""Seconds for which a write is retried while the store of receipts is unavailable."""
_STORE_ERRORS = (VeoReceiptDeniedError, VeoReceiptUnavailableError)
"""Errors of the store: the generation stays in flight, and a later attempt records its end."""


def require_not_superseded(store: ReceiptStore, current: VersionedReceipt) -> None:
    """Check that no video of another generation has been stored at this output in the meantime.

    :raises VeoReceiptChangedError: one has, and must not be overwritten.
    :raises VeoNotFetchedError: the receipt cannot be read now; the next attempt checks again.
    """
    try:
        found = store.read()
    except _STORE_ERRORS as error:
        raise VeoNotFetchedError.of(current.receipt.veo_task_id or "", error) from error
    if found is None or found.receipt.state is not ReceiptState.STORED:
        return
    if found.receipt.veo_task_id != current.receipt.veo_task_id:
        raise VeoReceiptChangedError(
            f"According to {store.uri}, {found.receipt.claimed_by} has stored {found.receipt.veo_task_id} at "
            f"the output of {current.receipt.veo_task_id}."
        )


def record_video(
    store: ReceiptStore,
    current: VersionedReceipt,
    video: dict[str, Any],
    attempt: Attempt,
    told_usd: float | None = None,
) -> VersionedReceipt:
    """Record that the video is stored, and return the new receipt.

    :param video: the stored video, see :meth:`~veo_provider.generation.storage.StoredVideo.to_dict`.
    :param told_usd: what the gateway says that it costs; None if it does not say.
    :raises VeoReceiptChangedError: the receipt is now of another generation.
    :raises VeoReceiptError: the receipt is gone.
    :raises VeoNotFetchedError: the receipt cannot be written now; the next attempt finds the stored video.
    """
    try:
        stored = current.receipt.transition(ReceiptState.STORED, attempt, told_usd=told_usd, video=video)
        return record(store, current, stored)
    except _STORE_ERRORS as error:
        raise VeoNotFetchedError(
            f"The video of {current.receipt.veo_task_id} is stored, but not recorded: {error.what}"
        ) from error


def record_failure(
    store: ReceiptStore,
    current: VersionedReceipt,
    video: Video,
    attempt: Attempt,
    charging: Charging,
) -> VersionedReceipt:
    """Record that the service failed a generation, and return the new receipt.

    :param video: the generation's status.
    :param charging: when the gateway charges.
    :raises VeoVideoLostError: it was charged although it failed, which is recorded.
    :raises VeoChargeOpenError: it may have been charged, which is recorded: neither its status nor the
        gateway says, or it was seen completed before, and a later failure does not undo that charge.
    :raises VeoReceiptChangedError: the receipt is now of another generation.
    :raises VeoReceiptError: the receipt is gone, or cannot be written.
    :raises VeoReceiptUnavailableError: the receipt cannot be written now.
    """
    completed = current.receipt.state is ReceiptState.LOST or current.receipt.was_completed
    charges_it = charging.charges_failure(moderated=video.moderated)
    if completed or not video.resubmittable or charges_it is not False:
        before = ", though it was completed before" if current.receipt.was_completed else ""
        what = f"The generation {video.id} has ended without a video{before}: {video.failure_reason}."
        record_loss(store, current, what, attempt, video.cost_usd)
        raise VeoVideoLostError(what) if charges_it else VeoChargeOpenError(what)
    failed = current.receipt.transition(
        ReceiptState.FAILED,
        attempt,
        told_usd=video.cost_usd,
        reason=video.failure_reason,
        moderated=video.moderated,
    )
    return record(store, current, failed)


def record_storing_error(
    store: ReceiptStore, current: VersionedReceipt, error: VeoError, video: Video | None, attempt: Attempt
) -> VeoError:
    """Return what an error of storing a completed video means, and record it.

    :param error: of the download or of the store.
    :param video: the generation's status, if it was polled.
    :returns: :class:`VeoVideoLostError` if there is certainly no video, which is recorded as lost; otherwise
        :class:`VeoNotFetchedError`, and that the generation was completed is recorded.
    :raises VeoReceiptChangedError: the receipt is now of another generation.
    :raises VeoReceiptError: the receipt is gone.
    """
    veo_task_id = current.receipt.veo_task_id or ""
    if not _is_lost(current.receipt, error, video):
        _record_completion(store, current, attempt)
        return VeoNotFetchedError.of(veo_task_id, error)
    cause = f"{error.what} {error.advice}"
    if video is not None and video.completed_with_error:
        cause = f"its status says {video.failure_reason}; {cause}"
    what = f"The generation {veo_task_id} was completed, but there is no video of it: {cause}"
    record_loss(store, current, what, attempt)
    return VeoVideoLostError(what)


def _record_completion(store: ReceiptStore, current: VersionedReceipt, attempt: Attempt) -> None:
    """Record that a generation was seen completed, and so charged: a later status may say otherwise."""
    if current.receipt.was_completed or current.receipt.state is not ReceiptState.SUBMITTED:
        return
    try:
        record(store, current, current.receipt.with_completion(attempt))
    except _STORE_ERRORS as error:
        log.warning("%s", error)


def _is_lost(receipt: Receipt, error: VeoError, video: Video | None) -> bool:
    """Whether there certainly is no video; an outage is never taken for that.

    The service says that the video is gone. Or it delivers none, and either its status explains why, or the
    video is older than the service keeps any.
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
    store: ReceiptStore,
    current: VersionedReceipt,
    reason: str,
    attempt: Attempt,
    told_usd: float | None = None,
) -> VersionedReceipt:
    """Record that a generation may have been charged and that there is no video; return the receipt.

    :param reason: why, in one sentence.
    :param told_usd: what the gateway says that it costs; None if it does not say.
    :raises VeoReceiptChangedError: the receipt is now of another generation.
    :raises VeoReceiptError: the receipt is gone, or cannot be written.
    :raises VeoReceiptUnavailableError: the receipt cannot be written now.
    """
    if current.receipt.state is ReceiptState.LOST:
        return current
    lost = current.receipt.transition(ReceiptState.LOST, attempt, told_usd=told_usd, reason=reason)
    return record(store, current, lost)


def record(store: ReceiptStore, current: VersionedReceipt, receipt: Receipt) -> VersionedReceipt:
    """Write a receipt, and return it; or return what another attempt wrote, if that says the same.

    :param receipt: the next version of ``current``.
    :raises VeoReceiptChangedError: another attempt has written something else.
    :raises VeoReceiptError: the receipt is gone, or cannot be written.
    :raises VeoReceiptUnavailableError: the receipt cannot be written now.
    """
    try:
        return write(store, receipt, current)
    except ReceiptConflictError as error:
        found = store.read()
        if found and (found.receipt.veo_task_id, found.receipt.state) == (receipt.veo_task_id, receipt.state):
            return found
        if found is None:
            raise VeoReceiptError(
                f"The receipt {store.uri} is gone, but {receipt.veo_task_id} was submitted: put the receipt "
                "back first, or the output is paid for again."
            ) from error
        raise VeoReceiptChangedError(f"The receipt {store.uri} was changed by another attempt.") from error


def write(store: ReceiptStore, receipt: Receipt, after: VersionedReceipt | None) -> VersionedReceipt:
    """Write a receipt, and return it; retry for a while if the store is unavailable.

    Retries are safe: the store recognises a write of its own whose response was lost.

    :param after: the version to replace; None if there is no receipt.
    :raises ReceiptConflictError: another attempt has changed the receipt.
    :raises VeoReceiptError: the receipt cannot be written.
    :raises VeoReceiptUnavailableError: the store was unavailable for :data:`RECORD_PATIENCE` seconds.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(VeoReceiptUnavailableError),
        wait=tenacity.wait_exponential(multiplier=0.5, max=10),
        stop=tenacity.stop_after_delay(RECORD_PATIENCE),
        reraise=True,
    )
    return retrying(store.write, receipt, after)
