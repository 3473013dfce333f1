"""Renders a real MP4 from an image: a slow zoom in H.264, with a quiet chord in AAC."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import threading
from array import array
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
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
"""Magnification of the last frame, relative to the first."""

_AAC_FRAME = 1024  # samples
_CHORD = (220, 277, 330)  # whole hertz, so that one second repeats without a click
_LOUDNESS = 0.05  # of full scale, for each note: quiet, but not silence

# RGB to limited-range BT.709, which players assume for HD video.
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
    """The sandbox is closing, so this video was not finished."""


@dataclass(frozen=True)
class RenderSpec:
    """What to render; equal specs give the same file.

    :param image: file of the first frame; None for a colour gradient.
    :param seed: digest of the image; without an image, a text that chooses the colours.
    :param seconds: length of the video.
    :param width: of the video, in pixels; even.
    :param height: of the video, in pixels; even.
    """

    image: Path | None
    seed: str
    seconds: int
    width: int
    height: int

    @property
    def filename(self) -> str:
        """Return the file name of the finished video."""
        key = self.seed if self.image else hashlib.sha256(self.seed.encode()).hexdigest()
        return f"{key[:40]}-{self.seconds}s-{self.width}x{self.height}.mp4"


class Renderer:
    """Renders videos in threads (Pillow and PyAV release the GIL) and keeps the files.

    :param directory: where the finished videos are kept.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="renderer")
        self._videos: dict[str, Future[Path]] = {}

    def render(self, spec: RenderSpec) -> Future[Path]:
        """Return a future of the MP4's path; starts rendering unless it is done or running already."""
        video = self._videos.get(spec.filename)
        if video is None or (video.done() and video.exception() is not None):
            video = self._videos[spec.filename] = self._threads.submit(self._render_to_directory, spec)
        return video

    def close(self) -> None:
        """Stop each running video at its next frame and wait for the threads."""
        self._stopping.set()
        self._threads.shutdown(cancel_futures=True)

    def _render_to_directory(self, spec: RenderSpec) -> Path:
        # Archives of tests have thousands of files with the same picture: one video is enough for them.
        path = self._directory / replace(spec, seed=_seed_of_picture(spec)).filename
        if not path.exists():
            partial = self._directory / f"{spec.filename}.part"
            render(spec, partial, self._stopping)
            partial.replace(path)
        return path


def _seed_of_picture(spec: RenderSpec) -> str:
    """Return a seed that files with the same picture share, whatever their bytes are."""
    if spec.image is None:
        return spec.seed
    picture = _open(spec)
    return hashlib.sha256(str(picture.size).encode() + picture.tobytes()).hexdigest()


def render(spec: RenderSpec, path: Path, stopping: threading.Event | None = None) -> None:
    """Write one MP4 with its index at the start ("faststart").

    :param spec: what to render.
    :param path: the file to write.
    :param stopping: when set, rendering stops at the next frame.
    :raises StoppedError: if it was stopped.
    """
    planes = _planes(spec)
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options=_ENCODING)
        video.width, video.height, video.pix_fmt = spec.width, spec.height, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        audio.bit_rate = 96_000
        for samples in _audio_frames(spec.seconds):
            container.mux(audio.encode(samples))
        for frame in _video_frames(spec, planes):
            if stopping is not None and stopping.is_set():
                raise StoppedError(spec.filename)
            container.mux(video.encode(frame))
        _flush(container, audio, video)


def _flush(container: OutputContainer, *streams: Stream) -> None:
    for stream in streams:
        container.mux(stream.encode(None))  # type: ignore[attr-defined]


def _planes(spec: RenderSpec) -> Planes:
    """Return the image cropped to the video's size, as luma and two chroma planes of half its size."""
    image = ImageOps.fit(_open(spec), (spec.width, spec.height), Image.Resampling.LANCZOS)
    small = image.resize((spec.width // 2, spec.height // 2), Image.Resampling.BOX)
    return image.convert("L", _LUMA), small.convert("L", _BLUE), small.convert("L", _RED)


def _open(spec: RenderSpec) -> Image.Image:
    if spec.image is None:
        return _gradient(spec.seed)
    with Image.open(spec.image) as image:
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    background = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(background, upright).convert("RGB")


def _gradient(text: str) -> Image.Image:
    """Return a diagonal gradient between two colours that depend on the text."""
    digest = hashlib.sha256(text.encode()).digest()
    ramp = Image.linear_gradient("L").rotate(45, Image.Resampling.BICUBIC).crop((64, 64, 192, 192))
    first, second = (Image.new("RGB", ramp.size, tuple(digest[at : at + 3])) for at in (0, 3))
    return Image.composite(first, second, ramp)


def _video_frames(spec: RenderSpec, planes: Planes) -> Iterator[av.VideoFrame]:
    count = spec.seconds * FRAME_RATE
    for number in range(count):
        # Equal ratios instead of equal steps: that looks like a steady zoom.
        scale = ZOOM ** (-number / (count - 1))
        frame = av.VideoFrame(spec.width, spec.height, "yuv420p")
        for target, source in zip(frame.planes, planes, strict=True):
            # The box is of floats: whole pixels would make a slow zoom jitter.
            cropped = source.resize(
                (target.width, target.height), Image.Resampling.BILINEAR, _crop_box(source, scale)
            )
            target.update(cropped.tobytes("raw", "L", target.line_size, 1))
        yield frame


def _crop_box(source: Image.Image, scale: float) -> tuple[float, float, float, float]:
    """Return a centred box; ``scale`` is its share of the image's width and height."""
    left, top = source.width * (1 - scale) / 2, source.height * (1 - scale) / 2
    return left, top, source.width - left, source.height - top


def _audio_frames(seconds: int) -> Iterator[av.AudioFrame]:
    """Yield a chord that is not longer than the video: the longest stream decides how long a file is."""
    chord = _chord()
    for number in range(seconds * SAMPLE_RATE // _AAC_FRAME):
        start = number * _AAC_FRAME % SAMPLE_RATE
        frame = av.AudioFrame("fltp", "stereo", _AAC_FRAME)
        frame.sample_rate, frame.pts = SAMPLE_RATE, number * _AAC_FRAME
        for channel in frame.planes:
            channel.update(chord[start : start + _AAC_FRAME].tobytes())
        yield frame


@functools.cache
def _chord() -> array[float]:
    """Return one second of the chord, which fades in and out, and the start of the next."""
    second = [
        _LOUDNESS
        * (1 - 0.5 * math.cos(math.tau * at / SAMPLE_RATE))
        * sum(math.sin(math.tau * note * at / SAMPLE_RATE) for note in _CHORD)
        for at in range(SAMPLE_RATE)
    ]
    return array("f", second + second[:_AAC_FRAME])
