"""Draws and encodes the awkward images."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zlib
from array import array

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 180, 30), (30, 30, 220), (240, 240, 240)
ORIENTATION = 0x0112
TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))


def corners(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Four quarters: red and green above, blue and white below."""
    four = Image.new("RGB", (2, 2))
    four.putdata([RED, GREEN, BLUE, WHITE])
    image = four.resize((width, height), Image.Resampling.NEAREST)
    return image.quantize(4) if mode == "P" else image.convert(mode)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    made = io.BytesIO()
    image.save(made, file_format, **options)
    return made.getvalue()


def turned(orientation: int, file_format: str = "JPEG", **options: object) -> bytes:
    """The four quarters, stored otherwise and turned upright by their EXIF data."""
    image = corners()
    if orientation in TURNED_BACK:
        image = image.transpose(TURNED_BACK[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, file_format, exif=exif.tobytes(), **options)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image that no format makes smaller."""
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(3 * width * height))  # noqa: S311 - noise


def profile(primaries: tuple[tuple[float, ...], ...], gamma: float = 2.2) -> bytes:
    """An ICC profile of these primaries (CIE XYZ under D50)."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    name = b"a profile\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)
    tags = {b"desc": described, b"cprt": b"text\0\0\0\0nobody's\0", b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    tags |= {bytes([c]) + b"XYZ": xyz(p) for c, p in zip(b"rgb", primaries, strict=True)}
    tags |= {bytes([c]) + b"TRC": curve for c in b"rgb"}
    at, index, body = 132 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        index += tag + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    whole = struct.pack(
        ">I4sI4s4s4s12s4s", at + len(body), b"", 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"", b"acsp"
    )
    header = whole.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(data: bytes, chunk: bytes, *, at_end: bool = False) -> bytes:
    """A PNG with one more chunk before its pixels, or at the end."""
    at = data.index(b"IEND" if at_end else b"IDAT") - 4
    return data[:at] + chunk + data[at:]


def zeroed(data: bytes) -> bytes:
    """A file of which a transfer reserved all, and wrote half."""
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def numbers(values: list[float]) -> bytes:
    """A TIFF of these numbers, 64 a row."""
    image = Image.frombytes("F", (64, len(values) // 64), array("f", values).tobytes())
    return encoded(image, "TIFF")


def png(width: int, height: int, depth: int, colour: int, row: bytes, level: int = 1) -> bytes:
    """A PNG of equal rows, of kinds that Pillow does not write or not so fast."""
    squeeze = zlib.compressobj(level)
    pixels = b"".join(squeeze.compress(b"\0" + row) for _ in range(height)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": pixels, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(itertools.starmap(png_chunk, chunks.items()))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]
