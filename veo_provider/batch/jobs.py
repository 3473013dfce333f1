"""Makes a video job for each item of a manifest: its image, its prompt, its output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoRequestError
from veo_provider.generation import fingerprint
from veo_provider.generation.fallbacks import index_of
from veo_provider.generation.routed_job import RoutedVideoJob
from veo_provider.media.image_source import open_image
from veo_provider.receipts.receipt import ReceiptState
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mypy_boto3_s3 import S3Client

    from veo_provider.api.image import Image
    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.batch.prompts import PromptSource
    from veo_provider.exceptions import VeoError
    from veo_provider.generation.fallbacks import Route
    from veo_provider.generation.fingerprint import PreparedRequest
    from veo_provider.generation.look_up import LookUps
    from veo_provider.generation.state_machine import GenerationPolicy
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt

MAX_BUFFERED_BYTES = 4 * 1024 * 1024
"""An image of at most this size is read once and kept in memory until it is submitted."""


@dataclass(frozen=True)
class ItemJobs:
    """Makes the jobs of a batch. Makes only: its methods read nothing and spend nothing.

    :param routes: the connections and models that are asked, in this order; their clients may be used by
        several threads.
    :param s3: boto3's client; may be used by several threads.
    :param prompts: the prompt of each item.
    :param attempt: who acts.
    :param policy: what to do where a receipt leaves a choice.
    :param fields: the other fields of each request by the route: model, seconds, resolution and so on.
    :param aws_conn_id: connection for images in S3.
    :param convert: convert images that the API does not accept.
    :param fit: choose the aspect ratio closest to the image's.
    :param allow_unconditional_writes: continue if the store of receipts ignores conditional writes.
    :param fallback_on_moderation: whether the next route is also asked after moderation has refused.
    :param look_ups: finds lost submissions, with one list for all of them.
    """

    routes: Sequence[Route]
    s3: S3Client
    prompts: PromptSource
    attempt: Attempt
    policy: GenerationPolicy
    fields: Sequence[dict[str, Any]]
    aws_conn_id: str | None
    convert: bool = False
    fit: bool = False
    allow_unconditional_writes: bool = False
    fallback_on_moderation: bool = False
    look_ups: LookUps | None = None

    def job_for(self, item: ManifestItem) -> RoutedVideoJob:
        """Return the job of an item's video.

        :raises VeoRequestError: the item's output is not an S3 URI.
        """
        return self._job(item, trust=partial(self._is_own_request, item))

    def fetch_only(self, item: ManifestItem, refusal: Callable[[Receipt | None], VeoError]) -> RoutedVideoJob:
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
    ) -> RoutedVideoJob:
        return RoutedVideoJob(
            self.s3,
            S3Uri.parse(item.output, "output"),
            self.routes,
            self.attempt,
            self.policy,
            prepare=partial(self._prepare, item),
            trust=trust,
            refusal=refusal,
            look_ups=self.look_ups,
            allow_unconditional_writes=self.allow_unconditional_writes,
            fallback_on_moderation=self.fallback_on_moderation,
        )

    def _prepare(
        self, item: ManifestItem, route: Route, receipt: Receipt | None, other: PreparedRequest | None
    ) -> PreparedRequest:
        request_for = partial(self._request, item, self.routes.index(route))
        if other is not None:
            return fingerprint.prepare_like(other, request_for, account=route.account)
        return fingerprint.prepare(
            partial(self._image, item), request_for, receipt, image=item.image, account=route.account
        )

    def _image(self, item: ManifestItem) -> Image:
        return open_image(
            item.image,
            self.aws_conn_id,
            convert=self.convert,
            s3=self.s3,
            max_buffered_bytes=MAX_BUFFERED_BYTES,
        )

    def _request(self, item: ManifestItem, number: int, image: Image | None) -> VeoRequest:
        """Return the request of an item by one of the routes."""
        fields = dict(self.fields[number])
        if self.fit and image is not None:
            from veo_provider.media.aspect_ratio import aspect_ratio_of

            fields["aspect_ratio"] = aspect_ratio_of(image)
        gateway = self.routes[number].gateway
        return VeoRequest(prompt=self.prompts.of(item), image=image, gateway=gateway, **fields)

    def _is_own(self, receipt: Receipt) -> bool:
        """Whether this task has submitted it, to where it can still be polled, or has it stored."""
        accounts = [route.account for route in self.routes]
        pollable = receipt.request.get("account") in accounts or receipt.state is ReceiptState.STORED
        return pollable and receipt.claimant == self.attempt.task_instance

    def _is_own_request(self, item: ManifestItem, receipt: Receipt) -> bool:
        """Whether this task has submitted the same request before; the image is assumed unchanged."""
        if not self._is_own(receipt):
            return False
        if receipt.claimed_by == str(self.attempt):
            return True
        try:
            wanted = self._request(item, index_of(self.routes, receipt), None).description()
        except VeoRequestError:
            # Its prompt is gone or invalid by now. What was accepted is paid for, and needs none.
            return receipt.veo_task_id is not None
        wanted.pop("aspect_ratio" if self.fit else "", None)
        return all(receipt.request.get(name) == value for name, value in wanted.items())
