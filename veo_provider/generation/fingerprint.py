"""The request of an attempt and its fingerprint, by which a receipt tells one request from another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError
from veo_provider.media.conversion import ConvertedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from veo_provider.api.client import VeoClient
    from veo_provider.api.gateways.gateway import Gateway
    from veo_provider.api.image import Image
    from veo_provider.exceptions import VeoError
    from veo_provider.receipts.receipt import Receipt

_REQUEST_FIELDS = (
    "prompt",
    "model",
    "seconds",
    "resolution",
    "aspect_ratio",
    "size",
    "seed",
    "negative_prompt",
)
_NOT_OF_THE_VIDEO = ("image", "account")
"""Parts of a description that make no other video: where the image is from, and who makes it."""


@dataclass(frozen=True)
class PreparedRequest:
    """A request and its fingerprint.

    :param request: what to submit.
    :param description: the request for people to read, without secrets.
    :param fingerprint: SHA-256 over the description, which has the image's digest.
    :param image_error: why the image cannot be read; such a request may attach to a generation, but not be
        submitted.
    :param others: the fingerprints of the same video by other routes, see
        :mod:`~veo_provider.generation.fallbacks`.
    :param skipped: the routes before this one that are not asked, as the receipt's history names them.
    """

    request: VeoRequest
    description: dict[str, Any]
    fingerprint: str
    image_error: VeoError | None = None
    others: frozenset[str] = frozenset()
    skipped: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(
        cls,
        request: VeoRequest,
        *,
        image: str | None,
        image_sha256: str | None,
        account: str,
        image_error: VeoError | None = None,
    ) -> PreparedRequest:
        """Return a request with its fingerprint.

        :param image: where the image is from, for people to read; it is not part of the fingerprint.
        :param image_sha256: hex digest of its bytes, see :func:`sha256_of`.
        :param account: see :func:`account_of`.
        :param image_error: why the image cannot be read.
        """
        description = {**request.description(), "image_sha256": image_sha256, "account": account}
        canonical = json.dumps(description, sort_keys=True, ensure_ascii=False).encode()
        fingerprint = hashlib.sha256(canonical).hexdigest()
        return cls(request, {"image": image, **description}, fingerprint, image_error)


def is_moved(receipt: Receipt, description: Mapping[str, Any]) -> bool:
    """Whether a receipt has the same request under another account, as after a change of the host.

    :param description: of this request, see :attr:`PreparedRequest.description`.
    """
    if receipt.request.get("account") == description.get("account"):
        return False
    ours, theirs = (
        {name: value for name, value in each.items() if name not in _NOT_OF_THE_VIDEO}
        for each in (description, receipt.request)
    )
    return ours == theirs


def is_account_of(receipt: Receipt, client: VeoClient) -> bool:
    """Whether a receipt's submission went to the host of a client."""
    return str(receipt.request.get("account")).endswith(f" at {client.public_base_url}")


def account_of(veo_conn_id: str, client: VeoClient) -> str:
    """Return the account's name in a fingerprint: its connection and base URL, never a key."""
    return f"{veo_conn_id} at {client.public_base_url}"


def connection_of(account: str) -> str:
    """Return the connection's id in an account's name; empty if the name is."""
    return account.partition(" at ")[0]


def prepare(
    open_image: Callable[[], Image | None],
    request_for: Callable[[Image | None], VeoRequest],
    receipt: Receipt | None,
    *,
    image: str | None,
    account: str,
) -> PreparedRequest:
    """Return the request with its fingerprint; once a generation is accepted, its image may be missing.

    :param open_image: returns the image, or None for a request without one.
    :param request_for: returns the request for an image.
    :param receipt: of the video; None if there is none.
    :param image: where the image is from, for people to read.
    :param account: see :func:`account_of`.
    :raises VeoImageError: the image is missing or invalid, and nothing has been submitted yet.
    :raises VeoImageUnavailableError: it cannot be read now, and nothing has been submitted yet.
    """
    try:
        opened = open_image()
        request = request_for(opened.hashed() if opened else None)
        digest, image_error = sha256_of(request), None
    except (VeoImageError, VeoImageUnavailableError) as error:
        if receipt is None or receipt.veo_task_id is None:
            raise
        request = request_for(None)
        digest, image_error = receipt.request.get("image_sha256"), error
    return PreparedRequest.of(
        request, image=image, image_sha256=digest, account=account, image_error=image_error
    )


def prepare_like(
    other: PreparedRequest, request_for: Callable[[Image | None], VeoRequest], *, account: str
) -> PreparedRequest:
    """Return a request of the same image as another one, which is not read again.

    :param other: the same video under another account.
    :param request_for: returns the request for an image.
    :param account: see :func:`account_of`.
    :raises VeoRequestError: the request breaks a rule.
    """
    return PreparedRequest.of(
        request_for(other.request.image),
        image=other.description["image"],
        image_sha256=other.description["image_sha256"],
        account=account,
        image_error=other.image_error,
    )


def request_of(
    receipt: Receipt, gateway: Gateway, image: Image | None, *, model: str | None = None
) -> VeoRequest:
    """Return the request that a receipt describes, even if the task's templates now render differently.

    :param model: instead of the receipt's.
    """
    fields = {name: receipt.request[name] for name in _REQUEST_FIELDS if name in receipt.request}
    return VeoRequest(image=image, gateway=gateway, **{**fields, **({"model": model} if model else {})})


def sha256_of(request: VeoRequest) -> str | None:
    """Return the SHA-256 of a request's image; None for a request without one.

    For a converted image it is the digest of the original: another release of the converter may make other
    bytes of the same picture, which must not look like another request.

    :raises VeoImageUnavailableError: the image cannot be read to its end.
    """
    if request.image is None:
        return None
    if isinstance(request.image, ConvertedImage):
        return request.image.source_sha256
    return request.image.hashed().sha256
