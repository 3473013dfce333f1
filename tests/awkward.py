"""A folder of awkward picture files, made when it is needed, and what is to become of each."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import blank
import foreign
import reported
from drawing import (
    DISPLAY_P3,
    ORIENTATION,
    SRGB,
    TURNED_BACK,
    corners,
    encoded,
    half,
    noise,
    numbers,
    png,
    png_chunk,
    profile,
    turned,
    with_chunk,
    zeroed,
)
from PIL import Image, ImageCms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Outcome = Literal["as it is", "converted", "refused"]


@dataclass(frozen=True)
class Awkward:
    """A file, and what a conversion makes of it.

    :param kind: what is awkward about it.
    :param name: file name.
    :param outcome: whether it is sent as it is, converted, or refused.
    :param says: what the reason of a conversion, or the error, says of it.
    """

    kind: str
    name: str
    data: bytes
    outcome: Outcome
    says: str = ""


def _number(seed: int) -> Image.Exif:
    """EXIF data that make one file differ from the next."""
    exif = Image.Exif()
    exif[0x010E] = f"number {seed}"
    return exif


def _transparent() -> Image.Image:
    image = corners(mode="RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 32, 24))
    return image


def _thumbnail_first() -> bytes:
    return encoded(corners(), "TIFF", tiffinfo={254: 1})


def _frames() -> list[Image.Image]:
    return [corners().transpose(Image.Transpose.ROTATE_180)] * 2


def _white_logo() -> Image.Image:
    image = Image.new("RGBA", (64, 48), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (10, 10, 50, 40))
    return image


def _empty_first() -> bytes:
    frames = [corners().convert("RGBA")]
    blank = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    return encoded(blank, "GIF", save_all=True, append_images=frames, disposal=2)


def _exif_behind() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned_back = corners().transpose(TURNED_BACK[6])
    return with_chunk(encoded(turned_back, "PNG"), png_chunk(b"eXIf", exif.tobytes()[6:]), behind=True)


def _wrong_sum(seed: int) -> bytes:
    data = encoded(noise(40, 30, seed), "PNG")
    at = data.index(b"IEND") - 8
    return data[:at] + b"\0\0\0\0" + data[at + 4 :]


RAMP = [float(value) for value in range(64 * 48)]
NAN, INFINITE = float("nan"), float("inf")
LONG_TEXT = b"photoshop history " * 90_000
AS_IT_IS, CONVERTED, REFUSED = "as it is", "converted", "refused"
_KINDS: list[tuple[str, str, Callable[[int], bytes], Outcome, str]] = [
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
        "moves",
    ),
    (
        "animated PNG",
        "dance.png",
        lambda seed: encoded(corners(), "PNG", save_all=True, append_images=_frames()),
        CONVERTED,
        "moves",
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
        "25 MB with much behind the picture",
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
    ("zero bytes", "nothing.jpg", lambda seed: b"", REFUSED, "is empty"),
    ("cut JPEG", "cut.jpg", lambda seed: half(encoded(noise(400, 300, seed), "JPEG")), REFUSED, "cut off"),
    ("cut PNG", "cut.png", lambda seed: half(encoded(noise(400, 300, seed), "PNG")), REFUSED, "cut off"),
    ("cut WebP", "cut.webp", lambda seed: half(encoded(noise(400, 300, seed), "WEBP")), REFUSED, "broken"),
    ("cut HEIC", "cut.heic", lambda seed: half(encoded(noise(160, 120, seed), "HEIF")), REFUSED, "broken"),
    ("cut GIF", "cut.gif", lambda seed: half(encoded(noise(400, 300, seed), "GIF")), REFUSED, "cut off"),
    ("cut TIFF", "cut.tif", lambda seed: half(encoded(noise(400, 300, seed), "TIFF")), REFUSED, "broken"),
    ("cut BMP", "cut.bmp", lambda seed: half(encoded(noise(400, 300, seed), "BMP")), REFUSED, "cut off"),
    ("cut AVIF", "cut.avif", lambda seed: half(encoded(noise(160, 120, seed), "AVIF")), REFUSED, "cut off"),
    ("JPEG without a picture", "start.jpg", lambda seed: encoded(corners(), "JPEG")[:20], REFUSED, "broken"),
    (
        "broken PNG",
        "bits.png",
        lambda seed: _spoilt(encoded(noise(400, 300, seed), "PNG")),
        REFUSED,
        "broken",
    ),
    ("text", "notes.jpg", lambda seed: b"no picture at all\n" * 9, REFUSED, "no picture"),
    ("raw file", "IMG_0004.NEF", lambda seed: _thumbnail_first(), REFUSED, "thumbnail"),
    (
        "144 million pixels",
        "map.png",
        lambda seed: png(12000, 12000, 1, 0, bytes(1500)),
        REFUSED,
        "million pixels",
    ),
    ("bomb", "bomb.png", lambda seed: png(16000, 16000, 1, 0, bytes(2000)), REFUSED, "million pixels"),
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
    ("EXIF behind the pixels", "late.png", lambda seed: _exif_behind(), CONVERTED, "EXIF"),
    ("numbers, one is none", "nan.tif", lambda seed: numbers([NAN, *RAMP[1:]]), CONVERTED, "TIFF"),
    ("numbers, one infinite", "inf.tif", lambda seed: numbers([*RAMP[:-1], INFINITE]), CONVERTED, "TIFF"),
    ("numbers, some no data", "dem.tif", lambda seed: numbers([-9999.0] * 99 + RAMP[99:]), CONVERTED, "TIFF"),
    ("numbers, all are none", "void.tif", lambda seed: numbers([NAN] * 64 * 48), REFUSED, "shows nothing"),
    (
        "12 bits of 16",
        "microscope.tif",
        lambda seed: encoded(Image.frombytes("I;16", (64, 48), array("H", range(64 * 48)).tobytes()), "TIFF"),
        CONVERTED,
        "TIFF",
    ),
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
        "cannot be read here. It is a JPEG",
    ),
    (
        "PNG with bad colours",
        "colours.png",
        lambda seed: with_chunk(encoded(noise(40, 30, seed), "PNG"), png_chunk(b"cHRM", bytes(32))),
        AS_IT_IS,
        "",
    ),
    *(
        (kind, name, lambda seed, make=make: make(seed), REFUSED, "shows nothing")
        for kind, name, make in blank.BLANK
    ),
    *(
        (kind, name, lambda seed, make=make: make(), REFUSED, says)
        for kind, name, make, says in (*foreign.PICTURES, *foreign.OTHERS)
    ),
    *((kind, name, lambda seed, make=make: make(), CONVERTED, "TIFF") for kind, name, make in foreign.READ),
    *(
        (kind, name, lambda seed, make=make: make(), outcome, says)
        for kind, name, make, outcome, says, _ in reported.REPORTED
    ),
]
KINDS = [kind for kind, *_ in _KINDS]


def _lab() -> Image.Image:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(corners(), srgb, lab, outputMode="LAB")


def _spoilt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(1000) + data[middle + 1000 :]


def awkward_file(kind: str, seed: int = 0) -> Awkward:
    """Return one file; where its contents are left open, another seed makes another."""
    _, name, make, outcome, says = next(row for row in _KINDS if row[0] == kind)
    return Awkward(kind, name, make(seed), outcome, says)


def awkward_files(count: int = len(KINDS)) -> Iterator[Awkward]:
    """Yield as many files as asked for, of all kinds in turn, each under another name."""
    for number, kind in enumerate(itertools.islice(itertools.cycle(KINDS), count)):
        file = awkward_file(kind, seed=number)
        yield Awkward(kind, f"{number:04}-{file.name}", file.data, file.outcome, file.says)


def write_awkward(folder: Path, count: int = len(KINDS)) -> dict[str, Awkward]:
    """Write as many files as asked for into a folder, and return what is to become of each by its name."""
    expected = {}
    for file in awkward_files(count):
        (folder / file.name).write_bytes(file.data)
        expected[file.name] = Awkward(file.kind, file.name, b"", file.outcome, file.says)
    return expected
