"""TIFFs of every kind of number, which Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

UNSIGNED, SIGNED, FLOATS = 1, 2, 3
BLACK_IS_ZERO, RGB, INKS = 1, 2, 5
UNCOMPRESSED, DEFLATED = 1, 8
WIDTH, HEIGHT = 64, 48
_SHORT, _LONG, _LONG8 = 3, 4, 16
_TYPES = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
_NUMBERS = {UNSIGNED: {8: "B", 16: "H", 32: "I", 64: "Q"}, SIGNED: {8: "b", 16: "h", 32: "i", 64: "q"}}
_FLOATS = {16: "e", 32: "f", 64: "d"}


@dataclass(frozen=True)
class Kind:
    """What numbers a TIFF holds, and how.

    :param channels: numbers of a pixel: one is grey, three are red, green and blue, others are as many inks.
    :param planar: each channel for itself, instead of pixel by pixel.
    """

    bits: int
    format: int = UNSIGNED
    channels: int = 1
    planar: bool = False
    order: str = "<"
    big: bool = False
    compression: int = UNCOMPRESSED

    def __str__(self) -> str:
        number = ("", "u", "i", "f")[self.format] + str(self.bits)
        words = [number, f"{self.channels}ch", "planar" * self.planar, "MM" * (self.order == ">")]
        words += ["big" * self.big, "deflated" * (self.compression == DEFLATED)]
        return "-".join(word for word in words if word)


def ramp(kind: Kind) -> list[float]:
    """From the least to the greatest number of the kind, row by row; of floats, from 0 to 1."""
    last = WIDTH * HEIGHT - 1
    if kind.format == FLOATS:
        return [step / last for step in range(last + 1)]
    low = -(2 ** (kind.bits - 1)) if kind.format == SIGNED else 0
    return [low + step * (2**kind.bits - 1) // last for step in range(last + 1)]


def tiff(kind: Kind, values: list[float] | None = None, **tags: int) -> bytes:
    """A TIFF of a ramp, the same in each channel.

    :param tags: further tags by their numbers, as ``t254=1``.
    """
    values = ramp(kind) if values is None else values
    letter = _FLOATS[kind.bits] if kind.format == FLOATS else _NUMBERS[kind.format][kind.bits]
    plane = struct.pack(f"{kind.order}{len(values)}{letter}", *values)
    each = kind.bits // 8
    pixels = b"".join(plane[at : at + each] * kind.channels for at in range(0, len(plane), each))
    strips = [plane] * kind.channels if kind.planar else [pixels]
    if kind.compression == DEFLATED:
        strips = [zlib.compress(strip) for strip in strips]
    return _file(kind, strips, {int(name[1:]): [value] for name, value in tags.items()})


def _file(kind: Kind, strips: list[bytes], tags: dict[int, list[int]]) -> bytes:
    order, start = kind.order, 16 if kind.big else 8
    offsets = [start + sum(len(strip) for strip in strips[:at]) for at in range(len(strips))]
    colours = {1: BLACK_IS_ZERO, 3: RGB}.get(kind.channels, INKS)
    entries = {
        256: [WIDTH],
        257: [HEIGHT],
        258: [kind.bits] * kind.channels,
        259: [kind.compression],
        262: [colours],
        273: offsets,
        277: [kind.channels],
        278: [HEIGHT],
        279: [len(strip) for strip in strips],
        284: [2 if kind.planar else 1],
        339: [kind.format] * kind.channels,
        **tags,
    }
    data = b"".join(strips)
    mark = b"II" if order == "<" else b"MM"
    at = start + len(data)
    head = mark + (
        struct.pack(f"{order}HHHQ", 43, 8, 0, at) if kind.big else struct.pack(f"{order}HI", 42, at)
    )
    return head + data + _directory(kind, entries, at)


def _directory(kind: Kind, entries: dict[int, list[int]], at: int) -> bytes:
    order, big = kind.order, kind.big
    count, each, word = ("Q", 20, 8) if big else ("H", 12, 4)
    values_at = at + struct.calcsize(f"<{count}") + each * len(entries) + word
    body, values = struct.pack(order + count, len(entries)), b""
    for tag, numbers in sorted(entries.items()):
        form = _LONG if tag in (273, 279) else _SHORT
        packed = struct.pack(f"{order}{len(numbers)}{_TYPES[form]}", *numbers)
        body += struct.pack(order + ("HHQ" if big else "HHI"), tag, form, len(numbers))
        if len(packed) <= word:
            body += packed.ljust(word, b"\0")
        else:
            body += struct.pack(order + ("Q" if big else "I"), values_at + len(values))
            values += packed
    return body + bytes(word) + values
