"""The life of one video that several routes can make: the next one is asked after a provable refusal.

The receipt says which route accepted a submission, by its account and its model. That route's connection
polls and downloads it, whoever comes next. So the first route is asked again only where nothing is in flight,
and nothing can be.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from veo_provider.exceptions import VeoError, VeoModelRetiredError, VeoRequestError
from veo_provider.generation.fallbacks import Refusal, all_refused, index_of, permits_fallback, steps_of
from veo_provider.generation.lifecycle import VideoJob
from veo_provider.generation.retries import submit_retries
from veo_provider.generation.state_machine import Refuse, Submit
from veo_provider.receipts.receipt import NOT_CHARGED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from veo_provider.api.video import Video
    from veo_provider.generation.fallbacks import Route
    from veo_provider.generation.fingerprint import PreparedRequest
    from veo_provider.generation.state_machine import GenerationPolicy, Step
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.store import VersionedReceipt
    from veo_provider.s3.uri import S3Uri

log = logging.getLogger(__name__)


class Prepare(Protocol):
    """Returns the request of a route."""

    def __call__(
        self, route: Route, receipt: Receipt | None, other: PreparedRequest | None
    ) -> PreparedRequest:
        """Read the image, unless another route's request has it, and return the request.

        :param receipt: as it is now; None if there is none.
        :param other: the same video by another route, whose image is used.
        :raises VeoRequestError: the route cannot make this video.
        """


class RoutedVideoJob(VideoJob):
    """The blocking steps of one video in S3, by the first of its routes that does not refuse it.

    The other parameters are those of :class:`~veo_provider.generation.lifecycle.VideoJob`.

    :param routes: in the order in which they are asked.
    :param prepare: returns the request of a route.
    :param fallback_on_moderation: whether the next route is also asked after moderation has refused.
    """

    def __init__(
        self,
        s3: S3Client,
        target: S3Uri,
        routes: Sequence[Route],
        attempt: Attempt,
        policy: GenerationPolicy,
        *,
        prepare: Prepare,
        fallback_on_moderation: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(
            s3, target, routes[0].client, attempt, policy, prepare=self._prepare_routes, **fields
        )
        self._routes = routes
        self._prepare_route = prepare
        self._on_moderation = fallback_on_moderation
        self._refusals: list[Refusal] = []
        """Why the routes before the one that is asked next do not make the video."""
        self._requests: list[PreparedRequest | VeoRequestError] = []
        """The request of each route, or why it cannot make this video; empty without an image."""
        self._identities: list[tuple[str | None, dict[str, Any] | None]] = []
        """The fingerprint and the description of each route's request, once they are known."""

    @property
    def next_number(self) -> int:
        """The number of the route that is asked next."""
        return len(self._refusals)

    @property
    def next_route(self) -> Route:
        """The route that is asked next."""
        return self._routes[self.next_number]

    def route_of(self, receipt: Receipt) -> Route:
        """Return the route that a receipt's submission took."""
        return self._routes[index_of(self._routes, receipt)]

    # Steps

    def decide(self, current: VersionedReceipt | None) -> Step:
        """Return the next step; see :meth:`GenerationJob.decide`. To submit, it uses the next route."""
        receipt = current.receipt if current else None
        self._use(self._index_for(receipt))
        step = super().decide(current)
        if not isinstance(step, Submit):
            return step
        for each in self._requests:
            if isinstance(each, VeoRequestError):
                return Refuse(each)
        self._stay_with(receipt)
        self._skip_ended_models()
        self._use(len(self._refusals))
        return step

    def require_submittable(self) -> None:
        """Check that what was prepared can be submitted; see :meth:`GenerationJob.require_submittable`."""
        try:
            super().require_submittable()
        except VeoModelRetiredError as error:
            raise all_refused(error, self._refusals) from None

    def verify(self, current: VersionedReceipt) -> VersionedReceipt:
        """Return the receipt after its candidate id was verified, by the route that it was sent to."""
        self._use(index_of(self._routes, current.receipt))
        return super().verify(current)

    def look_up(self, current: VersionedReceipt) -> VersionedReceipt:
        """Return the receipt after its lost submission was looked up, by the route that it was sent to."""
        self._use(index_of(self._routes, current.receipt))
        return super().look_up(current)

    def store(self, current: VersionedReceipt, video: Video | None = None) -> VersionedReceipt:
        """Store the video, fetched by the route that made it; see :meth:`VideoJob.store`."""
        self._use(index_of(self._routes, current.receipt))
        return super().store(current, video)

    def record_failure(self, current: VersionedReceipt, video: Video) -> VersionedReceipt:
        """Record a failure, and return the receipt; another generation starts with the first route."""
        self._use(index_of(self._routes, current.receipt))
        failed = super().record_failure(current, video)
        self.start_over()
        return failed

    def release_image(self) -> None:
        """Release the image, which may be in memory, and keep the fingerprints."""
        super().release_image()
        self._requests = []

    # Routes

    def start_over(self) -> None:
        """Ask the first route next."""
        self._refusals = []

    def skip(self, refused: Mapping[int, Refusal]) -> None:
        """Do not ask a route that is known to refuse everything, unless it is the last one.

        :param refused: why, by the route's number.
        """
        self._skip_ended_models()
        while len(self._refusals) < len(self._routes) - 1 and len(self._refusals) in refused:
            self._refusals.append(refused[len(self._refusals)])
            self._skip_ended_models()

    def use_next_route(self, error: VeoError) -> Refusal:
        """Go on to the next route after one has refused the submission; return that refusal.

        :raises VeoError: the given error, if it is no refusal that permits this; or the error of all routes,
            if there is no other.
        """
        if not permits_fallback(error, on_moderation=self._on_moderation):
            raise error
        if len(self._refusals) == len(self._routes) - 1:
            raise all_refused(error, self._refusals)
        refusal = Refusal.of(self.next_route, error, asked=True)
        self._refusals.append(refusal)
        log.warning("Not made by %s Asking %s instead.", refusal, self.next_route)
        return refusal

    def _index_for(self, receipt: Receipt | None) -> int:
        """Return the route that a decision is about: that of the submission, unless it was free."""
        if receipt is None or receipt.state.value in NOT_CHARGED:
            return len(self._refusals)
        return index_of(self._routes, receipt)

    def _stay_with(self, receipt: Receipt | None) -> None:
        """Do not ask an earlier route again for a video that may be paid by a later one."""
        if receipt is None or receipt.state.value in NOT_CHARGED or receipt.claim_id == self.attempt.id:
            return
        if receipt.fingerprint not in self._fingerprints:
            return
        for route in self._routes[len(self._refusals) : index_of(self._routes, receipt)]:
            reason = "Another route was asked for the same video before."
            error = VeoError(reason)
            self._refusals.append(Refusal.of(route, error, asked=False))

    def _skip_ended_models(self) -> None:
        """Go on to the first route whose model is still served, or to the last one."""
        while len(self._refusals) < len(self._routes) - 1:
            route = self.next_route
            try:
                route.gateway.model(route.model).require_served(time.time())
            except VeoModelRetiredError as error:
                self._refusals.append(Refusal.of(route, error, asked=False))
            else:
                return

    # Requests

    def _prepare_routes(self, receipt: Receipt | None) -> PreparedRequest:
        """Prepare the request of every route, so that each is checked before any money is spent."""
        index = self._index_for(receipt)
        chosen = self._prepare_route(self._routes[index], receipt, None)
        self._requests = [
            chosen if number == index else self._other_request(route, receipt, chosen)
            for number, route in enumerate(self._routes)
        ]
        self._identities = [
            (None, None) if isinstance(each, VeoRequestError) else (each.fingerprint, each.description)
            for each in self._requests
        ]
        return chosen

    def _other_request(
        self, route: Route, receipt: Receipt | None, chosen: PreparedRequest
    ) -> PreparedRequest | VeoRequestError:
        """Return the request of another route, or why it cannot make this video."""
        try:
            return self._prepare_route(route, receipt, chosen)
        except VeoRequestError as error:
            return VeoRequestError(f"The route by {route} cannot make this video: {error.what}")

    def _use(self, index: int) -> None:
        """Let the steps work with a route."""
        self._client = self._routes[index].client
        if not self._identities:
            return
        self._fingerprint, self._description = self._identities[index]
        request = self._requests[index] if self._requests else None
        if request is None or isinstance(request, VeoRequestError):
            self._prepared = None
            return
        others = self._fingerprints - {request.fingerprint}
        self._prepared = replace(request, others=others, skipped=steps_of(self._refusals))

    @property
    def _fingerprints(self) -> frozenset[str]:
        """The fingerprints of this video by all routes."""
        return frozenset(fingerprint for fingerprint, _ in self._identities if fingerprint)

    def _fingerprint_for(self, receipt: Receipt | None) -> str | None:
        """Return the fingerprint of this job's request; by whichever route, it is the same video."""
        if receipt is not None and receipt.fingerprint in self._fingerprints:
            return receipt.fingerprint
        return super()._fingerprint_for(receipt)


def submit(job: RoutedVideoJob, *, may_replace: Callable[[Receipt], bool]) -> VersionedReceipt | None:
    """Submit by the first route that does not refuse, and return the receipt. This spends money.

    The parameters and the errors are those of :meth:`GenerationJob.submit_once`.
    """
    while True:
        try:
            return submit_retries()(job.submit_once, may_replace=may_replace)
        except VeoError as error:
            job.use_next_route(error)
