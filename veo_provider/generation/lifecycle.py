"""The life of one video, from its receipt to the object in S3, as steps that a driver calls.

:meth:`GenerationJob.decide` returns the next step. The driver carries it out and decides again, until the
step is :class:`~veo_provider.generation.state_machine.Done` or
:class:`~veo_provider.generation.state_machine.Refuse`. There are four drivers: the operators of one video and
of one submission, the items of a batch, and the dry run, which carries out nothing. Each method that does a
step blocks, and returns the receipt as it is afterwards. Only ``submit_once`` spends money.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from veo_provider.api.gateways.gateway import LookUp as LookUpBy
from veo_provider.api.protocol import in_words_of
from veo_provider.exceptions import ReceiptConflictError, VeoError, VeoRequestError
from veo_provider.generation import look_up, recording, storage, submission
from veo_provider.generation.fingerprint import is_account_of, is_moved
from veo_provider.generation.look_up import LookUps
from veo_provider.generation.state_machine import (
    NeedsImage,
    Refuse,
    Submit,
    is_in_flight_elsewhere,
    next_step,
)
from veo_provider.receipts.receipt import ReceiptState
from veo_provider.receipts.s3_store import S3ReceiptStore, sidecar_of
from veo_provider.s3.client import head_object
from veo_provider.s3.multipart_upload import PART_BYTES, abort_stale_uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.video import Video
    from veo_provider.generation.fingerprint import PreparedRequest
    from veo_provider.generation.state_machine import GenerationPolicy, Step
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.store import ReceiptStore, VersionedReceipt
    from veo_provider.s3.multipart_upload import MultipartUpload
    from veo_provider.s3.uri import S3Uri

log = logging.getLogger(__name__)


def replace_any(receipt: Receipt) -> bool:  # noqa: ARG001 - whichever it is
    """Let a submission replace another task's generation without waiting for it."""
    return True


def trust_no_receipt(receipt: Receipt) -> bool:  # noqa: ARG001 - whatever it says
    """Return False: the image is always read before a receipt is taken to describe the same request."""
    return False


def require_receipt(current: VersionedReceipt | None) -> VersionedReceipt:
    """Return the receipt of a step that is decided only if there is one."""
    assert current is not None, "only a receipt leads to this step"  # noqa: S101 - for the type
    return current


