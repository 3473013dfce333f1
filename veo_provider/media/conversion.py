"""What is in a picture: its shape, whether it is whole, and how to make of it one that the API takes.

Everything here needs Pillow, and HEIC needs pillow-heif: both come with the extra ``pictures``. Without them
an image is known by its size and first bytes alone, as :mod:`veo_provider.api.image` checks it.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import math
import random
import threading
import warnings
from array import array
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from veo_provider.api.image import MAX_IMAGE_BYTES, ByteStream, Image, changed
from veo_provider.exceptions import VeoError, VeoImageError, VeoRequestError
from veo_provider.media import image_files, picture_kinds
from veo_provider.media.broken_files import is_certainly_broken
from veo_provider.media.tiff_files import read_tiff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import PIL.Image
    from PIL import ImageCms

log = logging.getLogger(__name__)

MAX_SOURCE_BYTES = 200_000_000
"""The largest file that is read to be converted: it is held whole in memory."""
MAX_PIXELS = 120_000_000
"""The largest picture that is decoded, to three or four bytes each: phones make 108 million."""
MAX_SIDE = 8192
"""The longest side, in pixels, that is sent as it is: that of a phone's 48 million pixels."""
KEPT_SIDE = 4096
"""The longest side, in pixels, of a converted picture: the largest video has 3840, so nothing is lost."""
JPEG_QUALITY = 92

_SQUARE = 1.1
_CHUNK_BYTES = 64 * 1024
_API_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")  # a MPO is a JPEG with more behind it: phones make them
_FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "AVIF",
)  # others of Pillow's run programs, or are rare
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_PNG_DEPTH_AT, _SIXTEEN_BITS = (
    24,
    16,
)  # Pillow tells of 16 bits in grey PNGs only, and gives eight of those in colour
_TIFF_BITS, _TIFF_FORMAT = 258, 339
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_QUARTER_TURNS = ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
_OPAQUE = 255
_VISIBLE = 6  # of 255: how far the many variants of sRGB stay from each other, and no wider gamut does
_INVISIBLE = 2
"""Of 255: what a JPEG adds to a picture of one colour."""
_SAMPLED_SIDE = 512
_TWELVE_BITS = 4095
_FEW_VALUES = 16
"""Of fewer different numbers, none is taken for one that stands for "no data"."""
_MORE_DATA = random.Random(1).randbytes(256).replace(b"\xff", b"\x5a")  # noqa: S311 - any bytes do
_ONE_AT_A_TIME = threading.Lock()
_LARGE_BYTES = 8_000_000
_ONE_LARGE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class ConvertedImage(Image):
    """An image that was made from another, and is held in memory.

    :param source_sha256: hex digest of the file it was made from. Unlike the image's own bytes it is the same
        with every version of Pillow, so it tells whether a video of this picture is paid for already.
    :param reason: why the file could not be sent as it is.
    """

    source_sha256: str = ""
    reason: str = ""


def aspect_ratio_of(image: Image) -> str:
    """Return the aspect ratio that fits a picture: ``16:9``, or ``9:16`` if it is clearly taller than wide.

    A square picture, or one taller than wide by at most a tenth, gets the service's own default, ``16:9``.
    The EXIF orientation counts. Only the first bytes are read, up to where the pixels begin; a WebP is read
    whole, for its EXIF data stand at its end.

    :raises VeoRequestError: Pillow is not installed.
    :raises VeoImageError: it is not a picture.
    :raises VeoImageUnavailableError: it cannot be read now.
    """
    _require_pillow()
    head, due = io.BytesIO(), 0
    for chunk in image.chunks(_CHUNK_BYTES):
        head.write(chunk)
        if head.tell() < due:
            continue
        due = 2 * head.tell()
        if ratio := _ratio_in(head, image.name):
            return ratio
    if ratio := _ratio_in(head, image.name):
        return ratio
    raise _unreadable(image.name, head.getbuffer(), "no width and height are found in it")


def verify(image: Image) -> None:
    """Decode a picture to its last pixel, so that nothing is submitted that the service cannot read.

    It is read whole into memory. A JPEG that lacks a part of its data still decodes, to a picture that is
    grey from there on: that is found. One with a few bits changed in its middle decodes to wrong colours,
    here as elsewhere.

    :raises VeoRequestError: Pillow is not installed.
    :raises VeoImageError: it is cut off, broken, damaged, or has too many pixels.
    :raises VeoImageUnavailableError: it cannot be read now.
    """
    _require_pillow()
    with _room_for(image.size):
        source = _whole(image, image.name)
        with _pillow(image.name, source):
            ended = image_files.with_end(source.getbuffer())
            source = io.BytesIO(ended) if ended else source
            picture = _opened(source, image.name)
            _decode(picture)
            _require_undamaged(picture, source, image.name)


