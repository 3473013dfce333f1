"""What is in a picture, and what becomes of those that the API would not take."""

import functools
import hashlib
import io
import logging
import sys
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import awkward
import drawing
import PIL.Image
import pytest
from PIL import ImageChops

from veo_provider.api.image import MAX_IMAGE_BYTES, Image
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError, VeoRequestError
from veo_provider.generation.fingerprint import sha256_of
from veo_provider.media import conversion
from veo_provider.media.conversion import ConvertedImage, aspect_ratio_of, verify
from veo_provider.media.image_source import open_image

awkward_file = functools.cache(awkward.awkward_file)
KINDS_OF = {
    outcome: [kind for kind, _, _, of, _ in awkward._KINDS if of == outcome]
    for outcome in ("as it is", "converted", "refused")
}


class Stream(io.BytesIO):
    """A stream that can only be read on, as that of an object in S3, and knows how much of it was."""

    def seek(self, *_):
        raise io.UnsupportedOperation


def convert(data, name="folder/picture.jpg"):
    return conversion.convert(name, size=len(data), header=data[:12], open_stream=lambda: Stream(data))


def pixels(image):
    """What the service sees in an image."""
    picture = PIL.Image.open(io.BytesIO(b"".join(image.chunks(100_000))))
    picture.load()
    return picture


