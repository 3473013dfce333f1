"""Makes a video job for each item of a manifest: its image, its prompt, its output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoRequestError
from veo_provider.generation import fingerprint
from veo_provider.generation.lifecycle import VideoJob
from veo_provider.media.image_source import open_image
from veo_provider.receipts.receipt import ReceiptState
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.image import Image
    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.batch.prompts import PromptSource
    from veo_provider.exceptions import VeoError
    from veo_provider.generation.fingerprint import PreparedRequest
    from veo_provider.generation.state_machine import GenerationPolicy
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt

MAX_BUFFERED_BYTES = 4 * 1024 * 1024
"""An image of at most this size is read once and kept in memory until it is submitted."""


@dataclass(frozen=True)
class ItemJobs:
    """Makes the jobs of a batch. Makes only: its methods read nothing and spend nothing.

    :param client: for submissions and downloads; may be used by several threads.
    :param s3: boto3's client; may be used by several threads.
    :param prompts: the prompt of each item.
    :param attempt: who acts.
    :param policy: what to do where a receipt leaves a choice.
    :param fields: the other fields of each request: model, seconds, resolution and so on.
    :param account: the account's name in fingerprints, see
        :func:`veo_provider.generation.fingerprint.account_of`.
    :param aws_conn_id: connection for images in S3.
    :param convert: convert images that the API does not accept.
    :param fit: choose the aspect ratio closest to the image's.
    :param allow_unconditional_writes: continue if the store of receipts ignores conditional writes.
    """

    client: VeoClient
    s3: S3Client
    prompts: PromptSource
    attempt: Attempt
    policy: GenerationPolicy
    fields: dict[str, Any]
    account: str
    aws_conn_id: str | None
    convert: bool = False
    fit: bool = False
    allow_unconditional_writes: bool = False

    def job_for(self, item: ManifestItem) -> VideoJob:
        """Return the job of an item's video.

        :raises VeoRequestError: the item's output is not an S3 URI.
        """
        return self._job(item, trust=partial(self._is_own_request, item))

    def fetch_only(self, item: ManifestItem, refusal: Callable[[Receipt | None], VeoError]) -> VideoJob:
        """Return a job that only waits for a submitted generation and stores it, whatever its request was.

        :param refusal: returns why nothing is submitted.
        :raises VeoRequestError: the item's output is not an S3 URI.
        """
        return self._job(item, trust=self._is_own, refusal=refusal)

    def _job(
        self,
        item: ManifestItem,
        *,
        trust: Callable[[Receipt], bool],
        refusal: Callable[[Receipt | None], VeoError] | None = None,
    ) -> VideoJob:
        return VideoJob(
            self.s3,
            S3Uri.parse(item.output, "output"),
            self.client,
            self.attempt,
            self.policy,
            prepare=partial(self._prepare, item),
            trust=trust,
            refusal=refusal,
            allow_unconditional_writes=self.allow_unconditional_writes,
        )

    def _prepare(self, item: ManifestItem, receipt: Receipt | None) -> PreparedRequest:
        return fingerprint.prepare(
            partial(self._image, item),
            partial(self._request, item),
            receipt,
            image=item.image,
            account=self.account,
        )

    def _image(self, item: ManifestItem) -> Image:
        return open_image(
            item.image,
            self.aws_conn_id,
            convert=self.convert,
            s3=self.s3,
            max_buffered_bytes=MAX_BUFFERED_BYTES,
        )

    def _request(self, item: ManifestItem, image: Image | None) -> VeoRequest:
        fields = dict(self.fields)
        if self.fit and image is not None:
            from veo_provider.media.aspect_ratio import aspect_ratio_of

            fields["aspect_ratio"] = aspect_ratio_of(image)
        return VeoRequest(prompt=self.prompts.of(item), image=image, gateway=self.client.gateway, **fields)

    def _is_own(self, receipt: Receipt) -> bool:
        """Whether this task has submitted it, to where it can still be polled, or has it stored."""
        pollable = receipt.request.get("account") == self.account or receipt.state is ReceiptState.STORED
        return pollable and receipt.claimant == self.attempt.task_instance

    def _is_own_request(self, item: ManifestItem, receipt: Receipt) -> bool:
        """Whether this task has submitted the same request before; the image is assumed unchanged."""
        if not self._is_own(receipt):
            return False
        if receipt.claimed_by == str(self.attempt):
            return True
        try:
            wanted = self._request(item, None).description()
        except VeoRequestError:
            # Its prompt is gone or invalid by now. What was accepted is paid for, and needs none.
            return receipt.veo_task_id is not None
        wanted.pop("aspect_ratio" if self.fit else "", None)
        return all(receipt.request.get(name) == value for name, value in wanted.items())
