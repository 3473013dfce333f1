"""Awkward videos, made when they are needed: MP4 files as encoders, gateways and proxies write them."""

from __future__ import annotations

import functools
import itertools
import struct
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS, RATE = 2, 10
WIDTH, HEIGHT = 64, 48
FRAGMENTED = "frag_keyframe+empty_moov"


@dataclass(frozen=True)
class Video:
    """A video, and what is known of it.

    :param kind: what is awkward about it.
    :param marked: whether the file itself says where it ends, so that a cut shows without a known length.
    :param needed: bytes before the padding at its end, which nobody misses.
    :param seconds: how long it is.
    :param sides: its width and height, as it is shown.
    """

    kind: str
    data: bytes
    marked: bool
    needed: int
    seconds: float
    sides: tuple[int, int]


def box(kind: bytes, *body: bytes) -> bytes:
    data = b"".join(body)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """The type and all bytes of each top-level box; anything else at the end is one more."""
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
def encode(
    flags: str = "",
    *,
    sound: bool = False,
    frames: bool = True,
    seconds: int = SECONDS,
    form: str = "mp4",
    rates: tuple[int, ...] = (1,),
    codec: str = "aac",
    **options: str,
) -> bytes:
    """A video as FFmpeg's muxer writes it.

    :param form: which of its muxers.
    :param rates: for how many frames each frame stands, in turn.
    """
    settings = {**({"movflags": flags} if flags else {}), **options}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"  # some flags need a file that is read again
        with av.open(str(path), "w", format=form, options=settings) as container:
            # All streams are made before the first frame is written.
            video = _video_stream(container) if frames else None
            tone = container.add_stream(codec, rate=44100, layout="mono") if sound else None
            if video is not None:
                _encode_frames(container, video, seconds, rates)
            if tone is not None:
                _sound(container, tone, seconds)
        return path.read_bytes()


def _video_stream(container: av.container.OutputContainer) -> av.VideoStream:
    video = container.add_stream("libx264", rate=RATE)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    video.options = {"g": "5", "preset": "ultrafast"}
    return video


def _encode_frames(
    container: av.container.OutputContainer, video: av.VideoStream, seconds: int, rates: tuple[int, ...]
) -> None:
    number, each = 0, itertools.cycle(rates)
    while number < seconds * RATE:
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([number]) * plane.buffer_size)
        if rates != (1,):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
        container.mux(video.encode(frame))
        number += next(each)
    container.mux(video.encode())


def _sound(container: av.container.OutputContainer, tone: av.AudioStream, seconds: int) -> None:
    form = "s16" if tone.codec.name.startswith("pcm") else "fltp"
    frame = av.AudioFrame(form, "mono", 1024)
    frame.sample_rate = 44100
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    for number in range(43 * seconds):
        frame.pts = number * 1024
        container.mux(tone.encode(frame))
    container.mux(tone.encode())


def unmarked() -> bytes:
    """Fragments without a mark of the last one, as in a live stream."""
    return encode(f"{FRAGMENTED}+default_base_moof+skip_trailer")


def with_long_media_size() -> bytes:
    """The media's size in 64 bits, for which FFmpeg leaves room before it."""
    data = encode()
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
    """The duration of all fragments, declared in the index."""
    (mvhd,) = (whole for kind, whole in boxes(_body(data, b"moov")) if kind == b"mvhd")
    (timescale,) = struct.unpack_from(">I", mvhd, 8 + 12)
    mehd = box(b"mehd", struct.pack(">IQ", 1 << 24, round(seconds * timescale)))
    return inside(data, [b"moov", b"mvex"], lambda mvex: box(b"mvex", mehd, mvex[8:]))


def without_size_in_track(data: bytes) -> bytes:
    """The track's header with 0 x 0 pixels: some leave it to the samples' description."""
    return inside(data, [b"moov", b"trak", b"tkhd"], lambda tkhd: tkhd[:-8] + bytes(8))


def _body(data: bytes, kind: bytes) -> bytes:
    return next(whole[8:] for each, whole in boxes(data) if each == kind)


