"""The chunks of a PNG: texts that Pillow stumbles over, and checksums."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp\0\0"
_MAX_TEXT_BYTES = 1024 * 1024
"""Pillow's MAX_TEXT_CHUNK: it rejects a file with a longer compressed text or colour profile as broken."""
_MAX_TEXTS_BYTES = 64 * _MAX_TEXT_BYTES
"""Pillow's MAX_TEXT_MEMORY: the same limit for all texts together."""
_DEPTH_OFFSET, _SIXTEEN_BITS = 24, 16


def png_chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the type and all bytes of each complete chunk."""
    offset = len(SIGNATURE)
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        if offset + 12 + length > len(data):
            return
        yield kind, data[offset : offset + 12 + length]
        offset += 12 + length


def has_valid_checksum(chunk: memoryview) -> bool:
    """Whether a chunk's checksum is that of its contents."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def is_16_bit_png(data: memoryview) -> bool:
    """Whether a PNG has 16 bits per channel. Pillow reports that for grey ones only."""
    return data[_DEPTH_OFFSET] == _SIXTEEN_BITS


def is_ios_png(data: memoryview) -> bool:
    """Whether a PNG is in Apple's private variant: other channel order, colours multiplied by alpha."""
    return bytes(data[:4]) == SIGNATURE[:4] and bytes(data[12:16]) == b"CgBI"


def without_texts(data: memoryview) -> memoryview | bytes:
    """Return a PNG without its texts, and with its EXIF data before its pixels.

    Pillow rejects a whole file if one text, such as an edit history, is over 1 MB. The pixels and their
    checksums stay as they are. A file that is not a PNG is returned unchanged, as is the incomplete end of
    a truncated one.
    """
    if data[: len(SIGNATURE)] != SIGNATURE:
        return data
    before, late = [data[: len(SIGNATURE)]], list[memoryview]()
    after = list[memoryview]()
    end = len(SIGNATURE)
    for kind, chunk in png_chunks(data):
        end += len(chunk)
        if kind == b"eXIf" and after:
            late.append(chunk)
        elif not _can_be_dropped(kind, chunk[8:-4]):
            (after if after or kind == b"IDAT" else before).append(chunk)
    return b"".join([*before, *late, *after, data[end:]])


def _can_be_dropped(kind: bytes, body: memoryview) -> bool:
    """Whether a chunk is a text or an oversized profile. XMP stays: it may hold the orientation."""
    if kind == b"iTXt":
        return body[: len(_XMP)] != _XMP or len(body) > _MAX_TEXT_BYTES
    if kind != b"iCCP":
        return kind in (b"tEXt", b"zTXt")
    return _inflated_bytes(kind, body) > _MAX_TEXT_BYTES


def has_long_texts(data: memoryview) -> bool:
    """Whether a PNG's texts or profile exceed the limits that decoders set against decompression bombs."""
    if data[: len(SIGNATURE)] != SIGNATURE:
        return False
    total = 0
    for kind, chunk in png_chunks(data):
        length = _inflated_bytes(kind, chunk[8:-4])
        total += length
        if length > _MAX_TEXT_BYTES or total > _MAX_TEXTS_BYTES:
            return True
    return False


def _inflated_bytes(kind: bytes, body: memoryview) -> int:
    """Return the length of a compressed text or profile, inflated to one byte over the limit at most."""
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
