"""Awkward films, made when they are needed: MP4 files as encoders, gateways and proxies really write them."""

from __future__ import annotations

import functools
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS, RATE = 2, 10
WIDTH, HEIGHT = 64, 48
FRAGMENTED = "frag_keyframe+empty_moov"


@dataclass(frozen=True)
class Film:
    """A film, and what is known of it.

    :param kind: what is awkward about it.
    :param marked: whether the file itself says where it ends, so that a cut shows without a known length.
    :param needed: bytes before the padding at its end, which nobody misses.
    """

    kind: str
    data: bytes
    marked: bool
    needed: int


def box(kind: bytes, *body: bytes) -> bytes:
    data = b"".join(body)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and all bytes of each box that stands side by side; what is none at the end is one of its own."""
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        size = size or len(data)
        found.append((kind, data[at : at + size]))
        at += size
    return found


def inside(data: bytes, path: list[bytes], change: Callable[[bytes], bytes]) -> bytes:
    """The same boxes, the one at this path changed, and the sizes of those around it with it."""
    made = []
    for kind, whole in boxes(data):
        if kind != path[0]:
            made.append(whole)
        elif path[1:]:
            made.append(box(kind, inside(whole[8:], path[1:], change)))
        else:
            made.append(change(whole))
    return b"".join(made)


@functools.cache
def film(flags: str = "", *, sound: bool = False, seconds: int = SECONDS) -> bytes:
    """A film as FFmpeg's muxer writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"  # some flags need a file that is read again
        with av.open(str(path), "w", format="mp4", options={"movflags": flags} if flags else {}) as container:
            _write(container, seconds, sound=sound)
        return path.read_bytes()


def _write(container: av.container.OutputContainer, seconds: int, *, sound: bool) -> None:
    video = container.add_stream("libx264", rate=RATE)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    video.options = {"g": "5", "preset": "ultrafast"}
    tone = container.add_stream("aac", rate=44100) if sound else None
    for number in range(seconds * RATE):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([number]) * plane.buffer_size)
        container.mux(video.encode(frame))
    container.mux(video.encode())
    if tone is None:
        return
    frame = av.AudioFrame("fltp", "mono", 1024)
    frame.sample_rate = 44100
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    for number in range(43 * seconds):
        frame.pts = number * 1024
        container.mux(tone.encode(frame))
    container.mux(tone.encode())


def unmarked() -> bytes:
    """Fragments, and nothing that says which is the last: as what is streamed while it is made."""
    return film(f"{FRAGMENTED}+default_base_moof+skip_trailer")


def with_long_media_size() -> bytes:
    """The media's size in 64 bits, for which FFmpeg leaves room before it."""
    data = film()
    at = data.index(b"mdat") - 4
    assert data[at - 8 : at] == box(b"free")
    (size,) = struct.unpack_from(">I", data, at)
    return data[: at - 8] + struct.pack(">I4sQ", 1, b"mdat", size + 8) + data[at + 8 :]


def with_unknown_length(data: bytes) -> bytes:
    """The header in its 64-bit version, with a duration of all ones."""

    def change(mvhd: bytes) -> bytes:
        (timescale,) = struct.unpack_from(">I", mvhd, 8 + 12)
        times = struct.pack(">QQIQ", 0, 0, timescale, 2**64 - 1)
        return box(b"mvhd", b"\1\0\0\0", times, mvhd[8 + 20 :])

    return inside(data, [b"moov", b"mvhd"], change)


def with_length_in_header(data: bytes, ticks: int) -> bytes:
    """The header with this duration, in ticks of a thousandth of a second."""
    return inside(
        data, [b"moov", b"mvhd"], lambda mvhd: mvhd[:20] + struct.pack(">II", 1000, ticks) + mvhd[28:]
    )


def with_declared_length(data: bytes, seconds: float = SECONDS) -> bytes:
    """The length of all fragments, said in the index."""
    (mvhd,) = (whole for kind, whole in boxes(_body(data, b"moov")) if kind == b"mvhd")
    (timescale,) = struct.unpack_from(">I", mvhd, 8 + 12)
    mehd = box(b"mehd", struct.pack(">IQ", 1 << 24, round(seconds * timescale)))
    return inside(data, [b"moov", b"mvex"], lambda mvex: box(b"mvex", mehd, mvex[8:]))


def without_size_in_track(data: bytes) -> bytes:
    """The track's header with 0 x 0 pixels: some leave it to the samples' description."""
    return inside(data, [b"moov", b"trak", b"tkhd"], lambda tkhd: tkhd[:-8] + bytes(8))


def _body(data: bytes, kind: bytes) -> bytes:
    return next(whole[8:] for each, whole in boxes(data) if each == kind)


_KINDS: list[tuple[str, Callable[[], bytes], bool]] = [
    ("plain", film, True),
    ("with sound", lambda: film(sound=True), True),
    ("index in front", lambda: film("faststart"), True),
    ("64-bit size", with_long_media_size, True),
    ("padding behind", lambda: film() + box(b"free", bytes(5000)) + box(b"uuid", bytes(40)), True),
    ("padding in front", lambda: with_long_media_size() + box(b"skip"), True),
    ("garbage behind", lambda: film() + b"\r\n--boundary--\r\n", False),
    ("zeros behind", lambda: film("faststart") + bytes(99), False),
    ("first fragment in the index", lambda: film("frag_keyframe"), True),
    ("fragments with an end", lambda: film(FRAGMENTED), True),
    ("fragments with sound", lambda: film(FRAGMENTED, sound=True), True),
    ("each frame a fragment", lambda: film("frag_every_frame+empty_moov", sound=True), True),
    ("fragments of one track each", lambda: film(f"{FRAGMENTED}+separate_moof", sound=True), True),
    ("smooth streaming", lambda: film("isml+frag_keyframe"), True),
    ("CMAF", lambda: film("cmaf+frag_keyframe"), True),
    ("DASH, indexed as a whole", lambda: film("dash+global_sidx+skip_trailer+frag_keyframe"), True),
    ("DASH, indexed by segment", lambda: film("dash+skip_trailer+frag_keyframe"), False),
    ("hybrid", lambda: film("hybrid_fragmented+frag_keyframe"), True),
    ("no end", unmarked, False),
    ("no end, length of all ones", lambda: with_unknown_length(unmarked()), False),
    ("no end, declared length", lambda: with_declared_length(unmarked()), True),
    ("no end, length in the header", lambda: with_length_in_header(unmarked(), 1000 * SECONDS), False),
    ("no size in the track", lambda: without_size_in_track(film("faststart")), True),
]
KINDS = [kind for kind, *_ in _KINDS]


@functools.cache
def awkward_film(kind: str) -> Film:
    """Return one film."""
    make, marked = next(rest for name, *rest in _KINDS if name == kind)
    data = make()
    found = boxes(data)
    while found and found[-1][0] in (b"free", b"skip", b"uuid"):
        found.pop()
    return Film(kind, data, marked, sum(len(whole) for _, whole in found))
