"""Reads the boxes of an MP4: its tracks, its fragments, and where it ends (ISO/IEC 14496-12).

All functions read bytes that are already in memory, and copy none of them. None is recursive: nested boxes
are read no deeper than the path to a sample table. What cannot be read raises :class:`ValueError`,
:class:`KeyError` or :class:`struct.error`, which the caller reports as damage.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEADER, LARGE_HEADER = 8, 16
VIDEO, AUDIO = b"vide", b"soun"
MAX_SECONDS = 3600.0
"""No video is longer: a longer duration is treated as unknown."""
_UNKNOWN = (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
"""Durations that mean "unknown": all ones by the standard, 0 by programs that write it before they know."""
_DATA_OFFSET, _FIRST_FLAGS, _OWN_DURATION = 0x1, 0x4, 0x100
_SAMPLE_FIELDS = (0x100, 0x200, 0x400, 0x800)
_BASE_OFFSET, _DESCRIPTION, _DEFAULT_DURATION = 0x1, 0x2, 0x8


@dataclass(frozen=True)
class Track:
    """A video or audio track.

    :param id: by which fragments refer to it.
    :param kind: :data:`VIDEO` or :data:`AUDIO`.
    :param timescale: ticks per second.
    :param width: pixels; 0 for audio.
    :param height: pixels; 0 for audio.
    :param ticks: total duration of the samples in the index itself.
    :param last_chunk: offset in the file of the last of these samples; -1 if there are none.
    :param sample_ticks: default duration of a sample in a fragment.
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
class Index:
    """The index of an MP4 (``moov``).

    :param tracks: its video and audio tracks.
    :param is_fragmented: whether it announces fragments.
    :param seconds: duration in its header (``mvhd``); None if that is unknown or absurd.
    :param total_seconds: duration with all fragments (``mehd``); None if it is not declared.
    """

    tracks: tuple[Track, ...]
    is_fragmented: bool
    seconds: float | None
    total_seconds: float | None


@dataclass(frozen=True)
class TrackFragment:
    """What one fragment adds to a track.

    :param track: the track's id.
    :param samples: number of samples.
    :param ticks: their total duration. Some programs write 0 for a sample whose successor is not known yet.
    :param start: ticks of the track before them (``tfdt``); None if it is not declared.
    """

    track: int
    samples: int
    ticks: int
    start: int | None


@dataclass(frozen=True)
class SegmentIndex:
    """A segment index (``sidx``).

    :param bytes: from its own end to the end of its last subsegment.
    :param references: number of subsegments.
    """

    bytes: int
    references: int


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the type and body of each top-level box in these bytes."""
    start = 0
    while start < len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        header_bytes = HEADER
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + HEADER)
            header_bytes = LARGE_HEADER
        size = size or len(data) - start
        if size < header_bytes or start + size > len(data):
            raise ValueError("a box is larger than the one that contains it")
        yield kind, data[start + header_bytes : start + size]
        start += size


def read_index(moov: memoryview) -> Index:
    """Return the index in a ``moov`` box."""
    found = dict(boxes(moov))
    mvex = list(boxes(found.get(b"mvex", memoryview(b""))))
    defaults = dict(struct.unpack_from(">4xI4xI", body) for kind, body in mvex if kind == b"trex")
    tracks = [_read_track(body, defaults) for kind, body in boxes(moov) if kind == b"trak"]
    timescale, duration = _times(found[b"mvhd"])
    total = next((_long_or_short(body, 4) for kind, body in mvex if kind == b"mehd"), 0)
    return Index(
        tracks=tuple(track for track in tracks if track is not None),
        is_fragmented=b"mvex" in found,
        seconds=_seconds(duration, timescale),
        total_seconds=_seconds(total, timescale),
    )


def _read_track(trak: memoryview, defaults: Mapping[int, int]) -> Track | None:
    """Return a video or audio track; None for other kinds (subtitles, metadata)."""
    parts = dict(boxes(trak))
    media = dict(boxes(parts[b"mdia"]))
    kind = bytes(media[b"hdlr"][8:12])
    if kind not in (VIDEO, AUDIO):
        return None
    samples = dict(boxes(dict(boxes(media[b"minf"]))[b"stbl"]))
    header = parts[b"tkhd"]
    (track_id,) = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)
    timescale, _ = _times(media[b"mdhd"])
    width, height = _dimensions(header, samples[b"stsd"]) if kind == VIDEO else (0, 0)
    ticks = sum(count * each for count, each in _rows(">II", samples[b"stts"]))
    # stco has offsets of 32 bits, co64 of 64.
    offsets = _rows(">Q", samples[b"co64"]) if b"co64" in samples else _rows(">I", samples[b"stco"])
    last_chunk = max((offset for (offset,) in offsets), default=-1)
    return Track(track_id, kind, timescale, width, height, ticks, last_chunk, defaults.get(track_id, 0))


def _dimensions(tkhd: memoryview, stsd: memoryview) -> tuple[int, int]:
    """Return the size as shown or, if the track's header does not have it, as stored."""
    width, height = (side >> 16 for side in struct.unpack(">II", tkhd[-8:]))
    if not (width and height):
        width, height = struct.unpack_from(">HH", stsd, 40)
    across, down = struct.unpack(">ii", tkhd[-44:-36])
    is_rotated = down and not across
    return (height, width) if is_rotated else (width, height)


