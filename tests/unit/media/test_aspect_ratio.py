"""The aspect ratio that fits an image, from its first bytes."""

import zlib

import PIL.Image
import pytest
from support.media import drawing
from support.media.conversion import Stream, awkward_file, convert
from support.media.good_images import LONG_TEXT

from veo_provider.api.image import Image
from veo_provider.exceptions import VeoImageError
from veo_provider.media.aspect_ratio import aspect_ratio_of


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
def test_the_aspect_ratio_fits_the_image(size, ratio, file_format):
    """Portrait if clearly taller than wide, otherwise landscape, also if square or nearly square."""
    image = Image.from_bytes(drawing.encoded(PIL.Image.new("RGB", size), file_format))
    assert aspect_ratio_of(image) == ratio


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_aspect_ratio_is_that_of_the_upright_image(turn, file_format):
    """An EXIF rotation by a quarter turn swaps width and height."""
    upright = drawing.corners(48, 64) if turn < 5 else drawing.corners(64, 48)
    exif = PIL.Image.Exif()
    exif[drawing.ORIENTATION] = turn
    image = Image.from_bytes(drawing.encoded(upright, file_format, exif=exif))
    assert aspect_ratio_of(image) == "9:16"


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_turn_that_is_none_turns_nothing(value):
    """Orientations that EXIF does not define are ignored."""
    exif = PIL.Image.Exif()
    exif[drawing.ORIENTATION] = value
    data = drawing.encoded(drawing.corners(), "JPEG", exif=exif)
    assert aspect_ratio_of(Image.from_bytes(data)) == "16:9"
    assert type(convert(data)) is Image


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_the_aspect_ratio_takes_the_first_bytes_only(file_format):
    """A large image is not read to its end, not even one with a large profile before its pixels."""
    read = []

    class Counted(Stream):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

    profile = drawing.profile(drawing.SRGB) + bytes(200_000)
    data = drawing.encoded(drawing.noise(1000, 800), file_format, icc_profile=profile, quality=100)
    assert len(data) > 1_000_000
    image = Image.check("a", size=len(data), header=data[:12], open_stream=lambda: Counted(data))
    assert aspect_ratio_of(image) == "16:9"
    assert sum(read) < 600_000


def test_a_broken_image_has_no_aspect_ratio():
    """The error says so, before anything is submitted."""
    data = awkward_file("JPEG without an image").data
    with pytest.raises(VeoImageError, match="its width and height cannot be read"):
        aspect_ratio_of(Image.from_bytes(data))


def test_the_shape_of_an_image_with_a_long_text_is_read():
    """A text before the pixels does not hide them."""
    upright = drawing.encoded(PIL.Image.new("RGB", (30, 60)), "PNG")
    chunk = drawing.png_chunk(b"zTXt", b"x\0\0" + zlib.compress(LONG_TEXT))
    assert aspect_ratio_of(Image.from_bytes(drawing.with_chunk(upright, chunk))) == "9:16"
