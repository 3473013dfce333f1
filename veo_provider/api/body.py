"""The body of a submission: streamed, of known length, and aware of whether all of it has been sent."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from veo_provider.api import config
from veo_provider.api.gateways.gateway import IMAGE
from veo_provider.api.image import changed
from veo_provider.exceptions import (
    VeoImageUnavailableError,
    VeoInterruptedError,
    VeoNotSentError,
    VeoSubmissionUnknown,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from veo_provider.api.image import ByteStream, Image
    from veo_provider.api.request import VeoRequest
    from veo_provider.exceptions import VeoError

CHUNK_BYTES = 64 * 1024
_BASE64_BYTES = 48 * 1024
"""Bytes of the image that are encoded at once: a multiple of three, so that nothing is padded in between."""


def submission_deadline(deadline: float | None) -> float:
    """Return the Unix seconds after which a submission that starts now is not sent any further.

    :param deadline: the caller's own deadline, which may be earlier; None for none.
    """
    latest = time.time() + config.SUBMIT_TIMEOUT
    return latest if deadline is None else min(deadline, latest)


class SubmissionBody:
    """The bytes of one submission, read once from start to end.

    A file-like object with a length, so ``requests`` streams it with a Content-Length. While :attr:`complete`
    is false, the end of the request has not been handed to the network, so no server can have accepted it.
    This distinguishes a failed submission from an unknown one.

    The image is hashed while it is sent. If its digest is not the known one, or its source has more bytes
    than announced, the end is withheld: a receipt never describes another image than the one that was sent.

    :param head: the bytes before the image.
    :param image: streamed from its source in chunks, never loaded whole; None for a body without one.
    :param tail: the bytes after the image.
    :param content_type: value of the Content-Type header.
    :param deadline: Unix seconds after which no more bytes are sent; None for no deadline.
    :param base64: whether the image is sent in Base64, as JSON needs it.
    """

    def __init__(
        self,
        head: bytes,
        image: Image | None,
        tail: bytes,
        content_type: str,
        deadline: float | None = None,
        *,
        base64: bool = False,
    ) -> None:
        self.content_type = content_type
        self.complete = False
        self._deadline = deadline
        self._open_image = image.open if image else io.BytesIO
        self._name = image.name if image else ""
        self._expected_sha256 = image.sha256 if image else ""
        self._digest = hashlib.sha256()
        self._head = head
        self._tail = tail
        self._image_remaining = image.size if image else 0
        self._base64 = base64
        sent = 4 * -(-self._image_remaining // 3) if base64 else self._image_remaining
        self._length = len(head) + sent + len(tail)
        self._remaining = self._length
        self._encoded = b""
        self._stream: ByteStream | None = None
        self._own_error: VeoError | None = None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, and none at the end.

        :raises VeoImageUnavailableError: the image's source failed, or the image has changed.
        :raises VeoNotSentError: the deadline has passed.
        """
        if self._remaining:
            self._check_deadline()
        limit = self._remaining if size < 0 else size
        if self._head:
            chunk, self._head = self._head[:limit], self._head[limit:]
        elif self._encoded or (self._base64 and self._image_remaining):
            chunk = self._read_encoded(limit)
        elif self._image_remaining:
            chunk = self._read_image(min(limit, self._image_remaining))
        else:
            chunk, self._tail = self._tail[:limit], self._tail[limit:]
        self._remaining -= len(chunk)
        if self._remaining == 0:
            self._check_deadline()
        # Set before the last bytes are handed over: after that, nobody knows whether they arrived.
        self.complete = self._remaining == 0
        return chunk

    def close(self) -> None:
        """Close the image's source."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def classify_failure(
        self, error: BaseException, reason: str, *, is_transport_error: bool
    ) -> BaseException:
        """Return the exception to raise for a failed submission: it says whether money may have been spent.

        :param error: the exception that came before a response was read.
        :param reason: the same in words.
        :param is_transport_error: whether it is an error of the network; each HTTP library has its own.
        """
        if self.complete:
            return VeoSubmissionUnknown(f"The submission was sent, but no response came: {reason}.")
        if self._own_error:
            return self._own_error
        if is_transport_error:
            return VeoNotSentError(f"The submission could not be sent: {reason}.")
        if not isinstance(error, Exception):
            return VeoInterruptedError(f"The submission was interrupted: {reason}.")
        return error

    def _check_deadline(self) -> None:
        """Abort a request that takes too long: no server can accept it before its end."""
        if self._deadline is not None and time.time() >= self._deadline:
            self._own_error = VeoNotSentError("Sending the submission took too long and was aborted.")
            raise self._own_error

    def _read_encoded(self, size: int) -> bytes:
        """Return the next bytes of the image in Base64, which has four characters for three bytes."""
        if not self._encoded:
            wanted = min(_BASE64_BYTES, self._image_remaining)
            raw = b""
            while len(raw) < wanted:
                raw += self._read_image(wanted - len(raw))
            self._encoded = b64encode(raw)
        chunk, self._encoded = self._encoded[:size], self._encoded[size:]
        return chunk

    def _read_image(self, size: int) -> bytes:
        """Read from the image. An error is recorded, because HTTP libraries wrap it in their own."""
        chunk = self._from_source(size)
        if not chunk:
            self._own_error = VeoImageUnavailableError(
                f"The image {self._name} ended {self._image_remaining} bytes early: it has changed."
            )
            raise self._own_error
        self._image_remaining -= len(chunk)
        self._digest.update(chunk)
        if not self._image_remaining:
            self._require_unchanged()
        return chunk

    def _require_unchanged(self) -> None:
        """Withhold the end of a request whose image has changed."""
        is_other = self._expected_sha256 and self._digest.hexdigest() != self._expected_sha256
        if is_other or self._from_source(1):
            self._own_error = changed(self._name)
            raise self._own_error

    def _from_source(self, size: int) -> bytes:
        try:
            return self._opened().read(size)
        except Exception as error:
            self._own_error = VeoImageUnavailableError(f"The image {self._name} could not be read: {error}.")
            raise self._own_error from error

    def _opened(self) -> ByteStream:
        if self._stream is None:
            self._stream = self._open_image()
        return self._stream


def encode(request: VeoRequest, deadline: float | None = None) -> SubmissionBody:
    """Return the body of a request, as its gateway reads it: a multipart form, or JSON.

    :param deadline: Unix seconds after which the rest of the request is not sent.
    """
    gateway, image = request.gateway, request.image
    if gateway.form_without_image if image is None else gateway.form:
        return _multipart(request.form_fields(), gateway.image_field, image, deadline)
    if image is None:
        body = json.dumps(request.json_body()).encode()
        return SubmissionBody(body, None, b"", "application/json", deadline)
    return _json_with_image(request.json_body(), gateway.image_json, image, deadline)


def _json_with_image(
    fields: dict[str, Any], image_json: Mapping[str, Any], image: Image, deadline: float | None
) -> SubmissionBody:
    """Return JSON with the image as a data URL, which is never in memory whole.

    :param image_json: what the gateway wants for the image, with a placeholder.
    """
    place = secrets.token_hex(16)
    with_place = _with_image(image_json, f"data:{image.content_type};base64,{place}")
    head, tail = json.dumps({**fields, **with_place}).encode().split(place.encode())
    return SubmissionBody(head, image, tail, "application/json", deadline, base64=True)


def _with_image(value: Any, url: str) -> Any:
    """Return JSON with a URL in the place of :data:`~veo_provider.api.gateways.gateway.IMAGE`."""
    if isinstance(value, dict):
        return {name: _with_image(each, url) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_image(each, url) for each in value]
    return url if value == IMAGE else value


def _multipart(
    fields: dict[str, str], image_field: str, image: Image | None, deadline: float | None
) -> SubmissionBody:
    boundary = secrets.token_hex(16)
    parts = [RequestField.from_tuples(name, value) for name, value in fields.items()]
    if image is None:
        form, content_type = encode_multipart_formdata(parts, boundary)
        return SubmissionBody(form, None, b"", content_type, deadline)
    # The API reads the image under this name only, and ignores any other.
    image_part = RequestField(image_field, b"", filename=_printable(image.name))
    image_part.make_multipart(content_type=image.content_type)
    # Encoded with an empty image at the end; the image then goes between head and tail.
    form, content_type = encode_multipart_formdata([*parts, image_part], boundary)
    tail = f"\r\n--{boundary}--\r\n".encode()
    return SubmissionBody(form.removesuffix(tail), image, tail, content_type, deadline)


def _printable(name: str) -> str:
    """Return a file name that is valid in a header; the service does not use it."""
    return "".join(each if each.isprintable() else "_" for each in name)
