"""Makes a real MP4 from a picture: a slow zoom in H.264, with a soft chord in AAC."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import threading
from array import array
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import av
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import OutputContainer
    from av.stream import Stream

FRAME_RATE = 24
SAMPLE_RATE = 48_000
ZOOM = 1.2
"""How much nearer the last frame is than the first."""

_AAC_FRAME = 1024  # samples
_CHORD = (220, 277, 330)  # whole hertz, so that one second of it repeats without a seam
_LOUDNESS = 0.05  # of full scale for each note: quiet, but not to be taken for silence

# RGB to the planes of limited-range BT.709, which players assume of HD video.
_LUMA = (0.1826, 0.6142, 0.0620, 16.0)
_BLUE = (-0.1006, -0.3386, 0.4392, 128.0)
_RED = (0.4392, -0.3989, -0.0403, 128.0)
_ENCODING = {
    "preset": "superfast",
    "crf": "23",
    "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:range=tv",
}

Planes: TypeAlias = "tuple[Image.Image, Image.Image, Image.Image]"


class StoppedError(Exception):
    """The sandbox is closing; this video is not going to be finished."""


@dataclass(frozen=True)
class Shot:
    """
    What to film: equal shots give the same file.

    :param picture: the file to start from; None paints a gradient.
    :param seed: the picture's SHA-256; without a picture, the text whose colours are painted.
    :param seconds: length of the video.
    :param width: of the video, in pixels; even.
    :param height: of the video, in pixels; even.
    """

    picture: Path | None
    seed: str
    seconds: int
    width: int
    height: int

    @property
    def name(self) -> str:
        """File name of the finished video."""
        key = self.seed if self.picture else hashlib.sha256(self.seed.encode()).hexdigest()
        return f"{key[:40]}-{self.seconds}s-{self.width}x{self.height}.mp4"


class Studio:
    """
    Films in threads (decoding, scaling and encoding all release the GIL), and keeps what it filmed.

    :param directory: where finished videos lie.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="studio")
        self._films: dict[str, Future[Path]] = {}

    def film(self, shot: Shot) -> Future[Path]:
        """Start filming, unless the same shot exists or is on its way; the result is the MP4's path."""
        known = self._films.get(shot.name)
        if known is None or (known.done() and known.exception() is not None):
            known = self._films[shot.name] = self._threads.submit(self._filmed, shot)
        return known

    def close(self) -> None:
        """Stop at the next frame and wait for the threads."""
        self._stopping.set()
        self._threads.shutdown(cancel_futures=True)

    def _filmed(self, shot: Shot) -> Path:
        path = self._directory / shot.name
        if not path.exists():
            partial = path.with_suffix(".part")
            film(shot, partial, self._stopping)
            partial.replace(path)
        return path


def film(shot: Shot, path: Path, stopping: threading.Event | None = None) -> None:
    """
    Write one MP4, its index in front ("faststart").

    :param shot: what to film.
    :param path: the file to write.
    :param stopping: when set, the work ends at the next frame.
    :raises StoppedError: when it ended so.
    """
    planes = _planes(shot)
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options=_ENCODING)
        video.width, video.height, video.pix_fmt = shot.width, shot.height, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        audio.bit_rate = 96_000
        for sound in _sounds(shot.seconds):
            container.mux(audio.encode(sound))
        for frame in _frames(shot, planes):
            if stopping is not None and stopping.is_set():
                raise StoppedError(shot.name)
            container.mux(video.encode(frame))
        _flush(container, audio, video)


def _flush(container: OutputContainer, *streams: Stream) -> None:
    for stream in streams:
        container.mux(stream.encode(None))  # type: ignore[attr-defined]


def _planes(shot: Shot) -> Planes:
    """The picture cut to the video's size, split into luma and two chromas of half its size."""
    picture = ImageOps.fit(_picture(shot), (shot.width, shot.height), Image.Resampling.LANCZOS)
    small = picture.resize((shot.width // 2, shot.height // 2), Image.Resampling.BOX)
    return picture.convert("L", _LUMA), small.convert("L", _BLUE), small.convert("L", _RED)


def _picture(shot: Shot) -> Image.Image:
    if shot.picture is None:
        return _gradient(shot.seed)
    with Image.open(shot.picture) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    ground = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(ground, upright).convert("RGB")


def _gradient(text: str) -> Image.Image:
    """Two colours that blend into each other along the diagonal."""
    digest = hashlib.sha256(text.encode()).digest()
    ramp = Image.linear_gradient("L").rotate(45, Image.Resampling.BICUBIC).crop((64, 64, 192, 192))
    first, second = (Image.new("RGB", ramp.size, tuple(digest[at : at + 3])) for at in (0, 3))
    return Image.composite(first, second, ramp)


def _frames(shot: Shot, planes: Planes) -> Iterator[av.VideoFrame]:
    count = shot.seconds * FRAME_RATE
    for number in range(count):
        # Equal ratios, not equal steps: the eye sees that as a steady move.
        view = ZOOM ** (-number / (count - 1))
        frame = av.VideoFrame(shot.width, shot.height, "yuv420p")
        for target, source in zip(frame.planes, planes, strict=True):
            # Boxes are of floats: whole pixels would make a slow zoom shiver.
            seen = source.resize((target.width, target.height), Image.Resampling.BILINEAR, _box(source, view))
            target.update(seen.tobytes("raw", "L", target.line_size, 1))
        yield frame


def _box(source: Image.Image, view: float) -> tuple[float, float, float, float]:
    """The middle of a picture: ``view`` is the part of its width and height that is seen."""
    left, top = source.width * (1 - view) / 2, source.height * (1 - view) / 2
    return left, top, source.width - left, source.height - top


def _sounds(seconds: int) -> Iterator[av.AudioFrame]:
    """A chord, never longer than the pictures: the longest stream decides how long a file is."""
    chord = _chord()
    for number in range(seconds * SAMPLE_RATE // _AAC_FRAME):
        start = number * _AAC_FRAME % SAMPLE_RATE
        sound = av.AudioFrame("fltp", "stereo", _AAC_FRAME)
        sound.sample_rate, sound.pts = SAMPLE_RATE, number * _AAC_FRAME
        for channel in sound.planes:
            channel.update(chord[start : start + _AAC_FRAME].tobytes())
        yield sound


@functools.cache
def _chord() -> array[float]:
    """One second of the chord that swells and fades, and the start of the next."""
    second = [
        _LOUDNESS
        * (1 - 0.5 * math.cos(math.tau * at / SAMPLE_RATE))
        * sum(math.sin(math.tau * note * at / SAMPLE_RATE) for note in _CHORD)
        for at in range(SAMPLE_RATE)
    ]
    return array("f", second + second[:_AAC_FRAME])
