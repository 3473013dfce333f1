"""Good files that are of another kind than the provider reads: each is to be told as what it is."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from support.media.drawing import corners, encoded, png_chunk
from support.media.tiffs import DEFLATED, FLOATS, HEIGHT, SIGNED, WIDTH, Kind, tiff

if TYPE_CHECKING:
    from collections.abc import Callable


def _av(codec: str, form: str) -> bytes:
    """An image as one of FFmpeg's encoders writes it."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = WIDTH, HEIGHT, form, Fraction(1)
    frame = av.VideoFrame.from_image(corners()).reformat(format=form)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


def _photoshop() -> bytes:
    """Its least form: no layers, and the merged image uncompressed."""
    planes = b"".join(band.tobytes() for band in corners().split())
    return struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, HEIGHT, WIDTH, 8, 3) + bytes(12) + b"\0\0" + planes


def _twelve_bits() -> bytes:
    """A JPEG whose numbers are those of 12 bits: the header says so, and the coding is the same."""
    data = encoded(corners(), "JPEG")
    at = data.index(b"\xff\xc0")
    return data[:at] + b"\xff\xc1" + data[at + 2 : at + 4] + b"\x0c" + data[at + 5 :]


def _fits() -> bytes:
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", f"NAXIS1  = {WIDTH}", f"NAXIS2  = {HEIGHT}", "END")
    header = "".join(f"{card:<80}" for card in cards).encode()
    return header.ljust(2880, b" ") + corners(mode="L").tobytes().ljust(5760, b"\0")


def _dicom() -> bytes:
    value = b"1.2.840.10008.1.2\0"
    return bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", len(value)) + value


def _for_ios() -> bytes:
    """As Xcode writes it: BGRA, multiplied by alpha, and deflated without zlib's header."""
    data = encoded(corners(mode="RGBA"), "PNG")
    at = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, at)
    pixels = data[at + 8 : at + 8 + length]
    first = data[:8] + png_chunk(b"CgBI", b"\x50\0\x20\2") + data[8:at]
    return first + png_chunk(b"IDAT", pixels[2:-4]) + png_chunk(b"IEND", b"")


def _archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("picture.jpg", encoded(corners(), "JPEG"))
    return made.getvalue()


def _icon(file_format: str) -> bytes:
    return encoded(corners(128, 128, "RGBA"), file_format)


def _box(kind: bytes, *body: bytes) -> bytes:
    data = b"".join(body)
    return struct.pack(">I4s", 8 + len(data), kind) + data