def convert(name: str, *, size: int, header: bytes, open_stream: Callable[[], ByteStream]) -> Image:
    """Return an image that the API takes: the file itself if it is one, otherwise a JPEG made from it.

    Stands in for :meth:`Image.check`, with the same parameters. The file is read whole into memory and
    decoded to its last pixel. Sent as they are: whole JPEG, PNG and WebP of at most 20 MB and 8192 pixels a
    side, 8 bits a colour, upright, opaque, unmoving, and in sRGB or without a profile. All others, and HEIC,
    AVIF, TIFF, GIF and BMP, become a JPEG in sRGB of at most 4096 pixels a side, without metadata.

    The first frame or page is taken. What is transparent becomes white, as it is on paper and on most pages.
    Where that shows one colour and nothing else (a white logo, an empty first frame), the picture is refused:
    a video of it would cost as much as any. A picture that its EXIF data turn is turned: upright pixels mean
    the same to whoever reads EXIF or not. Numbers of any range (a TIFF of measurements) become greys from the
    least to the greatest, without what is no number, and without single ones far from all others, which stand
    for "no data".

    :param name: where the image is from, for the error message and as its file name.
    :param size: bytes.
    :param header: at least the first :data:`~veo_provider.api.image.HEADER_BYTES` bytes.
    :param open_stream: opens the image from its start.
    :raises VeoRequestError: Pillow is not installed.
    :raises VeoImageError: it is empty, over 200 MB or 120 million pixels, cut off, broken, damaged, of one
        colour throughout, no picture, or a HEIC and pillow-heif is not installed.
    :raises VeoImageUnavailableError: it cannot be read now, or somebody is writing it.
    """
    _require_pillow()
    with _room_for(size):
        return _taken_or_converted(name, size, header, open_stream)


def _taken_or_converted(name: str, size: int, header: bytes, open_stream: Callable[[], ByteStream]) -> Image:
    source = _whole(Image(name, size, "", open_stream), name)
    with _pillow(name, source):
        ended = image_files.with_end(source.getbuffer())
        read = io.BytesIO(ended) if ended else source
        picture = _opened(read, name)
        reason = _why_not_as_it_is(picture, source)
        if ended:
            reason = reason or "its end is not marked"
        if reason is None:
            _decode(picture)
            _require_undamaged(picture, source, name)
            _require_something_to_see(picture, name)
            image = Image.check(name, size=size, header=header, open_stream=open_stream)
            return replace(image, sha256=_digest(source))
        made = _rendered(picture)
        _require_undamaged(picture, read, name)
        _require_something_to_see(made, name)
        data = _jpeg(made)
    log.info("The image %s is sent as a JPEG made from it: %s.", name, reason)
    jpeg = Image.from_bytes(data, f"{PurePosixPath(name).stem}.jpg")
    return ConvertedImage(jpeg.name, jpeg.size, jpeg.content_type, jpeg.open, _digest(source), reason)


def _digest(source: io.BytesIO) -> str:
    return hashlib.sha256(source.getbuffer()).hexdigest()


def _require_something_to_see(picture: PIL.Image.Image, name: str) -> None:
    """Refuse a decoded picture that has one colour only, as far as an eye can tell."""
    bands = (picture.convert("RGB") if picture.mode in ("P", "PA") else picture).split()
    ranges = [cast("tuple[float, float]", band.getextrema()) for band in bands]
    if all(high - low <= _INVISIBLE for low, high in ranges):
        raise VeoImageError(
            f"The image {name} shows nothing: all that would be sent of it, the first frame with white for "
            "what is transparent, has one colour. Put it on another ground, or begin with another frame."
        )


def _require_undamaged(picture: PIL.Image.Image, source: io.BytesIO, name: str) -> None:
    """Refuse a picture that decodes though a part of its data was lost.

    :param picture: decoded.
    """
    data = source.getbuffer()
    if image_files.loses_bytes(data, picture.format) or _lacks_data(picture, data):
        raise VeoImageError(f"The image {name} is damaged: a part of its pixels was lost.")


