"""Image: an upload, checked by its bytes and streamed from its source."""

from __future__ import annotations

import hashlib
import io
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError, VeoImageUnfitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

MAX_IMAGE_BYTES = 20_000_000
"""For a larger image, the gateway silently falls back to text-to-video, and charges for it.

Its documentation does not define MB, so this is the smaller of the two meanings.
"""

_CHUNK_BYTES = 1024 * 1024
LOST_BYTES = 512
"""This many zeros in a row were reserved by a transfer and never written: compressed data has none."""
_LAST_BYTES = {"image/jpeg": b"\xff\xd9", "image/png": b"\x60\x82"}
"""How a complete file of a type ends, before any padding: a marker, or the checksum of an empty chunk."""
HEADER_BYTES = 12
"""How many of its first bytes determine an image's type."""


class ByteStream(Protocol):
    """An open image."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, and none at the end."""

    def close(self) -> None:
        """Close the source."""


def beginning(header: bytes) -> str:
    """Tell how a file begins, except for a text: it may be a secret that is not meant as an image."""
    if header.isascii() and header.decode("ascii").replace("\n", " ").isprintable():
        return "it is a text"
    return f"it begins with {header!r}"


@dataclass(frozen=True)
class Image:
    """An image that the API accepts, checked by its first bytes and its size.

    :param name: file name in the upload.
    :param size: bytes.
    :param content_type: ``image/jpeg``, ``image/png`` or ``image/webp``.
    :param open: opens the image at its start; can be called many times.
    :param sha256: hex digest of its bytes, once they have been read: a submission sends exactly these bytes.
    """

    name: str
    size: int
    content_type: str
    open: Callable[[], ByteStream] = field(repr=False, compare=False)
    sha256: str = field(default="", compare=False, kw_only=True)

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the image's bytes from the start.

        :raises VeoImageUnavailableError: they cannot be read.
        """
        try:
            with closing(self.open()) as stream:
                while chunk := stream.read(size):
                    yield chunk
        except Exception as error:
            raise VeoImageUnavailableError(f"The image {self.name} could not be read: {error}.") from error

    def hashed(self) -> Self:
        """Return the image with its digest; if it has none yet, read it once in chunks.

        :raises VeoImageUnavailableError: it cannot be read completely, or its size has changed: another
            process is writing it.
        :raises VeoImageError: it ends in zeros instead of the end of a complete file of its type.
        """
        if self.sha256:
            return self
        digest, size, zeros, end = hashlib.sha256(), 0, 0, b""
        for chunk in self.chunks(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            written = chunk.rstrip(b"\0")
            zeros = len(chunk) - len(written) + (0 if written else zeros)
            end = (end + written)[-2:]
            if size > self.size:
                break
        if size != self.size:
            raise changed(self.name)
        if zeros >= LOST_BYTES and not end.endswith(_LAST_BYTES.get(self.content_type, b"")):
            raise VeoImageError(
                f"The image {self.name} is damaged: its last {zeros} bytes are zeros, as after a transfer "
                "that broke off."
            )
        return replace(self, sha256=digest.hexdigest())

    @classmethod
    def check(cls, name: str, *, size: int, header: bytes, open_stream: Callable[[], ByteStream]) -> Image:
        """Return the image if the API accepts it.

        :param name: the image's path or URI, for error messages and as its file name.
        :param size: bytes.
        :param header: at least the first :data:`HEADER_BYTES` bytes.
        :param open_stream: opens the image at its start.
        :raises VeoImageError: it is empty.
        :raises VeoImageUnfitError: it is over 20 MB, or not a JPEG, PNG or WebP.
        """
        if size == 0:
            raise VeoImageError(f"The image {name} is empty.")
        if size > MAX_IMAGE_BYTES:
            raise VeoImageUnfitError(
                f"The image {name} has {size / 1e6:.1f} MB; the service takes at most "
                f"{MAX_IMAGE_BYTES // 1_000_000} MB (it would ignore the image and charge nevertheless)."
            )
        content_type = detect_content_type(header)
        if content_type is None:
            raise VeoImageUnfitError(
                f"The image {name} is not a JPEG, PNG or WebP: {beginning(header[:HEADER_BYTES])}."
            )
        return cls(name.rsplit("/", 1)[-1], size, content_type, open_stream)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "image") -> Image:
        """Return the image in these bytes; see :meth:`check` for the errors."""
        return cls.check(
            name, size=len(data), header=data[:HEADER_BYTES], open_stream=lambda: io.BytesIO(data)
        )

    @classmethod
    def from_path(cls, path: str | Path) -> Image:
        """Return the image in a local file; see :meth:`check` for the errors."""
        path = Path(path)
        try:
            with path.open("rb") as stream:
                header = stream.read(HEADER_BYTES)
            size = path.stat().st_size
        except OSError as error:
            raise VeoImageError(f"The image {path} cannot be read: {error}.") from error
        return cls.check(str(path), size=size, header=header, open_stream=lambda: path.open("rb"))


def changed(name: str) -> VeoImageUnavailableError:
    """Return the error for an image that has changed since it was checked."""
    return VeoImageUnavailableError(f"The image {name} changed while it was read, and was not sent.")


def detect_content_type(header: bytes) -> str | None:
    """Return the content type of an image by its first bytes; None if the API does not accept it."""
    if header.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return "image/webp"
    return None
