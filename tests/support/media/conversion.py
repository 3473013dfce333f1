"""Converts bytes as the provider converts a file, and shows what comes of it."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import PIL.Image
from support.media import images

from veo_provider.media import conversion

if TYPE_CHECKING:
    from veo_provider.api.image import Image

awkward_file = functools.cache(images.awkward_file)


class Stream(io.BytesIO):
    """A stream that can only be read forwards, as that of an object in S3."""

    def seek(self, *_):
        raise io.UnsupportedOperation


def convert(data: bytes, name: str = "folder/image.jpg") -> Image:
    return conversion.convert(name, size=len(data), header=data[:12], open_stream=lambda: Stream(data))


def pixels(image: Image) -> PIL.Image.Image:
    """What the service sees in an image."""
    decoded = PIL.Image.open(io.BytesIO(b"".join(image.chunks(100_000))))
    decoded.load()
    return decoded


def kinds_of(outcome: images.Outcome) -> list[str]:
    return [kind for kind, _, _, expected, _ in images.ROWS if expected == outcome]