def corners_of(picture):
    """Which colours stand in the four corners."""
    width, height = picture.size
    at = [(width // 4, height // 4), (3 * width // 4, height // 4)]
    at += [(x, 3 * height // 4) for x, _ in at]
    return [picture.convert("RGB").getpixel(point) for point in at]


def is_near(one, other, tolerance=12):
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def check(file, image_or_error):
    """Assert that a file had its outcome."""
    if isinstance(image_or_error, VeoImageError):
        outcome, says = "refused", str(image_or_error)
        assert "nothing was charged" in says
        assert "at 0x" not in says
    elif isinstance(image_or_error, ConvertedImage):
        outcome, says = "converted", image_or_error.reason
        assert image_or_error.content_type == "image/jpeg"
        assert image_or_error.name.endswith(".jpg")
    else:
        outcome, says = "as it is", ""
        assert image_or_error.name == file.name
    assert (file.kind, outcome) == (file.kind, file.outcome)
    assert file.says in says


def found(uri):
    try:
        return open_image(uri, "aws_default", convert=True)
    except VeoImageError as error:
        return error


@pytest.mark.parametrize("kind", awkward.KINDS)
def test_each_awkward_file_has_its_outcome(kind, capfd):
    """It is sent as it is, converted, or refused with a sentence, and no library prints or warns."""
    file = awkward_file(kind)
    try:
        image = convert(file.data, file.name)
    except VeoImageError as error:
        check(file, error)
    else:
        check(file, image)
    assert capfd.readouterr() == ("", "")


def test_what_needs_no_conversion_is_sent_byte_for_byte():
    """The image is the one that a check alone gives, streamed from its source."""
    file = awkward_file("wrong extension")
    image = convert(file.data, file.name)
    assert type(image) is Image
    assert image == Image.from_bytes(file.data, file.name)
    assert b"".join(image.chunks(1000)) == file.data


@pytest.mark.parametrize("kind", KINDS_OF["converted"])
def test_what_is_converted_is_plain(kind):
    """A JPEG of 8 bits a colour, within the limits, with no EXIF, profile, comment or second picture."""
    picture = pixels(convert(awkward_file(kind).data))
    assert picture.format == "JPEG"
    assert picture.mode in ("RGB", "L")
    assert max(picture.size) <= conversion.KEPT_SIDE
    assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(
    "kind",
    [
        *(f"EXIF {turn}" for turn in range(2, 9)),
        "EXIF in a WebP",
        "EXIF in a PNG",
        "EXIF in a TIFF",
        "HEIC",
        "turned HEIC",
        "AVIF",
        "TIFF",
        "TIFF of several pages",
        "TIFF in CMYK",
        "TIFF in Lab",
        "BMP",
        "GIF",
        "animated GIF",
        "animated WebP",
        "animated PNG",
        "CMYK JPEG",
        "PNG with a long text",
        "PNG with long XMP",
        "PNG with a long profile",
        "EXIF behind the pixels",
        "turned AVIF",
        "CMYK without Adobe's mark",
        "BMP named .jpeg",
    ],
)
def test_a_converted_picture_shows_the_same_upright(kind):
    """Red and green are above, blue and white below, whatever the format, and of several frames the first."""
    picture = pixels(convert(awkward_file(kind).data))
    assert picture.size == (64, 48)
    for seen, meant in zip(
        corners_of(picture), [drawing.RED, drawing.GREEN, drawing.BLUE, drawing.WHITE], strict=True
    ):
        assert is_near(seen, meant), (seen, meant)


@pytest.mark.parametrize("kind", ["PNG with alpha", "WebP with alpha", "palette with a transparent colour"])
def test_the_transparent_becomes_white(kind):
    """A cut-out stands on white, and what is opaque stays."""
    first, second, *_ = corners_of(pixels(convert(awkward_file(kind).data)))
    assert is_near(first, (255, 255, 255))
    assert is_near(second, drawing.GREEN, tolerance=40)


def test_wide_colours_come_as_near_as_srgb_can():
    """A green of Display P3 needs a stronger green in sRGB, and a white stays a white."""
    _, green, _, white = corners_of(pixels(convert(awkward_file("wide gamut").data)))
    assert green[0] < drawing.GREEN[0] - 15
    assert is_near(white, drawing.WHITE)


def test_a_photograph_in_adobe_rgb_is_brought_into_srgb(photo):
    """A real one: its colours get stronger numbers for the same look."""
    data = photo.read_bytes()
    image = convert(data, photo.name)
    assert image.reason == "its colours are not sRGB"
    before, after = PIL.Image.open(io.BytesIO(data)).convert("RGB"), pixels(image)
    assert after.size == before.size
    assert max(high for _, high in ImageChops.difference(before, after).getextrema()) > 10


@pytest.mark.parametrize(
    "kind",
    [
        "16-bit grey PNG",
        "TIFF of numbers",
        "numbers, one is none",
        "numbers, one infinite",
        "numbers, some no data",
        "12 bits of 16",
    ],
)
def test_deep_greys_are_scaled_and_not_cut(kind):
    """The darkest and the brightest of 16 bits, or of any numbers, are still there in 8."""
    low, high = pixels(convert(awkward_file(kind).data)).getextrema()
    assert low < 10
    assert high > 245


def test_a_huge_picture_becomes_smaller_in_shape():
    """At most 4096 pixels a side, and still 15:1."""
    assert pixels(convert(awkward_file("long panorama").data)).size == (4096, 273)


def test_even_noise_fits_into_the_limit():
    """The largest that comes out, of pixels that no format makes smaller, is one that the API takes."""
    quarter = awkward.noise(1024, 1024)
    whole = PIL.Image.new("RGB", (4096, 4096))
    for at in range(16):
        whole.paste(quarter, (at % 4 * 1024, at // 4 * 1024))
    assert len(conversion._jpeg(whole)) < MAX_IMAGE_BYTES


def test_the_same_file_becomes_the_same_bytes():
    """A second attempt sends what the first did, and both know what it was made from."""
    data = awkward_file("HEIC").data
    one, other = convert(data), convert(data)
    assert b"".join(one.chunks(99)) == b"".join(other.chunks(99))
    assert one.source_sha256 == other.source_sha256
    assert one.source_sha256 != convert(data + b"\0").source_sha256


def test_a_request_is_known_by_the_file_that_was_converted():
    """Whatever a later release of Pillow makes of it, and converted or not, the picture stays the same."""
    file = awkward_file("TIFF")
    request = VeoRequest(prompt="A harbour", image=convert(file.data, file.name))
    assert sha256_of(request) == hashlib.sha256(file.data).hexdigest()


def test_a_conversion_says_what_it_did_in_the_log(caplog):
    """Whoever wonders about a JPEG finds its reason."""
    with caplog.at_level(logging.INFO, logger=conversion.__name__):
        convert(awkward_file("GIF").data, "s3://bucket/a/still.gif")
    assert caplog.messages == [
        "The image s3://bucket/a/still.gif is sent as a JPEG made from it: it is a GIF."
    ]


def test_a_file_too_large_to_read_is_refused_unread():
    """More than 200 MB are never held in memory."""

    def never():
        raise AssertionError

    with pytest.raises(VeoImageError, match=r"has 201 MB.*at most 200 MB"):
        conversion.convert("a.tif", size=201_000_000, header=b"II*\0", open_stream=never)


def test_a_file_longer_than_it_says_is_refused(monkeypatch):
    """A stream without an end is not read on and on."""
    monkeypatch.setattr(conversion, "MAX_SOURCE_BYTES", 100_000)
    with pytest.raises(VeoImageError, match="are read to convert it"):
        conversion.convert("a.tif", size=99, header=b"II*\0", open_stream=lambda: Stream(bytes(1_000_000)))


def test_a_source_that_fails_is_not_the_pictures_fault():
    """It is worth another attempt, unlike a broken picture."""

    def broken():
        raise ConnectionResetError("gone")

    with pytest.raises(VeoImageUnavailableError, match="gone"):
        conversion.convert("a.jpg", size=99, header=b"\xff\xd8\xff", open_stream=broken)


@pytest.mark.parametrize("kind", [kind for kind in KINDS_OF["refused"] if kind.startswith("cut ")][:3])
def test_verifying_finds_what_the_first_bytes_do_not_show(kind):
    """A cut picture passes for an image by its header, and is refused when it is decoded."""
    image = Image.from_bytes(awkward_file(kind).data, "cut.jpg")
    with pytest.raises(VeoImageError, match=r"cut\.jpg is broken or cut off"):
        verify(image)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("missing", [100, 3000])
def test_verifying_misses_no_missing_end(photo, file_format, missing):
    """Whether much or little is missing of the pixels, the picture is refused; whole, it is not."""
    whole = awkward.encoded(PIL.Image.open(photo).convert("RGB"), file_format)
    verify(Image.from_bytes(whole))
    with pytest.raises(VeoImageError):
        verify(Image.from_bytes(whole[:-missing]))


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((1920, 1080), "16:9"),
        ((1080, 1920), "9:16"),
        ((600, 800), "9:16"),
        ((500, 500), "16:9"),
        ((500, 550), "16:9"),
        ((500, 551), "9:16"),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_the_aspect_ratio_fits_the_picture(size, ratio, file_format):
    """Upright if it is clearly taller than wide, else lying; square and nearly square are lying."""
    image = Image.from_bytes(awkward.encoded(PIL.Image.new("RGB", size), file_format))
    assert aspect_ratio_of(image) == ratio


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_aspect_ratio_is_that_of_the_upright_picture(turn, file_format):
    """What EXIF turns by a quarter has its width for its height."""
    upright = awkward.corners(48, 64) if turn < 5 else awkward.corners(64, 48)
    exif = PIL.Image.Exif()
    exif[awkward.ORIENTATION] = turn
    image = Image.from_bytes(awkward.encoded(upright, file_format, exif=exif))
    assert aspect_ratio_of(image) == "9:16"


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_turn_that_is_none_turns_nothing(value):
    """Orientations that EXIF does not know are no reason to fail, nor to turn."""
    exif = PIL.Image.Exif()
    exif[awkward.ORIENTATION] = value
    data = awkward.encoded(awkward.corners(), "JPEG", exif=exif)
    assert aspect_ratio_of(Image.from_bytes(data)) == "16:9"
    assert type(convert(data)) is Image


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_the_aspect_ratio_takes_the_first_bytes_only(file_format):
    """A large picture is not read to its end, not even one with a large profile before its pixels."""
    read = []

    class Counted(Stream):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

    profile = awkward.profile(awkward.SRGB) + bytes(200_000)
    data = awkward.encoded(awkward.noise(1000, 800), file_format, icc_profile=profile, quality=100)
    assert len(data) > 1_000_000
    image = Image.check("a", size=len(data), header=data[:12], open_stream=lambda: Counted(data))
    assert aspect_ratio_of(image) == "16:9"
    assert sum(read) < 600_000


def test_a_broken_picture_has_no_aspect_ratio():
    """It is told as such, before anything is asked for."""
    data = awkward_file("JPEG without a picture").data
    with pytest.raises(VeoImageError, match="no width and height"):
        aspect_ratio_of(Image.from_bytes(data))


def test_pillows_limit_is_told_in_a_sentence_wherever_it_is_met():
    """A decompression bomb is refused by its size, also where only its shape is asked for."""
    image = Image.from_bytes(awkward_file("bomb").data, "bomb.png")
    for look in (aspect_ratio_of, verify):
        with pytest.raises(VeoImageError, match=r"bomb\.png has more than 120 million pixels"):
            look(image)


def test_pillows_warnings_stay_inside_and_others_do_not():
    """A picture that Pillow warns of makes no noise in a task's log, and no other library is silenced."""
    data = awkward_file("broken EXIF").data
    with pytest.warns(UserWarning, match="Truncated|Corrupt|data"):
        PIL.Image.open(io.BytesIO(data)).getexif()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        convert(data)
        with conversion._pillow("a.jpg"):
            warnings.warn("another's", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["another's"]


@pytest.mark.parametrize("look", [aspect_ratio_of, verify])
def test_without_pillow_the_extra_is_named(look, monkeypatch, photo):
    """A missing library is told with the command that installs it."""
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(
        VeoRequestError, match=r"needs Pillow.*pip install 'airflow-provider-veo\[pictures\]'"
    ):
        look(Image.from_path(photo))


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


def test_a_folder_of_awkward_files_is_found_by_path(tmp_path):
    """Each by its name with spaces, letters of all kinds and per cent signs, and none stops the others."""
    expected = awkward.write_awkward(tmp_path, len(awkward.KINDS) + 2)
    assert len(expected) == len(awkward.KINDS) + 2
    assert {file.kind for file in expected.values()} == set(awkward.KINDS)
    for name, file in expected.items():
        check(file, found(str(tmp_path / name)))


@pytest.mark.parametrize("kind", ["spaces", "unicode", "percent", "HEIC", "25 MB", "cut JPEG", "zero bytes"])
def test_awkward_objects_are_found_in_s3(kind, connections, s3):
    """The same in S3: by any name, and what is converted is read from there whole."""
    file = awkward_file(kind)
    s3.put_object(Bucket="images", Key=f"awkward/{file.name}", Body=file.data)
    check(file, found(f"s3://images/awkward/{file.name}"))


def test_without_a_conversion_the_first_bytes_decide(tmp_path):
    """Unsupported types are refused unread, and what only decoding shows is not seen."""
    for kind, wanted in [("HEIC", "not a JPEG, PNG or WebP"), ("cut JPEG", None), ("CMYK JPEG", None)]:
        path = tmp_path / "picture"
        path.write_bytes(awkward_file(kind).data)
        if wanted is None:
            assert type(open_image(path, None)) is Image
        else:
            with pytest.raises(VeoImageError, match=wanted):
                open_image(path, None)


@pytest.mark.parametrize("kind", ["half a JPEG", "half a WebP", "grey lower half", "PNG with a wrong sum"])
def test_verifying_finds_what_was_lost(kind):
    """A picture that decodes, but to something grey or wrong from the middle on, is refused."""
    with pytest.raises(VeoImageError, match=r"lost\.jpg is damaged.*nothing was charged"):
        verify(Image.from_bytes(awkward_file(kind).data, "lost.jpg"))


@pytest.mark.parametrize(
    "options", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9", bytes(2), bytes(9999)], ids=len)
def test_no_jpeg_that_is_whole_is_called_damaged(options, end):
    """Neither one whose lower half has one colour, nor one with anything behind its end; cut, both are."""
    page = PIL.Image.new("RGB", (400, 300), "white")
    page.paste(awkward.noise(300, 100), (50, 20))
    data = awkward.encoded(page, "JPEG", **options)
    verify(Image.from_bytes(data + end))
    for cut in (data[:-200], data[: len(data) // 3]):
        with pytest.raises(VeoImageError):
            verify(Image.from_bytes(cut + end))


def test_bombs_in_texts_are_not_read(monkeypatch):
    """A text that grows a thousandfold is read no further than the limit, and the picture is converted."""
    bomb = b"x\0\0" + zlib.compress(bytes(200_000_000))
    data = awkward.with_chunk(awkward.encoded(awkward.corners(), "PNG"), awkward.png_chunk(b"zTXt", bomb))
    tracemalloc.start()
    try:
        assert "texts" in convert(data).reason
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000


def test_the_shape_of_a_picture_with_a_long_text_is_read():
    """A text before the pixels does not hide them."""
    upright = awkward.encoded(PIL.Image.new("RGB", (30, 60)), "PNG")
    chunk = awkward.png_chunk(b"zTXt", b"x\0\0" + zlib.compress(awkward.LONG_TEXT))
    assert aspect_ratio_of(Image.from_bytes(awkward.with_chunk(upright, chunk))) == "9:16"


@pytest.mark.parametrize("kind", ["plain JPEG", "GIF"])
def test_a_converted_file_is_read_once(kind):
    """Its digest and its pixels come from the same bytes, also where it is sent as it is."""
    data, opened = awkward_file(kind).data, []
    image = conversion.convert(
        "a", size=len(data), header=data[:12], open_stream=lambda: opened.append(1) or Stream(data)
    )
    request = VeoRequest(prompt="A harbour", image=image.hashed())
    assert sha256_of(request) == hashlib.sha256(data).hexdigest()
    assert opened == [1]


def test_a_file_that_grows_while_it_is_converted_is_for_another_attempt():
    """Somebody is writing it: that is no fault of the picture."""
    data = awkward_file("plain JPEG").data
    with pytest.raises(VeoImageUnavailableError, match="changed while it was read"):
        conversion.convert("a.jpg", size=len(data) - 1, header=data[:12], open_stream=lambda: Stream(data))


def test_large_files_are_held_one_at_a_time():
    """Eight threads that convert 25 MB each hold one such file and its copy while it grows, not eight."""
    data = awkward_file("25 MB with much behind the picture").data
    convert(data)
    tracemalloc.start()
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(convert, [data] * 16))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * len(data)
