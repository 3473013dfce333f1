"""The markers of a JPEG: where its first image ends, and whether part of its pixel data is missing."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from veo_provider.api.image import LOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = b"\xff\xd8\xff"
JPEG_LS_FRAME = 0xF7
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Ends entropy-coded data: neither a stuffed 0xFF nor a restart marker (ITU-T T.81, B.1.1.2)."""
_JPEG_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""The same in a JPEG-LS, where a 0 bit follows 0xFF (ITU-T T.87, C.2.1)."""
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _HUFFMAN_TABLES = 0xD8, 0xD9, 0xDA, 0xC4
_SEQUENTIAL_FRAMES = (0xC0, 0xC1)
_AC_TABLE, _END_OF_BLOCK = 0x10, 0x00
_ZEROS = re.compile(rb"\0{%d}" % LOST_BYTES)
_END_MARKER = b"\xff\xd9"


def jpeg_markers(data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG's first image with its offset, up to the end-of-image marker."""
    offset, pattern = 2, _MARKER
    while True:
        found = pattern.search(data, offset)
        if found is None:
            return
        offset, marker = found.start(), data[found.start() + 1]
        if marker == _START_OF_IMAGE:
            offset += 2
            continue
        pattern = _JPEG_LS_MARKER if marker == JPEG_LS_FRAME else pattern
        yield marker, offset
        if marker == _END_OF_IMAGE:
            return
        offset += 2 + max(int.from_bytes(data[offset + 2 : offset + 4], "big"), 2)


def end_of_jpeg(data: memoryview) -> int | None:
    """Return the offset of the end marker of a JPEG's first image; None if there is none."""
    for marker, offset in jpeg_markers(data):
        if marker == _END_OF_IMAGE:
            return offset
    return None


def with_end_marker(data: memoryview) -> bytes | None:
    """Return a JPEG with an end marker in place of Samsung's trailer; None for all other files.

    Samsung's phones write panoramas with the trailer where the end marker should be.
    """
    start = _start_of_samsung_trailer(data)
    if start is None or bytes(data[:3]) != SIGNATURE or end_of_jpeg(data[:start]) is not None:
        return None
    return bytes(data[:start]) + _END_MARKER


def _start_of_samsung_trailer(data: memoryview) -> int | None:
    """Return where the trailer starts. Its directory, at the end of the file, has offsets that count back."""
    if bytes(data[-4:]) != b"SEFT":
        return None
    length = int.from_bytes(data[-8:-4], "little")
    directory = len(data) - 8 - length
    if directory < 0 or bytes(data[directory : directory + 4]) != b"SEFH":
        return None
    entries = data[directory + 12 : directory + length]
    offsets = [offset for (offset,) in struct.iter_unpack("<4xI4x", entries[: len(entries) // 12 * 12])]
    return directory - max(offsets) if offsets and max(offsets) <= directory else None


def jpeg_lacks_bytes(data: memoryview) -> bool:
    """Whether there are zeros in place of the end marker, or in pixel data that cannot contain them."""
    is_sequential, zeros_are_flat, scan_start = False, True, 0
    for marker, offset in jpeg_markers(data):
        cannot_have_zeros = scan_start and is_sequential and not zeros_are_flat
        if cannot_have_zeros and _ZEROS.search(data, scan_start, offset):
            return True
        scan_start = 0
        if marker in _SEQUENTIAL_FRAMES:
            is_sequential = True
        elif marker == _HUFFMAN_TABLES:
            zeros_are_flat = zeros_are_flat and _zeros_are_flat(_segment(data, offset))
        elif marker == _START_OF_SCAN:
            scan_start = offset + 2 + len(_segment(data, offset)) + 2
        elif marker == _END_OF_IMAGE:
            return False
    return data[-LOST_BYTES:] == bytes(LOST_BYTES)


def _zeros_are_flat(tables: memoryview) -> bool:
    """Whether zero bytes decode to blocks without detail.

    The first code of a Huffman table is all zeros: it has to stand for the end of a block.
    """
    offset, flat = 0, True
    while offset + 17 < len(tables):
        if tables[offset] & _AC_TABLE:
            flat = flat and tables[offset + 17] == _END_OF_BLOCK
        offset += 17 + sum(tables[offset + 1 : offset + 17])
    return flat


def _segment(data: memoryview, offset: int) -> memoryview:
    """Return the body of the segment whose marker is at this offset."""
    return data[offset + 4 : offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")]
