"""Good images: those that are sent as they are, and those that are converted first."""

from __future__ import annotations

import io
import struct
import zlib
from array import array
from typing import TYPE_CHECKING

from PIL import Image, ImageCms
from support.media.drawing import (
    DISPLAY_P3,
    ORIENTATION,
    SRGB,
    TURNED_BACK,
    corners,
    encoded,
    noise,
    numbers,
    png,
    png_chunk,
    profile,
    turned,
    with_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.media.images import Outcome

RAMP = [float(value) for value in range(64 * 48)]
NAN, INFINITE = float("nan"), float("inf")
LONG_TEXT = b"photoshop history " * 90_000
AS_IT_IS, CONVERTED = "as it is", "converted"


def _number(seed: int) -> Image.Exif:
    """EXIF data that make one file differ from the next."""
    exif = Image.Exif()
    exif[0x010E] = f"number {seed}"
    return exif


def _transparent() -> Image.Image:
    image = corners(mode="RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 32, 24))
    return image


def _frames() -> list[Image.Image]:
    return [corners().transpose(Image.Transpose.ROTATE_180)] * 2


def _exif_at_end() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned_back = corners().transpose(TURNED_BACK[6])
    return with_chunk(encoded(turned_back, "PNG"), png_chunk(b"eXIf", exif.tobytes()[6:]), at_end=True)


def _lab() -> Image.Image:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(corners(), srgb, lab, outputMode="LAB")


GOOD: list[tuple[str, str, Callable[[int], bytes], Outcome, str]] = [
    ("plain JPEG", "plain.jpg", lambda seed: encoded(noise(40, 30, seed), "JPEG"), AS_IT_IS, ""),
    ("plain WebP", "plain.webp", lambda seed: encoded(noise(40, 30, seed), "WEBP"), AS_IT_IS, ""),
    ("wrong extension", "really a png.jpg", lambda seed: encoded(noise(40, 30, seed), "PNG"), AS_IT_IS, ""),
    ("no extension", "photo", lambda seed: encoded(corners(), "JPEG", exif=_number(seed)), AS_IT_IS, ""),
    (
        "spaces",
        "two words  and more .jpg",
        lambda seed: encoded(corners(), "JPEG", exif=_number(seed)),
        AS_IT_IS,
        "",
    ),
    (
        "unicode",
        "größe-日本-🚀.jpg",
        lambda seed: encoded(corners(), "JPEG", exif=_number(seed)),
        AS_IT_IS,
        "",
    ),
    (
        "percent",
        "100%25 %s %2F done.jpg",
        lambda seed: encoded(corners(), "JPEG", exif=_number(seed)),
        AS_IT_IS,
        "",
    ),
    ("grey JPEG", "grey.jpg", lambda seed: encoded(corners(mode="L"), "JPEG"), AS_IT_IS, ""),
    ("palette PNG", "palette.png", lambda seed: encoded(corners(mode="P"), "PNG"), AS_IT_IS, ""),
    ("opaque alpha", "opaque.png", lambda seed: encoded(corners(mode="RGBA"), "PNG"), AS_IT_IS, ""),
    (
        "several JPEGs in one",
        "two.jpg",
        lambda seed: encoded(corners(), "MPO", save_all=True, append_images=_frames()),
        AS_IT_IS,
        "",
    ),
    (
        "sRGB profile",
        "srgb.jpg",
        lambda seed: encoded(
            corners(), "JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        ),
        AS_IT_IS,
        "",
    ),
    (
        "nearly sRGB profile",
        "nearly.jpg",
        lambda seed: encoded(corners(), "JPEG", icc_profile=profile(SRGB)),
        AS_IT_IS,
        "",
    ),
    (
        "broken profile",
        "broken profile.jpg",
        lambda seed: encoded(corners(), "JPEG", icc_profile=b"no profile"),
        AS_IT_IS,
        "",
    ),
    (
        "broken EXIF",
        "broken exif.jpg",
        lambda seed: encoded(corners(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
        AS_IT_IS,
        "",
    ),
    ("EXIF 1", "exif-1.jpg", lambda seed: turned(1), AS_IT_IS, ""),
    *(
        (f"EXIF {turn}", f"exif-{turn}.jpg", lambda seed, turn=turn: turned(turn), CONVERTED, "EXIF")
        for turn in TURNED_BACK
    ),
    ("EXIF in a WebP", "exif.webp", lambda seed: turned(6, "WEBP", lossless=True), CONVERTED, "EXIF"),
    ("EXIF in a PNG", "exif.png", lambda seed: turned(6, "PNG"), CONVERTED, "EXIF"),
    (
        "EXIF in a TIFF",
        "exif.tif",
        lambda seed: encoded(Image.open(io.BytesIO(turned(6))), "TIFF", tiffinfo={274: 6}),
        CONVERTED,
        "TIFF",
    ),
    ("HEIC", "IMG_0001.HEIC", lambda seed: encoded(corners(), "HEIF", quality=95), CONVERTED, "HEIF"),
    ("turned HEIC", "IMG_0002.heic", lambda seed: turned(6, "HEIF", quality=95), CONVERTED, "HEIF"),
    ("HEIC named .jpg", "IMG_0003.jpg", lambda seed: encoded(corners(), "HEIF"), CONVERTED, "HEIF"),
    ("AVIF", "new.avif", lambda seed: encoded(corners(), "AVIF"), CONVERTED, "AVIF"),
    ("TIFF", "scan.tiff", lambda seed: encoded(corners(), "TIFF", compression="tiff_lzw"), CONVERTED, "TIFF"),
    (
        "TIFF of several pages",
        "fax.tif",
        lambda seed: encoded(corners(), "TIFF", save_all=True, append_images=_frames()),
        CONVERTED,
        "TIFF",
    ),
    ("TIFF in CMYK", "print.tif", lambda seed: encoded(corners(mode="CMYK"), "TIFF"), CONVERTED, "TIFF"),
    ("TIFF of numbers", "float.tif", lambda seed: encoded(corners(mode="F"), "TIFF"), CONVERTED, "TIFF"),
    ("TIFF in Lab", "lab.tif", lambda seed: encoded(_lab(), "TIFF"), CONVERTED, "TIFF"),
    (
        "fax",
        "one bit.tif",
        lambda seed: encoded(corners(mode="1"), "TIFF", compression="group4"),
        CONVERTED,
        "TIFF",
    ),
    ("BMP", "old.bmp", lambda seed: encoded(corners(), "BMP"), CONVERTED, "BMP"),
    ("GIF", "still.gif", lambda seed: encoded(corners(), "GIF"), CONVERTED, "GIF"),
    (
        "animated GIF",
        "dance.gif",
        lambda seed: encoded(corners(), "GIF", save_all=True, append_images=_frames()),
        CONVERTED,
        "GIF",
    ),
    (
        "animated WebP",
        "dance.webp",
        lambda seed: encoded(corners(), "WEBP", save_all=True, append_images=_frames(), lossless=True),
        CONVERTED,
        "animated",
    ),
    (
        "animated PNG",
        "dance.png",
        lambda seed: encoded(corners(), "PNG", save_all=True, append_images=_frames()),
        CONVERTED,
        "animated",
    ),
    ("CMYK JPEG", "cmyk.jpg", lambda seed: encoded(corners(mode="CMYK"), "JPEG"), CONVERTED, "CMYK"),
    (
        "16-bit grey PNG",
        "grey16.png",
        lambda seed: png(64, 48, 16, 0, struct.pack(">64H", *range(0, 65536, 1024))),
        CONVERTED,
        "16 bits",
    ),
    (
        "16-bit colour PNG",
        "deep.png",
        lambda seed: png(64, 48, 16, 2, struct.pack(">192H", *range(0, 65472, 341))),
        CONVERTED,
        "16 bits",
    ),
    ("PNG with alpha", "cut out.png", lambda seed: encoded(_transparent(), "PNG"), CONVERTED, "transparent"),
    (
        "WebP with alpha",
        "cut out.webp",
        lambda seed: encoded(_transparent(), "WEBP", lossless=True),
        CONVERTED,
        "transparent",
    ),
    (
        "palette with a transparent colour",
        "sticker.png",
        lambda seed: encoded(corners(mode="P"), "PNG", transparency=corners(mode="P").getpixel((0, 0))),
        CONVERTED,
        "transparent",
    ),
    (
        "wide gamut",
        "display-p3.jpg",
        lambda seed: encoded(corners(), "JPEG", quality=95, icc_profile=profile(DISPLAY_P3)),
        CONVERTED,
        "not sRGB",
    ),
    (
        "wide gamut HEIC",
        "display-p3.heic",
        lambda seed: encoded(corners(), "HEIF", quality=95, icc_profile=profile(DISPLAY_P3)),
        CONVERTED,
        "HEIF",
    ),
    (
        "25 MB",
        "large.png",
        lambda seed: png(3200, 2700, 8, 2, noise(3200, 1, seed).tobytes(), level=0),
        CONVERTED,
        "MB",
    ),
    (
        "25 MB with much after the image",
        "padded.jpg",
        lambda seed: encoded(corners(), "JPEG") + bytes(25_000_000),
        CONVERTED,
        "MB",
    ),
    (
        "long panorama",
        "panorama.jpg",
        lambda seed: encoded(corners(9000, 600), "JPEG"),
        CONVERTED,
        "9000 x 600",
    ),
    (
        "PNG with an uncompressed text",
        "text.png",
        lambda seed: with_chunk(
            encoded(noise(40, 30, seed), "PNG"), png_chunk(b"tEXt", b"History\0" + LONG_TEXT)
        ),
        AS_IT_IS,
        "",
    ),
    (
        "PNG with a long text",
        "history.png",
        lambda seed: with_chunk(
            encoded(corners(), "PNG"), png_chunk(b"zTXt", b"History\0\0" + zlib.compress(LONG_TEXT))
        ),
        CONVERTED,
        "texts",
    ),
    (
        "PNG with long XMP",
        "xmp.png",
        lambda seed: with_chunk(
            encoded(corners(), "PNG"),
            png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG_TEXT)),
        ),
        CONVERTED,
        "texts",
    ),
    (
        "PNG with a long profile",
        "profile.png",
        lambda seed: with_chunk(
            encoded(corners(), "PNG"), png_chunk(b"iCCP", b"big\0\0" + zlib.compress(bytes(1_300_000)))
        ),
        CONVERTED,
        "texts",
    ),
    ("EXIF after the pixels", "late.png", lambda seed: _exif_at_end(), CONVERTED, "EXIF"),
    ("numbers, one is none", "nan.tif", lambda seed: numbers([NAN, *RAMP[1:]]), CONVERTED, "TIFF"),
    ("numbers, one infinite", "inf.tif", lambda seed: numbers([*RAMP[:-1], INFINITE]), CONVERTED, "TIFF"),
    ("numbers, some no data", "dem.tif", lambda seed: numbers([-9999.0] * 99 + RAMP[99:]), CONVERTED, "TIFF"),
    (
        "12 bits of 16",
        "microscope.tif",
        lambda seed: encoded(Image.frombytes("I;16", (64, 48), array("H", range(64 * 48)).tobytes()), "TIFF"),
        CONVERTED,
        "TIFF",
    ),
    (
        "PNG with bad colours",
        "colours.png",
        lambda seed: with_chunk(encoded(noise(40, 30, seed), "PNG"), png_chunk(b"cHRM", bytes(32))),
        AS_IT_IS,
        "",
    ),
]
"""Kind, file name, how it is made of a seed, its outcome, and the reason for it."""
