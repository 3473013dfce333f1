"""What a run has paid for images that are in its archive no more: moved away, deleted, or off the list.

Their receipts lie below the folder of the outputs like all others. What is still to be fetched is fetched,
and all of it is told in the summary; nothing is submitted for an image that nobody asks for any more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

from veo_provider.batch.manifest import VIDEO_SUFFIX, ManifestItem
from veo_provider.batch.requests import Maker
from veo_provider.exceptions import VeoGenerationFailed, VeoReceiptError, VeoRequestError
from veo_provider.receipts.charges import pays, read_below
from veo_provider.receipts.receipt import SUFFIX, ReceiptState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.manifest import Outputs
    from veo_provider.receipts.receipt import Receipt, VersionedReceipt

log = logging.getLogger(__name__)

_GONE = "Its image is in the archive no more, so nothing is submitted for it."


def leftovers(
    outputs: Outputs, s3: S3Client, output_prefix: str, run: str, since: float
) -> Iterator[tuple[ManifestItem, Receipt]]:
    """Yield what a run has paid for, or may have, and the archive does not hold any more; this call blocks.

    The receipts are listed once, and only those are read that do not belong to the archive.

    :param outputs: of the archive.
    :param output_prefix: where the receipts are, ``s3://bucket/prefix/``.
    :param run: the task instance, see :class:`~veo_provider.receipts.receipt.Attempt`.
    :param since: Unix seconds at which it began first: what is older is not its own.
    :raises VeoReceiptUnavailableError: the receipts cannot be read now.
    """

    def wanted(video: str, modified: float) -> bool:
        return modified >= since and video not in outputs

    try:
        for store, receipt in read_below(s3, output_prefix, wanted):
            if pays(receipt, run):
                yield _item(store.uri.removesuffix(SUFFIX), output_prefix, receipt), receipt
    except VeoReceiptError as error:
        log.warning("%s What was paid for images that have left the archive is not told.", error)


def _item(output: str, output_prefix: str, receipt: Receipt) -> ManifestItem:
    path = output.removeprefix(output_prefix).removesuffix(VIDEO_SUFFIX)
    return ManifestItem(output, str(receipt.request.get("image") or ""), path, output)


class Finisher(Maker):
    """Brings what was submitted to its end, and never submits."""

    def require_submittable(self, held: VersionedReceipt | None) -> NoReturn:
        """Refuse.

        :raises VeoGenerationFailed: the generation failed.
        :raises VeoRequestError: there is nothing any more that could be fetched.
        """
        if held is None or held.receipt.state is not ReceiptState.FAILED:
            raise VeoRequestError(_GONE)
        receipt = held.receipt
        raise VeoGenerationFailed(
            f"The generation {receipt.veo_task_id} failed: {receipt.reason}. {_GONE}",
            moderated=receipt.moderated,
        )

    def _is_ours(self, receipt: Receipt) -> bool:  # noqa: ARG002 - it needs no second look
        """Whatever was asked for at the time: it is paid."""
        return True
