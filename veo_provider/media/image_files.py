"""What the bytes of a picture's file tell without decoding it: what is metadata, and what was lost."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING

from veo_provider.api.image import LOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp\0\0"
_MAX_TEXT_BYTES = 1024 * 1024
"""Pillow's MAX_TEXT_CHUNK: of a longer compressed text or colour profile it says that the file is broken."""
_MAX_TEXTS_BYTES = 64 * _MAX_TEXT_BYTES
"""Its MAX_TEXT_MEMORY: the same for all of them."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends entropy-coded data: neither a stuffed 0xFF nor a restart (ITU-T T.81, B.1.1.2)."""
_JPEG_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""The same in a JPEG-LS, where a bit of 0 follows 0xFF (ITU-T T.87, C.2.1)."""
_JPEG_LS = 0xF7
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _HUFFMAN_TABLES = 0xD8, 0xD9, 0xDA, 0xC4
_SEQUENTIAL = (0xC0, 0xC1)
_AC_TABLE, _END_OF_BLOCK = 0x10, 0x00
_ZEROS = re.compile(rb"\0{%d}" % LOST_BYTES)


def without_texts(data: memoryview) -> memoryview | bytes:
    """Return a PNG without its texts, and with its EXIF data before its pixels.

    Pillow calls a whole file broken if a text in it, such as a history of edits, is over 1 MB. The pixels,
    and what bounds them, stay. What is no PNG is returned as it is, as is the rest of a cut one.
    """
    if data[: len(_PNG)] != _PNG:
        return data
    before, late = [data[: len(_PNG)]], list[memoryview]()
    after = list[memoryview]()
    end = len(_PNG)
    for kind, chunk in png_chunks(data):
        end += len(chunk)
        if kind == b"eXIf" and after:
            late.append(chunk)
        elif not _is_needless(kind, chunk[8:-4]):
            (after if after or kind == b"IDAT" else before).append(chunk)
    return b"".join([*before, *late, *after, data[end:]])


def png_chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield kind and all bytes of each whole chunk."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield kind, data[at : at + 12 + length]
        at += 12 + length


def _is_needless(kind: bytes, body: memoryview) -> bool:
    """Whether it is a text, but for the one that may say how the picture is turned, or too long a profile."""
    if kind == b"iTXt":
        return body[: len(_XMP)] != _XMP or len(body) > _MAX_TEXT_BYTES
    if kind != b"iCCP":
        return kind in (b"tEXt", b"zTXt")
    return _inflated_bytes(kind, body) > _MAX_TEXT_BYTES


def has_long_texts(data: memoryview) -> bool:
    """Whether a PNG's texts or its profile are longer than decoders take: their guard against bombs."""
    if data[: len(_PNG)] != _PNG:
        return False
    total = 0
    for kind, chunk in png_chunks(data):
        length = _inflated_bytes(kind, chunk[8:-4])
        total += length
        if length > _MAX_TEXT_BYTES or total > _MAX_TEXTS_BYTES:
            return True
    return False


def _inflated_bytes(kind: bytes, body: memoryview) -> int:
    """Return how long a compressed text or profile is, read no further than one byte beyond the limit."""
    if kind not in (b"zTXt", b"iTXt", b"iCCP"):
        return 0
    _, _, rest = bytes(body).partition(b"\0")
    if kind == b"iTXt":
        is_compressed, rest = rest[:1] == b"\1", b"\0" + rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        if not is_compressed:
            return 0
    try:
        return len(zlib.decompressobj().decompress(rest[1:], _MAX_TEXT_BYTES + 1))
    except zlib.error:
        return 0


def with_end(data: memoryview) -> bytes | None:
    """Return a JPEG with the marker of its end in place of Samsung's trailer, if that stands where it should.

    Samsung's phones write panoramas so. None for all other files.
    """
    start = _start_of_samsung_trailer(data)
    if start is None or bytes(data[:3]) != b"\xff\xd8\xff" or end_of_jpeg(data[:start]) is not None:
        return None
    return bytes(data[:start]) + b"\xff\xd9"


