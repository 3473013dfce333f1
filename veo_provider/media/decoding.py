"""Pillow behind guards: limits, one decoder at a time, no warnings, and errors that are sentences.

Needs Pillow, and pillow-heif for HEIC: both come with the extra ``pictures``. Without them, an image is only
checked by its size and first bytes, in :mod:`veo_provider.api.image`.
"""

from __future__ import annotations

import io
import logging
import random
import threading
import warnings
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from veo_provider.api.image import Image, beginning, changed
from veo_provider.exceptions import VeoError, VeoImageError, VeoRequestError
from veo_provider.media.formats import damage, jpeg, kinds, png
from veo_provider.media.formats.tiff import read_tiff

if TYPE_CHECKING:
    from collections.abc import Iterator

    import PIL.Image

log = logging.getLogger(__name__)

MAX_SOURCE_BYTES = 200_000_000
"""The largest file that is converted: it is read into memory whole."""
MAX_PIXELS = 120_000_000
"""The largest image that is decoded, to three or four bytes per pixel: phones make 108 megapixels."""
CHUNK_BYTES = 64 * 1024
QUARTER_TURNS = ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Pillow's other formats start programs, or are rare."""
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_ORIENTATION_TAG = 0x0112
_TRANSPOSITIONS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_MORE_DATA = random.Random(1).randbytes(256).replace(b"\xff", b"\x5a")  # noqa: S311 - any bytes do
_DECODER_LOCK = threading.Lock()
_LARGE_BYTES = 8_000_000
_LARGE_FILE_LOCK = threading.Lock()


def require_pillow() -> None:
    """Raise an error that names the extra if Pillow is not installed.

    :raises VeoRequestError: it is not.
    """
    try:
        import PIL.Image  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise VeoRequestError(
            "Decoding images needs Pillow, which is not installed: "
            "pip install 'airflow-provider-veo[pictures]'."
        ) from error


def large_file_lock(size: int) -> AbstractContextManager[object]:
    """Let one large file at a time be in memory: many threads wait here to decode one by one."""
    return _LARGE_FILE_LOCK if size > _LARGE_BYTES else nullcontext()


@contextmanager
def pillow_guard(name: str, source: io.BytesIO | None = None) -> Iterator[None]:
    """Run Pillow on one image: hide its warnings, and turn its errors into sentences.

    One image at a time in a process: warnings are filtered for all threads at once, and a large decoded
    image takes half a gigabyte.

    :param name: of the image, for the error.
    :param source: the file, by which the error names its kind.
    """
    from PIL.Image import DecompressionBombError

    with _DECODER_LOCK, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
        try:
            yield
        except VeoError:
            raise
        except DecompressionBombError as error:
            raise _too_many_pixels(name) from error
        except Exception as error:  # Pillow's decoders raise anything from struct.error to KeyError
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise undecodable(name, source.getbuffer() if source else memoryview(b""), reason) from error


def undecodable(name: str, data: memoryview, reason: str = "") -> VeoImageError:
    """Return the error for a file that Pillow cannot decode: it is called broken only if that is certain.

    :param reason: Pillow's own message, which says "broken" of unknown formats too.
    """
    if damage.is_certainly_broken(data):
        return VeoImageError(f"The image {name} is broken or cut off{f': {reason}' if reason else ''}.")
    if kind := kinds.image_kind(data):
        return VeoImageError(
            f"The image {name} is {kind}, which cannot be decoded here. If another program opens it, convert "
            "it to JPEG, PNG or WebP first."
        )
    if kind := kinds.other_kind(data):
        return VeoImageError(f"The image {name} is not an image: it is {kind}.")
    return VeoImageError(f"The image {name} is not in a known image format: {beginning(bytes(data[:12]))}.")


def _too_many_pixels(name: str) -> VeoImageError:
    return VeoImageError(
        f"The image {name} has more than {MAX_PIXELS // 1_000_000} million pixels, the most that can be "
        "decoded."
    )


