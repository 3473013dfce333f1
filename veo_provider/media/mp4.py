"""Looks at an MP4 as it streams past: whether it is whole, how long and how large.

A cut file whose index stands in front still opens with its full duration, and a fragmented one (``moof`` and
``mdat`` in turn) that is cut between two fragments is a valid file: only a walk over its boxes (ISO/IEC
14496-12) to the last byte, and what the file says of its own end, see the cut.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoIncompleteVideoError
from veo_provider.media.mp4_boxes import (
    HEADER,
    LARGE_HEADER,
    MAX_SECONDS,
    PICTURE,
    SOUND,
    is_end_of_fragments,
    read_fragment,
    read_movie,
    read_segment_index,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.media.mp4_boxes import Movie, Part, Track

_MAX_INDEX_BYTES = 64 * 1024 * 1024
"""The index (`moov`) is kept in memory while it is read; that of an 8-second video has some ten kilobytes."""
_MAX_BOXES = 1_000_000
"""A clip has a few for each second."""
_FIRST = frozenset({b"ftyp", b"styp", b"free", b"skip", b"wide", b"pdin", b"uuid", b"moov", b"mdat"})
"""What an MP4 may begin with: padding may precede its file type, which older QuickTime files do without."""
_NEEDED = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"sidx"})
"""Boxes that are damaged when they are cut; others that stand after the media may be anything."""
_EXACT, _LOOSE = 0.01, 0.5
"""Seconds that may lack of a declared length: less than a picture, or with the end vouched for."""


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


class Mp4Parser:
    """Walks over the boxes of an MP4 that is fed to it in chunks of any size.

    It keeps one index at a time, so that its memory does not grow with the file, whatever the file claims.
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
            b"moov": self._see_movie,
            b"moof": self._see_fragment,
            b"sidx": self._see_segment_index,
            b"mfra": self._see_end_of_fragments,
        }
        self._movie: Movie | None = None
        self._media_end = 0
        self._fragments = 0
        self._begins: dict[int, int] = {}
        self._ticks: dict[int, int] = {}
        self._owes_media = False
        self._covered_to = 0
        self._is_covered_throughout = False
        self._has_end = False

    def feed(self, chunk: bytes) -> None:
        """Walk over the next bytes.

        :raises VeoIncompleteVideoError: these bytes are no MP4.
        """
        view = memoryview(chunk)
        while view:
            taken = self._walk_body(view) if self._left or self._to_end else self._walk_header(view)
            view = view[taken:]

    def finish(self, expected_bytes: int | None = None, *, asked_seconds: float | None = None) -> Mp4Info:
        """Return what the file says of itself, if it is whole.

        What follows the media of a whole file may be anything, if the server promised so many bytes. A file
        of fragments is whole if it says where it ends. Of one that does not say so, the server's word is
        taken, but not for less than was asked for: a proxy may have kept half a file.

        :param expected_bytes: the length that the server promised, where it did.
        :param asked_seconds: the length of the video that was asked for, where that is known.
        :raises VeoIncompleteVideoError: bytes, boxes, fragments or the index are missing, or it is no video.
        """
        if expected_bytes is not None and self.position != expected_bytes:
            raise VeoIncompleteVideoError(
                f"The video was cut on the way: {self.position} of {expected_bytes} bytes arrived."
            )
        vouched = self._require_last_box_whole(known_length=expected_bytes is not None)
        if self._movie is None or not self._media_end:
            raise VeoIncompleteVideoError("The video is not whole: it lacks its index or its media.")
        if self._movie.fragmented or self._fragments:
            self._require_all_fragments(self._movie, asked_seconds, vouched=vouched)
        return self._described(self._movie)

    def _walk_header(self, view: memoryview) -> int:
        """Collect a box's header and, once it is whole, enter the box."""
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
            raise VeoIncompleteVideoError(f"This is no MP4: it begins with {kind!r} instead of a file type.")
        self._count += 1
        if size != 0 and size < self._header_length:
            if self._movie is None or not self._media_end:
                raise VeoIncompleteVideoError(f"The MP4 is damaged: a box of type {kind!r} has {size} bytes.")
            size, kind = 0, b""  # no box: something was written after the end
        if kind in self._readers and size > _MAX_INDEX_BYTES:
            raise VeoIncompleteVideoError(f"The MP4 is damaged: its index claims to have {size} bytes.")
        if self._count > _MAX_BOXES:
            raise VeoIncompleteVideoError(f"The MP4 is damaged: it has more than {_MAX_BOXES} boxes.")
        self._kind, self._to_end = kind, size == 0
        self._left = max(size - self._header_length, 0)
        if not self._left and not self._to_end:
            self._leave_box()

    def _walk_body(self, view: memoryview) -> int:
        taken = len(view) if self._to_end else min(len(view), self._left)
        if self._kind in self._readers:
            self._kept += view[:taken]
            if len(self._kept) > _MAX_INDEX_BYTES:
                raise VeoIncompleteVideoError(
                    f"The MP4 is damaged: its index has over {_MAX_INDEX_BYTES} bytes."
                )
        self._left = max(self._left - taken, 0)
        self.position += taken
        if not self._left and not self._to_end:
            self._leave_box()
        return taken

    def _leave_box(self) -> None:
        """Read the box that has just ended."""
        if self._kind == b"mdat":
            self._media_end, self._owes_media = self.position, False
        if self._kind not in self._readers:
            return
        body, self._kept = memoryview(self._kept), bytearray()
        try:
            self._readers[self._kind](body)
        except (LookupError, ValueError, struct.error) as error:
            raise VeoIncompleteVideoError(
                f"The MP4 is damaged: its {self._kind.decode()} cannot be read."
            ) from error

    def _see_movie(self, moov: memoryview) -> None:
        self._movie = self._movie or read_movie(moov)

    def _see_fragment(self, moof: memoryview) -> None:
        if self._movie is None:
            raise ValueError("a fragment stands before the index")
        parts = read_fragment(moof, self._movie)
        for part in parts:
            self._add(part)
        self._fragments += 1
        self._owes_media, self._has_end = any(part.samples for part in parts), False

    def _add(self, part: Part) -> None:
        """Count a part's ticks from where it begins: what stands before may be longer than it said."""
        before = self._ticks.get(part.track, 0)
        begin = before if part.begin is None else part.begin - self._begins.setdefault(part.track, part.begin)
        self._ticks[part.track] = max(before, begin) + part.ticks

    def _see_segment_index(self, sidx: memoryview) -> None:
        """Take one before all fragments: one between them speaks of the next segment only."""
        if self._fragments:
            return
        index = read_segment_index(sidx)
        self._covered_to = max(self._covered_to, self.position + index.bytes)
        # With one reference it may be that of the first segment only, as well as of all.
        self._is_covered_throughout |= index.references > 1

    def _see_end_of_fragments(self, mfra: memoryview) -> None:
        self._has_end = is_end_of_fragments(mfra, self._header_length)

    def _require_last_box_whole(self, *, known_length: bool) -> bool:
        """Refuse a cut box; return whether the file's last bytes are boxes of a length that was promised."""
        if self._to_end and not known_length:
            raise VeoIncompleteVideoError(
                "The video cannot be told to be whole: neither the server nor the file says where it ends."
            )
        cut = bool(self._left or self._header)
        if cut and (not known_length or (self._left and self._kind in _NEEDED)):
            raise VeoIncompleteVideoError(
                f"The video is not whole: it ends after {self.position} bytes, inside of one of its boxes."
            )
        if self._to_end:
            self._leave_box()
        return known_length and not cut and self._kind != b""

    def _require_all_fragments(self, movie: Movie, asked_seconds: float | None, *, vouched: bool) -> None:
        """Refuse a file that was cut between two fragments, as far as anything tells."""
        if self._owes_media:
            raise VeoIncompleteVideoError("The video is not whole: its last fragment has no media.")
        if self._has_end:
            return
        if self._covered_to > self.position:
            raise VeoIncompleteVideoError(
                f"The video was cut on the way: its index reaches to byte {self._covered_to}, and "
                f"{self.position} arrived."
            )
        has = max((self._seconds_of(track) for track in movie.tracks), default=0.0)
        whole = movie.whole_seconds
        if whole is not None and has < whole - (_LOOSE if vouched else _EXACT):
            raise VeoIncompleteVideoError(
                f"The video was cut on the way: it says that it has {whole:.2f} s, {has:.2f} s came."
            )
        # A length that is shorter than what came was written before the end was known.
        is_declared = whole is not None and has <= whole + _LOOSE
        if is_declared or (self._is_covered_throughout and self._covered_to >= self._media_end):
            return
        if not vouched:
            raise VeoIncompleteVideoError(
                "The video cannot be told to be whole: it consists of fragments, and neither the server nor "
                "the file says where the last one ends."
            )
        # A header may know the length of all, or only that of the samples that the index itself lists.
        wanted = movie.seconds if asked_seconds is None else asked_seconds
        if wanted is not None and has < wanted - _LOOSE:
            raise VeoIncompleteVideoError(
                f"The video may have been cut on the way: {has:.2f} s came of {wanted:g} s, and the file "
                "does not say where it ends."
            )

    def _seconds_of(self, track: Track) -> float:
        return (track.ticks + self._ticks.get(track.id, 0)) / track.timescale

    def _described(self, movie: Movie) -> Mp4Info:
        """Return what there is to see, or refuse what shows nothing."""
        picture = next((track for track in movie.tracks if track.kind == PICTURE), None)
        if picture is None:
            raise VeoIncompleteVideoError("The MP4 is no video: it has no video track.")
        if not picture.width or not picture.height:
            raise VeoIncompleteVideoError(
                f"The MP4 is damaged: its picture is {picture.width} x {picture.height} pixels."
            )
        if any(track.last_chunk >= self._media_end for track in movie.tracks):
            raise VeoIncompleteVideoError(
                f"The video is not whole: its index points beyond the {self._media_end} bytes of media."
            )
        seconds = self._seconds_of(picture)
        if not (movie.fragmented or self._fragments) and picture.last_chunk >= 0:
            seconds = movie.seconds or seconds
        if not 0 < seconds <= MAX_SECONDS:
            raise VeoIncompleteVideoError(f"The MP4 is damaged: its pictures last {seconds:.0f} s.")
        has_audio = any(track.kind == SOUND for track in movie.tracks)
        return Mp4Info(round(seconds, 3), picture.width, picture.height, has_audio)
