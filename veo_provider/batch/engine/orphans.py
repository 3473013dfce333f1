"""Orphans: what a run has paid for images that have left its manifest since (moved, deleted, off the list).

Their receipts are below the output prefix like all others. Videos that are still to be fetched are fetched,
and the summary reports all of them; nothing is submitted for an image that nobody asks for any more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from veo_provider.batch.manifest import VIDEO_SUFFIX, ManifestItem
from veo_provider.exceptions import VeoGenerationFailed, VeoReceiptError, VeoRequestError
from veo_provider.receipts.charges import pays, read_below
from veo_provider.receipts.receipt import SUFFIX, ReceiptState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.manifest import Outputs
    from veo_provider.exceptions import VeoError
    from veo_provider.receipts.receipt import Receipt

log = logging.getLogger(__name__)

_GONE = "Its image is in the archive no more, so nothing is submitted for it."


def leftovers(
    outputs: Outputs, s3: S3Client, output_prefix: str, run: str, since: float
) -> Iterator[tuple[ManifestItem, Receipt]]:
    """Yield what a run has paid for, or may have, and the manifest does not list any more; this call blocks.

    The receipts are listed once, and only those are read that do not belong to the manifest.

    :param outputs: of the manifest.
    :param output_prefix: where the receipts are, ``s3://bucket/prefix/``.
    :param run: the task instance, see :class:`~veo_provider.receipts.receipt.Attempt`.
    :param since: Unix seconds at which the run started first: older receipts are not its own.
    :raises VeoReceiptUnavailableError: the receipts cannot be read now.
    """

    def wanted(video: str, modified: float) -> bool:
        return modified >= since and video not in outputs

    try:
        for store, receipt in read_below(s3, output_prefix, wanted):
            if pays(receipt, run):
                yield _item(store.uri.removesuffix(SUFFIX), output_prefix, receipt), receipt
    except VeoReceiptError as error:
        log.warning("%s What was paid for images that have left the archive is not reported.", error)


def _item(output: str, output_prefix: str, receipt: Receipt) -> ManifestItem:
    path = output.removeprefix(output_prefix).removesuffix(VIDEO_SUFFIX)
    return ManifestItem(output, str(receipt.request.get("image") or ""), path, output)


def refusal(receipt: Receipt | None) -> VeoError:
    """Return why nothing is submitted for an orphan, whose video is only fetched."""
    if receipt is None or receipt.state is not ReceiptState.FAILED:
        return VeoRequestError(_GONE)
    return VeoGenerationFailed(
        f"The generation {receipt.veo_task_id} failed: {receipt.reason}. {_GONE}",
        moderated=receipt.moderated,
    )