class GenerationJob:
    """The blocking steps of one generation. Steps may be called from different threads, one at a time.

    :param receipts: the store of its receipt.
    :param client: submits, and verifies ids.
    :param attempt: who acts.
    :param policy: what to do where the receipt leaves a choice.
    :param prepare: reads the image and returns the request; called with the current receipt.
    :param trust: whether a receipt is known to describe this job's request, so that its video can be waited
        for without reading the image.
    :param refusal: returns why nothing may be submitted; None if submissions are allowed.
    :param look_ups: finds lost submissions in the gateway's list; default is to compare it with the receipts
        beside this one, if it is in S3.
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
        look_ups: LookUps | None = None,
    ) -> None:
        self.receipts = receipts
        self.attempt = attempt
        self._client = client
        self._policy = policy
        if look_ups is None and isinstance(receipts, S3ReceiptStore):
            look_ups = LookUps.beside(receipts)
        self._look_ups = look_ups
        self._prepare = prepare
        self._trust = trust
        self._refusal = refusal
        self._prepared: PreparedRequest | None = None
        self._fingerprint: str | None = None
        self._description: dict[str, Any] | None = None
        self._refuted = ""
        """An id from a broken response that turned out not to exist."""

    def read(self) -> VersionedReceipt | None:
        """Return the current receipt, or None if there is none.

        :raises VeoReceiptError: it cannot be understood, or access is denied.
        :raises VeoReceiptUnavailableError: it cannot be read now.
        """
        return self.receipts.read()

    def decide(self, current: VersionedReceipt | None) -> Step:
        """Return the next step. May look at the object in S3; spends nothing.

        :raises VeoStorageError: whether the video is stored is unknown.
        """
        receipt = current.receipt if current else None
        fingerprint = self._fingerprint_for(receipt)
        stored = receipt is not None and fingerprint is not None and self._is_finished(receipt)
        if receipt is not None and self._refuted and receipt.candidate_task_id == self._refuted:
            receipt = dataclasses.replace(receipt, candidate_task_id=None)
        moved = receipt is not None and is_moved(receipt, self._description or {})
        step = next_step(
            receipt,
            fingerprint,
            self.attempt,
            self._policy,
            now=time.time(),
            stored=stored,
            moved=moved,
            can_look_up=receipt is not None and self._can_look_up(receipt),
        )
        if isinstance(step, Refuse):
            step.error.tell_in(self._client.gateway.words)
        if not isinstance(step, (NeedsImage, Submit)):
            return step
        if self._refusal is not None:
            return Refuse(self._refusal(receipt))
        # A trusted receipt is enough to wait for a video, but not to submit: that takes the image.
        return step if self._prepared is not None else NeedsImage()

    def prepare(self, current: VersionedReceipt | None) -> PreparedRequest:
        """Read the image and return the request, which later decisions compare with the receipt.

        :raises VeoRequestError: the image or another parameter is invalid; nothing was submitted.
        :raises VeoImageUnavailableError: the image cannot be read now, and nothing has been submitted yet.
        """
        prepared = self._prepare(current.receipt if current else None)
        self._prepared, self._fingerprint = prepared, prepared.fingerprint
        self._description = prepared.description
        return prepared

    def release_image(self) -> None:
        """Release the image, which may be in memory, and keep the fingerprint."""
        self._prepared = None

    def submit_once(self, *, may_replace: Callable[[Receipt], bool] = replace_any) -> VersionedReceipt | None:
        """Claim, submit and record, unless the receipt has changed and needs another step. This spends money.

        :param may_replace: whether another task's generation may be replaced while it is in flight. If not,
            nothing is submitted: the caller waits for it first.
        :returns: the receipt as it is afterwards, for the next decision.
        :raises VeoSubmissionUnknown: the response was lost, so the submission may be charged.
        :raises VeoRecordLostError: the submission was accepted, but its id could not be recorded.
        :raises VeoError: nothing was submitted or accepted, and nothing was spent.
        """
        current = self.read()
        step = self.decide(current)
        prepared = self._prepared
        if prepared is None or not isinstance(step, Submit):
            return current
        in_flight = self.receipt_to_replace(current)
        if in_flight is not None and not may_replace(in_flight):
            return current
        self.require_submittable()
        try:
            current = submission.claim_and_submit(
                self.receipts,
                self._client,
                prepared,
                self.attempt,
                current,
                can_look_up=self._policy.looks_up and (self._looks_up_by_key or self._looks_up_in_list),
            )
        except ReceiptConflictError:
            log.info("Another attempt was first to claim %s.", self.receipts.uri)
            return self.read()
        return self.verify(current) if current.receipt.candidate_task_id else current

    def require_submittable(self) -> None:
        """Check that what was prepared can be submitted: its image was read, and its model is served.

        :raises VeoError: it cannot; nothing was sent.
        """
        prepared = self._prepared
        if prepared is not None and prepared.image_error:
            raise prepared.image_error
        if prepared is not None:
            prepared.request.model_data.require_served(time.time())

    def receipt_to_replace(self, current: VersionedReceipt | None) -> Receipt | None:
        """Return the receipt of another task's generation that a submission would replace while in flight.

        None if there is no such generation.
        """
        fingerprint = self._fingerprint_for(current.receipt) if current else None
        if current is None or fingerprint is None:
            return None
        in_flight = is_in_flight_elsewhere(current.receipt, fingerprint, self.attempt)
        return current.receipt if in_flight else None

    def submitted_by_this_attempt(self, current: VersionedReceipt | None) -> bool:
        """Whether this attempt submitted the receipt's generation, and the service accepted it."""
        return (
            current is not None
            and current.receipt.claim_id == self.attempt.id
            and current.receipt.veo_task_id is not None
        )

    def verify(self, current: VersionedReceipt) -> VersionedReceipt:
        """Return the receipt after its candidate id was verified, which is free.

        The errors are those of :func:`~veo_provider.generation.submission.verify`.
        """
        found = submission.verify(self.receipts, self._client, current, self.attempt)
        if found is None:
            self._refuted = current.receipt.candidate_task_id or ""
        return found or current

    def look_up(self, current: VersionedReceipt) -> VersionedReceipt:
        """Return the receipt after its lost submission was looked up. Nothing is paid twice by that.

        By an idempotency key, the request is sent again, which takes the image. If that is another one now,
        nothing is sent, and the receipt is returned as it is.

        The errors are those of :func:`~veo_provider.generation.look_up.settle`,
        :func:`~veo_provider.generation.look_up.repeat_by_key` and :meth:`prepare`.
        """
        gateway = self._client.gateway
        with in_words_of(gateway):
            if self._look_ups is not None and self._looks_up_in_list:
                finding = self._look_ups.find(self._client, current.receipt, self.receipts.uri)
                may_resubmit = self._policy.on_unknown_submission == "look_up_or_resubmit"
                return look_up.settle(
                    self.receipts, current, finding, self.attempt, may_resubmit=may_resubmit
                )
            prepared = self._prepared or self.prepare(current)
            if prepared.fingerprint != current.receipt.fingerprint:
                return current
            return look_up.repeat_by_key(self.receipts, self._client, prepared, current, self.attempt)

    @property
    def _looks_up_by_key(self) -> bool:
        return self._client.gateway.look_up is LookUpBy.IDEMPOTENCY_KEY and self._refusal is None

    @property
    def _looks_up_in_list(self) -> bool:
        return self._look_ups is not None and self._client.can_look_up

    def _can_look_up(self, receipt: Receipt) -> bool:
        """Whether the gateway can be asked what became of a receipt's submission."""
        if not self._looks_up_in_list:
            # Another image or another prompt with the same key would be another request.
            same = self._prepared is None or self._prepared.fingerprint == receipt.fingerprint
            if not (self._looks_up_by_key and same and look_up.may_repeat_by_key(receipt)):
                return False
        return is_account_of(receipt, self._client)

    def record_failure(self, current: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Record a failure, and return the receipt.

        The errors are those of :func:`~veo_provider.generation.recording.record_failure`.
        """
        gateway = self._client.gateway
        with in_words_of(gateway):
            return recording.record_failure(self.receipts, current, video, self.attempt, gateway.charging)

    def is_stored(self, receipt: Receipt) -> bool:  # noqa: ARG002 - this job has no output to look at
        """Whether the receipt's video is at its output; a job without an output believes the receipt."""
        return True

    def _is_finished(self, receipt: Receipt) -> bool:
        finished = receipt.state in (ReceiptState.STORED, ReceiptState.LOST)
        return finished and receipt.video is not None and self.is_stored(receipt)

    def _fingerprint_for(self, receipt: Receipt | None) -> str | None:
        """Return the fingerprint of this job's request; None if only the image can tell."""
        if self._fingerprint is None and receipt is not None and self._trust(receipt):
            return receipt.fingerprint
        return self._fingerprint


class VideoJob(GenerationJob):
    """The blocking steps of one video in S3, whose receipt is an object beside it.

    The other parameters are those of :class:`GenerationJob`.

    :param s3: boto3's client; may be used by several threads.
    :param target: where the video goes.
    :param replace: overwrite an object that has no receipt.
    :param allow_unconditional_writes: go on if the store of receipts ignores conditional writes.
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
        look_ups: LookUps | None = None,
        replace: bool = False,
        allow_unconditional_writes: bool = False,
    ) -> None:
        receipts = S3ReceiptStore(
            s3, sidecar_of(target), allow_unconditional_writes=allow_unconditional_writes
        )
        super().__init__(
            receipts,
            client,
            attempt,
            policy,
            prepare=prepare,
            trust=trust,
            refusal=refusal,
            look_ups=look_ups,
        )
        self.target = target
        self._s3 = s3
        self._replace = replace
        self._upload: MultipartUpload | None = None
        self._cancelled = False
        self._submitted: str | None = None
        self._stored: str | None = None

    def prepare(self, current: VersionedReceipt | None) -> PreparedRequest:
        """Read the image and return the request; see :meth:`GenerationJob.prepare`.

        :raises VeoRequestError: also if the output exists without a receipt; nothing was submitted.
        """
        if current is None and not self._replace and head_object(self._s3, self.target) is not None:
            raise VeoRequestError(
                f"{self.target} exists and has no receipt. Move it away, or let VeoImageToVideoOperator "
                "overwrite it by replace=True."
            )
        return super().prepare(current)

    def submit_once(self, *, may_replace: Callable[[Receipt], bool] = replace_any) -> VersionedReceipt | None:
        """Claim, submit and record; see :meth:`GenerationJob.submit_once`. This spends money."""
        current = super().submit_once(may_replace=may_replace)
        if current is not None and self.submitted_by_this_attempt(current):
            self._submitted = current.receipt.veo_task_id
        return current

    def store(self, current: VersionedReceipt, video: Video | None = None) -> VersionedReceipt:
        """Stream the video into S3 unless it is there, record it, and return the receipt. This is free.

        :param video: the generation's status, if it was polled.
        :raises VeoNotFetchedError: the video cannot be fetched or stored now.
        :raises VeoReceiptChangedError: another generation's video is stored there now.
        :raises VeoVideoLostError: the service has no video, which is recorded.
        :raises InterruptedError: the job was cancelled.
        """
        self._require_not_cancelled()
        recording.require_not_superseded(self.receipts, current)
        try:
            stored = self._find_or_transfer(current.receipt)
        except VeoError as error:
            ended = recording.record_storing_error(self.receipts, current, error, video, self.attempt)
            raise ended.tell_in(self._client.gateway.words) from error
        told_usd = video.cost_usd if video else None
        current = recording.record_video(self.receipts, current, stored.to_dict(), self.attempt, told_usd)
        self._stored = current.receipt.veo_task_id
        if stored.bytes > PART_BYTES:  # smaller ones are uploaded whole
            self.clean_up()
        return current

    def _find_or_transfer(self, receipt: Receipt) -> storage.StoredVideo:
        veo_task_id = receipt.veo_task_id or ""
        # A worker killed between upload and receipt update leaves a stored video that no receipt mentions.
        # A video that this job submitted itself cannot be there yet.
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
        """Whether this job has stored the receipt's video and recorded it."""
        return self._stored is not None and current.receipt.veo_task_id == self._stored

    def is_stored(self, receipt: Receipt) -> bool:
        """Whether the object in S3 is the receipt's video; not asked again after this job has stored it.

        :raises VeoStorageError: S3 did not say.
        """
        if receipt.state is ReceiptState.STORED and receipt.veo_task_id == self._stored:
            return True
        return storage.is_stored(self._s3, self.target, receipt)

    def clean_up(self) -> None:
        """Abort the uploads that killed attempts have left behind."""
        abort_stale_uploads(self._s3, self.target)

    def cancel(self) -> None:
        """Abort the upload and start no other; safe in any thread and in a signal handler."""
        self._cancelled = True
        if self._upload is not None:
            self._upload.cancel()

    def _require_not_cancelled(self) -> None:
        if self._cancelled:
            raise InterruptedError(
                "The task was ended before its video was stored. The generation is not paid for again."
            )

    def _fingerprint_for(self, receipt: Receipt | None) -> str | None:
        """Return the fingerprint of this job's request; a video that it stored is known to be of it."""
        if receipt is not None and self._stored is not None and receipt.veo_task_id == self._stored:
            return receipt.fingerprint
        return super()._fingerprint_for(receipt)
