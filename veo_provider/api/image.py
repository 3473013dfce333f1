"""The image of a request: what it is by its bytes, and how to stream them."""

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
"""Over 20 MB the gateway silently falls back to text-to-video, and charges for it.

Its documentation does not say which MB: the smaller reading is the safe one.
"""

_CHUNK_BYTES = 1024 * 1024
LOST_BYTES = 512
"""So many zeros in a row are what a transfer reserved and never wrote: compressed data have none such."""
_LAST_BYTES = {"image/jpeg": b"\xff\xd9", "image/png": b"\x60\x82"}
"""What a whole file of a type ends with, before any padding: a marker, or the sum of an empty chunk."""
HEADER_BYTES = 12
"""How many of an image's first bytes tell its type."""


class ByteStream(Protocol):
    """What an image is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, and none at the end."""

    def close(self) -> None:
        """Let go of the source."""


@dataclass(frozen=True)
class Image:
    """An image that the API takes, checked by its first bytes and its size.

    :param name: file name that the service is told.
    :param size: bytes.
    :param content_type: ``image/jpeg``, ``image/png`` or ``image/webp``.
    :param open: opens the image from its start, each time anew.
    :param sha256: hex digest of its bytes, once they were read: a submission sends these bytes or none.
    """

    name: str
    size: int
    content_type: str
    open: Callable[[], ByteStream] = field(repr=False, compare=False)
    sha256: str = field(default="", compare=False, kw_only=True)

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the image's bytes from its start.

        :raises VeoImageUnavailableError: they cannot be read.
        """
        try:
            with closing(self.open()) as stream:
                while chunk := stream.read(size):
                    yield chunk
        except Exception as error:
            raise VeoImageUnavailableError(f"The image {self.name} could not be read: {error}.") from error

    def hashed(self) -> Self:
        """Return the image with its digest, for which it is read once in chunks, unless it has one.

        :raises VeoImageUnavailableError: it cannot be read to its end, or has another size than when it was
            found: somebody is writing it.
        :raises VeoImageError: it ends in zeros instead of what a whole one of its type ends with.
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
                f"The image {self.name} is damaged: its last {zeros} bytes are zeros, as those of a transfer "
                "that was broken off."
            )
        return replace(self, sha256=digest.hexdigest())

    @classmethod
    def check(cls, name: str, *, size: int, header: bytes, open_stream: Callable[[], ByteStream]) -> Image:
        """Return the image, or say why the API would not take it.

        :param name: where the image is from, for the error message and as its file name.
        :param size: bytes.
        :param header: at least the first :data:`HEADER_BYTES` bytes.
        :param open_stream: opens the image from its start.
        :raises VeoImageError: it is empty.
        :raises VeoImageUnfitError: it is over 20 MB, or not a JPEG, PNG or WebP.
        """
        if size == 0:
            raise VeoImageError(f"The image {name} is empty.")
        if size > MAX_IMAGE_BYTES:
            raise VeoImageUnfitError(
                f"The image {name} has {size / 1e6:.1f} MB, and the service takes at most "
                f"{MAX_IMAGE_BYTES // 1_000_000} MB (it would ignore a larger one, and charge all the same)."
            )
        content_type = detect_content_type(header)
        if content_type is None:
            raise VeoImageUnfitError(
                f"The image {name} is not a JPEG, PNG or WebP: it begins with {header[:HEADER_BYTES]!r}."
            )
        return cls(name.rsplit("/", 1)[-1], size, content_type, open_stream)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "image") -> Image:
        """Return the image that these bytes are; see :meth:`check` for the errors."""
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
    """Return what to raise for an image that is not the one any more that was looked at."""
    return VeoImageUnavailableError(f"The image {name} changed while it was read, and was not sent.")


def detect_content_type(header: bytes) -> str | None:
    """Return what an image is by its first bytes, or None if it is nothing that the API takes."""
    if header.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return "image/webp"
    return None
