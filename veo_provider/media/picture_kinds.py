"""What a file is by its bytes, for those that Pillow does not read here: a good file is never called broken.

A closed list of what is certain. Whatever it does not name is unknown, and told by its first bytes.
"""

from __future__ import annotations

from veo_provider.media import image_files
from veo_provider.media.tiff_files import read_tiff

_PICTURES = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG"),
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
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\xabKTX ", "a KTX texture"),
    (0, b"\0\0\1\0", "a Windows icon (ICO)"),
    (0, b"icns", "a macOS icon (ICNS)"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"#?RGBE", "a Radiance HDR picture"),
    (0, b"qoif", "a QOI"),
    *(
        (0, b"P%d" % number + end, "a Netpbm picture")
        for number in range(1, 8)
        for end in (b"\n", b" ", b"\r")
    ),
    *((0, mark + b"\n", "a picture of floats (PFM)") for mark in (b"PF", b"Pf", b"PH", b"Ph")),
    (0, b"SDPX", "a DPX"),
    (0, b"XPDS", "a DPX"),
    (0, b"\x80\x2a\x5f\xd7", "a Cineon picture"),
    (0, b"gimp xcf", "a GIMP picture (XCF)"),
    (0, b"\x8aMNG", "an MNG"),
    (0, b"\x8bJNG", "a JNG"),
    (0, b"\x0a\x05\x01", "a PCX"),
    (0, b"\x01\xda\0", "an SGI picture"),
    (0, b"\x01\xda\1", "an SGI picture"),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster picture"),
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
    (b"\0\5\x16\7", "what macOS keeps beside a file, in one whose name begins with ._"),
    (b"\0\5\x16\0", "what macOS keeps beside a file"),
    (b"\0\0\0\1Bud1", "macOS's notes of a folder (.DS_Store)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a compound file, as Thumbs.db or an old Office document is"),
    (b"PK\3\4", "a ZIP archive, as Office documents are"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (b"OggS", "a video or a sound (Ogg)"),
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS, in place of the file itself"),
)
_TEXTS = (
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
    (b'{"', "a JSON, as a server's error is"),
    (b"{\n", "a JSON, as a server's error is"),
)
_BLANKS = b"\xef\xbb\xbf \t\r\n"
_BRANDS = {
    b"crx ": "a camera's raw file (CR3)",
    b"avif": "an AVIF",
    b"avis": "an AVIF",
    b"heic": "a HEIC",
    b"heix": "a HEIC",
    b"mif1": "a HEIC",
    b"msf1": "a HEIC",
}
_LOOKED_AT = 1024
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_JPEG_LS, _EIGHT_BITS = 0xF7, 8
_LOSSLESS, _HIERARCHICAL = (0xC3, 0xC7, 0xCB, 0xCF), (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
_ARITHMETIC = range(0xC9, 0xD0)


def kind_of_picture(data: memoryview) -> str | None:
    """Return what picture a file is, with its article, or None if that is not certain."""
    start = bytes(data[:_LOOKED_AT])
    tiff = read_tiff(data)
    if tiff is not None:
        return tiff.raw_kind or tiff.kind
    if start.startswith(b"\xff\xd8\xff"):
        return _kind_of_jpeg(data)
    if is_for_ios(data):
        return "a PNG for iOS alone, as Xcode packs it (CgBI)"
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12])
    return next(
        (kind for at, mark, kind in _PICTURES if start[at:].startswith(mark)), _kind_of_drawing(start)
    )


def _kind_of_drawing(start: bytes) -> str | None:
    is_markup = start.lstrip(_BLANKS).startswith(b"<")
    return "an SVG drawing" if is_markup and b"<svg" in start else None


def is_for_ios(data: memoryview) -> bool:
    """Whether it is a PNG whose colours are in another order and multiplied by its alpha."""
    return bytes(data[:4]) == b"\x89PNG" and bytes(data[12:16]) == b"CgBI"


def kind_of_other(data: memoryview) -> str | None:
    """Return what a file is that is no picture, with its article, or None if that is not certain."""
    start = bytes(data[:_LOOKED_AT])
    if start[4:8] == b"ftyp":
        return "a video (MP4 or MOV)"
    if start[8:12] == b"AVI ":
        return "a video (AVI)"
    text = start.lstrip(_BLANKS).lower()
    for mark, kind in _TEXTS:
        if text.startswith(mark):
            return kind
    if not start.strip(b"\0") and bytes(data).count(0) == len(data):
        return "zeros alone, as a transfer that stopped leaves them"
    return next((kind for mark, kind in _OTHERS if start.startswith(mark)), None)


def _kind_of_jpeg(data: memoryview) -> str:
    frame = next((found for found in image_files.jpeg_markers(data) if found[0] in _FRAME_HEADERS), None)
    if frame is None:
        return "a JPEG"
    marker, at = frame
    depth = data[at + 4] if at + 4 < len(data) else _EIGHT_BITS
    if marker == _JPEG_LS:
        return "a JPEG-LS"
    words = [
        "lossless" * (marker in _LOSSLESS),
        "hierarchical" * (marker in _HIERARCHICAL),
        "arithmetic-coded" * (marker in _ARITHMETIC),
    ]
    kind = " ".join(["JPEG"] if not any(words) else [*filter(None, words), "JPEG"])
    article = "an" if kind.startswith("a") else "a"
    return f"{article} {kind}" if depth == _EIGHT_BITS else f"{article} {kind} of {depth} bits a colour"
