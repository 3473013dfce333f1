"""The directory of a TIFF: what numbers its pixels are, and whether the file contains all of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUBFILE, _BITS, _COMPRESSION, _COLOURS, _CHANNELS, _LAYOUT = 254, 258, 259, 262, 277, 284
_SAMPLE_FORMAT, _DNG_VERSION = 339, 50706
_DATA_TAGS = ((273, 279), (324, 325))
"""The tags with the offsets and lengths of strips, and of tiles."""
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""How struct spells those of TIFF's types that are unsigned integers."""
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
_MAX_VALUES = 10_000_000
_REDUCED, _PLANAR = 1, 2
_UNSIGNED, _SIGNED, _FLOATS = 1, 2, 3
_FORMAT_NAMES = {
    _UNSIGNED: "integers",
    _SIGNED: "signed integers",
    _FLOATS: "floats",
    5: "complex numbers",
    6: "complex numbers",
}
_RAW_COLOURS = (32803, 34892)
_EIGHT_BITS, _SIXTEEN_BITS, _THIRTY_TWO_BITS = 8, 16, 32
_COMPRESSION_NAMES = {
    1: "",
    6: "JPEG",
    7: "JPEG",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


@dataclass(frozen=True)
class Tiff:
    """The first image of a TIFF.

    :param is_little_endian: its byte order.
    :param is_cut: whether a part of what it refers to is beyond the end of the file.
    :param tags: the numbers in its directory, by tag.
    :param is_canon_raw: whether its header has Canon's mark.
    """

    is_little_endian: bool
    is_cut: bool
    tags: Mapping[int, tuple[int, ...]]
    is_canon_raw: bool = False

    def _first(self, tag: int, default: int) -> int:
        return (self.tags.get(tag) or (default,))[0]

    @property
    def raw_kind(self) -> str | None:
        """The kind of a camera's raw file, in which Pillow finds only a preview; None for other TIFFs."""
        if self.is_canon_raw:
            return "a camera's raw file (CR2)"
        if _DNG_VERSION in self.tags or self._first(_COLOURS, 0) in _RAW_COLOURS:
            return "a camera's raw file (DNG)"
        if self._first(_SUBFILE, 0) & _REDUCED:
            return "a TIFF that starts with a thumbnail, as cameras' raw files do"
        return None

    @property
    def kind(self) -> str:
        """What numbers its pixels are, in words."""
        bits, channels = self._first(_BITS, 1), self._first(_CHANNELS, 1)
        numbers = _FORMAT_NAMES.get(self._first(_SAMPLE_FORMAT, _UNSIGNED), "numbers")
        compression = _COMPRESSION_NAMES.get(self._first(_COMPRESSION, 1), "")
        many = "" if channels == 1 else f"{channels} "
        words = f"a TIFF of {many}{bits}-bit {numbers}{' per pixel' * bool(many)}"
        words += ", in separate planes" * (self._first(_LAYOUT, 1) == _PLANAR and channels > 1)
        return f"{words}, compressed as {compression}" if compression else words

    @property
    def is_misread(self) -> bool:
        """Whether Pillow decodes it to wrong pixels without an error. Found by trying all kinds it opens."""
        bits, numbers = self._first(_BITS, 1), self._first(_SAMPLE_FORMAT, _UNSIGNED)
        if numbers == _SIGNED and bits == _EIGHT_BITS:
            return True
        is_compressed = self._first(_COMPRESSION, 1) != 1
        if self._first(_LAYOUT, 1) == _PLANAR and bits == _SIXTEEN_BITS and not is_compressed:
            return self._first(_CHANNELS, 1) > 1
        is_wide = bits == _THIRTY_TWO_BITS or (bits == _SIXTEEN_BITS and numbers == _SIGNED)
        return is_wide and is_compressed and not self.is_little_endian


def read_tiff(data: memoryview) -> Tiff | None:
    """Return the first image of a TIFF or a BigTIFF; None if the file is neither."""
    if bytes(data[:4]) not in TIFF_SIGNATURES:
        return None
    order, is_big = "<" if bytes(data[:1]) == b"I" else ">", b"+" in bytes(data[2:4])
    tags, is_cut = _directory(data, order, is_big=is_big)
    for offset_tag, length_tag in _DATA_TAGS:
        parts = zip(tags.get(offset_tag, ()), tags.get(length_tag, ()), strict=False)
        is_cut = is_cut or any(offset + length > len(data) for offset, length in parts)
    return Tiff(order == "<", is_cut, tags, bytes(data[8:10]) == b"CR")


def _directory(data: memoryview, order: str, *, is_big: bool) -> tuple[dict[int, tuple[int, ...]], bool]:
    """Return the numbers in the first directory, and whether a part of it is beyond the end of the file."""
    count_layout, entry_layout, offset_layout = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    offset_bytes = struct.calcsize("<" + offset_layout)
    tags: dict[int, tuple[int, ...]] = {}
    is_cut = False
    try:
        (at,) = struct.unpack_from(order + offset_layout, data, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + count_layout, data, at)
        at += struct.calcsize("<" + count_layout)
        for _ in range(min(entries, 65535)):
            tag, kind, count = struct.unpack_from(order + entry_layout, data, at)
            at += struct.calcsize("<" + entry_layout)
            values_at, length = at, _TYPE_BYTES.get(kind, 0) * count
            if length > offset_bytes:
                (values_at,) = struct.unpack_from(order + offset_layout, data, at)
            at += offset_bytes
            if values_at + length > len(data):
                is_cut = True
            elif kind in _INTEGERS and count <= _MAX_VALUES:
                tags[tag] = struct.unpack_from(f"{order}{count}{_INTEGERS[kind]}", data, values_at)
        struct.unpack_from(order + offset_layout, data, at)  # the offset of the next directory
    except (struct.error, OverflowError):
        return tags, True
    return tags, is_cut