def _rows(layout: str, table: memoryview) -> Iterator[tuple[int, ...]]:
    """Yield the rows of a table that starts with their number."""
    (count,) = struct.unpack_from(">4xI", table)
    rows = table[8 : 8 + count * struct.calcsize(layout)]
    if len(rows) < count * struct.calcsize(layout):
        raise ValueError("a table is shorter than it declares")
    return struct.iter_unpack(layout, rows)


def _times(header: memoryview) -> tuple[int, int]:
    """Return the timescale and duration: of 32 bits in version 0 of a header, of 64 bits in version 1."""
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


def read_fragment(moof: memoryview, index: Index) -> list[TrackFragment]:
    """Return what a fragment (``moof``) adds to each of its tracks."""
    defaults = {track.id: track.sample_ticks for track in index.tracks}
    return [_read_track_fragment(traf, defaults) for kind, traf in boxes(moof) if kind == b"traf"]


def _read_track_fragment(traf: memoryview, defaults: Mapping[int, int]) -> TrackFragment:
    parts = list(boxes(traf))
    found = dict(parts)
    track_id, default = _read_fragment_header(found[b"tfhd"], defaults)
    runs = [_read_run(body, default) for name, body in parts if name == b"trun"]
    start = _long_or_short(found[b"tfdt"], 4) if b"tfdt" in found else None
    samples, ticks = sum(count for count, _ in runs), sum(each for _, each in runs)
    return TrackFragment(track_id, samples, ticks, start)


def _read_fragment_header(tfhd: memoryview, defaults: Mapping[int, int]) -> tuple[int, int]:
    """Return the track of a fragment, and the default duration of its samples."""
    flags, track_id = struct.unpack_from(">II", tfhd)
    if not flags & _DEFAULT_DURATION:
        return track_id, defaults.get(track_id, 0)
    start = 8 + 8 * bool(flags & _BASE_OFFSET) + 4 * bool(flags & _DESCRIPTION)
    (default,) = struct.unpack_from(">I", tfhd, start)
    return track_id, default


def _read_run(trun: memoryview, default: int) -> tuple[int, int]:
    """Return the number of samples in a run, and their total duration."""
    flags, count = struct.unpack_from(">II", trun)
    start = 8 + 4 * bool(flags & _DATA_OFFSET) + 4 * bool(flags & _FIRST_FLAGS)
    row = 4 * sum(bool(flags & field) for field in _SAMPLE_FIELDS)
    if len(trun) < start + count * row:
        raise ValueError("a run is shorter than it declares")
    if not flags & _OWN_DURATION:
        return count, count * default
    durations = struct.iter_unpack(f">I{row - 4}x", trun[start : start + count * row])
    return count, sum(ticks for (ticks,) in durations)


def read_segment_index(sidx: memoryview) -> SegmentIndex:
    """Return the segment index in a ``sidx`` box."""
    layout, start = (">QQ2xH", 12) if sidx[0] == 1 else (">II2xH", 12)
    _, first_offset, count = struct.unpack_from(layout, sidx, start)
    start += struct.calcsize(layout)
    rows = sidx[start : start + 12 * count]
    if len(rows) < 12 * count:
        raise ValueError("a segment index is shorter than it declares")
    # The highest bit marks a reference to another index; the size includes all that this one covers.
    sizes = (size & 0x7FFFFFFF for (size,) in struct.iter_unpack(">I8x", rows))
    return SegmentIndex(first_offset + sum(sizes), count)


def is_end_of_fragments(mfra: memoryview, header_bytes: int) -> bool:
    """Whether this is the box after the last fragment: it is empty, or ends with its own length."""
    if not mfra:
        return True
    last = list(boxes(mfra))[-1:]
    if not last or last[0][0] != b"mfro":
        return False
    (length,) = struct.unpack_from(">4xI", last[0][1])
    return bool(length == len(mfra) + header_bytes)
