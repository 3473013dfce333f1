"""Keeps a receipt in S3, beside the video that it pays for (``clip.mp4`` has ``clip.mp4.veo.json``).

So a prefix is its own ledger. The receipt is created and changed by conditional writes: of two workers that
claim at the same time, one pays, and the other reads the first one's receipt.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from veo_provider.exceptions import (
    ReceiptConflictError,
    VeoReceiptError,
    VeoReceiptUnavailableError,
    VeoStorageError,
    VeoStorageMissingError,
)
from veo_provider.receipts.conditional_writes import ConditionalWrites, receipt_error
from veo_provider.receipts.receipt import SUFFIX, Receipt, ReceiptState
from veo_provider.receipts.store import VersionedReceipt
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

_MAX_WRITES = 2
"""Writes that S3 may reject, though the receipt has not changed, before the error is one to retry later."""


def sidecar_of(video: S3Uri) -> S3Uri:
    """Return the object of a video's receipt."""
    return S3Uri(video.bucket, video.key + SUFFIX)


class S3ReceiptStore:
    """Keeps a receipt in S3, protected from races by conditional writes.

    :param client: S3 client of boto3.
    :param target: the receipt's object.
    :param allow_unconditional_writes: go on, without protection from races, if the store ignores conditions.
    """

    def __init__(self, client: S3Client, target: S3Uri, *, allow_unconditional_writes: bool = False) -> None:
        self.client = client
        self.target = target
        self._writes = ConditionalWrites(client, target)
        self._allow_unconditional_writes = allow_unconditional_writes

    @property
    def uri(self) -> str:
        """``s3://bucket/key``."""
        return str(self.target)

    def read(self) -> VersionedReceipt | None:
        """Return the receipt, or None if there is none; see :class:`ReceiptStore` for the errors."""
        try:
            with translate_errors(f"The receipt {self.uri} cannot be read"):
                response = self.client.get_object(Bucket=self.target.bucket, Key=self.target.key)
                body = response["Body"].read()
        except VeoStorageError as error:
            if isinstance(error, VeoStorageMissingError) and error.code == "NoSuchKey":
                return None
            raise receipt_error(error) from error
        return VersionedReceipt(Receipt.from_json(body, self.uri), response["ETag"])

    def check(self) -> None:
        """Find out whether receipts can be kept in this folder, without writing this one.

        :raises VeoReceiptError: they cannot.
        :raises VeoReceiptUnavailableError: the store is unavailable.
        """
        self.read()
        self._require(self._writes.supports_if_match())

    def write(self, receipt: Receipt, after: VersionedReceipt | None) -> VersionedReceipt:
        """Write a receipt if the stored one has not changed; see :class:`ReceiptStore` for the errors."""
        if not self._require(self._writes.supports_if_match()):
            return VersionedReceipt(receipt, self._writes.put(receipt.to_json(), {}) or "")
        if after is None and not self._writes.is_if_none_match_known:
            after = self._create_placeholder(receipt)
        return self._write_if_unchanged(receipt, after)

    def _create_placeholder(self, receipt: Receipt) -> VersionedReceipt:
        """Create a receipt that claims nothing (state ``refused``), to test ``If-None-Match`` on it."""
        placeholder = replace(
            receipt,
            state=ReceiptState.REFUSED,
            reason="not submitted yet",
            history=receipt.history[:-1],
            revision=uuid.uuid4().hex,
        )
        created = self._write_if_unchanged(placeholder, None, receipt)
        self._require(self._writes.supports_if_none_match())
        return created

    def _write_if_unchanged(
        self, receipt: Receipt, after: VersionedReceipt | None, *earlier: Receipt
    ) -> VersionedReceipt:
        """Write a receipt if the stored one has not changed.

        S3 does not say why it rejects a write: another one may be in progress (409), or S3 has written at the
        first call and boto3 retried it, because the response was lost (412). So the stored receipt is read.

        :param earlier: what an earlier call of this attempt may have written instead.
        """
        revisions = {one.revision for one in (receipt, *earlier)}
        for _ in range(_MAX_WRITES):
            condition = {"IfMatch": after.etag} if after else {"IfNoneMatch": "*"}
            etag = self._writes.put(receipt.to_json(), condition)
            if etag is not None:
                return VersionedReceipt(receipt, etag)
            stored = self.read()
            own = _confirm_own_write(stored, revisions)
            if own is not None:
                return own
            if not _is_same(stored, after):
                raise ReceiptConflictError(self.uri)
            after = stored  # with another ETag, if the store has rewritten the object
        raise VeoReceiptUnavailableError(
            f"The receipt {self.uri} cannot be written: S3 rejects the write, though nobody has changed it."
        )

    def _require(self, supported: bool) -> bool:
        """Return whether a condition is supported.

        :raises VeoReceiptError: it is not, and the user has not accepted that.
        """
        if supported:
            return True
        if not self._allow_unconditional_writes:
            raise VeoReceiptError(
                f"The store of {self.uri} ignores conditional writes, so two workers could both pay for one "
                "video. Keep receipts in another store, or set allow_unconditional_writes=True if no two "
                "tasks write the same output."
            )
        log.warning(
            "The store of %s ignores conditional writes: there is no protection from races.", self.uri
        )
        return False


def _confirm_own_write(stored: VersionedReceipt | None, revisions: set[str]) -> VersionedReceipt | None:
    """Return the stored receipt if it has one of our revisions.

    Then our write succeeded: boto3 retried a PUT whose response was lost.
    """
    return stored if stored is not None and stored.receipt.revision in revisions else None


def _is_same(stored: VersionedReceipt | None, read: VersionedReceipt | None) -> bool:
    """Whether the stored receipt is still the one that was read; a person's edit keeps the revision."""
    if stored is None or read is None:
        return stored is read
    return stored.receipt.to_json() == read.receipt.to_json()
