"""Submits a generation: claims the receipt, sends the request, records the result.

This is the only module that spends money.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from veo_provider.api.config import SUBMIT_TIMEOUT
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
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.store import ReceiptStore, VersionedReceipt

log = logging.getLogger(__name__)

RECORD_SECONDS = SUBMIT_TIMEOUT + 60 + CLOCK_DIFFERENCE
"""The longest time, by any clock, from the end of a request to the record of its result."""
CLAIM_SECONDS = 180 + RECORD_SECONDS
"""The longest time from a claim to the record of its result: a request that is not sent whole early enough is
never sent whole."""
NOT_KNOWN_YET_SECONDS = 60 + CLOCK_DIFFERENCE
"""How long after a submission, by any clock, the service may not know its id yet; waits allow the same."""


def submit(client: VeoClient, request: VeoRequest) -> Video:
    """Submit a generation without a receipt, and return its status. This spends money.

    A submission is retried only if the service certainly has not accepted it.

    :raises VeoModelRetiredError: the model has ended; nothing was sent.
    :raises VeoSubmissionUnknown: it may have been accepted, and is not retried.
    :raises VeoError: it was refused, or not accepted for
        :data:`~veo_provider.generation.retries.SUBMIT_PATIENCE` seconds; nothing was spent.
    """
    request.model_data.require_served(time.time())
    return retries.submit_retries()(send, client, request)


def claim_and_submit(
    store: ReceiptStore,
    client: VeoClient,
    prepared: PreparedRequest,
    attempt: Attempt,
    current: VersionedReceipt | None,
    *,
    can_look_up: bool = False,
) -> VersionedReceipt:
    """Claim the receipt, submit once, and record the result, whatever it is. This spends money.

    :param current: the receipt as it was read; None if there is none.
    :param can_look_up: whether the caller can look up what became of a submission whose response was lost.
    :returns: the receipt with the task id; or, if the response was lost, with an id to verify, or without
        one if it can be looked up.
    :raises ReceiptConflictError: another attempt has changed the receipt first; nothing was submitted.
    :raises VeoUnknownReceiptError: the response was lost, no id was found in it, and it cannot be looked up,
        or the task was interrupted.
    :raises VeoRecordLostError: the submission was accepted, and its id could not be recorded.
    :raises VeoError: the submission was not accepted; nothing was spent.
    """
    claimed = recording.write(store, _claim(prepared, attempt, current.receipt if current else None), current)
    try:
        video = send(
            client,
            prepared.request,
            claimed.receipt.claimed_until - RECORD_SECONDS,
            claimed.receipt.idempotency_key,
        )
    except VeoSubmissionUnknown as error:
        _tell_extra_generations(error.extra_generations)
        unknown = {
            "reason": error.what,
            "candidate_task_id": error.veo_task_id,
            "extra_generations": error.extra_generations,
        }
        recorded = _try_to_record(store, claimed, attempt, ReceiptState.UNKNOWN, unknown)
        if recorded and (error.veo_task_id or (can_look_up and not _was_interrupted(error))):
            log.warning("%s", error.what)
            return recorded
        unknown_receipt = VeoUnknownReceiptError(f"{error.what} Its receipt is {store.uri}.")
        raise unknown_receipt.tell_in(client.gateway.words) from error
    except VeoError as error:
        _try_to_record(store, claimed, attempt, ReceiptState.REFUSED, {"reason": str(error)})
        raise
    log.info("Submitted as %s: %s", video.id, prepared.description.get("image") or store.uri)
    return _record_submission(store, claimed, attempt, video)


def verify(
    store: ReceiptStore, client: VeoClient, current: VersionedReceipt, attempt: Attempt
) -> VersionedReceipt | None:
    """Ask for the status of the id that was found in a broken response, which is free.

    :returns: the receipt with that id as its task id; None if there is no such generation.
    :raises VeoNotFetchedError: the service is not available now.
    :raises VeoUnknownReceiptError: the service does not know the id, but it may be too new to be known.
    :raises VeoReceiptChangedError: another attempt has changed the receipt.
    """
    receipt = current.receipt
    candidate = receipt.candidate_task_id or ""
    try:
        client.get(candidate)
    except (VeoTaskNotFoundError, VeoRequestError) as error:
        if receipt.changed_at is not None and time.time() - receipt.changed_at < NOT_KNOWN_YET_SECONDS:
            raise VeoUnknownReceiptError(
                f"The response to the submission of {receipt.claimed_by} was lost. It named {candidate}, "
                "which the service does not know, at least not yet."
            ).tell_in(client.gateway.words) from error
        log.warning("The lost response named %s, but there is no such generation: %s", candidate, error)
        return None
    except VeoError as error:
        raise VeoNotFetchedError(
            f"The response to the submission broke off after it had named {candidate}, and the service could "
            f"not be asked whether there is such a generation: {error.what}"
        ) from error
    log.info("The lost response named %s, and there is such a generation: using it.", candidate)
    return recording.record(store, current, accepted(receipt, attempt, candidate))


def _claim(prepared: PreparedRequest, attempt: Attempt, before: Receipt | None) -> Receipt:
    return receipts.claim(
        prepared.fingerprint,
        prepared.description,
        prepared.request.price_usd,
        attempt,
        seconds=CLAIM_SECONDS,
        after=before,
        gateway=prepared.request.gateway.name,
        price_form=prepared.request.price_form,
        idempotency_key=uuid.uuid4().hex if prepared.request.gateway.idempotency_header else "",
        same_video=prepared.others,
        skipped=prepared.skipped,
    )


def send(
    client: VeoClient, request: VeoRequest, deadline: float | None = None, idempotency_key: str = ""
) -> Video:
    """Submit once, without a receipt. This spends money.

    :param deadline: Unix seconds after which the rest of the request is not sent.
    :param idempotency_key: by which the gateway recognises a repeated submission.
    :raises VeoSubmissionUnknown: also after any error but the client's own: it may have been accepted.
    :raises VeoError: it was not accepted.
    """
    try:
        return client.submit(request, deadline=deadline, idempotency_key=idempotency_key)
    except VeoError:
        raise
    except BaseException as error:
        raise VeoSubmissionUnknown(
            "The task was interrupted while it waited for the response to its submission."
        ) from error


def _was_interrupted(error: VeoError) -> bool:
    """Whether a timeout or a signal has ended the submission, so that the task has to end, too."""
    return error.__cause__ is not None and not isinstance(error.__cause__, Exception)


def _record_submission(
    store: ReceiptStore, claimed: VersionedReceipt, attempt: Attempt, video: Video
) -> VersionedReceipt:
    """Record the task id, without which the generation is lost."""
    _tell_extra_generations(video.extra_generations)
    submitted = accepted(claimed.receipt, attempt, video.id, video)
    try:
        return recording.write(store, submitted, claimed)
    except (VeoError, ReceiptConflictError) as error:
        # A retry that takes this worker for dead may have looked the id up and recorded it first.
        with suppress(VeoError):
            found = store.read()
            if found is not None and found.receipt.has_task(video.id):
                return found
        cause = error.what if isinstance(error, VeoError) else f"{error} was changed by another attempt."
        raise VeoRecordLostError(
            f"The submission was accepted as {video.id}, but {store.uri} was not written: {cause}"
        ) from error
    except BaseException:
        # Airflow's execution_timeout or a signal: write the id once more before the task ends.
        with suppress(Exception):
            store.write(submitted, claimed)
        raise


def _tell_extra_generations(number: int) -> None:
    """Log that the gateway has submitted by itself, which costs money that nobody has asked for."""
    if number:
        log.error(
            "The gateway says that it has submitted this generation %d more times by itself. Each may be "
            "charged, and is counted as such. Turn its retries and fallbacks for this model off.",
            number,
        )


def accepted(receipt: Receipt, attempt: Attempt, veo_task_id: str, told: Video | None = None) -> Receipt:
    """Return the receipt of a submission that was accepted.

    :param told: the response to it; None if that was lost.
    """
    extra = told.extra_generations if told else 0
    return receipt.transition(
        ReceiptState.SUBMITTED,
        attempt,
        veo_task_id=veo_task_id,
        candidate_task_id=None,
        generations=receipt.generations + 1 + extra,
        extra_generations=extra,
        told_usd=told.cost_usd if told else None,
        call_id=told.call_id if told else "",
    )


def _try_to_record(
    store: ReceiptStore,
    current: VersionedReceipt,
    attempt: Attempt,
    state: ReceiptState,
    changes: dict[str, Any],
) -> VersionedReceipt | None:
    """Record why there is no task id; if that fails, the claim stays, and counts as ``unknown`` later."""
    try:
        return recording.write(store, current.receipt.transition(state, attempt, **changes), current)
    except (VeoError, ReceiptConflictError) as error:
        log.warning("The receipt %s could not be written: %s", store.uri, error)
        return None
