"""Images as people have reported them of photo archives: each with the report, and what is right for it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from PIL import Image
from support.media import videos
from support.media.drawing import ORIENTATION, corners, encoded, noise, turned

if TYPE_CHECKING:
    from collections.abc import Callable


def _samsung(name: bytes, body: bytes) -> bytes:
    """Samsung's trailer with one entry, whose directory counts backwards."""
    entry = struct.pack("<HHI", 0, 0x0A30, len(name)) + name + body
    directory = struct.pack("<4sIIHHII", b"SEFH", 107, 1, 0, 0x0A30, len(entry), len(entry))
    return entry + directory + struct.pack("<I4s", len(directory), b"SEFT")


def panorama(missing: int = 0, **options: object) -> bytes:
    """As Galaxy phones write it: a trailer in place of the marker at the end.

    :param missing: so many bytes of its pixels are lost.
    """
    data = encoded(noise(400, 300), "JPEG", **options)
    assert data.endswith(b"\xff\xd9")
    return data[: -2 - missing] + _samsung(b"Panorama_Shot_Info", videos.encode("faststart"))


def _motion_photo() -> bytes:
    return encoded(corners(), "JPEG") + _samsung(b"MotionPhoto_Data", videos.encode())


def _gain_map() -> bytes:
    """An image of another shape after the first, which makes it brighter on some displays."""
    return encoded(corners(), "MPO", save_all=True, append_images=[Image.new("RGB", (16, 12), (90, 90, 90))])


def _without_adobe() -> bytes:
    """Four inks, and nothing that says how they are stored."""
    data = encoded(corners(mode="CMYK"), "JPEG")
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def _toy_camera() -> bytes:
    """Bytes too many before each marker that restarts the coding."""
    data = encoded(corners(400, 300), "JPEG", restart_marker_rows=2)
    for number in range(8):
        mark = bytes([0xFF, 0xD0 + number])
        data = data.replace(mark, b"\x12\x34\x56" + mark)
    return data


def _without_orientation() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 0
    return encoded(corners(), "JPEG", exif=exif)


AS_IT_IS, CONVERTED, REFUSED = "as it is", "converted", "refused"
REPORTED: list[tuple[str, str, Callable[[], bytes], str, str, str]] = [
    (
        "panorama without an end",
        "20220605_153254.jpg",
        panorama,
        CONVERTED,
        "it has no end marker",
        "https://github.com/libjpeg-turbo/libjpeg-turbo/issues/163",
    ),
    (
        "cut panorama",
        "20220605_153255.jpg",
        lambda: panorama(missing=2000),
        REFUSED,
        "damaged",
        "https://github.com/photoprism/photoprism/issues/1944",
    ),
    (
        "motion photo",
        "20260627_120000.jpg",
        _motion_photo,
        AS_IT_IS,
        "",
        "https://github.com/immich-app/immich/issues/30654",
    ),
    (
        "gain map",
        "ultrahdr.jpg",
        _gain_map,
        AS_IT_IS,
        "",
        "https://github.com/python-pillow/Pillow/issues/8052",
    ),
    (
        "CMYK without Adobe's mark",
        "catalogue.jpg",
        _without_adobe,
        CONVERTED,
        "CMYK",
        "https://github.com/lovell/sharp/issues/1649",
    ),
    (
        "BMP named .jpeg",
        "filename.jpeg",
        lambda: encoded(corners(), "BMP"),
        CONVERTED,
        "BMP",
        "https://github.com/lovell/sharp/issues/1960",
    ),
    (
        "JPEG named .HEIC",
        "IMG_0008.HEIC",
        lambda: encoded(corners(), "JPEG", quality=90),
        AS_IT_IS,
        "",
        "https://github.com/instructure/canvas-lms/issues/1206",
    ),
    (
        "toy camera",
        "PHO00012.jpg",
        _toy_camera,
        AS_IT_IS,
        "",
        "https://github.com/immich-app/immich/issues/8510",
    ),
    (
        "orientation 0",
        "vivo.jpg",
        _without_orientation,
        AS_IT_IS,
        "",
        "https://github.com/photoprism/photoprism/issues/3843",
    ),
    (
        "turned AVIF",
        "IMG_0009.avif",
        lambda: turned(6, "AVIF", quality=95),
        CONVERTED,
        "AVIF",
        "https://github.com/darktable-org/darktable/issues/13306",
    ),
]
"""Kind, file name, how it is made, what is right for it, what is said of it, and who has reported it."""