def read_file(image: Image, name: str) -> io.BytesIO:
    """Read a file into memory.

    :raises VeoImageError: it is empty, or over 200 MB.
    :raises VeoImageUnavailableError: it cannot be read now, or does not have the size that it should have.
    """
    data = io.BytesIO()
    if image.size <= MAX_SOURCE_BYTES:
        for chunk in image.chunks(CHUNK_BYTES):
            data.write(chunk)
            if data.tell() > MAX_SOURCE_BYTES:
                break
    if image.size > MAX_SOURCE_BYTES or data.tell() > MAX_SOURCE_BYTES:
        raise VeoImageError(
            f"The image {name} has {max(image.size, data.tell()) / 1e6:.0f} MB, and files of at most "
            f"{MAX_SOURCE_BYTES // 1_000_000} MB can be converted."
        )
    if not data.tell():
        raise VeoImageError(f"The image {name} is empty.")
    if data.tell() != image.size:
        raise changed(name)
    return data


def open_decoder(data: io.BytesIO, name: str) -> PIL.Image.Image:
    """Return Pillow's image of a file, not decoded yet.

    :raises VeoImageError: it has too many pixels, or Pillow does not decode its format, or not rightly.
    """
    import PIL.Image

    file = data.getbuffer()
    try:
        image = PIL.Image.open(for_pillow(data), formats=_formats(bytes(file[:64]), name))
    except PIL.UnidentifiedImageError as error:
        raise undecodable(name, file) from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels(name)
    tiff = read_tiff(file)
    # Pillow decodes these, but not to the image that other programs show.
    if png.is_ios_png(file) or (tiff is not None and (tiff.raw_kind or tiff.is_misread)):
        raise undecodable(name, file)
    return image


def for_pillow(data: io.BytesIO) -> io.BytesIO:
    """Return a file as Pillow can read it, see :func:`~veo_provider.media.formats.png.without_texts`."""
    whole = data.getbuffer()
    kept = png.without_texts(whole)
    return data if kept is whole else io.BytesIO(kept)


def _formats(start: bytes, name: str) -> tuple[str, ...]:
    """Return which of Pillow's formats a file may have. It reads HEIC only with a plugin."""
    box = start[: int.from_bytes(start[:4], "big")] if start[4:8] == b"ftyp" else b""
    brands = {box[offset : offset + 4] for offset in range(8, len(box), 4)}
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


def upright_transposition(image: PIL.Image.Image) -> str | None:
    """Return Pillow's name of what turns an image upright by its EXIF orientation; None for nothing.

    Broken EXIF data turns nothing.
    """
    import PIL.Image

    try:
        # The PNG plugin's own getexif decodes the image first.
        return _TRANSPOSITIONS.get(PIL.Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except Exception:
        log.debug("Broken EXIF data.", exc_info=True)
        return None


def decode(image: PIL.Image.Image) -> None:
    """Decode an image to its end. A JPEG is decoded at an eighth of its size: that reads all bytes too."""
    image.draft(None, (1, 1))
    image.load()


def require_undamaged(image: PIL.Image.Image, source: io.BytesIO, name: str) -> None:
    """Raise an error if an image was decoded although part of its data is missing.

    :param image: decoded.
    :param source: its file.
    :raises VeoImageError: part of it is missing.
    """
    data = source.getbuffer()
    if damage.lacks_pixel_data(data, image.format) or _decoder_ran_out(image, data):
        raise VeoImageError(f"The image {name} is damaged: part of its pixel data is missing.")


def _decoder_ran_out(image: PIL.Image.Image, data: memoryview) -> bool:
    """Whether a JPEG's decoder ran out of data, and filled the rest with the last colour.

    It does not report that. But then, and only then, additional data before the end changes the image.
    """
    end = jpeg.end_of_jpeg(data) if image.format in ("JPEG", "MPO") else None
    if end is None:
        return False
    # A progressive JPEG lacks detail anywhere; another one lacks its end, which is a single colour then.
    progressive = "progressive" in image.info
    last = [image.getpixel((max(image.width - back, 0), image.height - 1)) for back in (1, 2, 3, 4)]
    if len(set(last)) > 1 and not progressive:
        return False
    pixels, marker, divisor = bytes(data[:end]), bytes(data[end : end + 2]), 4 if progressive else 8
    shown = _thumbnail(pixels + marker, divisor)
    return shown.tobytes() != _thumbnail(pixels + _MORE_DATA + marker, divisor).tobytes()


def _thumbnail(data: bytes, divisor: int) -> PIL.Image.Image:
    """Decode a JPEG at a fourth or an eighth of its size."""
    import PIL.Image

    image = PIL.Image.open(io.BytesIO(data), formats=("JPEG",))
    image.draft(None, (max(image.width // divisor, 1), max(image.height // divisor, 1)))
    image.load()
    return image