def _start_of_samsung_trailer(data: memoryview) -> int | None:
    """Return where it begins, by its directory at the end of the file, whose places count backwards."""
    if bytes(data[-4:]) != b"SEFT":
        return None
    length = int.from_bytes(data[-8:-4], "little")
    at = len(data) - 8 - length
    if at < 0 or bytes(data[at : at + 4]) != b"SEFH":
        return None
    entries = data[at + 12 : at + length]
    places = [place for (place,) in struct.iter_unpack("<4xI4x", entries[: len(entries) // 12 * 12])]
    return at - max(places) if places and max(places) <= at else None


def end_of_jpeg(data: memoryview) -> int | None:
    """Return where the first picture of a JPEG says that it ends; None if it does not."""
    for marker, at in jpeg_markers(data):
        if marker == _END_OF_IMAGE:
            return at
    return None


def loses_bytes(data: memoryview, file_format: str | None) -> bool:
    """Whether a part of the compressed pixels was never written, or lost, as far as the file itself tells."""
    if file_format == "PNG":
        pixels = (chunk for kind, chunk in png_chunks(data) if kind == b"IDAT")
        return any(zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big") for chunk in pixels)
    if file_format in ("HEIF", "AVIF"):
        return data[-LOST_BYTES:] == bytes(LOST_BYTES) and _last_box(data) == b"mdat"
    if file_format in ("JPEG", "MPO"):
        return _jpeg_loses_bytes(data)
    if file_format == "WEBP":
        # What follows the size that the file tells of itself is none of it.
        return data[: 8 + int.from_bytes(data[4:8], "little")][-LOST_BYTES:] == bytes(LOST_BYTES)
    return False


def _last_box(data: memoryview) -> bytes | None:
    """Return the type of the box at the end of a HEIC or AVIF; None if what stands there is no box."""
    at, kind = 0, None
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        at += max(size or len(data), 8)
    return kind


def _jpeg_loses_bytes(data: memoryview) -> bool:
    """Whether zeros stand at the end instead of its marker, or in pixels that zeros cannot code."""
    sequential, zeros_are_flat, began = False, True, 0
    for marker, at in jpeg_markers(data):
        if began and sequential and not zeros_are_flat and _ZEROS.search(data, began, at):
            return True
        began = 0
        if marker in _SEQUENTIAL:
            sequential = True
        elif marker == _HUFFMAN_TABLES:
            zeros_are_flat = zeros_are_flat and _zeros_are_flat(_segment(data, at))
        elif marker == _START_OF_SCAN:
            began = at + 2 + len(_segment(data, at)) + 2
        elif marker == _END_OF_IMAGE:
            return False
    return data[-LOST_BYTES:] == bytes(LOST_BYTES)


def _zeros_are_flat(tables: memoryview) -> bool:
    """Whether zeros code blocks without detail: a table's first code is all zeros, and must end a block."""
    at, flat = 0, True
    while at + 17 < len(tables):
        if tables[at] & _AC_TABLE:
            flat = flat and tables[at + 17] == _END_OF_BLOCK
        at += 17 + sum(tables[at + 1 : at + 17])
    return flat


def _segment(data: memoryview, at: int) -> memoryview:
    """Return the body of the segment whose marker stands there."""
    return data[at + 4 : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]


def jpeg_markers(data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG's first picture, and where it stands, up to the one at its end."""
    at, form = 2, _MARKER
    while True:
        found = form.search(data, at)
        if found is None:
            return
        at, marker = found.start(), data[found.start() + 1]
        if marker == _START_OF_IMAGE:
            at += 2
            continue
        form = _JPEG_LS_MARKER if marker == _JPEG_LS else form
        yield marker, at
        if marker == _END_OF_IMAGE:
            return
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
