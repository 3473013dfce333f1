"""What comes in place of a film, or is a part of one: none of it is ever stored."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from films import FRAGMENTED, INDEXED, film, unmarked, with_declared_length

if TYPE_CHECKING:
    from collections.abc import Callable


def half(data: bytes) -> bytes:
    """What is there of fragments before the third: a whole file, and half of the film."""
    starts = [at.start() for at in re.finditer(b"moof", data)]
    return data[: starts[2] - 4]


def without_media(data: bytes) -> bytes:
    return data[: data.rindex(b"mdat") - 4]


def four_gigabytes() -> bytes:
    """Media that are said to have more than 4 GiB, of which little is there."""
    data = film("faststart")
    at = data.index(b"mdat") - 4
    return data[:at] + struct.pack(">I4sQ", 1, b"mdat", 5 << 30) + data[at + 8 :]


REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("web page", "page.mp4", lambda: b"<!DOCTYPE html>\n<title>502</title>\n" * 9, "no MP4"),
    ("JSON", "error.mp4", lambda: b'{"error": {"message": "expired"}}', "no MP4"),
    # https://github.com/TomWhitwell/SlowMovie/issues/111
    ("resource fork", "._clip.mp4", lambda: b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(99), "no MP4"),
    ("nothing", "empty.mp4", lambda: b"", "not whole"),
    ("zeros", "zeros.mp4", lambda: bytes(5000), "no MP4"),
    ("picture", "photo.mp4", lambda: b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(99), "no MP4"),
    ("WebM", "clip.webm.mp4", lambda: b"\x1a\x45\xdf\xa3" + bytes(99), "no MP4"),
    ("last byte of the index", "byte.mp4", lambda: film()[:-1], "inside of one of its boxes"),
    (
        "last byte of the media",
        "media byte.mp4",
        lambda: film("faststart")[:-1],
        "inside of one of its boxes",
    ),
    ("last byte of fragments", "end.mp4", lambda: film(FRAGMENTED)[:-1], "inside of one of its boxes"),
    (
        "half, index in front",
        "half.mp4",
        lambda: film("faststart")[: len(film("faststart")) * 2 // 3],
        "inside of one of its boxes",
    ),
    ("half the fragments", "fragments.mp4", lambda: half(unmarked()), "may have been cut"),
    (
        "half of a declared length",
        "declared.mp4",
        lambda: half(with_declared_length(unmarked())),
        "it says that it has 2.00 s",
    ),
    ("half of an index by segments", "indexed.mp4", lambda: half(film(INDEXED)), "its index reaches to byte"),
    (
        "more declared than is there",
        "long.mp4",
        lambda: with_declared_length(unmarked(), 4),
        "it says that it has 4.00 s",
    ),
    ("fragment without media", "owes.mp4", lambda: without_media(unmarked()), "last fragment has no media"),
    ("index alone", "index.mp4", lambda: without_media(film("faststart")), "lacks its index or its media"),
    ("media alone", "no index.mp4", lambda: film()[: film().rindex(b"moov") - 4], "lacks its index"),
    ("sound alone", "sound.mp4", lambda: film(pictures=False, sound=True), "no video track"),
    ("4 GiB that are not there", "large.mp4", four_gigabytes, "inside of one of its boxes"),
    (
        "index of 4 GiB",
        "huge index.mp4",
        lambda: film()[: film().rindex(b"moov") - 4] + b"\xff\xff\xff\xffmoov",
        "its index claims",
    ),
]
"""Kind, file name, how it is made, and what is said of it: none is stored, though its length is right."""