def moved(data: bytes, by: int) -> bytes:
    """The same index for media that is so many bytes further on."""

    def change(stco: bytes) -> bytes:
        (count,) = struct.unpack_from(">I", stco, 12)
        places = struct.unpack_from(f">{count}I", stco, 16)
        return stco[:16] + struct.pack(f">{count}I", *(place + by for place in places))

    return inside(data, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stco"], change)


def without_file_type() -> bytes:
    """As older QuickTime files are, which have no file type."""
    data = encode()
    first = boxes(data)[0][1]
    return moved(data, -len(first))[len(first) :]


def media_first() -> bytes:
    """The media before the file type."""
    first, free, mdat, moov = (whole for _, whole in boxes(encode()))
    return moved(free + mdat + first + moov, -len(first))


def media_to_the_end() -> bytes:
    """The media last, with a size of 0: it extends to the end of the file."""
    data = encode("faststart")
    at = data.index(b"mdat") - 4
    return data[:at] + bytes(4) + data[at + 4 :]


def with_edit_list(data: bytes, ticks: int = 2500) -> bytes:
    """A track that is shown after half a second of nothing, and a header that counts it in."""
    edits = struct.pack(">IIIiIIiI", 0, 2, 500, -1, 0x10000, 2000, 0, 0x10000)
    edts = box(b"edts", box(b"elst", edits))

    def change(trak: bytes) -> bytes:
        kept = b"".join(whole for kind, whole in boxes(trak[8:]) if kind != b"edts")
        return box(b"trak", edts, kept)

    return with_length_in_header(inside(data, [b"moov", b"trak"], change), ticks)


def rotated(data: bytes) -> bytes:
    """Frames that are rotated by a quarter turn when they are shown, as phones write them."""
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    return inside(data, [b"moov", b"trak", b"tkhd"], lambda tkhd: tkhd[:-44] + quarter + tkhd[-8:])


def with_large_index(data: bytes) -> bytes:
    """The index with its size in 64 bits."""
    index = _body(data, b"moov")
    large = struct.pack(">I4sQ", 1, b"moov", 16 + len(index)) + index
    return b"".join(large if kind == b"moov" else whole for kind, whole in boxes(data))


def twice(data: bytes, kind: bytes) -> bytes:
    """A box twice."""
    return b"".join(whole * (1 + (each == kind)) for each, whole in boxes(data))


def with_zeros_in_user_data(data: bytes) -> bytes:
    """User data that end with four zeros, as QuickTime has them."""
    return inside(data, [b"moov"], lambda moov: box(b"moov", moov[8:], box(b"udta", bytes(4))))


def with_long_handler(data: bytes) -> bytes:
    """A track's handler with more bytes after the end of its name."""
    return inside(data, [b"moov", b"trak", b"mdia", b"hdlr"], lambda hdlr: box(b"hdlr", hdlr[8:], b"\0more"))


INDEXED = "dash+global_sidx+skip_trailer+frag_keyframe"
KEY = {"encryption_key": "00" * 16, "encryption_kid": "11" * 16}
_KINDS: list[tuple[str, Callable[[], bytes], bool]] = [
    ("plain", encode, True),
    ("with sound", lambda: encode(sound=True), True),
    ("index first", lambda: encode("faststart"), True),
    ("64-bit size", with_long_media_size, True),
    ("padding at the end", lambda: encode() + box(b"free", bytes(5000)) + box(b"uuid", bytes(40)), True),
    ("padding at the start", lambda: with_long_media_size() + box(b"skip"), True),
    ("garbage at the end", lambda: encode() + b"\r\n--boundary--\r\n", False),
    ("zeros at the end", lambda: encode("faststart") + bytes(99), False),
    ("first fragment in the index", lambda: encode("frag_keyframe"), True),
    ("fragments with an end", lambda: encode(FRAGMENTED), True),
    ("fragments with sound", lambda: encode(FRAGMENTED, sound=True), True),
    ("each frame a fragment", lambda: encode("frag_every_frame+empty_moov", sound=True), True),
    ("fragments of one track each", lambda: encode(f"{FRAGMENTED}+separate_moof", sound=True), True),
    ("smooth streaming", lambda: encode("isml+frag_keyframe"), True),
    ("CMAF", lambda: encode("cmaf+frag_keyframe"), True),
    ("DASH, indexed as a whole", lambda: encode(INDEXED), True),
    ("DASH, indexed by segment", lambda: encode("dash+skip_trailer+frag_keyframe"), False),
    ("hybrid", lambda: encode("hybrid_fragmented+frag_keyframe"), True),
    ("no end", unmarked, False),
    ("no end, length of all ones", lambda: with_unknown_length(unmarked()), False),
    ("no end, declared length", lambda: with_declared_length(unmarked()), True),
    ("no end, length in the header", lambda: with_length_in_header(unmarked(), 1000 * SECONDS), False),
    ("no end, declared too short", lambda: with_declared_length(unmarked(), 0.5), False),
    ("no size in the track", lambda: without_size_in_track(encode("faststart")), True),
    ("plain, length of all ones", lambda: with_unknown_length(encode()), True),
    ("plain, length of 0", lambda: with_length_in_header(encode("faststart"), 0), True),
    ("QuickTime", lambda: encode(form="mov", sound=True), True),
    ("QuickTime with a time code", lambda: encode(form="mov", write_tmcd="1"), True),
    ("QuickTime with PCM", lambda: encode(form="mov", sound=True, codec="pcm_s16le"), True),
    ("QuickTime without a file type", without_file_type, True),
    ("zeros in the user data", lambda: with_zeros_in_user_data(encode()), True),
    ("long handler", lambda: with_long_handler(encode()), True),
    ("3GP", lambda: encode(form="3gp"), True),
    ("for iPods", lambda: encode(form="ipod", sound=True), True),
    ("ISMV", lambda: encode(form="ismv"), True),
    ("negative composition offsets", lambda: encode("negative_cts_offsets"), True),
    ("negative offsets in fragments", lambda: encode(f"{FRAGMENTED}+negative_cts_offsets"), True),
    ("index after the first fragment", lambda: encode("frag_keyframe+delay_moov", sound=True), True),
    ("no base offset", lambda: encode(f"{FRAGMENTED}+omit_tfhd_offset"), True),
    ("DASH and CMAF", lambda: encode("dash+cmaf", sound=True), True),
    ("fragments by time", lambda: encode("empty_moov", frag_duration="300000"), True),
    ("hint tracks", lambda: encode("rtphint", sound=True), True),
    ("encrypted", lambda: encode(encryption_scheme="cenc-aes-ctr", **KEY), True),
    ("variable frame rate", lambda: encode(rates=(1, 3, 2)), True),
    ("edit list", lambda: with_edit_list(encode()), True),
    ("turned", lambda: rotated(encode()), True),
    ("media before the file type", media_first, True),
    ("media to the end of the file", media_to_the_end, False),
    ("index of a 64-bit size", lambda: with_large_index(encode()), True),
    ("two indexes", lambda: twice(encode(), b"moov"), True),
    ("room for the index", lambda: encode(moov_size="5000"), True),
]
"""Kind, how it is made, and whether it declares its own end: others are stored only with a known length."""
KINDS = [kind for kind, *_ in _KINDS]
REPORTS = {
    "media to the end of the file": "https://github.com/taglib/taglib/issues/746",
    "long handler": "https://github.com/kixelated/mp4-atom/issues/65",
    "QuickTime with PCM": "https://github.com/immich-app/immich/issues/31475",
    "garbage at the end": "https://github.com/Borewit/music-metadata/pull/319",
    "turned": "https://github.com/Zulko/moviepy/issues/2356",
}
"""Who has reported which of these kinds."""
_SECONDS = {"edit list": 2.5}
_SIDES = {"turned": (HEIGHT, WIDTH)}


@functools.cache
def awkward_video(kind: str) -> Video:
    """Return one video."""
    make, marked = next(rest for name, *rest in _KINDS if name == kind)
    data = make()
    found = boxes(data)
    while found and (found[-1][0] in (b"free", b"skip", b"uuid") or found[-1] in found[:-1]):
        found.pop()
    needed = sum(len(whole) for _, whole in found)
    return Video(kind, data, marked, needed, _SECONDS.get(kind, SECONDS), _SIDES.get(kind, (WIDTH, HEIGHT)))
