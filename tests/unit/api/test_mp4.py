"""The walk over an MP4, with files that a real encoder wrote."""

import contextlib
import io
import re
import struct
import tracemalloc
from itertools import accumulate

import av
import films
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refused_films import REFUSED

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


def walk(data, chunk=1000, expected=None, asked_seconds=None):
    walker = Mp4Parser()
    for start in range(0, len(data), chunk):
        walker.feed(data[start : start + chunk])
    return walker.finish(expected, asked_seconds=asked_seconds)


@pytest.mark.parametrize("chunk", [1, 7, 4096, 10**9])
def test_a_whole_file_is_described(clip, chunk):
    """Length, size and sound are read, however the bytes come."""
    info = walk(clip, chunk, len(clip))
    assert (info.width, info.height, info.has_audio) == (320, 180, True)
    assert info.duration_seconds == pytest.approx(1.0, abs=0.05)


def test_a_silent_file_is_told(clip):
    """A file without a sound track says so."""
    assert not walk(encode(audio=False)).has_audio


def test_an_index_in_front_is_read(tmp_path):
    """With the index in front, a cut file would still open: the walk reads it all the same."""
    assert walk(encode(flags="faststart", target=tmp_path / "clip.mp4")).width == 320


@pytest.mark.parametrize("kind", films.KINDS)
def test_each_awkward_film_is_described(kind):
    """Whole, it is taken with the length that the server promised, and without one if it says its end."""
    film = films.awkward_film(kind)
    info = walk(film.data, 777, len(film.data), asked_seconds=films.SECONDS)
    assert (info.width, info.height) == film.sides
    assert info.duration_seconds == pytest.approx(film.seconds, abs=0.05)
    if film.marked:
        assert walk(film.data, 777) == info
    else:
        with pytest.raises(VeoIncompleteVideoError):
            walk(film.data, 777)


@pytest.mark.parametrize(("kind", "make", "says"), [(kind, make, says) for kind, _, make, says in REFUSED])
def test_what_is_no_whole_film_is_refused(kind, make, says):
    """With a length that is its own, as a proxy gives it that kept a part, and without one."""
    data = make()
    with pytest.raises(VeoIncompleteVideoError, match=re.escape(says)):
        walk(data, expected=len(data), asked_seconds=films.SECONDS)
    with pytest.raises(VeoIncompleteVideoError):
        walk(data)