IMAGES: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("TIFF of doubles", "dem64.tif", lambda: tiff(Kind(64, FLOATS)), "a TIFF of 64-bit floats"),
    ("TIFF of doubles, MM", "dem.tif", lambda: tiff(Kind(64, FLOATS, order=">")), "a TIFF of 64-bit floats"),
    ("TIFF of half floats", "half.tif", lambda: tiff(Kind(16, FLOATS)), "a TIFF of 16-bit floats"),
    ("TIFF of RGB floats", "hdr.tif", lambda: tiff(Kind(32, FLOATS, 3)), "3 32-bit floats per pixel"),
    ("TIFF of RGB doubles", "hdr64.tif", lambda: tiff(Kind(64, FLOATS, 3)), "3 64-bit floats per pixel"),
    ("TIFF of CMYK floats", "inks.tif", lambda: tiff(Kind(32, FLOATS, 4)), "4 32-bit floats per pixel"),
    ("TIFF of five inks", "spot.tif", lambda: tiff(Kind(8, channels=5)), "5 8-bit integers per pixel"),
    ("TIFF of 64-bit numbers", "counts.tif", lambda: tiff(Kind(64)), "a TIFF of 64-bit integers"),
    ("TIFF of signed bytes", "signed.tif", lambda: tiff(Kind(8, SIGNED)), "8-bit signed integers"),
    (
        "TIFF of 16-bit planes",
        "planes.tif",
        lambda: tiff(Kind(16, channels=3, planar=True)),
        "3 16-bit integers per pixel, in separate planes",
    ),
    (
        "TIFF of deflated floats, MM",
        "sparc.tif",
        lambda: tiff(Kind(32, FLOATS, order=">", compression=DEFLATED)),
        "32-bit floats",
    ),
    ("BigTIFF of doubles", "big.tif", lambda: tiff(Kind(64, FLOATS, big=True)), "a TIFF of 64-bit floats"),
    ("LERC in a TIFF", "lerc.tif", lambda: tiff(Kind(8), t259=34887), "compressed as LERC"),
    ("DNG", "IMG_0005.DNG", lambda: tiff(Kind(16), t262=32803), "a camera's raw file (DNG)"),
    ("DNG with a preview", "L1000.DNG", lambda: tiff(Kind(8, channels=3), t50706=1), "raw file (DNG)"),
    (
        "CR2",
        "IMG_0006.CR2",
        lambda: b"II*\0\x10\0\0\0CR\2\0" + tiff(Kind(8, channels=3))[12:],
        "a camera's raw file (CR2)",
    ),
    (
        "CR3",
        "IMG_0007.CR3",
        lambda: _box(b"ftyp", b"crx \0\0\0\1crx isom") + _box(b"mdat", bytes(64)),
        "a camera's raw file (CR3)",
    ),
    ("RAF", "DSCF0001.RAF", lambda: b"FUJIFILMCCD-RAW 0201" + bytes(200), "a camera's raw file (RAF)"),
    ("JPEG of 12 bits", "deep.jpg", _twelve_bits, "a JPEG of 12 bits per channel"),
    ("JPEG-LS", "scan.jls", lambda: _av("jpegls", "rgb24"), "a JPEG-LS"),
    ("JPEG-LS named .jpg", "xray.jpg", lambda: _av("jpegls", "gray16le"), "a JPEG-LS"),
    ("lossless JPEG", "lossless.jpg", lambda: _av("ljpeg", "yuvj420p"), "a lossless JPEG"),
    ("JPEG 2000", "page.jp2", lambda: _av("jpeg2000", "rgb24"), "a JPEG 2000"),
    ("JPEG 2000 of 16 bits", "deep.jp2", lambda: _av("jpeg2000", "rgb48le"), "a JPEG 2000"),
    ("JPEG XL", "new.jxl", lambda: b"\xff\x0a\xcb\x40\x24\x08\x04\x01" + bytes(64), "a JPEG XL"),
    ("JPEG XL in boxes", "boxes.jxl", lambda: _box(b"JXL ", b"\r\n\x87\n") + _box(b"jxlc"), "a JPEG XL"),
    ("JPEG XR", "old.jxr", lambda: b"II\xbc\x01\x20\0\0\0" + bytes(64), "a JPEG XR"),
    ("PNG for iOS", "icon@2x.png", _for_ios, "Xcode"),
    ("Photoshop", "poster.psd", _photoshop, "a Photoshop document (PSD)"),
    ("OpenEXR", "render.exr", lambda: _av("exr", "gbrpf32le"), "an OpenEXR image"),
    ("FITS", "m31.fits", _fits, "a FITS file"),
    ("DICOM", "knee.dcm", _dicom, "a DICOM file"),
    ("DDS", "stone.dds", lambda: encoded(corners(), "DDS"), "a DDS texture"),
    ("KTX", "stone.ktx", lambda: b"\xabKTX 11\xbb\r\n\x1a\n" + bytes(64), "a KTX texture"),
    ("ICO", "favicon.ico", lambda: _icon("ICO"), "a Windows icon (ICO)"),
    ("ICNS", "app.icns", lambda: _icon("ICNS"), "a macOS icon (ICNS)"),
    ("QOI", "quick.qoi", lambda: _av("qoi", "rgb24"), "a QOI"),
    ("PPM", "plain.ppm", lambda: _av("ppm", "rgb24"), "a Netpbm image"),
    ("PFM", "depth.pfm", lambda: _av("pfm", "gbrpf32le"), "a float image (PFM)"),
    ("Radiance", "sky.hdr", lambda: _av("hdr", "gbrpf32le"), "a Radiance HDR image"),
    ("DPX", "frame.dpx", lambda: _av("dpx", "rgb24"), "a DPX"),
    ("PCX", "paint.pcx", lambda: _av("pcx", "rgb24"), "a PCX"),
    ("SGI", "irix.rgb", lambda: _av("sgi", "rgb24"), "an SGI image"),
    ("Sun raster", "sparc.ras", lambda: _av("sunrast", "bgr24"), "a Sun raster image"),
    (
        "SVG",
        "logo.svg",
        lambda: b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "an SVG",
    ),
    ("EPS", "logo.eps", lambda: encoded(corners(), "EPS"), "a PostScript file (EPS)"),
    ("PDF", "scan.pdf", lambda: encoded(corners(), "PDF"), "a PDF"),
    ("XPM", "cursor.xpm", lambda: b'/* XPM */\nstatic char *x[] = {"1 1 1 1"};\n', "an XPM"),
]
"""Kind, file name, how it is made, and what is said of it."""

