"""What a store of receipts does: read one, and write it if it has not changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from veo_provider.receipts.receipt import Receipt


@dataclass(frozen=True)
class VersionedReceipt:
    """A receipt as it was last read or written, and the ETag by which its store knows that version."""

    receipt: Receipt
    etag: str


class ReceiptStore(Protocol):
    """The store of one receipt."""

    @property
    def uri(self) -> str:
        """Where the receipt is, for people to read."""

    def read(self) -> VersionedReceipt | None:
        """Return the receipt, or None if there is none.

        :raises VeoReceiptUnavailableError: the store did not say whether there is one.
        :raises VeoReceiptError: there is one, and it cannot be understood.
        """

    def write(self, receipt: Receipt, after: VersionedReceipt | None) -> VersionedReceipt:
        """Write a receipt if the stored one has not changed.

        :param after: the version that was read; None if there was no receipt.
        :raises ReceiptConflictError: the stored receipt has changed.
        :raises VeoReceiptUnavailableError: it was not written, or it is unknown whether it was.
        :raises VeoRequestError: the store does not accept this name.
        """
