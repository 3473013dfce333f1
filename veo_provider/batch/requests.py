"""One video of an archive, step by step: the calls that block, made by the threads of a batch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoError, VeoRequestError
from veo_provider.generation import state_machine, storage
from veo_provider.generation.state_machine import WaitForClaim
from veo_provider.media.image_source import open_image
from veo_provider.receipts.receipt import S3ReceiptStore, sidecar_of
from veo_provider.s3.client import head_object
from veo_provider.s3.multipart_upload import PART_BYTES, abort_stale_uploads
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.image import Image
    from veo_provider.api.video import Video
    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.batch.prompts import PromptSource
    from veo_provider.generation.state_machine import Attach, Done, GenerationPolicy, PreparedRequest, Step
    from veo_provider.receipts.receipt import Attempt, Receipt, VersionedReceipt
    from veo_provider.s3.multipart_upload import MultipartUpload

HELD_BYTES = 4 * 1024 * 1024
"""An image of at most so many bytes is read once and held until it is submitted."""


@dataclass(frozen=True)
class Making:
    """How the videos of an archive are made.

    :param client: for submissions and downloads; may be used by several threads.
    :param s3: boto3's client, the same.
    :param prompts: says what happens in each video.
    :param by: who acts.
    :param policy: what to do where a receipt leaves a choice.
    :param fields: further fields of each request: model, seconds, resolution and so on.
    :param account: what tells one account from another, see
        :func:`veo_provider.generation.state_machine.account_of`.
    :param aws_conn_id: connection for images in S3.
    :param convert: make images that the API takes of others.
    :param fit: choose the aspect ratio by the image.
    :param unconditional: go on where the receipt's store ignores conditional writes.
    """

    client: VeoClient
    s3: S3Client
    prompts: PromptSource
    by: Attempt
    policy: GenerationPolicy
    fields: dict[str, Any]
    account: str
    aws_conn_id: str | None
    convert: bool = False
    fit: bool = False
    unconditional: bool = False


class Maker:
    """Makes one video; each method is one step of it, and blocks.

    :param item: the image, and where its video goes.
    :param making: how.
    """

    def __init__(self, item: ManifestItem, making: Making) -> None:
        self.item = item
        self._making = making
        self._target = S3Uri.parse(item.output, "output")
        self._store = S3ReceiptStore(making.s3, sidecar_of(self._target), unconditional=making.unconditional)
        self._upload: MultipartUpload | None = None
        self._cancelled = False
        self._submitted: str | None = None

    def look(self) -> tuple[Step | None, VersionedReceipt | None]:
        """Read the receipt, and return what follows from it; None where that takes the image to tell.

        :raises VeoReceiptUnavailableError: it cannot be read now.
        """
        held = self._store.read()
        return self._step(held), held

    def _step(self, held: VersionedReceipt | None) -> Step | None:
        if held is None:
            return None
        receipt, by = held.receipt, self._making.by
        if receipt.claim_id != by.id and receipt.is_claim_alive(time.time()):
            return WaitForClaim(receipt.claimed_by, receipt.claimed_until)
        if receipt.claimant != by.task_instance or not self._is_ours(receipt):
            return None
        step = self.next_step(held, receipt.fingerprint)
        return None if isinstance(step, state_machine.Submit) else step

    def _is_ours(self, receipt: Receipt) -> bool:
        """Whether this very task asked for the same before: of the image, its word is taken."""
        if receipt.claimed_by == str(self._making.by):
            return True
        wanted = self._request(None).description()
        wanted.pop("aspect_ratio" if self._making.fit else "", None)
        return all(receipt.request.get(name) == value for name, value in wanted.items())

    def next_step(self, held: VersionedReceipt | None, fingerprint: str) -> Step:
        """Decide what is to be done."""
        making = self._making
        return state_machine.decide(held, fingerprint, making.by, making.policy, self.is_stored)

    def plan(self, held: VersionedReceipt | None) -> PreparedRequest:
        """Return what is asked for; where it is paid for already, the image need not be there any more.

        :raises VeoRequestError: the image or its prompt is no good, or the place of the video is taken.
        :raises VeoImageUnavailableError: they cannot be read now.
        """
        if held is None and head_object(self._making.s3, self._target) is not None:
            raise VeoRequestError(f"{self._target} exists and has no receipt.")
        return state_machine.prepare(
            self._image,
            self._request,
            held.receipt if held else None,
            image=self.item.image,
            account=self._making.account,
        )

    def _request(self, image: Image | None) -> VeoRequest:
        fields = dict(self._making.fields)
        if self._making.fit and image is not None:
            from veo_provider.media.conversion import aspect_ratio_of

            fields["aspect_ratio"] = aspect_ratio_of(image)
        return VeoRequest(prompt=self._making.prompts.of(self.item), image=image, **fields)

    def _image(self) -> Image:
        making = self._making
        return open_image(
            self.item.image, making.aws_conn_id, convert=making.convert, s3=making.s3, hold=HELD_BYTES
        )

    def require_submittable(self, held: VersionedReceipt | None) -> None:
        """Pass where the item may be submitted; ``Finisher`` never lets it."""

    def submit(self, plan: PreparedRequest) -> tuple[Attach | WaitForClaim | Done, VersionedReceipt]:
        """Claim, submit and record, with one submission at most; see :func:`generation.advance_once`."""
        making = self._making
        step, held = state_machine.submit_once(
            self._store, making.client, plan, making.by, making.policy, self.is_stored
        )
        if held.receipt.claim_id == making.by.id:
            self._submitted = held.receipt.veo_task_id
        return step, held

    def verify(self, held: VersionedReceipt) -> tuple[Step | None, VersionedReceipt]:
        """Settle a submission of unknown fate; see :func:`generation.verify`."""
        held = state_machine.verify(self._store, self._making.client, held, self._making.by)
        return self._step(held), held

    def record_failure(self, held: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Record that the service gave up on a generation."""
        return state_machine.record_failure(self._store, held, video, self._making.by)

    def store(self, held: VersionedReceipt, video: Video | None = None) -> VersionedReceipt:
        """Stream the video into its place, unless it is there, and record it.

        :param video: as its status describes it.
        :raises VeoNotFetchedError: it cannot be fetched or stored now.
        :raises VeoReceiptChangedError: the video of a later generation is in its place.
        :raises VeoVideoLostError: the service has no video.
        """
        if self._cancelled:
            raise InterruptedError("The task was ended before the video's turn to be stored.")
        state_machine.require_place(self._store, held)
        veo_task_id, s3, target = held.receipt.veo_task_id or "", self._making.s3, self._target
        try:
            # A worker that was killed after the upload leaves the video without its record.
            stored = (
                None if self._submitted == veo_task_id else storage.find_stored_video(s3, target, veo_task_id)
            )
            if stored is None:
                model = held.receipt.request.get("model", "")
                self._upload = storage.open_upload(s3, target, veo_task_id, model)
                stored = storage.transfer_video(
                    self._making.client,
                    veo_task_id,
                    str(target),
                    self._upload,
                    asked_seconds=held.receipt.request.get("seconds"),
                )
        except VeoError as error:
            raise state_machine.not_stored(self._store, held, error, video, self._making.by) from error
        held = state_machine.record_video(self._store, held, stored.to_dict(), self._making.by)
        if stored.bytes > PART_BYTES:  # smaller ones are uploaded whole
            abort_stale_uploads(s3, target)
        return held

    def cancel(self) -> None:
        """Take back what was uploaded so far, and upload nothing more; from any thread, or from a signal."""
        self._cancelled = True
        if self._upload is not None:
            self._upload.cancel()

    def is_stored(self, receipt: Receipt) -> bool:
        """Whether the object is the very video that the receipt describes."""
        return storage.is_stored(self._making.s3, self._target, receipt)
