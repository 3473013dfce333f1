"""Makes an image that the API takes: the file itself if possible, otherwise a JPEG. Needs Pillow."""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from veo_provider.api.image import MAX_IMAGE_BYTES, ByteStream, Image
from veo_provider.exceptions import VeoImageError
from veo_provider.media import decoding, rendering
from veo_provider.media.formats import jpeg, png

if TYPE_CHECKING:
    from collections.abc import Callable

    import PIL.Image

log = logging.getLogger(__name__)

MAX_SIDE = 8192
"""The longest side, in pixels, of a file that is sent as it is: that of a phone's 48 megapixels."""

_API_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
"""An MPO is a JPEG with further images after the first: phones make them."""
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_OPAQUE = 255
_INVISIBLE_DIFFERENCE = 2
"""Of 255: JPEG compression adds this much to an image of one colour."""


@dataclass(frozen=True)
class ConvertedImage(Image):
    """A JPEG in memory that was made from another image.

    :param source_sha256: hex digest of the original file. It identifies a video that is already paid for:
        the JPEG's own bytes may differ between versions of Pillow.
    :param reason: why the file was not sent as it is.
    """

    source_sha256: str = ""
    reason: str = ""


def convert(name: str, *, size: int, header: bytes, open_stream: Callable[[], ByteStream]) -> Image:
    """Return an image that the API takes: the file itself if it is one, otherwise a JPEG made from it.

    Replaces :meth:`Image.check`, with the same parameters. The whole file is read into memory and decoded to
    its last pixel. Complete JPEG, PNG and WebP files are sent as they are if they have at most 20 MB, 8192
    pixels a side and 8 bits per channel, and are upright, opaque, not animated, and in sRGB or without a
    profile. All others, and HEIC, AVIF, TIFF, GIF and BMP, become a JPEG in sRGB of at most 4096 pixels a
    side, without metadata.

    The first frame or page is taken. Transparent parts become white, as on paper and on most web pages. If
    only one colour is visible then (a white logo, an empty first frame), the image is rejected: its video
    would cost as much as any other. The EXIF orientation is applied to the pixels, so that it does not matter
    whether the service reads EXIF. Values of any range (a TIFF of measurements) become greys from the least
    to the greatest. Values that are not numbers are ignored, and so are single values far from all others,
    which stand for "no data".

    :param name: where the image is from, for the error message and as its file name.
    :param size: bytes.
    :param header: at least the first :data:`~veo_provider.api.image.HEADER_BYTES` bytes.
    :param open_stream: opens the image from its start.
    :raises VeoRequestError: Pillow is not installed.
    :raises VeoImageError: it is empty, over 200 MB or 120 million pixels, cut off, broken, damaged, of a
        single colour, not an image, or a HEIC and pillow-heif is not installed.
    :raises VeoImageUnavailableError: it cannot be read now, or changed while it was read.
    """
    decoding.require_pillow()
    with decoding.large_file_lock(size):
        return _checked_or_converted(name, size, header, open_stream)


def _checked_or_converted(
    name: str, size: int, header: bytes, open_stream: Callable[[], ByteStream]
) -> Image:
    source = decoding.read_file(Image(name, size, "", open_stream), name)
    with decoding.pillow_guard(name, source):
        mended = jpeg.with_end_marker(source.getbuffer())
        readable = io.BytesIO(mended) if mended else source
        image = decoding.open_decoder(readable, name)
        reason = _conversion_reason(image, source.getbuffer())
        if mended:
            reason = reason or "it has no end marker"
        if reason is None:
            decoding.decode(image)
            decoding.require_undamaged(image, source, name)
            _require_visible_content(image, name)
            checked = Image.check(name, size=size, header=header, open_stream=open_stream)
            return replace(checked, sha256=_digest(source))
        rendered = rendering.render(image, name)
        decoding.require_undamaged(image, readable, name)
        _require_visible_content(rendered, name)
        data = rendering.encode_jpeg(rendered)
    log.info("The image %s is converted to JPEG: %s.", name, reason)
    made = Image.from_bytes(data, f"{PurePosixPath(name).stem}.jpg")
    return ConvertedImage(made.name, made.size, made.content_type, made.open, _digest(source), reason)


def _digest(source: io.BytesIO) -> str:
    return hashlib.sha256(source.getbuffer()).hexdigest()


def _require_visible_content(image: PIL.Image.Image, name: str) -> None:
    """Raise an error if a decoded image is of a single colour, as far as an eye can see."""
    bands = (image.convert("RGB") if image.mode in ("P", "PA") else image).split()
    ranges = [cast("tuple[float, float]", band.getextrema()) for band in bands]
    if all(high - low <= _INVISIBLE_DIFFERENCE for low, high in ranges):
        raise VeoImageError(
            f"The image {name} shows nothing: its first frame, on white where it is transparent, is a single "
            "colour. Give it another background or another first frame."
        )


def _conversion_reason(image: PIL.Image.Image, data: memoryview) -> str | None:
    """Return why an image must be converted, or None if the API takes it as it is."""
    long_texts = "its texts are too long for most decoders" if png.has_long_texts(data) else None
    return _file_reason(image, data) or long_texts or _pixels_reason(image)


def _file_reason(image: PIL.Image.Image, data: memoryview) -> str | None:
    if image.format not in _API_FORMATS:
        return f"it is a {image.format}"
    if len(data) > MAX_IMAGE_BYTES:
        return f"it has {len(data) / 1e6:.1f} MB"
    if max(image.size) > MAX_SIDE:
        return f"it has {image.width} x {image.height} pixels"
    if image.format != "MPO" and getattr(image, "is_animated", False):
        return "it is animated"
    if image.format == "PNG" and png.is_16_bit_png(data):
        return "it has 16 bits per channel"
    return None


def _pixels_reason(image: PIL.Image.Image) -> str | None:
    if image.mode not in _EIGHT_BIT_MODES:
        return f"its colours are {image.mode}"
    if decoding.upright_transposition(image):
        return "its EXIF orientation is not upright"
    if rendering.profile_changes_colours(image):
        return "its colours are not sRGB"
    return "it is transparent" if _is_transparent(image) else None


def _is_transparent(image: PIL.Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    alpha = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
    return any(alpha.histogram()[:_OPAQUE])
