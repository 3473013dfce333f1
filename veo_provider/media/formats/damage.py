"""Whether an image file itself shows that a part of it is missing or wrong.

A good file must never be called broken. Where a file shows nothing of the kind, it may still be damaged,
or be of a kind that the decoder does not know.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from veo_provider.api.image import LOST_BYTES
from veo_provider.media.formats import jpeg, png
from veo_provider.media.formats.tiff import TIFF_SIGNATURES, read_tiff

if TYPE_CHECKING:
    from collections.abc import Callable

_GIF_EXTENSION, _GIF_IMAGE, _GIF_HAS_COLOUR_TABLE = 0x21, 0x2C, 0x80
_BMP_HEADER = 40


def is_certainly_broken(data: memoryview) -> bool:
    """Whether a file is shorter than it declares, or has a wrong checksum.

    Meant for files that cannot be decoded.
    """
    start = bytes(data[:16])
    return any(start[offset:].startswith(mark) and check(data) for offset, mark, check in _CHECKS)


def lacks_pixel_data(data: memoryview, file_format: str | None) -> bool:
    """Whether compressed pixel data was lost or never written, in a file that can be decoded all the same.

    :param file_format: Pillow's name of the format.
    """
    if file_format == "PNG":
        return any(
            kind == b"IDAT" and not png.has_valid_checksum(chunk) for kind, chunk in png.png_chunks(data)
        )
    if file_format in ("HEIF", "AVIF"):
        return data[-LOST_BYTES:] == bytes(LOST_BYTES) and _last_box(data) == b"mdat"
    if file_format in ("JPEG", "MPO"):
        return jpeg.jpeg_lacks_bytes(data)
    if file_format == "WEBP":
        # Bytes after the declared size are not part of the image.
        return data[: _webp_bytes(data)][-LOST_BYTES:] == bytes(LOST_BYTES)
    return False


def _jpeg_is_cut(data: memoryview) -> bool:
    return jpeg.end_of_jpeg(data) is None


def _png_is_broken(data: memoryview) -> bool:
    for kind, chunk in png.png_chunks(data):
        # Chunks that a decoder needs have an upper-case first letter.
        if kind[:1].isupper() and not png.has_valid_checksum(chunk):
            return True
        if kind == b"IEND":
            return False
    return True


def _webp_is_cut(data: memoryview) -> bool:
    return _webp_bytes(data) > len(data)


def _webp_bytes(data: memoryview) -> int:
    """Return the size that a WebP declares for itself."""
    return 8 + int.from_bytes(data[4:8], "little")


def _gif_is_cut(data: memoryview) -> bool:
    """Whether a GIF ends before its trailer. A block of an unknown type is unknown damage, not a cut."""
    try:
        offset = 13 + _colour_table_bytes(data[10])
        while data[offset] in (_GIF_EXTENSION, _GIF_IMAGE):
            is_image = data[offset] == _GIF_IMAGE
            offset += 11 + _colour_table_bytes(data[offset + 9]) if is_image else 2
            while data[offset]:
                offset += 1 + data[offset]
            offset += 1
    except IndexError:
        return True
    return False


def _colour_table_bytes(flags: int) -> int:
    """Return the size of the colour table that a GIF's flags announce."""
    return int(3 * 2 ** ((flags & 7) + 1)) if flags & _GIF_HAS_COLOUR_TABLE else 0


def _bmp_is_cut(data: memoryview) -> bool:
    try:
        start, header = struct.unpack_from("<II", data, 10)
        width, height, bits, compression = struct.unpack_from("<ii2xHI", data, 18)
    except struct.error:
        return True
    rows = (width * bits + 31) // 32 * 4 * abs(height)
    return bool(header >= _BMP_HEADER and not compression and start + rows > len(data))


def _last_box_is_cut(data: memoryview) -> bool:
    offset = 0
    while offset + 8 <= len(data):
        size, header = int.from_bytes(data[offset : offset + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[offset + 8 : offset + 16], "big"), 16
        offset += max(size or len(data) - offset, header)
    return offset > len(data)


def _last_box(data: memoryview) -> bytes | None:
    """Return the type of the last box of a HEIC or AVIF; None if there is no box."""
    offset, kind = 0, None
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        offset += max(size or len(data), 8)
    return kind


def _tiff_is_cut(data: memoryview) -> bool:
    tiff = read_tiff(data)
    return tiff is not None and tiff.is_cut


_CHECKS: tuple[tuple[int, bytes, Callable[[memoryview], bool]], ...] = (
    (0, jpeg.SIGNATURE, _jpeg_is_cut),
    (0, png.SIGNATURE, _png_is_broken),
    (8, b"WEBP", _webp_is_cut),
    (0, b"GIF8", _gif_is_cut),
    (0, b"BM", _bmp_is_cut),
    *((4, box, _last_box_is_cut) for box in (b"ftyp", b"jP  ", b"JXL ")),
    *((0, signature, _tiff_is_cut) for signature in TIFF_SIGNATURES),
)
"""Offset and bytes of each format's signature, and its check."""
