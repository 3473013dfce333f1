"""Looks at an MP4 as it streams past: whether it is whole, how long and how large.

A cut file whose index stands in front still opens with its full duration, so that only a walk over its
boxes (ISO/IEC 14496-12) to the last byte sees the cut.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from veo_provider.api.errors import VeoIncompleteVideoError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_INDEX_BYTES = 64 * 1024 * 1024
"""The index (`moov`) is kept in memory; that of an 8-second video has some ten kilobytes."""
_HEADER, _LARGE_HEADER = 8, 16


@dataclass(frozen=True)
class Mp4Info:
    """What a whole MP4 says of itself.

    :param duration_seconds: length of the presentation.
    :param width: pixels, of the first track that has a picture.
    :param height: pixels.
    :param has_audio: whether there is a sound track.
    """

    duration_seconds: float
    width: int
    height: int
    has_audio: bool


class Mp4Walker:
    """Walks over the boxes of an MP4 that is fed to it in chunks of any size.

    It keeps the index only, so that its memory does not grow with the file.
    """

    def __init__(self) -> None:
        self.position = 0
        self._header = b""
        self._left = 0
        self._to_end = False
        self._kind = b""
        self._seen: set[bytes] = set()
        self._index = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Walk over the next bytes.

        :raises VeoIncompleteVideoError: these bytes are no MP4.
        """
        view = memoryview(chunk)
        while view:
            taken = self._walk_body(view) if self._left or self._to_end else self._walk_header(view)
            self.position += taken
            view = view[taken:]

    def finish(self, expected_bytes: int | None = None) -> Mp4Info:
        """Return what the file says of itself, if it is whole.

        :param expected_bytes: the length that the server promised, where it did.
        :raises VeoIncompleteVideoError: bytes, boxes or the index are missing.
        """
        if expected_bytes is not None and self.position != expected_bytes:
            raise VeoIncompleteVideoError(
                f"The video was cut on the way: {self.position} of {expected_bytes} bytes arrived."
            )
        if self._left or self._header:
            raise VeoIncompleteVideoError(
                f"The video is not whole: it ends after {self.position} bytes, inside of one of its boxes."
            )
        if self._to_end and expected_bytes is None:
            raise VeoIncompleteVideoError(
                "The video cannot be told to be whole: neither the server nor the file says where it ends."
            )
        if not {b"moov", b"mdat"} <= self._seen:
            raise VeoIncompleteVideoError("The video is not whole: it lacks its index or its media.")
        return _read_index(bytes(self._index))

    def _walk_header(self, view: memoryview) -> int:
        """Collect a box's header and, once it is whole, enter the box."""
        taken = bytes(view[: self._header_bytes() - len(self._header)])
        self._header += taken
        if len(self._header) == self._header_bytes():
            self._enter_box()
        return len(taken)

    def _header_bytes(self) -> int:
        """Return the length of the header: a size of 1 announces a 64-bit size at its end."""
        return _LARGE_HEADER if self._header.startswith(b"\0\0\0\1") else _HEADER

    def _enter_box(self) -> None:
        size, kind = struct.unpack(">I4s", self._header[:_HEADER])
        if size == 1:
            (size,) = struct.unpack(">Q", self._header[_HEADER:])
        header_bytes, self._header = len(self._header), b""
        if not self._seen and kind != b"ftyp":
            raise VeoIncompleteVideoError(f"This is no MP4: it begins with {kind!r} instead of a file type.")
        if size != 0 and size < header_bytes:
            raise VeoIncompleteVideoError(f"The MP4 is damaged: a box of type {kind!r} has {size} bytes.")
        if kind == b"moov" and size > _MAX_INDEX_BYTES:
            raise VeoIncompleteVideoError(f"The MP4 is damaged: its index claims to have {size} bytes.")
        self._kind, self._to_end = kind, size == 0
        self._left = max(size - header_bytes, 0)
        self._seen.add(kind)

    def _walk_body(self, view: memoryview) -> int:
        taken = len(view) if self._to_end else min(len(view), self._left)
        if self._kind == b"moov" and len(self._index) + taken <= _MAX_INDEX_BYTES:
            self._index += view[:taken]
        self._left = max(self._left - taken, 0)
        return taken


def _read_index(moov: bytes) -> Mp4Info:
    """Return what the index says, or refuse a damaged one."""
    try:
        tracks = [dict(_boxes(body)) for kind, body in _boxes(moov) if kind == b"trak"]
        duration = _duration(dict(_boxes(moov))[b"mvhd"])
        handlers = [dict(_boxes(track[b"mdia"]))[b"hdlr"][8:12] for track in tracks]
        picture = tracks[handlers.index(b"vide")]
        width, height = struct.unpack(">II", picture[b"tkhd"][-8:])
    except (KeyError, ValueError, struct.error) as error:
        raise VeoIncompleteVideoError("The MP4 is damaged: its index has no readable video track.") from error
    return Mp4Info(duration, width >> 16, height >> 16, b"soun" in handlers)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and body of the boxes that stand side by side in these bytes."""
    start = 0
    while start < len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        header_bytes = _HEADER
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + _HEADER)
            header_bytes = _LARGE_HEADER
        size = size or len(data) - start
        if size < header_bytes or start + size > len(data):
            raise ValueError("a box is larger than the one that holds it")
        yield kind, data[start + header_bytes : start + size]
        start += size


def _duration(mvhd: bytes) -> float:
    """Return seconds: 32-bit times in version 0 of the box, 64-bit times in version 1."""
    layout, start = (">IQ", 20) if mvhd[:1] == b"\1" else (">II", 12)
    timescale, duration = struct.unpack_from(layout, mvhd, start)
    if not timescale:
        raise ValueError("the timescale is 0")
    return float(round(duration / timescale, 3))
