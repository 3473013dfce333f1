"""Settles a lost response by what a person has found out: its task id, or that nothing was accepted.

Nothing here spends money. After :func:`never_happened`, the task's next run submits again, which the person
who settles answers for. Each receipt is written only if it has not changed since it was read.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from veo_provider.exceptions import (
    ReceiptConflictError,
    VeoRequestError,
    VeoSettlementError,
    VeoTaskNotFoundError,
)
from veo_provider.generation import recording, submission
from veo_provider.generation.fingerprint import account_of
from veo_provider.receipts.charges import read_receipts
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, ReceiptState

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.video import Video
    from veo_provider.receipts.attempt import Person
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.store import ReceiptStore, VersionedReceipt

_NOT_LOST = {
    ReceiptState.CLAIMED: "its attempt may be submitting now: wait until {until}",
    ReceiptState.REFUSED: "its submission was not accepted, and the next run submits again",
    ReceiptState.SUBMITTED: "its generation {task} is in flight, and the next run waits for it",
    ReceiptState.FAILED: "its generation {task} has failed, and nothing is open",
    ReceiptState.STORED: "its video {task} is stored",
    ReceiptState.LOST: 'its generation {task} has no video: on_lost_video="regenerate" pays for a new one',
}
"""Why a receipt in a state has no lost response."""


def open_receipt(
    store: ReceiptStore, *, etag: str | None = None, claimant: str | None = None
) -> VersionedReceipt:
    """Return the receipt of a lost response.

    :param etag: of the version that the person has seen; None for whatever version there is.
    :param claimant: the task instance that must have submitted, see
        :func:`~veo_provider.receipts.attempt.task_instance_name`; None for any.
    :raises VeoSettlementError: there is none, or it has changed, is of another task, or nothing was lost.
    :raises VeoReceiptError: it cannot be understood, or access is denied.
    :raises VeoReceiptUnavailableError: it cannot be read now.
    """
    current = store.read()
    if current is None:
        raise VeoSettlementError(f"There is no receipt {store.uri}.", advice="Check its name.")
    if etag is not None and etag.strip('"') != current.etag.strip('"'):
        raise _changed(store)
    require_lost(current.receipt, store.uri, time.time())
    if claimant is not None and claimant != current.receipt.claimant:
        raise VeoSettlementError(
            f"The receipt {store.uri} is of the task instance {current.receipt.claimant}, not of {claimant}.",
            advice="Settle it from there.",
        )
    return current


def attach(
    store: ReceiptStore,
    client: VeoClient,
    current: VersionedReceipt,
    veo_task_id: str,
    person: Person,
    *,
    veo_conn_id: str,
    place: tuple[S3Client, str] | None = None,
) -> VersionedReceipt:
    """Record that a generation is the one whose response was lost, and return the receipt.

    The generation is looked up first, which is free. The task's next run waits for it, and pays nothing more.

    :param current: see :func:`open_receipt`.
    :param veo_conn_id: the client's connection.
    :param place: the client and the folder, ``s3://bucket/prefix/``, of receipts that must not have the
        generation; None if there are no others.
    :raises VeoSettlementError: the service does not know the generation, or it cannot be this receipt's.
    :raises VeoError: the service cannot be asked, or the receipt cannot be written.
    """
    receipt = current.receipt
    require_account(receipt, account_of(veo_conn_id, client))
    video = _look_up(client, veo_task_id)
    if video is None:
        raise VeoSettlementError(
            f"The service does not know {veo_task_id} with the connection {veo_conn_id}.",
            advice="Check the id. A generation may take some minutes until it is known.",
        )
    require_possible(receipt, video)
    if place is not None:
        _require_free(*place, store, receipt, video)
    return _write(store, current, submission.accepted(receipt, person, veo_task_id, video))


def never_happened(
    store: ReceiptStore,
    client: VeoClient,
    current: VersionedReceipt,
    person: Person,
    *,
    veo_conn_id: str,
) -> VersionedReceipt:
    """Record that nothing was accepted, and return the receipt: the task's next run submits again.

    If the service has accepted the lost submission after all, the video is then paid for twice. Nobody but
    the person can know: only an id that was found in a broken response is looked up, which is free.

    :param current: see :func:`open_receipt`.
    :param veo_conn_id: the client's connection.
    :raises VeoSettlementError: the service knows the generation that the lost response named.
    :raises VeoError: the service cannot be asked, or the receipt cannot be written.
    """
    receipt = current.receipt
    if receipt.candidate_task_id:
        require_account(receipt, account_of(veo_conn_id, client))
        if _look_up(client, receipt.candidate_task_id) is not None:
            raise VeoSettlementError(
                f"The lost response named {receipt.candidate_task_id}, and there is such a generation.",
                advice="Attach that id instead.",
            )
    refused = receipt.transition(
        ReceiptState.REFUSED,
        person,
        reason=f"{person} says that the submission was never accepted.",
        candidate_task_id=None,
    )
    return _write(store, current, refused)


def require_lost(receipt: Receipt, uri: str, now: float) -> None:
    """Check that a receipt's last submission has no known result, and none is to come.

    :param uri: of the receipt.
    :param now: Unix seconds.
    :raises VeoSettlementError: it has one, or may still get one.
    """
    if receipt.state is ReceiptState.UNKNOWN:
        return
    if receipt.state is ReceiptState.CLAIMED and not receipt.is_claim_alive(now):
        return
    why = _NOT_LOST[receipt.state].format(task=receipt.veo_task_id, until=utc(receipt.claimed_until))
    raise VeoSettlementError(
        f"The receipt {uri} has no lost response: it is {receipt.state.value}, {why}.",
        advice="There is nothing to settle now.",
    )


def require_account(receipt: Receipt, account: str) -> None:
    """Check that a connection is the one of the receipt's submission, which alone can be asked about it.

    :param account: see :func:`~veo_provider.generation.fingerprint.account_of`.
    :raises VeoSettlementError: it is another one.
    """
    submitted_with = receipt.request.get("account")
    if submitted_with not in (None, account):
        raise VeoSettlementError(
            f"The video was submitted with {submitted_with}, not with {account}.",
            advice="Use that connection.",
        )


def require_possible(receipt: Receipt, video: Video) -> None:
    """Check that a generation can be the one whose response was lost.

    :param video: its status. If the gateway does not tell its age, any age is possible.
    :raises VeoSettlementError: it is older than the claim, or another one of the same receipt.
    """
    if receipt.has_task(video.id):
        raise VeoSettlementError(
            f"{video.id} is an earlier generation of this receipt.", advice="Look for another id."
        )
    claimed = receipt.claimed_at
    if claimed is not None and video.created_at and video.created_at < claimed - CLOCK_DIFFERENCE:
        raise VeoSettlementError(
            f"{video.id} is of {utc(video.created_at)}, and so older than the submission, which was "
            f"claimed at {utc(claimed)}.",
            advice="Look for another id.",
        )


def _require_free(s3: S3Client, folder: str, store: ReceiptStore, receipt: Receipt, video: Video) -> None:
    """Check that no other receipt in a folder has a generation.

    :raises VeoSettlementError: one has.
    """
    # A receipt that was last written before the generation was created cannot have it.
    since = (receipt.claimed_at or 0.0) - CLOCK_DIFFERENCE if video.created_at else 0.0
    for other, found in read_receipts(s3, folder, lambda _, modified: modified >= since):
        if other.uri != store.uri and (found.has_task(video.id) or found.candidate_task_id == video.id):
            raise VeoSettlementError(
                f"{video.id} is the generation of {other.uri}, which {found.claimed_by} has submitted.",
                advice="Look for another id.",
            )


def _look_up(client: VeoClient, veo_task_id: str) -> Video | None:
    """Return a generation, or None if the service does not know it."""
    try:
        return client.get(veo_task_id)
    except (VeoTaskNotFoundError, VeoRequestError):
        return None


def _write(store: ReceiptStore, current: VersionedReceipt, receipt: Receipt) -> VersionedReceipt:
    try:
        return recording.write(store, receipt, current)
    except ReceiptConflictError as error:
        raise _changed(store) from error


def _changed(store: ReceiptStore) -> VeoSettlementError:
    return VeoSettlementError(
        f"The receipt {store.uri} has been changed in the meantime.", advice="Look at it again."
    )


def utc(seconds: float) -> str:
    """Write a time, in seconds since the epoch, for people."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
