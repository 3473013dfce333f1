"""The life of one video, from its receipt to the object in S3, as steps that a driver calls.

:meth:`GenerationJob.decide` says what to do next. The driver does that, and decides again, until the step is
:class:`~veo_provider.generation.state_machine.Done` or
:class:`~veo_provider.generation.state_machine.Refuse`. Three drivers exist: the operator of one video, the
items of a batch, and the dry run. Each step blocks, and returns the receipt as it is then.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING

from veo_provider.exceptions import ReceiptConflictError, VeoError, VeoRequestError
from veo_provider.generation import recording, storage, submission
from veo_provider.generation.state_machine import (
    NeedsImage,
    Refuse,
    Submit,
    is_in_flight_elsewhere,
    next_step,
)
from veo_provider.receipts.receipt import ReceiptState, S3ReceiptStore, sidecar_of
from veo_provider.s3.client import head_object
from veo_provider.s3.multipart_upload import PART_BYTES, abort_stale_uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.video import Video
    from veo_provider.generation.fingerprint import PreparedRequest
    from veo_provider.generation.state_machine import GenerationPolicy, Step
    from veo_provider.receipts.receipt import Attempt, Receipt, ReceiptStore, VersionedReceipt
    from veo_provider.s3.multipart_upload import MultipartUpload
    from veo_provider.s3.uri import S3Uri

log = logging.getLogger(__name__)


def trust_no_receipt(receipt: Receipt) -> bool:  # noqa: ARG001 - whatever it says
    """Never take a receipt's word for what is asked for: the image is read each time."""
    return False


def require_receipt(current: VersionedReceipt | None) -> VersionedReceipt:
    """Return the receipt that every step but a submission comes from."""
    assert current is not None, "this step comes from a receipt"  # noqa: S101 - for the type
    return current


