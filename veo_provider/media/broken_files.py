"""Whether a picture's file itself says that a part of it is missing or wrong.

Asked of one that cannot be decoded, so that no good file is called broken. Where the file says nothing,
nobody knows: it may be damaged within, or of a kind that the decoder does not know.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from veo_provider.media.image_files import end_of_jpeg, png_chunks
from veo_provider.media.tiff_files import TIFF_MAGIC, read_tiff

if TYPE_CHECKING:
    from collections.abc import Callable

_GIF_EXTENSION, _GIF_IMAGE, _GIF_HAS_COLOURS = 0x21, 0x2C, 0x80
_BMP_HEADER = 40


def is_certainly_broken(data: memoryview) -> bool:
    """Whether a file ends too early by what it says of itself, or has a wrong sum."""
    start = bytes(data[:16])
    return any(start[at:].startswith(mark) and check(data) for at, mark, check in _CHECKS)


def _jpeg_is_cut(data: memoryview) -> bool:
    return end_of_jpeg(data) is None


def _png_is_broken(data: memoryview) -> bool:
    for kind, chunk in png_chunks(data):
        # The first letter of what a decoder needs is large.
        if kind[:1].isupper() and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            return True
        if kind == b"IEND":
            return False
    return True


def _webp_is_cut(data: memoryview) -> bool:
    return 8 + int.from_bytes(data[4:8], "little") > len(data)


def _gif_is_cut(data: memoryview) -> bool:
    """Whether it ends before its trailer; a block that is none stands for unknown damage."""
    try:
        at = 13 + _bytes_of_colours(data[10])
        while data[at] in (_GIF_EXTENSION, _GIF_IMAGE):
            at += 2 if data[at] == _GIF_EXTENSION else 11 + _bytes_of_colours(data[at + 9])
            while data[at]:
                at += 1 + data[at]
            at += 1
    except IndexError:
        return True
    return False


def _bytes_of_colours(flags: int) -> int:
    """Return how long the table of colours is that a GIF's flags announce."""
    return int(3 * 2 ** ((flags & 7) + 1)) if flags & _GIF_HAS_COLOURS else 0


def _bmp_is_cut(data: memoryview) -> bool:
    try:
        start, header = struct.unpack_from("<II", data, 10)
        width, height, bits, compression = struct.unpack_from("<ii2xHI", data, 18)
    except struct.error:
        return True
    rows = (width * bits + 31) // 32 * 4 * abs(height)
    return bool(header >= _BMP_HEADER and not compression and start + rows > len(data))


def _last_box_is_cut(data: memoryview) -> bool:
    at = 0
    while at + 8 <= len(data):
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        at += max(size or len(data) - at, header)
    return at > len(data)


def _tiff_is_cut(data: memoryview) -> bool:
    tiff = read_tiff(data)
    return tiff is not None and tiff.is_cut


_CHECKS: tuple[tuple[int, bytes, Callable[[memoryview], bool]], ...] = (
    (0, b"\xff\xd8\xff", _jpeg_is_cut),
    (0, b"\x89PNG\r\n\x1a\n", _png_is_broken),
    (8, b"WEBP", _webp_is_cut),
    (0, b"GIF8", _gif_is_cut),
    (0, b"BM", _bmp_is_cut),
    *((4, box, _last_box_is_cut) for box in (b"ftyp", b"jP  ", b"JXL ")),
    *((0, magic, _tiff_is_cut) for magic in TIFF_MAGIC),
)
"""Where a kind of file has its mark, and what is asked of it."""
