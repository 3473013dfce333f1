"""The only place that spends money: claim the receipt, send the request, record what came of it."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from veo_provider.api.protocol import SUBMIT_TIMEOUT
from veo_provider.exceptions import (
    ReceiptConflictError,
    VeoError,
    VeoNotFetchedError,
    VeoRecordLostError,
    VeoRequestError,
    VeoSubmissionUnknown,
    VeoTaskNotFoundError,
    VeoUnknownReceiptError,
)
from veo_provider.generation import recording, retries
from veo_provider.receipts import receipt as receipts
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, ReceiptState

if TYPE_CHECKING:
    from veo_provider.api.client import VeoClient
    from veo_provider.api.request import VeoRequest
    from veo_provider.api.video import Video
    from veo_provider.generation.fingerprint import PreparedRequest
    from veo_provider.receipts.receipt import Attempt, Receipt, ReceiptStore, VersionedReceipt

log = logging.getLogger(__name__)

ANSWER_SECONDS = SUBMIT_TIMEOUT + 60 + CLOCK_DIFFERENCE
"""The longest that a live attempt may take from the end of its request to its record, by any clock."""
CLAIM_SECONDS = 180 + ANSWER_SECONDS
"""The longest from its claim to its record: the end of a request is sent in the time before, or never."""
NOT_KNOWN_YET_SECONDS = 60 + CLOCK_DIFFERENCE
"""How long after a submission its id may be unknown to the service, by any clock; a wait allows the same."""


def submit(client: VeoClient, request: VeoRequest) -> Video:
    """Submit a generation without a receipt, again only as long as no server can have accepted it.

    :raises VeoSubmissionUnknown: it may have been accepted; it is not tried again.
    :raises VeoError: it was refused, or not accepted for
        :data:`~veo_provider.generation.retries.SUBMIT_PATIENCE` seconds.
    """
    return retries.submit_retries()(_send, client, request)


def claim_and_submit(
    store: ReceiptStore,
    client: VeoClient,
    prepared: PreparedRequest,
    attempt: Attempt,
    current: VersionedReceipt | None,
) -> VersionedReceipt:
    """Claim the receipt as it was read, submit once, and record the result whatever it is.

    :param current: the receipt; None where there is none.
    :returns: the receipt with the task id; or of unknown fate, with an id to verify.
    :raises ReceiptConflictError: another attempt has changed the receipt first; nothing was submitted.
    :raises VeoUnknownReceiptError: the response was lost.
    :raises VeoError: the submission was not accepted.
    """
    claimed = recording.write(store, _claim(prepared, attempt, current.receipt if current else None), current)
    try:
        video = _send(client, prepared.request, claimed.receipt.claimed_until - ANSWER_SECONDS)
    except VeoSubmissionUnknown as error:
        unknown = {"reason": error.what, "candidate_task_id": error.veo_task_id}
        recorded = _record_if_possible(store, claimed, attempt, ReceiptState.UNKNOWN, unknown)
        if recorded and error.veo_task_id:
            return recorded
        raise VeoUnknownReceiptError(f"{error.what} Its receipt is {store.uri}.") from error
    except VeoError as error:
        _record_if_possible(store, claimed, attempt, ReceiptState.REFUSED, {"reason": str(error)})
        raise
    log.info("Submitted as %s.", video.id)
    return _record_submission(store, claimed, attempt, video)


def verify(
    store: ReceiptStore, client: VeoClient, current: VersionedReceipt, attempt: Attempt
) -> VersionedReceipt | None:
    """Settle a submission of unknown fate by the id that was read in its response, with a free status call.

    :returns: the receipt with that id; None if there is no such generation.
    :raises VeoNotFetchedError: the service cannot say now.
    :raises VeoUnknownReceiptError: it does not know the id, which may be too new to be known.
    :raises VeoReceiptChangedError: another attempt has changed the receipt meanwhile.
    """
    receipt = current.receipt
    candidate = receipt.candidate_task_id or ""
    try:
        client.get(candidate)
    except (VeoTaskNotFoundError, VeoRequestError) as error:
        if receipt.changed_at is not None and time.time() - receipt.changed_at < NOT_KNOWN_YET_SECONDS:
            raise VeoUnknownReceiptError(
                f"The answer to the submission of {receipt.claimed_by} was lost. It named {candidate}, which "
                "the service does not know, or not yet."
            ) from error
        log.warning("The lost answer named %s, but there is no such generation: %s", candidate, error)
        return None
    except VeoError as error:
        raise VeoNotFetchedError(
            f"The answer to the submission broke off after it had named {candidate}, and whether there is "
            f"such a generation could not be asked now: {error.what}"
        ) from error
    log.info("The lost answer named %s, and there is such a generation: it is used.", candidate)
    return recording.record(store, current, _submitted(receipt, attempt, candidate))


def _claim(prepared: PreparedRequest, attempt: Attempt, before: Receipt | None) -> Receipt:
    return receipts.claim(
        prepared.fingerprint,
        prepared.description,
        prepared.request.price_usd,
        attempt,
        seconds=CLAIM_SECONDS,
        after=before,
    )


def _send(client: VeoClient, request: VeoRequest, send_before: float | None = None) -> Video:
    """Submit once. Only the client's own errors vouch that nothing was accepted."""
    try:
        return client.submit(request, send_before=send_before)
    except VeoError:
        raise
    except BaseException as error:
        raise VeoSubmissionUnknown("The task was interrupted when its submission was answered.") from error


def _record_submission(
    store: ReceiptStore, claimed: VersionedReceipt, attempt: Attempt, video: Video
) -> VersionedReceipt:
    """Record the task id: patiently, for without it the generation is lost."""
    submitted = _submitted(claimed.receipt, attempt, video.id)
    try:
        return recording.write(store, submitted, claimed)
    except (VeoError, ReceiptConflictError) as error:
        reason = error.what if isinstance(error, VeoError) else f"{error} was changed by another attempt."
        raise VeoRecordLostError(
            f"The submission was accepted as {video.id}, but {store.uri} was not written: {reason}"
        ) from error
    except BaseException:
        # Airflow's execution_timeout or a signal: the id is worth one more write before the task ends.
        with suppress(Exception):
            store.write(submitted, claimed)
        raise


def _submitted(receipt: Receipt, attempt: Attempt, veo_task_id: str) -> Receipt:
    """Return the receipt of a submission that was accepted."""
    return receipt.moved(
        ReceiptState.SUBMITTED,
        attempt,
        veo_task_id=veo_task_id,
        candidate_task_id=None,
        generations=receipt.generations + 1,
    )


def _record_if_possible(
    store: ReceiptStore,
    current: VersionedReceipt,
    attempt: Attempt,
    state: ReceiptState,
    changes: dict[str, Any],
) -> VersionedReceipt | None:
    """Record why there is no task id; without that record, the submission counts as of unknown fate."""
    try:
        return recording.write(store, current.receipt.moved(state, attempt, **changes), current)
    except (VeoError, ReceiptConflictError) as error:
        log.warning("The receipt %s could not be written: %s", store.uri, error)
        return None
