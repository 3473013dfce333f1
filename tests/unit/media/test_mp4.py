"""Parsing an MP4, with files that a real encoder wrote."""

import contextlib
import io
import re
import struct
import tracemalloc
from itertools import accumulate

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.media import videos
from support.media.refused_videos import REFUSED

from veo_provider.exceptions import VeoIncompleteVideoError
from veo_provider.media.mp4 import Mp4Parser


def encode(*, audio=True, flags="", target=None):
    """Return a 1-second clip of 320x180 as FFmpeg's muxer writes it."""
    target = target or io.BytesIO()
    with av.open(target, "w", format="mp4", options={"movflags": flags} if flags else {}) as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        sound = container.add_stream("aac", rate=44100) if audio else None
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame(320, 180, "yuv420p")))
        container.mux(video.encode())
        if sound:
            frame = av.AudioFrame("fltp", "mono", 1024)
            frame.sample_rate = 44100
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
            for number in range(43):
                frame.pts = number * 1024
                container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return target.getvalue() if isinstance(target, io.BytesIO) else target.read_bytes()


@pytest.fixture(scope="module")
def clip():
    return encode()


def parse(data, chunk=1000, expected=None, asked_seconds=None):
    parser = Mp4Parser()
    for start in range(0, len(data), chunk):
        parser.feed(data[start : start + chunk])
    return parser.finish(expected, asked_seconds=asked_seconds)


@pytest.mark.parametrize("chunk", [1, 7, 4096, 10**9])
def test_a_whole_file_is_described(clip, chunk):
    """Duration, size and audio are read, whatever the size of the chunks."""
    info = parse(clip, chunk, len(clip))
    assert (info.width, info.height, info.has_audio) == (320, 180, True)
    assert info.duration_seconds == pytest.approx(1.0, abs=0.05)


def test_a_silent_file_has_no_audio(clip):
    """A file without an audio track is described as such."""
    assert not parse(encode(audio=False)).has_audio


def test_an_index_in_front_is_read(tmp_path):
    """With the index in front, a cut file would still open: it is parsed all the same."""
    assert parse(encode(flags="faststart", target=tmp_path / "clip.mp4")).width == 320


@pytest.mark.parametrize("kind", videos.KINDS)
def test_each_awkward_video_is_described(kind):
    """It is complete with the length that the server declared, and without one if it declares its own end."""
    video = videos.awkward_video(kind)
    info = parse(video.data, 777, len(video.data), asked_seconds=videos.SECONDS)
    assert (info.width, info.height) == video.sides
    assert info.duration_seconds == pytest.approx(video.seconds, abs=0.05)
    if video.marked:
        assert parse(video.data, 777) == info
    else:
        with pytest.raises(VeoIncompleteVideoError):
            parse(video.data, 777)


@pytest.mark.parametrize(("kind", "make", "says"), [(kind, make, says) for kind, _, make, says in REFUSED])
def test_what_is_no_whole_video_is_refused(kind, make, says):
    """With its own length, as from a proxy that cached a part, and without one."""
    data = make()
    with pytest.raises(VeoIncompleteVideoError, match=re.escape(says)):
        parse(data, expected=len(data), asked_seconds=videos.SECONDS)
    with pytest.raises(VeoIncompleteVideoError):
        parse(data)