def _lacks_data(picture: PIL.Image.Image, data: memoryview) -> bool:
    """Whether a JPEG's decoder ran out of data, and filled the rest with its last colour.

    It does not say so. But then, and only then, more data before the end make another picture.
    """
    end = image_files.end_of_jpeg(data) if picture.format in ("JPEG", "MPO") else None
    if end is None:
        return False
    # In many passes, what lacks is detail anywhere; in one, it is the end, which then has one colour.
    progressive = "progressive" in picture.info
    last = [picture.getpixel((max(picture.width - back, 0), picture.height - 1)) for back in (1, 2, 3, 4)]
    if len(set(last)) > 1 and not progressive:
        return False
    pixels, mark, part = bytes(data[:end]), bytes(data[end : end + 2]), 4 if progressive else 8
    return _small(pixels + mark, part).tobytes() != _small(pixels + _MORE_DATA + mark, part).tobytes()


def _small(jpeg: bytes, part: int) -> PIL.Image.Image:
    """Decode a JPEG at a fourth or an eighth of its size."""
    import PIL.Image

    picture = PIL.Image.open(io.BytesIO(jpeg), formats=("JPEG",))
    picture.draft(None, (max(picture.width // part, 1), max(picture.height // part, 1)))
    picture.load()
    return picture


def _require_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401 - asked for, not used
    except ImportError as error:
        raise VeoRequestError(
            "Looking into pictures needs Pillow, which is not installed: "
            "pip install 'airflow-provider-veo[pictures]'."
        ) from error


def _room_for(size: int) -> AbstractContextManager[object]:
    """Let one large file at a time be read and held: many threads wait here to decode one by one."""
    return _ONE_LARGE_AT_A_TIME if size > _LARGE_BYTES else nullcontext()


@contextmanager
def _pillow(name: str, source: io.BytesIO | None = None) -> Iterator[None]:
    """Run Pillow on one picture: its warnings stay inside, and its errors become sentences.

    One at a time in a process: warnings are filtered for all threads at once, and a large picture decoded
    takes half a gigabyte.
    """
    from PIL.Image import DecompressionBombError

    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
        try:
            yield
        except VeoError:
            raise
        except DecompressionBombError as error:
            raise _too_many_pixels(name) from error
        except Exception as error:  # Pillow's readers raise anything from struct.error to KeyError
            said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise _unreadable(name, source.getbuffer() if source else memoryview(b""), said) from error


def _unreadable(name: str, data: memoryview, said: str = "") -> VeoImageError:
    """Return what to raise for a file that Pillow does not read: broken only if that is certain.

    :param said: what Pillow says of it. It calls broken what it does not know, too.
    """
    if is_certainly_broken(data):
        return VeoImageError(f"The image {name} is broken or cut off{f': {said}' if said else ''}.")
    if kind := picture_kinds.kind_of_picture(data):
        return VeoImageError(
            f"The image {name} cannot be read here. It is {kind}: if other programs show it, convert it with "
            "one of them to a JPEG, PNG or WebP first."
        )
    other = picture_kinds.kind_of_other(data)
    known = f"it is {other}" if other else f"it begins with {bytes(data[:12])!r}"
    return VeoImageError(f"The image {name} is no picture that is known here: {known}.")


def _too_many_pixels(name: str) -> VeoImageError:
    return VeoImageError(
        f"The image {name} has more than {MAX_PIXELS // 1_000_000} million pixels, more than is decoded here."
    )


def _whole(image: Image, name: str) -> io.BytesIO:
    """Read a file into memory, up to what is allowed."""
    data = io.BytesIO()
    if image.size <= MAX_SOURCE_BYTES:
        for chunk in image.chunks(_CHUNK_BYTES):
            data.write(chunk)
            if data.tell() > MAX_SOURCE_BYTES:
                break
    if image.size > MAX_SOURCE_BYTES or data.tell() > MAX_SOURCE_BYTES:
        raise VeoImageError(
            f"The image {name} has {max(image.size, data.tell()) / 1e6:.0f} MB, and at most "
            f"{MAX_SOURCE_BYTES // 1_000_000} MB are read to convert it."
        )
    if not data.tell():
        raise VeoImageError(f"The image {name} is empty.")
    if data.tell() != image.size:
        raise changed(name)
    return data


def _opened(data: io.BytesIO, name: str) -> PIL.Image.Image:
    """Return the picture in a file, not decoded yet."""
    import PIL.Image

    start = bytes(data.getbuffer()[:64])
    try:
        picture = PIL.Image.open(_without_texts(data), formats=_formats(start, name))
    except PIL.UnidentifiedImageError as error:
        raise _unreadable(name, data.getbuffer()) from error
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_many_pixels(name)
    tiff = read_tiff(data.getbuffer())
    is_other = tiff is not None and (tiff.raw_kind or tiff.is_misread)
    if is_other or picture_kinds.is_for_ios(data.getbuffer()):
        # Pillow makes a picture of it, but not the one that it shows elsewhere.
        raise _unreadable(name, data.getbuffer())
    return picture


def _without_texts(data: io.BytesIO) -> io.BytesIO:
    """Return what Pillow reads of a file; see :func:`image_files.without_texts`."""
    whole = data.getbuffer()
    kept = image_files.without_texts(whole)
    return data if kept is whole else io.BytesIO(kept)


def _formats(start: bytes, name: str) -> tuple[str, ...]:
    """Return Pillow's names of what a file may be: of HEIC it knows only by its plugin."""
    box = start[: int.from_bytes(start[:4], "big")] if start[4:8] == b"ftyp" else b""
    brands = {box[at : at + 4] for at in range(8, len(box), 4)}
    if not brands & _HEIF_BRANDS or brands & _AVIF_BRANDS:
        return _FORMATS
    try:
        import pillow_heif
    except ImportError as error:
        raise VeoImageError(
            f"The image {name} is a HEIC, and pillow-heif is not installed: "
            "pip install 'airflow-provider-veo[pictures]'."
        ) from error
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _ratio_in(head: io.BytesIO, name: str) -> str | None:
    """Return the aspect ratio of the picture that begins so, or None if that takes more of it."""
    import PIL.Image

    with _pillow(name, head):
        try:
            picture = PIL.Image.open(_without_texts(head), formats=("JPEG", "PNG", "WEBP"))
        except PIL.Image.DecompressionBombError:
            raise
        except Exception:  # noqa: BLE001 - Pillow's readers raise anything; it may take more of the file
            return None
        finally:
            head.seek(0, io.SEEK_END)
        width, height = picture.size
        if _turn(picture) in _QUARTER_TURNS:
            width, height = height, width
    return "9:16" if height > _SQUARE * width else "16:9"


def _turn(picture: PIL.Image.Image) -> str | None:
    """Return how the EXIF data say that a picture is to be turned; broken ones say nothing."""
    import PIL.Image

    try:
        # Not the PNG reader's own getexif, which decodes the picture first.
        return _TURNS.get(PIL.Image.Image.getexif(picture).get(_ORIENTATION, 1))
    except Exception:
        log.debug("Broken EXIF data.", exc_info=True)
        return None


def _why_not_as_it_is(picture: PIL.Image.Image, source: io.BytesIO) -> str | None:
    """Return why a picture must be converted, or None if the API takes it as it is."""
    data = source.getbuffer()
    texts = "its texts are too long for most readers" if image_files.has_long_texts(data) else None
    return _why_not_the_file(picture, data) or texts or _why_not_the_colours(picture)


def _why_not_the_file(picture: PIL.Image.Image, data: memoryview) -> str | None:
    if picture.format not in _API_FORMATS:
        return f"it is a {picture.format}"
    if len(data) > MAX_IMAGE_BYTES:
        return f"it has {len(data) / 1e6:.1f} MB"
    if max(picture.size) > MAX_SIDE:
        return f"it has {picture.width} x {picture.height} pixels"
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        return "it moves"
    if picture.format == "PNG" and data[_PNG_DEPTH_AT] == _SIXTEEN_BITS:
        return "it has 16 bits a colour"
    return None


def _why_not_the_colours(picture: PIL.Image.Image) -> str | None:
    if picture.mode not in _EIGHT_BIT_MODES:
        return f"its colours are {picture.mode}"
    if _turn(picture):
        return "its EXIF data turn it"
    if _is_seen_otherwise_in_srgb(picture):
        return "its colours are not sRGB"
    return "it is transparent" if _is_transparent(picture) else None


def _is_transparent(picture: PIL.Image.Image) -> bool:
    if not picture.has_transparency_data:
        return False
    alpha = (picture if "A" in picture.getbands() else picture.convert("RGBA")).getchannel("A")
    return any(alpha.histogram()[:_OPAQUE])


def _is_seen_otherwise_in_srgb(picture: PIL.Image.Image) -> bool:
    """Whether its profile changes what is seen, tried on 27 colours: names of profiles say little."""
    import PIL.Image
    from PIL import ImageChops, ImageCms

    mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    transform = _transform_to_srgb(picture.info.get("icc_profile"), mode)
    if transform is None:
        return False
    colours = bytes(itertools.chain(*itertools.product((0x20, 0x80, 0xE0), repeat=3)))
    probe = PIL.Image.frombytes("RGB", (27, 1), colours).convert(mode)
    seen = ImageCms.applyTransform(probe, transform)
    if seen is None:
        return False
    differences = ImageChops.difference(seen, probe.convert("RGB"))
    return max(differences.tobytes()) > _VISIBLE


def _transform_to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what brings pixels into sRGB; None without a profile, or if it is broken or of other colours."""
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    if mode == "LAB":
        return ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, mode, "RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        return ImageCms.buildTransform(source, srgb, mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def _decode(picture: PIL.Image.Image) -> None:
    """Decode a picture to its end, a JPEG at an eighth of its size, which takes all of its bytes as well."""
    picture.draft(None, (1, 1))
    picture.load()


def _rendered(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return the picture upright, opaque, with 8 bits, in sRGB, and no larger than a video needs it."""
    import PIL.Image
    from PIL import ImageCms

    picture.draft(None, (KEPT_SIDE, KEPT_SIDE))  # a huge JPEG is decoded at a half or a quarter
    picture.load()
    profile = picture.info.get("icc_profile")
    turn = _turn(picture)
    flat = _flat(picture)
    flat.thumbnail((KEPT_SIDE, KEPT_SIDE))
    if turn:
        flat = flat.transpose(PIL.Image.Transpose[turn])
    transform = _transform_to_srgb(profile, flat.mode)
    seen = ImageCms.applyTransform(flat, transform) if transform else None
    if seen is not None:
        return seen
    return flat if flat.mode == "L" else flat.convert("RGB")


def _flat(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return the picture with 8 bits a colour, in a mode that scales, and on white where transparent."""
    import PIL.Image

    if picture.mode.startswith(("I", "F")):
        return _in_eight_bits(picture)
    if picture.has_transparency_data:
        flat = PIL.Image.new("RGB", picture.size, "white")
        picture = picture.convert("RGBA")
        flat.paste(picture, mask=picture)
        return flat
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in ("L", "RGB", "CMYK", "LAB") else picture.convert("RGB")


def _in_eight_bits(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return a grey picture of 16 bits, or of numbers of any range, in 8 bits.

    :raises VeoImageError: none of its numbers is one.
    """
    numbers = _numbers_of(picture)
    low, high = _range_of(numbers)
    # Twelve bits or fewer in a field of sixteen, as scientific cameras have it, would be black.
    if picture.mode.startswith("I;16") and high > _TWELVE_BITS:
        low, high = 0.0, 65535.0
    factor = 255 / (high - low or 1)
    return numbers.point(lambda value: value * factor - low * factor).convert("L")


def _numbers_of(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return a grey picture as floats."""
    import PIL.Image

    tags = getattr(picture, "tag_v2", {})
    if picture.mode == "I" and tags.get(_TIFF_BITS) == (32,) and tags.get(_TIFF_FORMAT, (1,)) == (1,):
        # Pillow takes unsigned numbers of 32 bits for signed ones.
        values = array("f", array("I", picture.tobytes()))
        return PIL.Image.frombytes("F", picture.size, values.tobytes())
    return picture.convert("F")


def _range_of(numbers: PIL.Image.Image) -> tuple[float, float]:
    """Return between which numbers there is something to see, by a sample of a large picture."""
    import PIL.Image

    sides = (min(numbers.width, _SAMPLED_SIDE), min(numbers.height, _SAMPLED_SIDE))
    sample = numbers.resize(sides, PIL.Image.Resampling.NEAREST)
    values = sorted({value for value in array("f", sample.tobytes()) if math.isfinite(value)})
    if not values:
        raise VeoImageError("The image shows nothing: none of its values is a number.")
    while len(values) > _FEW_VALUES and values[1] - values[0] > values[-1] - values[1]:
        del values[0]
    while len(values) > _FEW_VALUES and values[-1] - values[-2] > values[-2] - values[0]:
        del values[-1]
    return values[0], values[-1]


def _jpeg(picture: PIL.Image.Image) -> bytes:
    """Return the picture as a JPEG with no metadata, the same bytes each time."""
    made = io.BytesIO()
    picture.info.clear()  # Pillow would write a comment of the original's
    picture.save(made, "JPEG", quality=JPEG_QUALITY)
    return made.getvalue()