class GenerationJob:
    """The blocking steps of one generation. Steps may be called from different threads, one at a time.

    :param receipts: holds its receipt.
    :param client: submits, and asks for its status.
    :param attempt: who acts.
    :param policy: what to do where the receipt leaves a choice.
    :param prepare: reads the image, and returns what to submit; gets the receipt as it is.
    :param trust: whether a receipt is known to describe this job's request, so that the image need not be
        read to wait for its video.
    :param refusal: returns why nothing may be submitted; None where submissions are allowed.
    """

    def __init__(
        self,
        receipts: ReceiptStore,
        client: VeoClient,
        attempt: Attempt,
        policy: GenerationPolicy,
        *,
        prepare: Callable[[Receipt | None], PreparedRequest],
        trust: Callable[[Receipt], bool] = trust_no_receipt,
        refusal: Callable[[Receipt | None], VeoError] | None = None,
    ) -> None:
        self.receipts = receipts
        self.attempt = attempt
        self._client = client
        self._policy = policy
        self._prepare = prepare
        self._trust = trust
        self._refusal = refusal
        self._prepared: PreparedRequest | None = None
        self._fingerprint: str | None = None
        self._refuted = ""
        """An id that a lost response seemed to name, and that the service does not know."""

    def read(self) -> VersionedReceipt | None:
        """Read the receipt; None if there is none.

        :raises VeoReceiptError: it cannot be read, or not be understood.
        """
        return self.receipts.read()

    def decide(self, current: VersionedReceipt | None) -> Step:
        """Decide what to do next."""
        receipt = current.receipt if current else None
        fingerprint = self._fingerprint_for(receipt)
        stored = receipt is not None and fingerprint is not None and self._is_finished(receipt)
        if receipt is not None and self._refuted and receipt.candidate_task_id == self._refuted:
            receipt = dataclasses.replace(receipt, candidate_task_id=None)
        step = next_step(receipt, fingerprint, self.attempt, self._policy, now=time.time(), stored=stored)
        if not isinstance(step, (NeedsImage, Submit)):
            return step
        if self._refusal is not None:
            return Refuse(self._refusal(receipt))
        # What a trusted receipt describes is waited for without the image, and never submitted without it.
        return step if self._prepared is not None else NeedsImage()

    def prepare(self, current: VersionedReceipt | None) -> PreparedRequest:
        """Read the image, and fix what to submit and what it is recognised by.

        :raises VeoRequestError: the image or another parameter cannot be used; nothing was submitted.
        :raises VeoImageUnavailableError: the image cannot be read now, and nothing was submitted yet.
        """
        prepared = self._prepare(current.receipt if current else None)
        self._prepared, self._fingerprint = prepared, prepared.fingerprint
        return prepared

    def release_image(self) -> None:
        """Let go of the image, which may be in memory; the fingerprint is kept."""
        self._prepared = None

    def submit_once(self) -> VersionedReceipt | None:
        """Claim, submit and record, unless the receipt says something else by now; this spends money.

        :returns: the receipt as it is then, for the next decision.
        :raises VeoError: nothing was submitted, or the receipt says what is not known.
        """
        prepared, current = self._prepared, self.read()
        if prepared is None or not isinstance(self.decide(current), Submit):
            return current
        if prepared.image_error:
            raise prepared.image_error
        try:
            current = submission.claim_and_submit(
                self.receipts, self._client, prepared, self.attempt, current
            )
        except ReceiptConflictError:
            log.info("Another attempt has claimed %s first.", self.receipts.uri)
            return self.read()
        return current if current.receipt.state is ReceiptState.SUBMITTED else self.verify(current)

    def receipt_to_replace(self, current: VersionedReceipt | None) -> Receipt | None:
        """Return the receipt of another task's video that a submission would replace before it is stored."""
        if current is None or self._fingerprint is None:
            return None
        in_flight = is_in_flight_elsewhere(current.receipt, self._fingerprint, self.attempt)
        return current.receipt if in_flight else None

    def submitted_by_this_attempt(self, current: VersionedReceipt | None) -> bool:
        """Whether the receipt's generation was submitted by this very attempt."""
        return (
            current is not None
            and current.receipt.claim_id == self.attempt.id
            and current.receipt.veo_task_id is not None
        )

    def verify(self, current: VersionedReceipt) -> VersionedReceipt:
        """Settle a submission of unknown fate; see :func:`~veo_provider.generation.submission.verify`."""
        found = submission.verify(self.receipts, self._client, current, self.attempt)
        if found is None:
            self._refuted = current.receipt.candidate_task_id or ""
        return found or current

    def record_failure(self, current: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Record a failure; see :func:`~veo_provider.generation.recording.record_failure`."""
        return recording.record_failure(self.receipts, current, video, self.attempt)

    def is_stored(self, receipt: Receipt) -> bool:  # noqa: ARG002 - there is no place to look at
        """Whether the receipt's video is where it belongs; without an output, its word is taken."""
        return True

    def _is_finished(self, receipt: Receipt) -> bool:
        finished = receipt.state in (ReceiptState.STORED, ReceiptState.LOST)
        return finished and receipt.video is not None and self.is_stored(receipt)

    def _fingerprint_for(self, receipt: Receipt | None) -> str | None:
        """Return what this job asks for, as far as that is known without reading the image."""
        if self._fingerprint is None and receipt is not None and self._trust(receipt):
            return receipt.fingerprint
        return self._fingerprint


class VideoJob(GenerationJob):
    """The blocking steps of one video in S3; its receipt is the object beside it.

    The other parameters are those of :class:`GenerationJob`.

    :param s3: boto3's client; may be used by several threads.
    :param target: where the video goes.
    :param replace: overwrite an object that has no receipt.
    :param unconditional: go on where the receipt's store ignores conditional writes.
    """

    def __init__(
        self,
        s3: S3Client,
        target: S3Uri,
        client: VeoClient,
        attempt: Attempt,
        policy: GenerationPolicy,
        *,
        prepare: Callable[[Receipt | None], PreparedRequest],
        trust: Callable[[Receipt], bool] = trust_no_receipt,
        refusal: Callable[[Receipt | None], VeoError] | None = None,
        replace: bool = False,
        unconditional: bool = False,
    ) -> None:
        receipts = S3ReceiptStore(s3, sidecar_of(target), unconditional=unconditional)
        super().__init__(receipts, client, attempt, policy, prepare=prepare, trust=trust, refusal=refusal)
        self.target = target
        self._s3 = s3
        self._replace = replace
        self._upload: MultipartUpload | None = None
        self._cancelled = False
        self._submitted: str | None = None
        self._stored: str | None = None

    def prepare(self, current: VersionedReceipt | None) -> PreparedRequest:
        """Read the image, and fix what to submit; see :meth:`GenerationJob.prepare`.

        :raises VeoRequestError: the output exists and has no receipt; nothing was submitted.
        """
        if current is None and not self._replace and head_object(self._s3, self.target) is not None:
            raise VeoRequestError(
                f"{self.target} exists and has no receipt. Move it away; VeoImageToVideoOperator overwrites "
                "it with replace=True."
            )
        return super().prepare(current)

    def submit_once(self) -> VersionedReceipt | None:
        """Claim, submit and record; see :meth:`GenerationJob.submit_once`."""
        current = super().submit_once()
        if current is not None and self.submitted_by_this_attempt(current):
            self._submitted = current.receipt.veo_task_id
        return current

    def store(self, current: VersionedReceipt, video: Video | None = None) -> VersionedReceipt:
        """Stream the video into S3, unless it is there, and record it.

        :param video: as its status describes it.
        :raises VeoNotFetchedError: it cannot be fetched or stored now.
        :raises VeoReceiptChangedError: the video of a later generation is stored there.
        :raises VeoVideoLostError: the service has no video.
        """
        self._require_not_cancelled()
        recording.require_not_superseded(self.receipts, current)
        try:
            stored = self._find_or_transfer(current.receipt)
        except VeoError as error:
            raise recording.classify_storing_error(
                self.receipts, current, error, video, self.attempt
            ) from error
        current = recording.record_video(self.receipts, current, stored.to_dict(), self.attempt)
        self._stored = current.receipt.veo_task_id
        if stored.bytes > PART_BYTES:  # smaller ones are uploaded whole
            self.clean_up()
        return current

    def _find_or_transfer(self, receipt: Receipt) -> storage.StoredVideo:
        veo_task_id = receipt.veo_task_id or ""
        # A worker killed between upload and receipt update leaves a stored video that no receipt mentions.
        if self._submitted != veo_task_id:
            found = storage.find_stored_video(self._s3, self.target, veo_task_id)
            if found is not None:
                return found
        model = receipt.request.get("model", "")
        self._upload = storage.open_upload(self._s3, self.target, veo_task_id, model)
        self._require_not_cancelled()
        return storage.transfer_video(
            self._client,
            veo_task_id,
            str(self.target),
            self._upload,
            asked_seconds=receipt.request.get("seconds"),
        )

    def stored_by_this_attempt(self, current: VersionedReceipt) -> bool:
        """Whether this very job has stored the receipt's video."""
        return self._stored is not None and current.receipt.veo_task_id == self._stored

    def is_stored(self, receipt: Receipt) -> bool:
        """Whether the object in S3 is the video that the receipt describes; what was just stored is."""
        if receipt.state is ReceiptState.STORED and receipt.veo_task_id == self._stored:
            return True
        return storage.is_stored(self._s3, self.target, receipt)

    def clean_up(self) -> None:
        """Abort uploads that killed attempts have left."""
        abort_stale_uploads(self._s3, self.target)

    def cancel(self) -> None:
        """Abort the upload, and start none any more; safe from any thread and from a signal handler."""
        self._cancelled = True
        if self._upload is not None:
            self._upload.cancel()

    def _require_not_cancelled(self) -> None:
        if self._cancelled:
            raise InterruptedError("The task was ended before its video was stored.")

    def _fingerprint_for(self, receipt: Receipt | None) -> str | None:
        """Return what this job asks for; a video that it has stored itself is of its request."""
        if receipt is not None and self._stored is not None and receipt.veo_task_id == self._stored:
            return receipt.fingerprint
        return super()._fingerprint_for(receipt)
