"""Looks up what became of a submission whose response was lost, and records what is proved.

Looking up is free. Only the repetition by an idempotency key may start a generation: the one that the claim
was made for, if the gateway has never received it.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from veo_provider.exceptions import (
    VeoError,
    VeoLookUpPendingError,
    VeoSubmissionUnknown,
    VeoUnknownReceiptError,
)
from veo_provider.generation import recording, submission
from veo_provider.generation.evidence import (
    LATE_ROW_SECONDS,
    Absent,
    Found,
    Open,
    examine,
    lost_of,
    sent_of,
)
from veo_provider.receipts.charges import read_receipts
from veo_provider.receipts.receipt import ReceiptState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_s3 import S3Client
    from typing_extensions import Self

    from veo_provider.api.client import VeoClient
    from veo_provider.api.parsing.listing import Listing
    from veo_provider.generation.evidence import Finding, Sent
    from veo_provider.generation.fingerprint import PreparedRequest
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.s3_store import S3ReceiptStore
    from veo_provider.receipts.store import ReceiptStore, VersionedReceipt

log = logging.getLogger(__name__)

KEY_SECONDS = 20 * 60 * 60
"""How long after its claim a submission is repeated by its idempotency key. Inworld does not say how long it
keeps keys; 24 hours is the usual shortest time, as Stripe's."""
PATIENCE, PAUSE_SECONDS = 3, 20.0
"""How often a task of one video looks before it leaves that to its retry, and the pause in between."""
_REACH_BACK_SECONDS = 3600.0
"""How long before the lost submission the list is read from: it takes known ones to check it by."""
_MOST_FAILURES = 3
"""Failed looks after which a gateway that cannot be asked counts as one that does not say."""


class LookingJob(Protocol):
    """A generation whose submission can be looked up."""

    def read(self) -> VersionedReceipt | None:
        """Return the current receipt."""

    def look_up(self, current: VersionedReceipt) -> VersionedReceipt:
        """Return the receipt after it was looked up."""


def look_up_patiently(job: LookingJob, current: VersionedReceipt) -> VersionedReceipt | None:
    """Look a submission up, and again after a pause if the gateway may tell later.

    :raises VeoLookUpPendingError: it did not tell within :data:`PATIENCE` looks.
    :raises VeoUnknownReceiptError: it proves nothing.
    """
    for _ in range(PATIENCE - 1):
        try:
            return job.look_up(current)
        except VeoLookUpPendingError as error:
            log.warning("%s", error)
        time.sleep(PAUSE_SECONDS)
        found = job.read()
        if found is None or found.etag != current.etag:
            return found
    return job.look_up(current)


@dataclass(frozen=True)
class _Records:
    """What is known of an account's generations.

    :param since: Unix seconds from which on they were read.
    :param read_at: Unix seconds before the list was read.
    :param took: seconds that it took to read list and receipts; 0 if they are never used again.
    :param listing: what the gateway lists.
    :param sent: the submissions in the receipts, by the receipt's URI.
    """

    since: float
    read_at: float
    took: float
    listing: Listing
    sent: dict[str, list[Sent]]


class LookUps:
    """Finds lost submissions in the lists of gateways, with one list for all of them.

    Its methods may be called by several threads. Only one at a time reads a list; others look again later.

    :param s3: boto3's client.
    :param bucket: whose receipts say what is known. The whole bucket, because another folder's task may have
        sent the same prompt at the same time, and its generation must not be taken for a lost one.
    :param max_age: seconds for which a list is used again; at least three times what it takes to read it.
    """

    def __init__(self, s3: S3Client, bucket: str, *, max_age: float = 0.0) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._max_age = max_age
        self._lock = threading.Lock()
        self._records: dict[str, _Records] = {}
        self._failures: dict[str, tuple[float, int, VeoError]] = {}

    @classmethod
    def beside(cls, store: S3ReceiptStore) -> Self:
        """Return the look-ups of one video, whose neighbours are in the same bucket.

        :param store: of its receipt.
        """
        return cls(store.client, store.target.bucket)

    def find(self, client: VeoClient, receipt: Receipt, uri: str) -> Finding:
        """Return what the gateway's list proves about a receipt's lost submission. Costs nothing.

        :param client: of the account that the receipt names.
        :param uri: of the receipt.
        """
        lost, account = lost_of(receipt), str(receipt.request.get("account"))
        if lost is None:
            return Open("Its receipt does not say when it was sent.")
        if not self._lock.acquire(blocking=False):
            return Open("The gateway's list is being read.", early=True)
        try:
            records = self._current(client, account, lost)
        except VeoError as error:
            early = time.time() < lost.ended_at + LATE_ROW_SECONDS
            return self._open_after(error, account, early=early)
        finally:
            self._lock.release()
        others = [sent for where, each in records.sent.items() if where != uri for sent in each]
        others += sent_of(receipt, account)[:-1]
        return examine(lost, others, records.listing, records.read_at)

    def _current(self, client: VeoClient, account: str, lost: Sent) -> _Records:
        """Return the records of an account, read anew unless they are young and reach back far enough.

        :raises VeoError: the list or the receipts cannot be read.
        """
        failed_at, _, error = self._failures.get(account, (0.0, 0, None))
        if error is not None and time.time() - failed_at < self._max_age:
            raise error
        known, since = self._records.get(account), lost.claimed_at - _REACH_BACK_SECONDS
        max_age = max(self._max_age, 3 * known.took) if known else 0.0
        if known and known.since <= since and time.time() - known.read_at < max_age:
            return known
        read_at = time.time()
        try:
            # The receipts are read after the list: what it shows is recorded, or still claimed.
            listing = client.generations(since)
            sent = self._sent(account, since, known)
        except VeoError as failure:
            self._failures[account] = (time.time(), self._failures.get(account, (0, 0))[1] + 1, failure)
            raise
        self._failures.pop(account, None)
        took = time.time() - read_at if self._max_age else 0.0
        self._records[account] = records = _Records(since, read_at, took, listing, sent)
        log.info(
            "The gateway lists %d generations; %d receipts tell of theirs.", len(listing.entries), len(sent)
        )
        return records

    def _sent(self, account: str, since: float, known: _Records | None) -> dict[str, list[Sent]]:
        """Return the submissions in the receipts; of those that were read before, only what has changed."""
        kept = known if known and known.since <= since else None
        changed_since = kept.read_at if kept else since
        sent = dict(kept.sent) if kept else {}
        # `modified` is the latest time that a receipt may have been written at, by any clock.
        everywhere = f"s3://{self._bucket}/"
        for store, receipt in read_receipts(
            self._s3, everywhere, lambda _, modified: modified >= changed_since
        ):
            sent[store.uri] = sent_of(receipt, account)
        return sent

    def _open_after(self, error: VeoError, account: str, *, early: bool) -> Open:
        """Return what an error means: a gateway that cannot be asked proves nothing."""
        _, failures, _ = self._failures.get(account, (0.0, 0, error))
        again = error.retryable and (early or failures < _MOST_FAILURES)
        return Open(f"The gateway could not be asked what became of it: {error.what}", early=again)


