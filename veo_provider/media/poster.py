"""The first picture of a video as a small JPEG. Needs PyAV and Pillow: the extra ``posters``."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import IO

LONGEST_SIDE = 640
"""Pixels of a poster's longer side."""
_QUALITY = 82


def can_make() -> bool:
    """Whether the libraries are installed; none is imported."""
    return all(find_spec(name) is not None for name in ("av", "PIL"))


def poster_of(video: IO[bytes]) -> bytes:
    """Return the first picture of a video as a JPEG. Reads no more than it takes to decode one picture.

    :param video: a file that can be read and sought.
    :raises ValueError: there is no picture in it.
    :raises av.FFmpegError: it cannot be decoded.
    """
    import av

    with av.open(video, mode="r") as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise ValueError("There is no video in it.")
        stream.thread_count = 1  # one picture: more threads only take more memory
        for frame in container.decode(stream):
            scale = min(1.0, LONGEST_SIDE / max(frame.width, frame.height))
            width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
            small = frame.reformat(width=width, height=height, format="rgb24")
            picture = small.to_image()  # type: ignore[no-untyped-call]  # PyAV left this one untyped
            jpeg = io.BytesIO()
            picture.save(jpeg, "JPEG", quality=_QUALITY)
            return jpeg.getvalue()
    raise ValueError("There is no picture in it.")
