"""Parses an MP4 while it streams: whether it is complete, its duration, and the size of its frames.

A truncated file whose index comes first still opens with its full duration, and a fragmented one (``moof``
and ``mdat`` in turn) that is cut between two fragments is a valid file. The cut only shows if all boxes
(ISO/IEC 14496-12) are parsed to the last byte, and compared with what the file declares about its end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoIncompleteVideoError
from veo_provider.media.mp4_boxes import (
    AUDIO,
    HEADER,
    LARGE_HEADER,
    MAX_SECONDS,
    VIDEO,
    is_end_of_fragments,
    read_fragment,
    read_index,
    read_segment_index,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.media.mp4_boxes import Index, Track, TrackFragment

_MAX_INDEX_BYTES = 64 * 1024 * 1024
"""The index (`moov`) is kept in memory until it is read; that of an 8-second video has about 10 kB."""
_MAX_BOXES = 1_000_000
"""A video has a few for each second."""
_FIRST = frozenset({b"ftyp", b"styp", b"free", b"skip", b"wide", b"pdin", b"uuid", b"moov", b"mdat"})
"""What an MP4 may start with: padding may precede the file type, which older QuickTime files do not have."""
_NEEDED = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"sidx"})
"""A video with one of these boxes cut is damaged; other boxes after the media may be anything."""
_EXACT, _LOOSE = 0.01, 0.5
"""Seconds that may be missing from a declared duration: less than a frame, or if the length is confirmed."""


@dataclass(frozen=True)
class Mp4Info:
    """What a complete MP4 declares.

    :param duration_seconds: duration of the presentation.
    :param width: pixels, of the first video track.
    :param height: pixels.
    :param has_audio: whether it has an audio track.
    """

    duration_seconds: float
    width: int
    height: int
    has_audio: bool


class Mp4Parser:
    """Parses the boxes of an MP4 that is fed to it in chunks of any size.

    It keeps one index at a time: its memory does not grow with the file, whatever the file claims.
    """

    def __init__(self) -> None:
        self.position = 0
        self._header = b""
        self._header_length = 0
        self._left = 0
        self._to_end = False
        self._kind = b""
        self._count = 0
        self._kept = bytearray()
        self._readers: dict[bytes, Callable[[memoryview], None]] = {
            b"moov": self._on_index,
            b"moof": self._on_fragment,
            b"sidx": self._on_segment_index,
            b"mfra": self._on_end_of_fragments,
        }
        self._index: Index | None = None
        self._media_end = 0
        self._fragments = 0
        self._starts: dict[int, int] = {}
        self._ticks: dict[int, int] = {}
        self._awaits_media = False
        self._indexed_to = 0
        self._is_fully_indexed = False
        self._has_end = False

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes.

        :raises VeoIncompleteVideoError: these bytes are not an MP4.
        """
        view = memoryview(chunk)
        while view:
            taken = self._parse_body(view) if self._left or self._to_end else self._parse_header(view)
            view = view[taken:]

    def finish(self, expected_bytes: int | None = None, *, asked_seconds: float | None = None) -> Mp4Info:
        """Return what the file declares, if it is complete.

        Anything may follow the media of a complete file, if the server declared its length. A fragmented file
        is complete if it declares its own end. If it does not, the server's length is trusted, but only if
        the video is as long as requested: a proxy may have cached half a file.

        :param expected_bytes: the length that the server declared, if it did.
        :param asked_seconds: the requested duration, if it is known.
        :raises VeoIncompleteVideoError: bytes, boxes, fragments or the index are missing, or it is no video.
        """
        if expected_bytes is not None and self.position != expected_bytes:
            raise VeoIncompleteVideoError(
                f"The video is incomplete: {self.position} of {expected_bytes} bytes arrived."
            )
        confirmed = self._require_last_box(known_length=expected_bytes is not None)
        if self._index is None or not self._media_end:
            raise VeoIncompleteVideoError("The video is incomplete: its index or its media is missing.")
        if self._index.is_fragmented or self._fragments:
            self._require_all_fragments(self._index, asked_seconds, confirmed=confirmed)
        return self._info(self._index)

    def _parse_header(self, view: memoryview) -> int:
        """Collect a box's header and, once it is complete, enter the box."""
        taken = bytes(view[: self._header_bytes() - len(self._header)])
        self._header += taken
        self.position += len(taken)
        if len(self._header) == self._header_bytes():
            self._enter_box()
        return len(taken)

    def _header_bytes(self) -> int:
        """Return the length of the header: a size of 1 announces a 64-bit size at its end."""
        return LARGE_HEADER if self._header.startswith(b"\0\0\0\1") else HEADER

    def _enter_box(self) -> None:
        size, kind = struct.unpack(">I4s", self._header[:HEADER])
        if size == 1:
            (size,) = struct.unpack(">Q", self._header[HEADER:])
        self._header_length, self._header = len(self._header), b""
        if not self._count and kind not in _FIRST:
            raise VeoIncompleteVideoError(f"The file is not an MP4: its first box is of the type {kind!r}.")
        self._count += 1
        if size != 0 and size < self._header_length:
            if self._index is None or not self._media_end:
                raise VeoIncompleteVideoError(
                    f"The MP4 is damaged: a box of the type {kind!r} claims to have {size} bytes."
                )
            size, kind = 0, b""  # not a box: something was written after the end
        if kind in self._readers and size > _MAX_INDEX_BYTES:
            raise VeoIncompleteVideoError(f"The MP4 is damaged: its index claims to have {size} bytes.")
        if self._count > _MAX_BOXES:
            raise VeoIncompleteVideoError(f"The MP4 is damaged: it has more than {_MAX_BOXES} boxes.")
        self._kind, self._to_end = kind, size == 0
        self._left = max(size - self._header_length, 0)
        if not self._left and not self._to_end:
            self._leave_box()

    def _parse_body(self, view: memoryview) -> int:
        taken = len(view) if self._to_end else min(len(view), self._left)
        if self._kind in self._readers:
            self._kept += view[:taken]
            if len(self._kept) > _MAX_INDEX_BYTES:
                raise VeoIncompleteVideoError(
                    f"The MP4 is damaged: its index has more than {_MAX_INDEX_BYTES} bytes."
                )
        self._left = max(self._left - taken, 0)
        self.position += taken
        if not self._left and not self._to_end:
            self._leave_box()
        return taken

    def _leave_box(self) -> None:
        """Read the box that has just ended."""
        if self._kind == b"mdat":
            self._media_end, self._awaits_media = self.position, False
        if self._kind not in self._readers:
            return
        body, self._kept = memoryview(self._kept), bytearray()
        try:
            self._readers[self._kind](body)
        except (LookupError, ValueError, struct.error) as error:
            raise VeoIncompleteVideoError(
                f"The MP4 is damaged: its {self._kind.decode()} box cannot be read."
            ) from error

    def _on_index(self, moov: memoryview) -> None:
        self._index = self._index or read_index(moov)

    def _on_fragment(self, moof: memoryview) -> None:
        if self._index is None:
            raise ValueError("a fragment comes before the index")
        parts = read_fragment(moof, self._index)
        for part in parts:
            self._add(part)
        self._fragments += 1
        self._awaits_media, self._has_end = any(part.samples for part in parts), False

    def _add(self, part: TrackFragment) -> None:
        """Count a fragment's ticks from its start: the samples before it may last longer than declared."""
        before = self._ticks.get(part.track, 0)
        start = before if part.start is None else part.start - self._starts.setdefault(part.track, part.start)
        self._ticks[part.track] = max(before, start) + part.ticks

    def _on_segment_index(self, sidx: memoryview) -> None:
        """Use one before all fragments: one between them covers only the next segment."""
        if self._fragments:
            return
        index = read_segment_index(sidx)
        self._indexed_to = max(self._indexed_to, self.position + index.bytes)
        # One with a single reference may cover only the first segment.
        self._is_fully_indexed |= index.references > 1

    def _on_end_of_fragments(self, mfra: memoryview) -> None:
        self._has_end = is_end_of_fragments(mfra, self._header_length)

    def _require_last_box(self, *, known_length: bool) -> bool:
        """Raise an error if the last box is cut.

        :return: whether the file is boxes up to its last byte, and has the length that the server declared.
        """
        if self._to_end and not known_length:
            raise VeoIncompleteVideoError(
                "The video may be incomplete: neither the server nor the file declares where it ends."
            )
        is_cut = bool(self._left or self._header)
        if is_cut and (not known_length or (self._left and self._kind in _NEEDED)):
            raise VeoIncompleteVideoError(
                f"The video is incomplete: it ends after {self.position} bytes, inside a box."
            )
        if self._to_end:
            self._leave_box()
        return known_length and not is_cut and self._kind != b""

    def _require_all_fragments(self, index: Index, asked_seconds: float | None, *, confirmed: bool) -> None:
        """Raise an error if a file was cut between two fragments, as far as anything shows it."""
        if self._awaits_media:
            raise VeoIncompleteVideoError("The video is incomplete: its last fragment has no media.")
        if self._has_end:
            return
        if self._indexed_to > self.position:
            raise VeoIncompleteVideoError(
                f"The video is incomplete: its index refers to {self._indexed_to} bytes, and {self.position} "
                "arrived."
            )
        actual = max((self._seconds_of(track) for track in index.tracks), default=0.0)
        declared = index.total_seconds
        if declared is not None and actual < declared - (_LOOSE if confirmed else _EXACT):
            raise VeoIncompleteVideoError(
                f"The video is incomplete: it declares {declared:.2f} s, and {actual:.2f} s arrived."
            )
        # A duration shorter than the media was written before the end was known.
        is_declared = declared is not None and actual <= declared + _LOOSE
        if is_declared or (self._is_fully_indexed and self._indexed_to >= self._media_end):
            return
        if not confirmed:
            raise VeoIncompleteVideoError(
                "The video may be incomplete: it consists of fragments, and neither the server nor the file "
                "declares where the last one ends."
            )
        # The header may know the total duration, or only that of the samples in the index itself.
        _require_duration(actual, index.seconds if asked_seconds is None else asked_seconds)

    def _seconds_of(self, track: Track) -> float:
        return (track.ticks + self._ticks.get(track.id, 0)) / track.timescale

    def _info(self, index: Index) -> Mp4Info:
        """Return what the file declares; raise an error if there is nothing to see."""
        video = next((track for track in index.tracks if track.kind == VIDEO), None)
        if video is None:
            raise VeoIncompleteVideoError("The MP4 is not a video: it has no video track.")
        if not video.width or not video.height:
            raise VeoIncompleteVideoError(
                f"The MP4 is damaged: its frames have {video.width} x {video.height} pixels."
            )
        if any(track.last_chunk >= self._media_end for track in index.tracks):
            raise VeoIncompleteVideoError(
                f"The video is incomplete: its index points beyond its {self._media_end} bytes."
            )
        seconds = self._seconds_of(video)
        if not (index.is_fragmented or self._fragments) and video.last_chunk >= 0:
            seconds = index.seconds or seconds
        if not 0 < seconds <= MAX_SECONDS:
            raise VeoIncompleteVideoError(f"The MP4 is damaged: its video track lasts {seconds:.0f} s.")
        has_audio = any(track.kind == AUDIO for track in index.tracks)
        return Mp4Info(round(seconds, 3), video.width, video.height, has_audio)


def _require_duration(actual: float, wanted: float | None) -> None:
    """Raise an error if a video that does not declare its end is shorter than wanted."""
    if wanted is not None and actual < wanted - _LOOSE:
        raise VeoIncompleteVideoError(
            f"The video may be incomplete: {actual:.2f} s of {wanted:g} s arrived, and the file does not "
            "declare where it ends."
        )