REPORTS = {
    "TIFF of doubles": "https://github.com/python-pillow/Pillow/issues/1659",
    "TIFF of five inks": "https://github.com/python-pillow/Pillow/issues/7007",
    "RAF": "https://github.com/immich-app/immich/issues/30468",
    "PNG for iOS": "https://github.com/ImageMagick/ImageMagick/issues/8473",
    "resource fork": "https://github.com/guardian/giant/issues/380",
}
"""Who has reported which of these kinds."""

OTHERS: list[tuple[str, str, Callable[[], bytes], str]] = [
    (
        "video",
        "clip.jpg",
        lambda: _box(b"ftyp", b"isom\0\0\0\0isommp42") + _box(b"mdat", bytes(99)),
        "a video (MP4 or MOV)",
    ),
    ("WebM", "clip.webm", lambda: b"\x1a\x45\xdf\xa3" + bytes(99), "a video (Matroska or WebM)"),
    ("AVI", "clip.avi", lambda: b"RIFF\x63\0\0\0AVI " + bytes(91), "a video (AVI)"),
    ("resource fork", "._IMG_0001.jpg", lambda: b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(99), "begins with ._"),
    (".DS_Store", ".DS_Store", lambda: b"\0\0\0\1Bud1" + bytes(99), ".DS_Store"),
    ("Thumbs.db", "Thumbs.db", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "Thumbs.db"),
    ("web page", "not found.jpg", lambda: b"<!DOCTYPE html>\n<title>404</title>", "a web page"),
    ("JSON", "denied.jpg", lambda: b'{"error": "access denied"}', "JSON"),
    ("ZIP", "album.jpg", _archive, "a ZIP archive"),
    ("gzip", "photo.jpg.gz", lambda: gzip.compress(encoded(corners(), "JPEG")), "a gzip archive"),
    (
        "Git LFS",
        "asset.png",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "Git LFS",
    ),
    ("zeros", "lost.jpg", lambda: bytes(5000), "all zeros"),
]
"""The same of files that are not images, whatever their names say."""

READ: list[tuple[str, str, Callable[[], bytes]]] = [
    ("BigTIFF", "gis.tif", lambda: tiff(Kind(8, channels=3, big=True))),
    ("TIFF of 16-bit colours", "scan16.tif", lambda: tiff(Kind(16, channels=3))),
    ("TIFF of large numbers", "counts32.tif", lambda: tiff(Kind(32))),
    ("TIFF of signed numbers", "heights.tif", lambda: tiff(Kind(16, SIGNED))),
]
"""TIFFs that are read, and become greys from black to white."""
