"""What the boxes of an MP4 say: its tracks, its fragments, and where it ends (ISO/IEC 14496-12).

Everything here reads bytes that are in memory already and copies none of them. No function calls itself, so
that boxes within boxes go no deeper than the path to a sample table. What cannot be read raises
:class:`ValueError`, :class:`KeyError` or :class:`struct.error`: the caller calls it damage.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEADER, LARGE_HEADER = 8, 16
PICTURE, SOUND = b"vide", b"soun"
MAX_SECONDS = 3600.0
"""No clip is longer: what says so says nothing."""
_UNKNOWN = (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
"""Durations that mean "not known": all ones by the standard, 0 by those who write before they know."""
_DATA_OFFSET, _FIRST_FLAGS, _OWN_DURATION = 0x1, 0x4, 0x100
_SAMPLE_FIELDS = (0x100, 0x200, 0x400, 0x800)
_BASE_OFFSET, _DESCRIPTION, _DEFAULT_DURATION = 0x1, 0x2, 0x8


@dataclass(frozen=True)
class Track:
    """A track with pictures or sound.

    :param id: by which fragments name it.
    :param kind: :data:`PICTURE` or :data:`SOUND`.
    :param timescale: ticks per second.
    :param width: pixels; 0 for sound.
    :param height: pixels; 0 for sound.
    :param ticks: how long those of its samples are that the index itself lists.
    :param last_chunk: where in the file the last of these begins; -1 where there is none.
    :param sample_ticks: how long a sample of a fragment is that does not say so.
    """

    id: int
    kind: bytes
    timescale: int
    width: int
    height: int
    ticks: int
    last_chunk: int
    sample_ticks: int = 0


@dataclass(frozen=True)
class Movie:
    """What an index (``moov``) says.

    :param tracks: those with pictures or sound.
    :param fragmented: whether it announces fragments.
    :param seconds: length by its header (``mvhd``); None where that does not know, or is absurd.
    :param whole_seconds: length with all fragments (``mehd``); None where it does not say.
    """

    tracks: tuple[Track, ...]
    fragmented: bool
    seconds: float | None
    whole_seconds: float | None


@dataclass(frozen=True)
class Part:
    """What one fragment adds to a track.

    :param track: its id.
    :param samples: how many.
    :param ticks: how long they are together. Some write 0 for one whose successor they do not know yet.
    :param begin: ticks of the track before them (``tfdt``); None where it does not say.
    """

    track: int
    samples: int
    ticks: int
    begin: int | None


@dataclass(frozen=True)
class SegmentIndex:
    """What a segment index (``sidx``) says.

    :param bytes: how far after its own end the last of its subsegments ends.
    :param references: how many there are.
    """

    bytes: int
    references: int


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and body of the boxes that stand side by side in these bytes."""
    start = 0
    while start < len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        header_bytes = HEADER
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + HEADER)
            header_bytes = LARGE_HEADER
        size = size or len(data) - start
        if size < header_bytes or start + size > len(data):
            raise ValueError("a box is larger than the one that holds it")
        yield kind, data[start + header_bytes : start + size]
        start += size


def read_movie(moov: memoryview) -> Movie:
    """Return what an index says."""
    found = dict(boxes(moov))
    mvex = list(boxes(found.get(b"mvex", memoryview(b""))))
    defaults = dict(struct.unpack_from(">4xI4xI", body) for kind, body in mvex if kind == b"trex")
    tracks = [_read_track(body, defaults) for kind, body in boxes(moov) if kind == b"trak"]
    timescale, duration = _times(found[b"mvhd"])
    whole = next((_long_or_short(body, 4) for kind, body in mvex if kind == b"mehd"), 0)
    return Movie(
        tracks=tuple(track for track in tracks if track is not None),
        fragmented=b"mvex" in found,
        seconds=_seconds(duration, timescale),
        whole_seconds=_seconds(whole, timescale),
    )


def _read_track(trak: memoryview, defaults: Mapping[int, int]) -> Track | None:
    """Return a track with pictures or sound; of others (subtitles, metadata) nothing is needed."""
    parts = dict(boxes(trak))
    media = dict(boxes(parts[b"mdia"]))
    kind = bytes(media[b"hdlr"][8:12])
    if kind not in (PICTURE, SOUND):
        return None
    samples = dict(boxes(dict(boxes(media[b"minf"]))[b"stbl"]))
    header = parts[b"tkhd"]
    (track_id,) = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)
    timescale, _ = _times(media[b"mdhd"])
    width, height = _dimensions(header, samples[b"stsd"]) if kind == PICTURE else (0, 0)
    ticks = sum(count * each for count, each in _rows(">II", samples[b"stts"]))
    # Offsets have 32 bits in the one box and 64 in the other.
    offsets = _rows(">Q", samples[b"co64"]) if b"co64" in samples else _rows(">I", samples[b"stco"])
    last_chunk = max((offset for (offset,) in offsets), default=-1)
    return Track(track_id, kind, timescale, width, height, ticks, last_chunk, defaults.get(track_id, 0))


