"""Names the kind of a file that cannot be decoded, by its first bytes, for the error message.

A closed list of what is certain: all other kinds are unknown.
"""

from __future__ import annotations

from veo_provider.media.formats import jpeg, png
from veo_provider.media.formats.tiff import read_tiff

_IMAGES = (
    (0, png.SIGNATURE, "a PNG"),
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (8, b"WEBP", "a WebP"),
    (128, b"DICM", "a DICOM file"),
    (0, b"8BPS", "a Photoshop document (PSD)"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"II\xbc", "a JPEG XR"),
    (0, b"v/1\x01", "an OpenEXR image"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\xabKTX ", "a KTX texture"),
    (0, b"\0\0\1\0", "a Windows icon (ICO)"),
    (0, b"icns", "a macOS icon (ICNS)"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"#?RGBE", "a Radiance HDR image"),
    (0, b"qoif", "a QOI"),
    *((0, b"P%d" % number + end, "a Netpbm image") for number in range(1, 8) for end in (b"\n", b" ", b"\r")),
    *((0, mark + b"\n", "a float image (PFM)") for mark in (b"PF", b"Pf", b"PH", b"Ph")),
    (0, b"SDPX", "a DPX"),
    (0, b"XPDS", "a DPX"),
    (0, b"\x80\x2a\x5f\xd7", "a Cineon image"),
    (0, b"gimp xcf", "a GIMP image (XCF)"),
    (0, b"\x8aMNG", "an MNG"),
    (0, b"\x8bJNG", "a JNG"),
    (0, b"\x0a\x05\x01", "a PCX"),
    (0, b"\x01\xda\0", "an SGI image"),
    (0, b"\x01\xda\1", "an SGI image"),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster image"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (0, b"/* XPM */", "an XPM"),
    (0, b"#define ", "an XBM"),
    (0, b"AT&TFORM", "a DjVu"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (0, b"FOVb", "a camera's raw file (X3F)"),
    (0, b"\0MRM", "a camera's raw file (MRW)"),
    (0, b"IIRO", "a camera's raw file (ORF)"),
    (0, b"IIRS", "a camera's raw file (ORF)"),
    (0, b"MMOR", "a camera's raw file (ORF)"),
    (0, b"IIU\0", "a camera's raw file (RW2)"),
    (0, b"%PDF-", "a PDF"),
    (0, b"%!PS", "a PostScript file (EPS)"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript file (EPS)"),
)
_OTHERS = (
    (b"\0\5\x16\7", "a macOS metadata file, whose name begins with ._"),
    (b"\0\5\x16\0", "a macOS metadata file"),
    (b"\0\0\0\1Bud1", "a macOS folder settings file (.DS_Store)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a compound file, such as Thumbs.db or an old Office document"),
    (b"PK\3\4", "a ZIP archive, as are Office documents"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (b"OggS", "a video or audio file (Ogg)"),
    (b"version https://git-lfs.github.com/", "a Git LFS pointer instead of the file itself"),
)
_TEXTS = (
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
    (b'{"', "JSON, such as a server's error"),
    (b"{\n", "JSON, such as a server's error"),
)
_WHITE_SPACE = b"\xef\xbb\xbf \t\r\n"
_BRANDS = {
    b"crx ": "a camera's raw file (CR3)",
    b"avif": "an AVIF",
    b"avis": "an AVIF",
    b"heic": "a HEIC",
    b"heix": "a HEIC",
    b"mif1": "a HEIC",
    b"msf1": "a HEIC",
}
_HEADER_BYTES = 1024
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {jpeg.JPEG_LS_FRAME}
_EIGHT_BITS = 8
_LOSSLESS, _HIERARCHICAL = (0xC3, 0xC7, 0xCB, 0xCF), (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
_ARITHMETIC = range(0xC9, 0xD0)


def image_kind(data: memoryview) -> str | None:
    """Return the kind of an image file, with its article; None if that is not certain."""
    start = bytes(data[:_HEADER_BYTES])
    tiff = read_tiff(data)
    if tiff is not None:
        return tiff.raw_kind or tiff.kind
    if start.startswith(jpeg.SIGNATURE):
        return _jpeg_kind(data)
    if png.is_ios_png(data):
        return "a PNG in Apple's private format, as Xcode writes it (CgBI)"
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12])
    return next(
        (kind for offset, mark, kind in _IMAGES if start[offset:].startswith(mark)), _drawing_kind(start)
    )


def _drawing_kind(start: bytes) -> str | None:
    is_markup = start.lstrip(_WHITE_SPACE).startswith(b"<")
    return "an SVG drawing" if is_markup and b"<svg" in start else None


def other_kind(data: memoryview) -> str | None:
    """Return the kind of a file that is not an image, with its article; None if that is not certain."""
    start = bytes(data[:_HEADER_BYTES])
    if start[4:8] == b"ftyp":
        return "a video (MP4 or MOV)"
    if start[8:12] == b"AVI ":
        return "a video (AVI)"
    text = start.lstrip(_WHITE_SPACE).lower()
    for mark, kind in _TEXTS:
        if text.startswith(mark):
            return kind
    if not start.strip(b"\0") and bytes(data).count(0) == len(data):
        return "all zeros, as an interrupted transfer leaves behind"
    return next((kind for mark, kind in _OTHERS if start.startswith(mark)), None)


def _jpeg_kind(data: memoryview) -> str:
    frame = next((found for found in jpeg.jpeg_markers(data) if found[0] in _FRAMES), None)
    if frame is None:
        return "a JPEG"
    marker, offset = frame
    depth = data[offset + 4] if offset + 4 < len(data) else _EIGHT_BITS
    if marker == jpeg.JPEG_LS_FRAME:
        return "a JPEG-LS"
    words = [
        "lossless" * (marker in _LOSSLESS),
        "hierarchical" * (marker in _HIERARCHICAL),
        "arithmetic-coded" * (marker in _ARITHMETIC),
    ]
    kind = " ".join(["JPEG"] if not any(words) else [*filter(None, words), "JPEG"])
    article = "an" if kind.startswith("a") else "a"
    return f"{article} {kind}" if depth == _EIGHT_BITS else f"{article} {kind} of {depth} bits per channel"
