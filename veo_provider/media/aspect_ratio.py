"""The aspect ratio that fits an image, from as few of its bytes as possible. Needs Pillow."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from veo_provider.media.decoding import (
    CHUNK_BYTES,
    QUARTER_TURNS,
    for_pillow,
    pillow_guard,
    require_pillow,
    undecodable,
    upright_transposition,
)

if TYPE_CHECKING:
    from veo_provider.api.image import Image

_SQUARE = 1.1
"""Up to this ratio of height to width, an image counts as square."""


def aspect_ratio_of(image: Image) -> str:
    """Return the aspect ratio that fits an image: ``16:9``, or ``9:16`` if it is clearly taller than wide.

    A square image, or one taller than wide by at most a tenth, gets the service's own default, ``16:9``.
    The EXIF orientation counts. Only the bytes before the pixel data are read; a WebP is read whole, because
    its EXIF data is at its end.

    :raises VeoRequestError: Pillow is not installed.
    :raises VeoImageError: it is not an image.
    :raises VeoImageUnavailableError: it cannot be read now.
    """
    require_pillow()
    head, next_try = io.BytesIO(), 0
    for chunk in image.chunks(CHUNK_BYTES):
        head.write(chunk)
        if head.tell() < next_try:
            continue
        next_try = 2 * head.tell()
        if ratio := _ratio_in(head, image.name):
            return ratio
    if ratio := _ratio_in(head, image.name):
        return ratio
    raise undecodable(image.name, head.getbuffer(), "its width and height cannot be read")


def _ratio_in(head: io.BytesIO, name: str) -> str | None:
    """Return the aspect ratio of the image that starts with these bytes; None if more of them are needed."""
    import PIL.Image

    with pillow_guard(name, head):
        try:
            image = PIL.Image.open(for_pillow(head), formats=("JPEG", "PNG", "WEBP"))
        except PIL.Image.DecompressionBombError:
            raise
        except Exception:  # noqa: BLE001 - Pillow raises anything for an incomplete file
            return None
        finally:
            head.seek(0, io.SEEK_END)
        width, height = image.size
        if upright_transposition(image) in QUARTER_TURNS:
            width, height = height, width
    return "9:16" if height > _SQUARE * width else "16:9"
