"""Orphans: what a run has paid for images that are no longer in its manifest.

Such an image was moved, deleted or removed from the list. Its receipt is still below the output prefix. Its
video is fetched if it was submitted, and its cost is in the summary; nothing more is submitted for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from veo_provider.batch.manifest import VIDEO_SUFFIX, ManifestItem, Outputs
from veo_provider.exceptions import VeoGenerationFailed, VeoReceiptError, VeoRequestError
from veo_provider.receipts.charges import pays, read_receipts
from veo_provider.receipts.receipt import SUFFIX, ReceiptState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.manifest import Manifest
    from veo_provider.batch.report.journal import ResultJournal
    from veo_provider.batch.spec import BatchSpec
    from veo_provider.exceptions import VeoError
    from veo_provider.receipts.receipt import Receipt

log = logging.getLogger(__name__)

_GONE = "Its image is no longer in the archive, so nothing is submitted for it."


class OrphanFinder:
    """Finds the orphans of a run; its methods block.

    :param spec: of the batch.
    :param manifest: of the batch.
    :param journal: of the run, which knows when it started.
    :param s3: boto3's client.
    """

    def __init__(self, spec: BatchSpec, manifest: Manifest, journal: ResultJournal, s3: S3Client) -> None:
        self._spec = spec
        self._manifest = manifest
        self._journal = journal
        self._s3 = s3

    def paid(self, outputs: Outputs | None = None) -> Iterator[tuple[ManifestItem, Receipt]]:
        """Yield each orphan that the run has paid for, or may have, and its receipt.

        The receipts are listed once; only those that belong to no image of the manifest are read.

        :param outputs: of the manifest, complete when the first orphan is asked for; None to list it.
        :raises VeoError: the manifest or the receipts cannot be listed or read now.
        """
        started_at = self._journal.run_started_at(fresh=False)
        known = Outputs(self._manifest.items()) if outputs is None else outputs
        return self._paid(known, started_at)

    def to_fetch(self) -> list[ManifestItem]:
        """Return the orphans that are paid and not stored.

        What another run has generated anew since is left to that run.

        :raises VeoError: the manifest or the receipts cannot be listed or read now.
        """
        return [
            item
            for item, receipt in self.paid()
            if receipt.state is ReceiptState.SUBMITTED and receipt.claimant == self._spec.run
        ]

    def _paid(self, outputs: Outputs, started_at: float) -> Iterator[tuple[ManifestItem, Receipt]]:
        prefix = self._spec.output_prefix

        def wanted(video: str, modified: float) -> bool:
            return modified >= started_at and video not in outputs

        try:
            for store, receipt in read_receipts(self._s3, prefix, wanted):
                if pays(receipt, self._spec.run):
                    yield _item(store.uri.removesuffix(SUFFIX), prefix, receipt), receipt
        except VeoReceiptError as error:
            log.warning("%s The summary leaves out what was paid for images that left the archive.", error)


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