def settle(
    store: ReceiptStore,
    current: VersionedReceipt,
    finding: Finding,
    attempt: Attempt,
    *,
    may_resubmit: bool,
) -> VersionedReceipt:
    """Record what is proved about a lost submission, and return the receipt.

    :param may_resubmit: whether a submission that provably was not accepted may be sent again.
    :raises VeoLookUpPendingError: nothing is proved yet.
    :raises VeoUnknownReceiptError: nothing is proved, or it may not be sent again; the receipt says why.
    :raises VeoReceiptChangedError: another attempt has changed the receipt.
    """
    receipt = current.receipt
    if isinstance(finding, Found):
        log.info("The lost response was that of %s: using it. Nothing is paid again.", finding.veo_task_id)
        accepted = submission.accepted(receipt, attempt, finding.veo_task_id)
        return recording.record(store, current, accepted)
    if isinstance(finding, Absent):
        reason = "The gateway's list shows that the submission was not accepted."
        if may_resubmit:
            log.warning("%s It is sent again.", reason)
            refused = receipt.transition(ReceiptState.REFUSED, attempt, reason=reason)
            return recording.record(store, current, refused)
        _record_reason(store, current, reason, attempt)
        error = VeoUnknownReceiptError(
            f"{_lost_sentence(receipt)} {reason}",
            advice='Run the task once with on_unknown_submission="look_up_or_resubmit" to send it again.',
        )
        error.money = "Nothing was charged for it."
        raise error
    if finding.early:
        raise VeoLookUpPendingError(f"{_lost_sentence(receipt)} {finding}")
    _record_reason(store, current, str(finding), attempt, finding.told())
    raise VeoUnknownReceiptError(f"{_lost_sentence(receipt)} {finding}")


def repeat_by_key(
    store: ReceiptStore,
    client: VeoClient,
    prepared: PreparedRequest,
    current: VersionedReceipt,
    attempt: Attempt,
) -> VersionedReceipt:
    """Send a lost submission again with its idempotency key, and return the receipt.

    The gateway returns the generation that it has accepted by that key, or accepts it now: it is paid once.

    :raises VeoLookUpPendingError: the gateway could not be asked, or the response was lost again.
    :raises VeoUnknownReceiptError: it refused, which proves nothing about the first submission.
    :raises VeoReceiptChangedError: another attempt has changed the receipt.
    """
    receipt = current.receipt
    try:
        video = submission.send(client, prepared.request, None, receipt.idempotency_key)
    except VeoError as error:
        kind = VeoLookUpPendingError if may_succeed_later(error) else VeoUnknownReceiptError
        raise kind(
            f"{_lost_sentence(receipt)} It was sent again with its idempotency key, by which the "
            f"gateway makes one video of both: {error.what}"
        ) from error
    log.info("By its idempotency key, the lost response was that of %s.", video.id)
    return recording.record(store, current, submission.accepted(receipt, attempt, video.id, video))


def may_succeed_later(error: VeoError) -> bool:
    """Whether the same request may get another response later."""
    return error.retryable or isinstance(error, VeoSubmissionUnknown)


def may_repeat_by_key(receipt: Receipt) -> bool:
    """Whether the gateway still knows the idempotency key of a receipt's lost submission."""
    lost = lost_of(receipt)
    return bool(receipt.idempotency_key) and lost is not None and time.time() < lost.claimed_at + KEY_SECONDS


def _record_reason(
    store: ReceiptStore,
    current: VersionedReceipt,
    reason: str,
    attempt: Attempt,
    candidates: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write into the receipt what was found, for the person who decides; not twice."""
    receipt = current.receipt
    if receipt.state is ReceiptState.UNKNOWN and receipt.reason.endswith(reason):
        return
    before = f"{receipt.reason} " if receipt.state is ReceiptState.UNKNOWN and receipt.reason else ""
    unknown = receipt.transition(ReceiptState.UNKNOWN, attempt, reason=before + reason, candidates=candidates)
    recording.record(store, current, unknown)


def _lost_sentence(receipt: Receipt) -> str:
    return f"{receipt.claimed_by} submitted this video, and its response was lost."