@pytest.mark.parametrize("kind", videos.KINDS)
def test_no_cut_of_an_awkward_video_goes_unseen(kind):
    """A cut at the end of a box, one byte before or after it, or anywhere else, shows itself."""
    video = videos.awkward_video(kind)
    ends = list(accumulate(len(whole) for _, whole in videos.boxes(video.data)))
    cuts = {end + by for end in ends[:: len(ends) // 20 + 1] + ends[-3:] for by in (-1, 0, 1)}
    cuts |= set(range(0, len(video.data), len(video.data) // 15))
    for cut in sorted(cut for cut in cuts if cut < len(video.data)):
        for promised in [len(video.data)] + [None] * (video.marked and cut < video.needed):
            with pytest.raises(VeoIncompleteVideoError):
                parse(video.data[:cut], 5000, promised)


def test_half_of_what_was_asked_for_is_not_whole():
    """Cut between two fragments, with a length from a proxy, it is shorter than requested."""
    whole = videos.unmarked()
    half = whole[: [at.start() for at in re.finditer(b"moof", whole)][2] - 4]
    assert parse(half, expected=len(half)).duration_seconds == pytest.approx(videos.SECONDS / 2, abs=0.01)
    with pytest.raises(VeoIncompleteVideoError, match=r"may be incomplete.*1\.00 s of 2 s arrived"):
        parse(half, expected=len(half), asked_seconds=videos.SECONDS)
    half = videos.with_length_in_header(half, 1000 * videos.SECONDS)
    with pytest.raises(VeoIncompleteVideoError, match=r"may be incomplete.*1\.00 s of 2 s arrived"):
        parse(half, expected=len(half))


def test_a_declared_length_is_held_against_what_came():
    """It counts more than the server's length, except for the fraction of a second that rounding may take."""
    for seconds, is_whole in [(videos.SECONDS + 0.3, True), (videos.SECONDS * 2, False)]:
        video = videos.with_declared_length(videos.unmarked(), seconds)
        if is_whole:
            assert parse(video, expected=len(video)).duration_seconds == videos.SECONDS
        with pytest.raises(VeoIncompleteVideoError, match="it declares"):
            parse(video, expected=None if is_whole else len(video))


def test_a_fragment_without_its_media_is_not_whole():
    """Whatever length the server declared."""
    whole = videos.unmarked()
    cut = whole[: whole.rindex(b"mdat") - 4]
    with pytest.raises(VeoIncompleteVideoError, match="last fragment has no media"):
        parse(cut, expected=len(cut))


def test_an_index_that_points_beyond_the_media_is_not_whole():
    """The index shows that a later part of the media is missing."""
    moved = videos.inside(videos.encode("faststart"), [b"mdat"], lambda mdat: videos.box(b"mdat"))
    moved += videos.box(b"free", bytes(9000))
    with pytest.raises(VeoIncompleteVideoError, match="points beyond"):
        parse(moved, expected=len(moved))


@pytest.mark.parametrize("ticks", [0, 2**32 - 1, 7200 * 1000], ids=["0", "all ones", "two hours"])
def test_a_length_that_says_nothing_is_told_by_the_frames(ticks):
    """A plain file whose header does not know its length still has its frames' durations."""
    video = videos.with_length_in_header(videos.encode("faststart"), ticks)
    assert parse(video, expected=len(video)).duration_seconds == videos.SECONDS


def _without_video_track(data):
    return videos.inside(
        data, [b"moov", b"trak", b"mdia", b"hdlr"], lambda hdlr: hdlr.replace(b"vide", b"text")
    )


def _without_size(data):
    return videos.inside(
        videos.without_size_in_track(data),
        [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"],
        lambda stsd: stsd[:48] + bytes(4) + stsd[52:],
    )


def _with_frame_ticks(data, ticks):
    table = videos.box(b"stts", struct.pack(">IIII", 0, 1, videos.SECONDS * videos.RATE, ticks))
    unknown = videos.with_length_in_header(data, 0)
    return videos.inside(unknown, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"], lambda _: table)


def _without_frames(data):
    table = videos.box(b"stco", bytes(8))
    without = videos.inside(data, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stco"], lambda _: table)
    return videos.inside(
        without,
        [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"],
        lambda _: videos.box(b"stts", bytes(8)),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_video_track, "no video track"),
        (_without_size, "0 x 0 pixels"),
        (lambda data: _with_frame_ticks(data, 0), "its video track lasts 0 s"),
        (_without_frames, "its video track lasts 0 s"),
        (lambda data: _with_frame_ticks(data, 2**31), "its video track lasts [0-9]{5,} s"),
    ],
)
def test_what_shows_nothing_is_no_video(change, said):
    """No video track, frames of no size, of no duration, or longer than any video."""
    video = change(videos.encode())  # with its index at the end, which may change its size
    with pytest.raises(VeoIncompleteVideoError, match=said):
        parse(video, expected=len(video))


def test_memory_does_not_grow_with_what_a_file_claims():
    """Neither boxes of 50,000 kinds, nor thousands of fragments, nor boxes within boxes are kept."""
    kinds = b"".join(struct.pack(">II", 8, number) for number in range(0x41414141, 0x41414141 + 50_000))
    whole = videos.unmarked()
    fragments = whole + whole[whole.index(b"moof") - 4 :] * 500
    nested = b""
    for _ in range(2000):
        nested = videos.box(b"moof", nested)
    made = (videos.encode() + kinds, fragments, videos.encode("faststart") + nested)
    tracemalloc.start()
    try:
        for data in made:
            with contextlib.suppress(VeoIncompleteVideoError):
                parse(data, 64 * 1024, len(data))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_cut_goes_unseen(clip, data):
    """A file cut anywhere is refused, with or without a length that the server declared."""
    cut = data.draw(st.integers(0, len(clip) - 1))
    for expected in (None, len(clip)):
        with pytest.raises(VeoIncompleteVideoError):
            parse(clip[:cut], 5000, expected)


def test_bytes_too_many_are_seen(clip):
    """More bytes than the server declared are refused too."""
    with pytest.raises(VeoIncompleteVideoError, match=r"incomplete: [0-9]+ of [0-9]+ bytes"):
        parse(clip, expected=len(clip) - 1)


@pytest.mark.parametrize("data", [b"<html><body>502</body></html>", b'{"url": "https://x"}', b"\0" * 64])
def test_what_is_no_mp4_is_refused_at_once(data):
    """A page, JSON or zeros are refused at the first box."""
    with pytest.raises(VeoIncompleteVideoError, match="not an MP4"):
        Mp4Parser().feed(data)


def test_an_empty_file_is_refused():
    """Zero bytes are not a video."""
    with pytest.raises(VeoIncompleteVideoError):
        parse(b"")


def test_large_sizes_and_padding_are_parsed(clip):
    """A 64-bit box size is understood, and padding boxes are skipped."""
    padded = clip + struct.pack(">I4sQ", 1, b"free", 16 + 5000) + bytes(5000)
    assert parse(padded, 777, len(padded)).width == 320


def test_a_box_that_runs_to_the_end_needs_the_server_to_say_where_that_is(clip):
    """Media declared to extend to the end of the file is complete only with a known length."""
    start = clip.index(b"mdat") - 4
    size = struct.unpack(">I", clip[start : start + 4])[0]
    moved = clip[:start] + clip[start + size :] + b"\0\0\0\0" + clip[start + 4 : start + size]
    assert parse(moved, expected=len(moved)).width == 320
    with pytest.raises(VeoIncompleteVideoError, match="may be incomplete"):
        parse(moved)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(videos.KINDS), position=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_damage_never_escapes_as_another_error(kind, position, byte):
    """A flipped byte gives a result or our error, and nothing else."""
    damaged = bytearray(videos.awkward_video(kind).data)
    damaged[position % len(damaged)] = byte
    for promised in (None, len(damaged)):
        with contextlib.suppress(VeoIncompleteVideoError):
            parse(bytes(damaged), 10**6, promised)


@pytest.mark.parametrize("kind", [b"moov", b"moof", b"sidx", b"mfra"])
def test_a_giant_index_is_refused_before_it_is_read(kind):
    """An index that claims gigabytes cannot fill the memory, nor can an endless one."""
    parser = Mp4Parser()
    with pytest.raises(VeoIncompleteVideoError, match="index claims"):
        parser.feed(struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 2**31, kind))
    parser = Mp4Parser()
    parser.feed(struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 0, kind))
    for _ in range(64):
        parser.feed(bytes(1024 * 1024))
    with pytest.raises(VeoIncompleteVideoError, match="index has more than"):
        parser.feed(b"one more")
