"""What an attempt asks for, and its fingerprint: how a receipt tells one request from another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError
from veo_provider.media.conversion import ConvertedImage

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.api.client import VeoClient
    from veo_provider.api.image import Image
    from veo_provider.exceptions import VeoError
    from veo_provider.receipts.receipt import Receipt


@dataclass(frozen=True)
class PreparedRequest:
    """What is asked for, and by what it is known again.

    :param request: what to submit.
    :param description: the same for people to read, without secrets.
    :param fingerprint: SHA-256 over the image's digest and the description.
    :param image_error: why the image is not to be had, in a plan that may attach but not submit.
    """

    request: VeoRequest
    description: dict[str, Any]
    fingerprint: str
    image_error: VeoError | None = None

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
        """Return the plan for a request.

        :param image: where the image is from, for people to read; it is not part of the fingerprint.
        :param image_sha256: hex digest of its bytes, see :func:`sha256_of`.
        :param account: what tells one account from another: base URL and connection, never a key.
        """
        description = {**request.description(), "image_sha256": image_sha256, "account": account}
        canonical = json.dumps(description, sort_keys=True, ensure_ascii=False).encode()
        fingerprint = hashlib.sha256(canonical).hexdigest()
        return cls(request, {"image": image, **description}, fingerprint, image_error)


def account_of(veo_conn_id: str, client: VeoClient) -> str:
    """Return what tells one account from another in a fingerprint: connection and base URL, never a key."""
    return f"{veo_conn_id} at {client.public_base_url}"


def prepare(
    find: Callable[[], Image | None],
    request_for: Callable[[Image | None], VeoRequest],
    receipt: Receipt | None,
    *,
    image: str | None,
    account: str,
) -> PreparedRequest:
    """Return what is asked for; where it is paid for already, the image need not be there any more.

    :param find: returns the image, or None for a request without one.
    :param request_for: returns the request for it.
    :param receipt: of the video, as far as there is one.
    :param image: where the image is from, for people to read.
    :param account: see :func:`account_of`.
    :raises VeoImageError: there is no such image, or it is no good, and nothing was submitted yet.
    :raises VeoImageUnavailableError: it cannot be read now, and nothing was submitted yet.
    """
    try:
        image_found = find()
        request = request_for(image_found.hashed() if image_found else None)
        digest, trouble = sha256_of(request), None
    except (VeoImageError, VeoImageUnavailableError) as error:
        if receipt is None or receipt.veo_task_id is None:
            raise
        request = request_for(None)
        digest, trouble = receipt.request.get("image_sha256"), error
    return PreparedRequest.of(request, image=image, image_sha256=digest, account=account, image_error=trouble)


def request_of(receipt: Receipt, image: Image | None) -> VeoRequest:
    """Return the request that a receipt describes, however its templates render now."""
    fields = {
        name: receipt.request[name]
        for name in ("prompt", "model", "seconds", "resolution", "aspect_ratio", "seed", "negative_prompt")
        if name in receipt.request
    }
    return VeoRequest(image=image, **fields)


def sha256_of(request: VeoRequest) -> str | None:
    """Return the digest of a request's image, see :meth:`Image.hashed`; None for a request without one.

    For an image that was converted it is that of the original: another release of the converter makes other
    bytes of the same picture, and must not make its video look like another request's.

    :raises VeoImageUnavailableError: the image cannot be read to its end.
    """
    if request.image is None:
        return None
    if isinstance(request.image, ConvertedImage):
        return request.image.source_sha256
    return request.image.hashed().sha256
