"""Images that show nothing, in every format: none may be sent: its video would cost as much as any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image
from support.media.drawing import corners, encoded, png, profile
from support.media.tiffs import FLOATS, HEIGHT, WIDTH, Kind, tiff

if TYPE_CHECKING:
    from collections.abc import Callable

SIDES = (WIDTH, HEIGHT)
NAN = float("nan")


def _clear(file_format: str, **options: object) -> bytes:
    """A white shape on nothing."""
    image = Image.new("RGBA", SIDES, (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (10, 10, 50, 40))
    return encoded(image, file_format, **options)


def _hidden(file_format: str, **options: object) -> bytes:
    """Colours that nobody sees, for all of them are transparent."""
    image = corners(mode="RGBA")
    image.putalpha(0)
    return encoded(image, file_format, **options)


def _empty_first(file_format: str, **options: object) -> bytes:
    frames = [Image.new("RGBA", SIDES, (0, 0, 0, 0)), corners(mode="RGBA")]
    return encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)


def _palette() -> bytes:
    """Two colours that are the same."""
    image = Image.new("P", SIDES)
    image.putpalette([7, 7, 7, 7, 7, 7])
    image.paste(1, (10, 10, 50, 40))
    return encoded(image, "PNG")


def _gone_in_srgb() -> bytes:
    """Colours that a profile makes one of: it knows no more than black."""
    nothing = profile(((0.0, 0.0, 0.0),) * 3)
    return encoded(corners(), "JPEG", icc_profile=nothing)


def _grey(value: float) -> Callable[[int], bytes]:
    return lambda seed: tiff(Kind(32, FLOATS), [value] * (WIDTH * HEIGHT))


BLANK: list[tuple[str, str, Callable[[int], bytes]]] = [
    *(
        (
            f"{colour} {form}",
            f"{colour}.{form.lower()}",
            lambda seed, form=form, colour=colour: encoded(Image.new("RGB", SIDES, colour), form),
        )
        for form in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
        for colour in ("black", "white")
    ),
    *(
        (
            f"{mode} of one colour",
            f"{mode}.tif",
            lambda seed, mode=mode: encoded(Image.new(mode, SIDES), "TIFF"),
        )
        for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "LAB")
    ),
    ("black CMYK", "ink.jpg", lambda seed: encoded(Image.new("CMYK", SIDES, (0, 0, 0, 255)), "JPEG")),
    ("16-bit of one colour", "deep black.png", lambda seed: png(*SIDES, 16, 2, bytes(6 * WIDTH))),
    ("white on nothing, WebP", "logo.webp", lambda seed: _clear("WEBP", lossless=True)),
    ("white on nothing, TIFF", "logo.tif", lambda seed: _clear("TIFF")),
    ("white on nothing, AVIF", "logo.avif", lambda seed: _clear("AVIF")),
    ("white on nothing, HEIC", "logo.heic", lambda seed: _clear("HEIF", quality=95)),
    ("white on nothing, LA", "logo grey.png", lambda seed: encoded(Image.new("LA", SIDES, (255, 0)), "PNG")),
    ("all hidden, PNG", "hidden.png", lambda seed: _hidden("PNG")),
    ("all hidden, WebP", "hidden.webp", lambda seed: _hidden("WEBP", lossless=True, exact=True)),
    ("empty first frame, WebP", "fade.webp", lambda seed: _empty_first("WEBP", lossless=True)),
    ("empty first frame, PNG", "fade.png", lambda seed: _empty_first("PNG")),
    ("empty first page", "blank page.tif", lambda seed: _empty_first("TIFF")),
    ("two colours that are one", "same.png", lambda seed: _palette()),
    ("colours that a profile blackens", "profile.jpg", lambda seed: _gone_in_srgb()),
    ("numbers, all infinite", "infinite.tif", _grey(float("inf"))),
    ("numbers, all no data", "nodata.tif", _grey(-9999.0)),
    (
        "numbers, none but one",
        "speck.tif",
        lambda seed: tiff(Kind(32, FLOATS), [1.0, *[NAN] * (WIDTH * HEIGHT - 1)]),
    ),
]
"""Kind, file name, and how it is made."""
