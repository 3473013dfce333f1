"""Images that are broken, damaged, too large, empty or of no use: each is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image
from support.media.drawing import (
    corners,
    encoded,
    half,
    noise,
    numbers,
    png,
    zeroed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.media.images import Outcome

NAN = float("nan")
REFUSED = "refused"


def _thumbnail_first() -> bytes:
    return encoded(corners(), "TIFF", tiffinfo={254: 1})


def _white_logo() -> Image.Image:
    image = Image.new("RGBA", (64, 48), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (10, 10, 50, 40))
    return image


def _empty_first() -> bytes:
    frames = [corners().convert("RGBA")]
    blank = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    return encoded(blank, "GIF", save_all=True, append_images=frames, disposal=2)


def _wrong_sum(seed: int) -> bytes:
    data = encoded(noise(40, 30, seed), "PNG")
    at = data.index(b"IEND") - 8
    return data[:at] + b"\0\0\0\0" + data[at + 4 :]


def _spoilt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(1000) + data[middle + 1000 :]


BROKEN: list[tuple[str, str, Callable[[int], bytes], Outcome, str]] = [
    ("zero bytes", "nothing.jpg", lambda seed: b"", REFUSED, "is empty"),
    ("cut JPEG", "cut.jpg", lambda seed: half(encoded(noise(400, 300, seed), "JPEG")), REFUSED, "cut off"),
    ("cut PNG", "cut.png", lambda seed: half(encoded(noise(400, 300, seed), "PNG")), REFUSED, "cut off"),
    ("cut WebP", "cut.webp", lambda seed: half(encoded(noise(400, 300, seed), "WEBP")), REFUSED, "broken"),
    ("cut HEIC", "cut.heic", lambda seed: half(encoded(noise(160, 120, seed), "HEIF")), REFUSED, "broken"),
    ("cut GIF", "cut.gif", lambda seed: half(encoded(noise(400, 300, seed), "GIF")), REFUSED, "cut off"),
    ("cut TIFF", "cut.tif", lambda seed: half(encoded(noise(400, 300, seed), "TIFF")), REFUSED, "broken"),
    ("cut BMP", "cut.bmp", lambda seed: half(encoded(noise(400, 300, seed), "BMP")), REFUSED, "cut off"),
    ("cut AVIF", "cut.avif", lambda seed: half(encoded(noise(160, 120, seed), "AVIF")), REFUSED, "cut off"),
    ("JPEG without an image", "start.jpg", lambda seed: encoded(corners(), "JPEG")[:20], REFUSED, "broken"),
    (
        "broken PNG",
        "bits.png",
        lambda seed: _spoilt(encoded(noise(400, 300, seed), "PNG")),
        REFUSED,
        "broken",
    ),
    ("text", "notes.jpg", lambda seed: b"no picture at all\n" * 9, REFUSED, "not in a known image format"),
    ("raw file", "IMG_0004.NEF", lambda seed: _thumbnail_first(), REFUSED, "thumbnail"),
    (
        "144 million pixels",
        "map.png",
        lambda seed: png(12000, 12000, 1, 0, bytes(1500)),
        REFUSED,
        "million pixels",
    ),
    ("bomb", "bomb.png", lambda seed: png(16000, 16000, 1, 0, bytes(2000)), REFUSED, "million pixels"),
    ("numbers, all are none", "void.tif", lambda seed: numbers([NAN] * 64 * 48), REFUSED, "shows nothing"),
    (
        "white on transparent",
        "logo.png",
        lambda seed: encoded(_white_logo(), "PNG"),
        REFUSED,
        "shows nothing",
    ),
    ("empty first frame", "fade.gif", lambda seed: _empty_first(), REFUSED, "shows nothing"),
    (
        "one colour",
        "blank.jpg",
        lambda seed: encoded(Image.new("RGB", (64, 48), (seed % 256, 90, 200)), "JPEG"),
        REFUSED,
        "shows nothing",
    ),
    (
        "half a JPEG",
        "half.jpg",
        lambda seed: zeroed(encoded(noise(400, 300, seed), "JPEG")),
        REFUSED,
        "damaged",
    ),
    (
        "half a WebP",
        "half.webp",
        lambda seed: zeroed(encoded(noise(400, 300, seed), "WEBP")),
        REFUSED,
        "damaged",
    ),
    (
        "half a HEIC",
        "half.heic",
        lambda seed: zeroed(encoded(noise(160, 120, seed), "HEIF")),
        REFUSED,
        "damaged",
    ),
    (
        "grey lower half",
        "grey half.jpg",
        lambda seed: half(encoded(noise(400, 300, seed), "JPEG")) + b"\xff\xd9",
        REFUSED,
        "damaged",
    ),
    (
        "grey lower half, progressive",
        "grey passes.jpg",
        lambda seed: half(encoded(noise(400, 300, seed), "JPEG", progressive=True)) + b"\xff\xd9",
        REFUSED,
        "damaged",
    ),
    ("PNG with a wrong sum", "sum.png", _wrong_sum, REFUSED, "damaged"),
    (
        "one pixel",
        "tracking.jpg",
        lambda seed: encoded(Image.new("RGB", (1, 1), (9, 9, 9)), "JPEG"),
        REFUSED,
        "shows nothing",
    ),
    (
        "JPEG that begins twice",
        "twice.jpg",
        lambda seed: b"\xff\xd8" + encoded(noise(40, 30, seed), "JPEG"),
        REFUSED,
        "is a JPEG, which cannot be decoded here",
    ),
]
"""Kind, file name, how it is made of a seed, its outcome, and what the error says."""
