"""What a TIFF says of itself: what numbers its pixels are, and whether the file holds all of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUBFILE, _BITS, _COMPRESSION, _COLOURS, _CHANNELS, _LAYOUT = 254, 258, 259, 262, 277, 284
_FORMAT, _DNG_VERSION = 339, 50706
_PLACES = ((273, 279), (324, 325))
"""The tags with where strips or tiles begin, and how long they are."""
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_MAX_VALUES = 10_000_000
_REDUCED, _PLANAR = 1, 2
_UNSIGNED, _SIGNED, _FLOATS = 1, 2, 3
_FORMATS = {_SIGNED: "signed numbers", _FLOATS: "floats", 5: "complex numbers", 6: "complex numbers"}
_RAW_COLOURS = (32803, 34892)
_EIGHT_BITS, _SIXTEEN_BITS, _THIRTY_TWO_BITS = 8, 16, 32
_COMPRESSIONS = {
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
    """The first picture of a TIFF.

    :param is_little_endian: its byte order.
    :param is_cut: whether a part of what it points to lies beyond the end of the file.
    :param tags: the numbers in its directory, by tag.
    :param is_canon_raw: whether its header has Canon's mark.
    """

    is_little_endian: bool
    is_cut: bool
    tags: Mapping[int, tuple[int, ...]]
    is_canon_raw: bool = False

    def _one(self, tag: int, default: int) -> int:
        return (self.tags.get(tag) or (default,))[0]

    @property
    def raw_kind(self) -> str | None:
        """Whose raw file it is, or None if it is none: what can be read of one is a preview or worse."""
        if self.is_canon_raw:
            return "a camera's raw file (CR2)"
        if _DNG_VERSION in self.tags or self._one(_COLOURS, 0) in _RAW_COLOURS:
            return "a camera's raw file (DNG)"
        if self._one(_SUBFILE, 0) & _REDUCED:
            return "a TIFF that begins with a thumbnail, as cameras' raw files do"
        return None

    @property
    def kind(self) -> str:
        """What numbers it consists of, in words."""
        bits, channels = self._one(_BITS, 1), self._one(_CHANNELS, 1)
        numbers = _FORMATS.get(self._one(_FORMAT, _UNSIGNED), "numbers")
        compression = _COMPRESSIONS.get(self._one(_COMPRESSION, 1), "")
        many = "" if channels == 1 else f"{channels} "
        words = f"a TIFF of {many}{bits}-bit {numbers}{' a pixel' * bool(many)}"
        words += ", each channel for itself" * (self._one(_LAYOUT, 1) == _PLANAR and channels > 1)
        return f"{words}, compressed as {compression}" if compression else words

    @property
    def is_misread(self) -> bool:
        """Whether Pillow makes another picture of it, without a word: tried with each kind that it opens."""
        bits, form = self._one(_BITS, 1), self._one(_FORMAT, _UNSIGNED)
        if form == _SIGNED and bits == _EIGHT_BITS:
            return True
        is_compressed = self._one(_COMPRESSION, 1) != 1
        if self._one(_LAYOUT, 1) == _PLANAR and bits == _SIXTEEN_BITS and not is_compressed:
            return self._one(_CHANNELS, 1) > 1
        is_wide = bits == _THIRTY_TWO_BITS or (bits == _SIXTEEN_BITS and form == _SIGNED)
        return is_wide and is_compressed and not self.is_little_endian


def read_tiff(data: memoryview) -> Tiff | None:
    """Return what a TIFF, or a BigTIFF, says of its first picture; None if the file is neither."""
    if bytes(data[:4]) not in TIFF_MAGIC:
        return None
    order, is_big = "<" if bytes(data[:1]) == b"I" else ">", b"+" in bytes(data[2:4])
    tags, is_cut = _directory(data, order, is_big=is_big)
    for starts, lengths in _PLACES:
        places = zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)
        is_cut = is_cut or any(start + length > len(data) for start, length in places)
    return Tiff(order == "<", is_cut, tags, bytes(data[8:10]) == b"CR")


def _directory(data: memoryview, order: str, *, is_big: bool) -> tuple[dict[int, tuple[int, ...]], bool]:
    """Return the numbers in the first directory, and whether a part of it lies beyond the end."""
    count_form, entry_form, word = ("Q", "HHQ", 8) if is_big else ("H", "HHI", 4)
    tags: dict[int, tuple[int, ...]] = {}
    is_cut = False
    try:
        (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + count_form, data, at)
        at += struct.calcsize("<" + count_form)
        for _ in range(min(entries, 65535)):
            tag, form, count = struct.unpack_from(order + entry_form, data, at)
            at += struct.calcsize("<" + entry_form)
            place, length = at, _BYTES.get(form, 0) * count
            if length > word:
                (place,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, at)
            at += word
            if place + length > len(data):
                is_cut = True
            elif form in _NUMBERS and count <= _MAX_VALUES:
                tags[tag] = struct.unpack_from(f"{order}{count}{_NUMBERS[form]}", data, place)
        struct.unpack_from(order + ("Q" if is_big else "I"), data, at)  # where the next directory begins
    except (struct.error, OverflowError):
        return tags, True
    return tags, is_cut