@pytest.mark.parametrize("kind", films.KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_cut_of_an_awkward_film_goes_unseen(kind, data):
    """A cut anywhere, and between any two boxes above all, is seen by the promised length or by the file."""
    film = films.awkward_film(kind)
    between = list(accumulate(len(whole) for _, whole in films.boxes(film.data)))[:-1]
    cut = data.draw(st.sampled_from(between) | st.integers(0, len(film.data) - 1))
    for promised in [len(film.data)] + [None] * (film.marked and cut < film.needed):
        with pytest.raises(VeoIncompleteVideoError):
            walk(film.data[:cut], 5000, promised)


def test_half_of_what_was_asked_for_is_not_whole():
    """Cut between two fragments with a length that a proxy gave it, it lacks what was asked for."""
    whole = films.unmarked()
    half = whole[: [at.start() for at in re.finditer(b"moof", whole)][2] - 4]
    assert walk(half, expected=len(half)).duration_seconds == pytest.approx(films.SECONDS / 2, abs=0.01)
    with pytest.raises(VeoIncompleteVideoError, match=r"may have been cut.*1\.00 s came of 2 s"):
        walk(half, expected=len(half), asked_seconds=films.SECONDS)
    half = films.with_length_in_header(half, 1000 * films.SECONDS)
    with pytest.raises(VeoIncompleteVideoError, match=r"may have been cut.*1\.00 s came of 2 s"):
        walk(half, expected=len(half))


def test_a_declared_length_is_held_against_what_came():
    """It is believed over the server's length, but for the fraction of a second that rounding may take."""
    for seconds, is_whole in [(films.SECONDS + 0.3, True), (films.SECONDS * 2, False)]:
        film = films.with_declared_length(films.unmarked(), seconds)
        if is_whole:
            assert walk(film, expected=len(film)).duration_seconds == films.SECONDS
        with pytest.raises(VeoIncompleteVideoError, match="it says that it has"):
            walk(film, expected=None if is_whole else len(film))


def test_a_fragment_without_its_media_is_not_whole():
    """Whatever length was promised."""
    whole = films.unmarked()
    cut = whole[: whole.rindex(b"mdat") - 4]
    with pytest.raises(VeoIncompleteVideoError, match="last fragment has no media"):
        walk(cut, expected=len(cut))


def test_an_index_that_points_beyond_the_media_is_not_whole():
    """A file in which a later part of the media is missing shows it."""
    moved = films.inside(films.film("faststart"), [b"mdat"], lambda mdat: films.box(b"mdat"))
    moved += films.box(b"free", bytes(9000))
    with pytest.raises(VeoIncompleteVideoError, match="points beyond"):
        walk(moved, expected=len(moved))


@pytest.mark.parametrize("ticks", [0, 2**32 - 1, 7200 * 1000], ids=["0", "all ones", "two hours"])
def test_a_length_that_says_nothing_is_told_by_the_pictures(ticks):
    """A plain file whose header does not know its length still has its pictures' lengths."""
    film = films.with_length_in_header(films.film("faststart"), ticks)
    assert walk(film, expected=len(film)).duration_seconds == films.SECONDS


def _without_pictures(data):
    return films.inside(
        data, [b"moov", b"trak", b"mdia", b"hdlr"], lambda hdlr: hdlr.replace(b"vide", b"text")
    )


def _without_size(data):
    return films.inside(
        films.without_size_in_track(data),
        [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"],
        lambda stsd: stsd[:48] + bytes(4) + stsd[52:],
    )


def _with_picture_ticks(data, ticks):
    table = films.box(b"stts", struct.pack(">IIII", 0, 1, films.SECONDS * films.RATE, ticks))
    unknown = films.with_length_in_header(data, 0)
    return films.inside(unknown, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"], lambda _: table)


def _without_frames(data):
    table = films.box(b"stco", bytes(8))
    without = films.inside(data, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stco"], lambda _: table)
    return films.inside(
        without,
        [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"],
        lambda _: films.box(b"stts", bytes(8)),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_pictures, "no video track"),
        (_without_size, "0 x 0 pixels"),
        (lambda data: _with_picture_ticks(data, 0), "pictures last 0 s"),
        (_without_frames, "pictures last 0 s"),
        (lambda data: _with_picture_ticks(data, 2**31), "pictures last [0-9]{5,} s"),
    ],
)
def test_what_shows_nothing_is_no_video(change, said):
    """No pictures, none of any size, none for any time, or for more than any clip has."""
    film = change(films.film())  # with its index at the end, which may change its size
    with pytest.raises(VeoIncompleteVideoError, match=said):
        walk(film, expected=len(film))


def test_memory_does_not_grow_with_what_a_file_claims():
    """Neither boxes of 50,000 kinds, nor thousands of fragments, nor boxes within boxes are kept."""
    kinds = b"".join(struct.pack(">II", 8, number) for number in range(0x41414141, 0x41414141 + 50_000))
    whole = films.unmarked()
    fragments = whole + whole[whole.index(b"moof") - 4 :] * 500
    nested = b""
    for _ in range(2000):
        nested = films.box(b"moof", nested)
    made = (films.film() + kinds, fragments, films.film("faststart") + nested)
    tracemalloc.start()
    try:
        for data in made:
            with contextlib.suppress(VeoIncompleteVideoError):
                walk(data, 64 * 1024, len(data))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_cut_goes_unseen(clip, data):
    """A file cut anywhere is refused, with or without the server's word for its length."""
    cut = data.draw(st.integers(0, len(clip) - 1))
    for expected in (None, len(clip)):
        with pytest.raises(VeoIncompleteVideoError):
            walk(clip[:cut], 5000, expected)


def test_bytes_too_many_are_seen(clip):
    """A server that promised fewer bytes is not believed either way."""
    with pytest.raises(VeoIncompleteVideoError, match="cut on the way"):
        walk(clip, expected=len(clip) - 1)


@pytest.mark.parametrize("data", [b"<html><body>502</body></html>", b'{"url": "https://x"}', b"\0" * 64])
def test_what_is_no_mp4_is_refused_at_once(data):
    """A page, JSON or zeros are refused at the first box."""
    with pytest.raises(VeoIncompleteVideoError, match="no MP4"):
        Mp4Parser().feed(data)


def test_an_empty_file_is_refused():
    """No bytes are no video."""
    with pytest.raises(VeoIncompleteVideoError):
        walk(b"")


def test_large_sizes_and_padding_are_walked(clip):
    """A 64-bit box size is understood, and boxes that carry nothing are passed over."""
    padded = clip + struct.pack(">I4sQ", 1, b"free", 16 + 5000) + bytes(5000)
    assert walk(padded, 777, len(padded)).width == 320


def test_a_box_that_runs_to_the_end_needs_the_server_to_say_where_that_is(clip):
    """Media that is declared to run to the end of the file is believed only with a known length."""
    start = clip.index(b"mdat") - 4
    size = struct.unpack(">I", clip[start : start + 4])[0]
    moved = clip[:start] + clip[start + size :] + b"\0\0\0\0" + clip[start + 4 : start + size]
    assert walk(moved, expected=len(moved)).width == 320
    with pytest.raises(VeoIncompleteVideoError, match="cannot be told"):
        walk(moved)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(films.KINDS), position=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_damage_never_escapes_as_another_error(kind, position, byte):
    """A flipped byte gives a result or our error, and nothing else."""
    damaged = bytearray(films.awkward_film(kind).data)
    damaged[position % len(damaged)] = byte
    for promised in (None, len(damaged)):
        with contextlib.suppress(VeoIncompleteVideoError):
            walk(bytes(damaged), 10**6, promised)


@pytest.mark.parametrize("kind", [b"moov", b"moof", b"sidx", b"mfra"])
def test_a_giant_index_is_refused_before_it_is_read(kind):
    """An index that claims gigabytes cannot fill the memory, nor one that goes on without an end."""
    walker = Mp4Parser()
    with pytest.raises(VeoIncompleteVideoError, match="index claims"):
        walker.feed(struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 2**31, kind))
    walker = Mp4Parser()
    walker.feed(struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 0, kind))
    for _ in range(64):
        walker.feed(bytes(1024 * 1024))
    with pytest.raises(VeoIncompleteVideoError, match="index has over"):
        walker.feed(b"one more")
