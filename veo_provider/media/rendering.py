"""The pixels of a converted image: upright, opaque, 8 bits per channel, sRGB. Needs Pillow."""

from __future__ import annotations

import io
import itertools
import math
from array import array
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoImageError
from veo_provider.media.decoding import upright_transposition

if TYPE_CHECKING:
    import PIL.Image
    from PIL import ImageCms

MAX_OUTPUT_SIDE = 4096
"""The longest side, in pixels, of a converted image: the largest video has 3840, so nothing is lost."""
JPEG_QUALITY = 92

_VISIBLE_DIFFERENCE = 6
"""Of 255: the variants of sRGB stay this close to each other, and no wider gamut does."""
_SAMPLE_SIDE = 512
_TIFF_BITS, _TIFF_SAMPLE_FORMAT, _UNSIGNED = 258, 339, (1,)
_MAX_12_BITS, _MAX_16_BITS = 4095, 65535.0
_FEW_VALUES = 16
"""With fewer distinct values, no extreme one is taken for a "no data" value."""


def render(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Return an image upright, opaque, with 8 bits per channel, in sRGB, and no larger than a video needs.

    :raises VeoImageError: none of its values is a number.
    """
    import PIL.Image
    from PIL import ImageCms

    image.draft(None, (MAX_OUTPUT_SIDE, MAX_OUTPUT_SIDE))  # decodes a huge JPEG at a half or a quarter
    image.load()
    profile = image.info.get("icc_profile")
    transposition = upright_transposition(image)
    flat = _flatten(image, name)
    flat.thumbnail((MAX_OUTPUT_SIDE, MAX_OUTPUT_SIDE))
    if transposition:
        flat = flat.transpose(PIL.Image.Transpose[transposition])
    transform = _transform_to_srgb(profile, flat.mode)
    in_srgb = ImageCms.applyTransform(flat, transform) if transform else None
    if in_srgb is not None:
        return in_srgb
    return flat if flat.mode == "L" else flat.convert("RGB")


def encode_jpeg(image: PIL.Image.Image) -> bytes:
    """Return an image as a JPEG without metadata, the same bytes each time."""
    encoded = io.BytesIO()
    image.info.clear()  # Pillow would write the original's comment
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def profile_changes_colours(image: PIL.Image.Image) -> bool:
    """Whether an image's profile visibly differs from sRGB, tried on 27 colours: its name says little."""
    import PIL.Image
    from PIL import ImageChops, ImageCms

    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    transform = _transform_to_srgb(image.info.get("icc_profile"), mode)
    if transform is None:
        return False
    colours = bytes(itertools.chain(*itertools.product((0x20, 0x80, 0xE0), repeat=3)))
    probe = PIL.Image.frombytes("RGB", (27, 1), colours).convert(mode)
    in_srgb = ImageCms.applyTransform(probe, transform)
    if in_srgb is None:
        return False
    differences = ImageChops.difference(in_srgb, probe.convert("RGB"))
    return max(differences.tobytes()) > _VISIBLE_DIFFERENCE


def _transform_to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform to sRGB; None without a profile, or if it is broken or for another mode."""
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    if mode == "LAB":
        return ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, mode, "RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        return ImageCms.buildTransform(source, srgb, mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def _flatten(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Return an image with 8 bits per channel, in a mode that can be resized, on white if transparent."""
    import PIL.Image

    if image.mode.startswith(("I", "F")):
        return _in_8_bits(image, name)
    if image.has_transparency_data:
        flat = PIL.Image.new("RGB", image.size, "white")
        image = image.convert("RGBA")
        flat.paste(image, mask=image)
        return flat
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")


def _in_8_bits(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Return a grey image of 16 bits, or of numbers in any range, in 8 bits.

    :raises VeoImageError: none of its values is a number.
    """
    floats = _as_floats(image)
    value_range = _visible_range(floats)
    if value_range is None:
        raise VeoImageError(f"The image {name} shows nothing: none of its values is a number.")
    low, high = value_range
    # Scientific cameras store 12 bits or fewer in fields of 16: unscaled, these would be black.
    if image.mode.startswith("I;16") and high > _MAX_12_BITS:
        low, high = 0.0, _MAX_16_BITS
    factor = 255 / (high - low or 1)
    return floats.point(lambda value: value * factor - low * factor).convert("L")


def _as_floats(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return a grey image as floats."""
    import PIL.Image

    tags = getattr(image, "tag_v2", {})
    is_32_bits = image.mode == "I" and tags.get(_TIFF_BITS) == (32,)
    if is_32_bits and tags.get(_TIFF_SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED:
        # Pillow takes unsigned integers of 32 bits for signed ones.
        values = array("f", array("I", image.tobytes()))
        return PIL.Image.frombytes("F", image.size, values.tobytes())
    return image.convert("F")


def _visible_range(floats: PIL.Image.Image) -> tuple[float, float] | None:
    """Return the least and the greatest value that shows something; None if no value is a number.

    Of a large image, a sample is taken. A single extreme value, far from all others, stands for "no data".
    """
    import PIL.Image

    size = (min(floats.width, _SAMPLE_SIDE), min(floats.height, _SAMPLE_SIDE))
    sample = floats.resize(size, PIL.Image.Resampling.NEAREST)
    values = sorted({value for value in array("f", sample.tobytes()) if math.isfinite(value)})
    if not values:
        return None
    while len(values) > _FEW_VALUES and values[1] - values[0] > values[-1] - values[1]:
        del values[0]
    while len(values) > _FEW_VALUES and values[-1] - values[-2] > values[-2] - values[0]:
        del values[-1]
    return values[0], values[-1]