def _dimensions(tkhd: memoryview, stsd: memoryview) -> tuple[int, int]:
    """Return pixels as they are shown; where the track's header leaves that out, as they are stored."""
    width, height = (side >> 16 for side in struct.unpack(">II", tkhd[-8:]))
    if not (width and height):
        width, height = struct.unpack_from(">HH", stsd, 40)
    across, down = struct.unpack(">ii", tkhd[-44:-36])
    is_turned = down and not across
    return (height, width) if is_turned else (width, height)


def _rows(layout: str, table: memoryview) -> Iterator[tuple[int, ...]]:
    """Yield the rows of a table that says first how many there are."""
    (count,) = struct.unpack_from(">4xI", table)
    rows = table[8 : 8 + count * struct.calcsize(layout)]
    if len(rows) < count * struct.calcsize(layout):
        raise ValueError("a table is shorter than it says")
    return struct.iter_unpack(layout, rows)


def _times(header: memoryview) -> tuple[int, int]:
    """Return timescale and duration: 32-bit times in version 0 of a header, 64-bit times in version 1."""
    layout, start = (">IQ", 20) if header[0] == 1 else (">II", 12)
    timescale, duration = struct.unpack_from(layout, header, start)
    if not timescale:
        raise ValueError("the timescale is 0")
    return timescale, duration


def _long_or_short(box: memoryview, start: int) -> int:
    (number,) = struct.unpack_from(">Q" if box[0] == 1 else ">I", box, start)
    return int(number)


def _seconds(duration: int, timescale: int) -> float | None:
    seconds = duration / timescale
    return None if duration in _UNKNOWN or seconds > MAX_SECONDS else seconds


def read_fragment(moof: memoryview, movie: Movie) -> list[Part]:
    """Return what a fragment (``moof``) adds to which tracks."""
    defaults = {track.id: track.sample_ticks for track in movie.tracks}
    return [_read_part(traf, defaults) for kind, traf in boxes(moof) if kind == b"traf"]


def _read_part(traf: memoryview, defaults: Mapping[int, int]) -> Part:
    parts = list(boxes(traf))
    found = dict(parts)
    track_id, default = _track_fragment(found[b"tfhd"], defaults)
    runs = [_read_run(body, default) for name, body in parts if name == b"trun"]
    begin = _long_or_short(found[b"tfdt"], 4) if b"tfdt" in found else None
    return Part(track_id, sum(samples for samples, _ in runs), sum(ticks for _, ticks in runs), begin)


def _track_fragment(tfhd: memoryview, defaults: Mapping[int, int]) -> tuple[int, int]:
    """Return the track of a fragment, and how long a sample of it is that does not say so."""
    flags, track_id = struct.unpack_from(">II", tfhd)
    if not flags & _DEFAULT_DURATION:
        return track_id, defaults.get(track_id, 0)
    start = 8 + 8 * bool(flags & _BASE_OFFSET) + 4 * bool(flags & _DESCRIPTION)
    (default,) = struct.unpack_from(">I", tfhd, start)
    return track_id, default


def _read_run(trun: memoryview, default: int) -> tuple[int, int]:
    """Return how many samples a run has, and how long they are."""
    flags, count = struct.unpack_from(">II", trun)
    start = 8 + 4 * bool(flags & _DATA_OFFSET) + 4 * bool(flags & _FIRST_FLAGS)
    row = 4 * sum(bool(flags & field) for field in _SAMPLE_FIELDS)
    if len(trun) < start + count * row:
        raise ValueError("a run is shorter than it says")
    if not flags & _OWN_DURATION:
        return count, count * default
    durations = struct.iter_unpack(f">I{row - 4}x", trun[start : start + count * row])
    return count, sum(ticks for (ticks,) in durations)


def read_segment_index(sidx: memoryview) -> SegmentIndex:
    """Return how far a segment index reaches."""
    layout, start = (">QQ2xH", 12) if sidx[0] == 1 else (">II2xH", 12)
    _, first_offset, count = struct.unpack_from(layout, sidx, start)
    start += struct.calcsize(layout)
    rows = sidx[start : start + 12 * count]
    if len(rows) < 12 * count:
        raise ValueError("a segment index is shorter than it says")
    # The highest bit tells whether it is an index itself; the size is that of all below it.
    sizes = (size & 0x7FFFFFFF for (size,) in struct.iter_unpack(">I8x", rows))
    return SegmentIndex(first_offset + sum(sizes), count)


def is_end_of_fragments(mfra: memoryview, header_bytes: int) -> bool:
    """Whether this is the box at the end of all fragments: empty, or with its own length at its end."""
    if not mfra:
        return True
    last = list(boxes(mfra))[-1:]
    if not last or last[0][0] != b"mfro":
        return False
    (length,) = struct.unpack_from(">4xI", last[0][1])
    return bool(length == len(mfra) + header_bytes)
