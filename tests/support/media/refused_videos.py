"""What comes in place of a video, or is a part of one: none of it is ever stored."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from support.media.videos import FRAGMENTED, INDEXED, encode, unmarked, with_declared_length

if TYPE_CHECKING:
    from collections.abc import Callable


def half(data: bytes) -> bytes:
    """Fragments up to the third: a whole file, and half of the video."""
    starts = [at.start() for at in re.finditer(b"moof", data)]
    return data[: starts[2] - 4]


def without_media(data: bytes) -> bytes:
    return data[: data.rindex(b"mdat") - 4]


def four_gigabytes() -> bytes:
    """Media that are said to have more than 4 GiB, of which little is there."""
    data = encode("faststart")
    at = data.index(b"mdat") - 4
    return data[:at] + struct.pack(">I4sQ", 1, b"mdat", 5 << 30) + data[at + 8 :]


REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("web page", "page.mp4", lambda: b"<!DOCTYPE html>\n<title>502</title>\n" * 9, "not an MP4"),
    ("JSON", "error.mp4", lambda: b'{"error": {"message": "expired"}}', "not an MP4"),
    # https://github.com/TomWhitwell/SlowMovie/issues/111
    ("resource fork", "._clip.mp4", lambda: b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(99), "not an MP4"),
    ("nothing", "empty.mp4", lambda: b"", "incomplete"),
    ("zeros", "zeros.mp4", lambda: bytes(5000), "not an MP4"),
    ("image", "photo.mp4", lambda: b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(99), "not an MP4"),
    ("WebM", "clip.webm.mp4", lambda: b"\x1a\x45\xdf\xa3" + bytes(99), "not an MP4"),
    ("last byte of the index", "byte.mp4", lambda: encode()[:-1], "inside a box"),
    (
        "last byte of the media",
        "media byte.mp4",
        lambda: encode("faststart")[:-1],
        "inside a box",
    ),
    ("last byte of fragments", "end.mp4", lambda: encode(FRAGMENTED)[:-1], "inside a box"),
    (
        "half, index first",
        "half.mp4",
        lambda: encode("faststart")[: len(encode("faststart")) * 2 // 3],
        "inside a box",
    ),
    ("half the fragments", "fragments.mp4", lambda: half(unmarked()), "may be incomplete"),
    (
        "half of a declared length",
        "declared.mp4",
        lambda: half(with_declared_length(unmarked())),
        "it declares 2.00 s",
    ),
    ("half of an index by segments", "indexed.mp4", lambda: half(encode(INDEXED)), "its index refers to"),
    (
        "more declared than is there",
        "long.mp4",
        lambda: with_declared_length(unmarked(), 4),
        "it declares 4.00 s",
    ),
    ("fragment without media", "owes.mp4", lambda: without_media(unmarked()), "last fragment has no media"),
    (
        "index alone",
        "index.mp4",
        lambda: without_media(encode("faststart")),
        "its index or its media is missing",
    ),
    (
        "media alone",
        "no index.mp4",
        lambda: encode()[: encode().rindex(b"moov") - 4],
        "its index or its media is missing",
    ),
    ("sound alone", "sound.mp4", lambda: encode(frames=False, sound=True), "no video track"),
    ("4 GiB that are not there", "large.mp4", four_gigabytes, "inside a box"),
    (
        "index of 4 GiB",
        "huge index.mp4",
        lambda: encode()[: encode().rindex(b"moov") - 4] + b"\xff\xff\xff\xffmoov",
        "its index claims",
    ),
]
"""Kind, file name, how it is made, and what is said of it: none is stored, though its length is right."""
