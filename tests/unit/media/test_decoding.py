"""Decoding behind guards: limits, missing libraries, and images that only seem whole."""

import io
import sys
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import PIL.Image
import pytest
from support.media import drawing
from support.media.conversion import Stream, awkward_file, convert, kinds_of

from veo_provider.api.image import Image
from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError, VeoRequestError
from veo_provider.media import conversion, decoding
from veo_provider.media.aspect_ratio import aspect_ratio_of


def test_a_file_too_large_to_read_is_refused_unread():
    """Files of more than 200 MB are not read into memory."""

    def never():
        raise AssertionError

    with pytest.raises(VeoImageError, match=r"has 201 MB.*at most 200 MB"):
        conversion.convert("a.tif", size=201_000_000, header=b"II*\0", open_stream=never)


def test_a_file_longer_than_it_says_is_refused(monkeypatch):
    """An endless stream is not read on and on."""
    monkeypatch.setattr(decoding, "MAX_SOURCE_BYTES", 100_000)
    with pytest.raises(VeoImageError, match="at most 0 MB can be converted"):
        conversion.convert("a.tif", size=99, header=b"II*\0", open_stream=lambda: Stream(bytes(1_000_000)))


def test_a_source_that_fails_is_not_the_images_fault():
    """Unlike a broken image, it is worth another attempt."""

    def broken():
        raise ConnectionResetError("gone")

    with pytest.raises(VeoImageUnavailableError, match="gone"):
        conversion.convert("a.jpg", size=99, header=b"\xff\xd8\xff", open_stream=broken)


@pytest.mark.parametrize("kind", [kind for kind in kinds_of("refused") if kind.startswith("cut ")][:3])
def test_decoding_finds_what_the_first_bytes_do_not_show(kind):
    """A cut image passes for one by its header, and is refused when it is decoded."""
    data = awkward_file(kind).data
    assert Image.from_bytes(data, "cut.jpg").size == len(data)
    with pytest.raises(VeoImageError, match=r"cut\.jpg is broken or cut off"):
        convert(data, "cut.jpg")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("missing", [100, 3000])
def test_decoding_misses_no_missing_end(photo, file_format, missing):
    """Whether much or little is missing of the pixels, the image is refused; whole, it is not."""
    whole = drawing.encoded(PIL.Image.open(photo).convert("RGB"), file_format)
    convert(whole)
    with pytest.raises(VeoImageError):
        convert(whole[:-missing])


@pytest.mark.parametrize("kind", ["half a JPEG", "half a WebP", "grey lower half", "PNG with a wrong sum"])
def test_decoding_finds_what_was_lost(kind):
    """An image that decodes, but to something grey or wrong from the middle on, is refused."""
    with pytest.raises(VeoImageError, match=r"lost\.jpg is damaged.*nothing was charged"):
        convert(awkward_file(kind).data, "lost.jpg")


@pytest.mark.parametrize(
    "options", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9", bytes(2), bytes(9999)], ids=len)
def test_no_jpeg_that_is_whole_is_called_damaged(options, end):
    """Neither one whose lower half has one colour, nor one with anything after its end; cut, both are."""
    page = PIL.Image.new("RGB", (400, 300), "white")
    page.paste(drawing.noise(300, 100), (50, 20))
    data = drawing.encoded(page, "JPEG", **options)
    convert(data + end)
    for cut in (data[:-200], data[: len(data) // 3]):
        with pytest.raises(VeoImageError):
            convert(cut + end)


def test_pillows_limit_is_told_in_a_sentence_wherever_it_is_met():
    """A decompression bomb is refused by its size, also where only its shape is asked for."""
    data, too_many = awkward_file("bomb").data, r"bomb\.png has more than 120 million pixels"
    with pytest.raises(VeoImageError, match=too_many):
        aspect_ratio_of(Image.from_bytes(data, "bomb.png"))
    with pytest.raises(VeoImageError, match=too_many):
        convert(data, "bomb.png")


def test_pillows_warnings_stay_inside_and_others_do_not():
    """An image that Pillow warns of makes no noise in a task's log, and no other library is silenced."""
    data = awkward_file("broken EXIF").data
    with pytest.warns(UserWarning, match="Truncated|Corrupt|data"):
        PIL.Image.open(io.BytesIO(data)).getexif()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        convert(data)
        with decoding.pillow_guard("a.jpg"):
            warnings.warn("another's", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["another's"]


def test_without_pillow_the_extra_is_named(monkeypatch, photo):
    """The error has the command that installs the missing library."""
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(
        VeoRequestError, match=r"needs Pillow.*pip install 'airflow-provider-veo\[pictures\]'"
    ):
        aspect_ratio_of(Image.from_path(photo))


def test_without_pillow_nothing_is_converted(monkeypatch):
    """Nor is anything read."""
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(VeoRequestError, match="needs Pillow"):
        convert(b"GIF89a")


def test_without_pillow_heif_only_heic_is_refused(monkeypatch):
    """The rest goes on, and the error names the extra."""
    files = {kind: awkward_file(kind).data for kind in ("HEIC", "GIF")}
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert convert(files["GIF"]).reason == "it is a GIF"
    with pytest.raises(VeoImageError, match=r"is a HEIC, and pillow-heif is not installed.*\[pictures\]"):
        convert(files["HEIC"])


def test_bombs_in_texts_are_not_read(monkeypatch):
    """A text that grows a thousandfold is read no further than the limit, and the image is converted."""
    bomb = b"x\0\0" + zlib.compress(bytes(50_000_000))
    data = drawing.with_chunk(drawing.encoded(drawing.corners(), "PNG"), drawing.png_chunk(b"zTXt", bomb))
    tracemalloc.start()
    try:
        assert "texts" in convert(data).reason
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000


def test_a_file_that_grows_while_it_is_converted_is_for_another_attempt():
    """Somebody is writing it: the image may be fine."""
    data = awkward_file("plain JPEG").data
    with pytest.raises(VeoImageUnavailableError, match="changed while it was read"):
        conversion.convert("a.jpg", size=len(data) - 1, header=data[:12], open_stream=lambda: Stream(data))


def test_large_files_are_held_one_at_a_time():
    """Eight threads that convert 25 MB each keep one such file and its growing copy in memory, not eight."""
    data = awkward_file("25 MB with much after the image").data
    convert(data)
    tracemalloc.start()
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(convert, [data] * 8))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * len(data)
