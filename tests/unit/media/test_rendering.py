"""The pixels of a converted image."""

import io

import PIL.Image
import pytest
from PIL import ImageChops
from support.media import drawing
from support.media.conversion import awkward_file, convert, pixels

from veo_provider.api.image import MAX_IMAGE_BYTES
from veo_provider.media import rendering


def corners_of(image):
    """The colours in the four corners."""
    width, height = image.size
    at = [(width // 4, height // 4), (3 * width // 4, height // 4)]
    at += [(x, 3 * height // 4) for x, _ in at]
    return [image.convert("RGB").getpixel(point) for point in at]


def is_near(one, other, tolerance=12):
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


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
        "EXIF after the pixels",
        "turned AVIF",
        "CMYK without Adobe's mark",
        "BMP named .jpeg",
    ],
)
def test_a_converted_image_shows_the_same_upright(kind):
    """Red and green are on top, in every format; of several frames, the first is taken."""
    image = pixels(convert(awkward_file(kind).data))
    assert image.size == (64, 48)
    for seen, meant in zip(
        corners_of(image), [drawing.RED, drawing.GREEN, drawing.BLUE, drawing.WHITE], strict=True
    ):
        assert is_near(seen, meant), (seen, meant)


@pytest.mark.parametrize("kind", ["PNG with alpha", "WebP with alpha", "palette with a transparent colour"])
def test_the_transparent_becomes_white(kind):
    """A cut-out is on white, and opaque parts keep their colours."""
    first, second, *_ = corners_of(pixels(convert(awkward_file(kind).data)))
    assert is_near(first, (255, 255, 255))
    assert is_near(second, drawing.GREEN, tolerance=40)


def test_wide_colours_come_as_near_as_srgb_can():
    """A green of Display P3 needs a stronger green in sRGB, and a white stays a white."""
    _, green, _, white = corners_of(pixels(convert(awkward_file("wide gamut").data)))
    assert green[0] < drawing.GREEN[0] - 15
    assert is_near(white, drawing.WHITE)


def test_a_photograph_in_adobe_rgb_is_brought_into_srgb(photo):
    """A real one: the same look needs larger values in sRGB."""
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
    """The darkest and the brightest of 16 bits, or of any values, are black and white in 8."""
    low, high = pixels(convert(awkward_file(kind).data)).getextrema()
    assert low < 10
    assert high > 245


def test_a_huge_image_becomes_smaller_in_shape():
    """At most 4096 pixels a side, and still 15:1."""
    assert pixels(convert(awkward_file("long panorama").data)).size == (4096, 273)


def test_even_noise_fits_into_the_limit():
    """The API takes the largest JPEG that a conversion can make, of pixels that cannot be compressed."""
    quarter = drawing.noise(1024, 1024)
    whole = PIL.Image.new("RGB", (4096, 4096))
    for at in range(16):
        whole.paste(quarter, (at % 4 * 1024, at // 4 * 1024))
    assert len(rendering.encode_jpeg(whole)) < MAX_IMAGE_BYTES
