"""The body of a submission: streamed, of known length, and aware of whether all of it has left."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import time
from typing import TYPE_CHECKING

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from veo_provider.api.image import changed
from veo_provider.exceptions import (
    VeoImageUnavailableError,
    VeoInterruptedError,
    VeoNotSentError,
    VeoSubmissionUnknown,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from veo_provider.api.image import ByteStream, Image
    from veo_provider.api.request import VeoRequest
    from veo_provider.exceptions import VeoError

CHUNK_BYTES = 64 * 1024


class SubmissionBody:
    """The bytes of one submission, read once from front to back.

    A file-like object with a length, so that ``requests`` streams it with a Content-Length. As long as
    :attr:`complete` is false the end of the request has not been handed to the network, so that no server
    can have accepted it: this is how a failed submission is told from an ambiguous one.

    The image is hashed as it leaves. If it is not the one whose digest is known, or its source has more bytes
    than were announced, the end is kept back: what a receipt says was sent is what was sent.

    :param head: what stands before the image.
    :param image: streamed from its source in chunks, never held whole; None for a body without one.
    :param tail: what stands after the image.
    :param content_type: value of the Content-Type header.
    :param send_before: Unix seconds after which nothing is handed over any more; None for no such time.
    """

    def __init__(
        self,
        head: bytes,
        image: Image | None,
        tail: bytes,
        content_type: str,
        send_before: float | None = None,
    ) -> None:
        self.content_type = content_type
        self.complete = False
        self._send_before = send_before
        self._open_image = image.open if image else io.BytesIO
        self._name = image.name if image else ""
        self._wanted_sha256 = image.sha256 if image else ""
        self._digest = hashlib.sha256()
        self._head = head
        self._tail = tail
        self._length = len(head) + (image.size if image else 0) + len(tail)
        self._left = self._length
        self._image_left = image.size if image else 0
        self._stream: ByteStream | None = None
        self._own_error: VeoError | None = None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, up to ``size`` of them, and none at the end.

        :raises VeoImageUnavailableError: the image's source failed, or it has changed since it was looked at.
        :raises VeoNotSentError: it is too late to send the end.
        """
        if self._left:
            self._require_in_time()
        limit = self._left if size < 0 else size
        if self._head:
            chunk, self._head = self._head[:limit], self._head[limit:]
        elif self._image_left:
            chunk = self._read_image(min(limit, self._image_left))
        else:
            chunk, self._tail = self._tail[:limit], self._tail[limit:]
        self._left -= len(chunk)
        if self._left == 0:
            self._require_in_time()
        # Set before the last bytes are handed over: from then on nobody can tell whether they arrived.
        self.complete = self._left == 0
        return chunk

    def close(self) -> None:
        """Let go of the image's source."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def explain(self, error: BaseException, reason: str, *, transport: bool) -> BaseException:
        """Return what an exception during the submission means for the money.

        :param error: what was raised before an answer was read.
        :param reason: the same in words.
        :param transport: whether it is an error of the network, as each HTTP library has its own.
        """
        if self.complete:
            return VeoSubmissionUnknown(f"The submission was sent, but no answer came: {reason}.")
        if self._own_error:
            return self._own_error
        if transport:
            return VeoNotSentError(f"The submission could not be sent: {reason}.")
        if not isinstance(error, Exception):
            return VeoInterruptedError(f"The submission was interrupted: {reason}.")
        return error

    def _require_in_time(self) -> None:
        """Break off a request that has taken too long: before its end, no server can accept it."""
        if self._send_before is not None and time.time() >= self._send_before:
            self._own_error = VeoNotSentError("Sending the submission took too long, and was broken off.")
            raise self._own_error

    def _read_image(self, size: int) -> bytes:
        """Read on in the image. An error is kept, because HTTP libraries wrap it in their own."""
        chunk = self._from_source(size)
        if not chunk:
            self._own_error = VeoImageUnavailableError(
                f"The image {self._name} ended {self._image_left} bytes early: it has changed meanwhile."
            )
            raise self._own_error
        self._image_left -= len(chunk)
        self._digest.update(chunk)
        if not self._image_left:
            self._require_unchanged()
        return chunk

    def _require_unchanged(self) -> None:
        """Keep back the end of a request whose image is not the one that was looked at."""
        other = self._wanted_sha256 and self._digest.hexdigest() != self._wanted_sha256
        if other or self._from_source(1):
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


def encode(request: VeoRequest, send_before: float | None = None) -> SubmissionBody:
    """Return the body of a request: a multipart form with its image, or JSON without one.

    :param send_before: Unix seconds after which the end of the request is not sent any more.
    """
    if request.image is None:
        body = json.dumps(request.json_body()).encode()
        return SubmissionBody(body, None, b"", "application/json", send_before)
    return _multipart(request.form_fields(), request.image, send_before)


def _multipart(fields: dict[str, str], image: Image, send_before: float | None) -> SubmissionBody:
    boundary = secrets.token_hex(16)
    # The API reads the image under this name only, and ignores any other.
    image_part = RequestField("input_reference", b"", filename=_printable(image.name))
    image_part.make_multipart(content_type=image.content_type)
    parts = [RequestField.from_tuples(name, value) for name, value in fields.items()]
    # Encoded with an empty image at the end, whose place is then between head and tail.
    form, content_type = encode_multipart_formdata([*parts, image_part], boundary)
    tail = f"\r\n--{boundary}--\r\n".encode()
    return SubmissionBody(form.removesuffix(tail), image, tail, content_type, send_before)


def _printable(name: str) -> str:
    """Return a file name that any server can read in a header; to the service it means nothing."""
    return "".join(each if each.isprintable() else "_" for each in name)
