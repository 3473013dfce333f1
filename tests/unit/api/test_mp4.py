"""The walk over an MP4, with files that a real encoder wrote."""

import contextlib
import io
import struct

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veo_provider.api.errors import VeoIncompleteVideoError
from veo_provider.api.mp4 import Mp4Walker


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


def walk(data, chunk=1000, expected=None):
    walker = Mp4Walker()
    for start in range(0, len(data), chunk):
        walker.feed(data[start : start + chunk])
    return walker.finish(expected)


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


def test_a_fragmented_file_is_walked():
    """A file of fragments is whole, too."""
    assert walk(encode(flags="frag_keyframe+empty_moov")).width == 320


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
        Mp4Walker().feed(data)


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
@given(position=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_damage_never_escapes_as_another_error(clip, position, byte):
    """A flipped byte gives a result or our error, and nothing else."""
    damaged = bytearray(clip)
    damaged[position % len(clip)] = byte
    with contextlib.suppress(VeoIncompleteVideoError):
        walk(bytes(damaged))


def test_a_giant_index_is_refused_before_it_is_read():
    """An index that claims gigabytes cannot fill the memory."""
    walker = Mp4Walker()
    with pytest.raises(VeoIncompleteVideoError, match="index claims"):
        walker.feed(struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 2**31, b"moov"))
