"""TIFFs of every kind of number: each becomes the right image, or its kind is named."""

import io
from itertools import product

import PIL.Image
import pytest
from support.media.conversion import convert
from support.media.tiffs import DEFLATED, FLOATS, SIGNED, UNCOMPRESSED, UNSIGNED, Kind, tiff

from veo_provider.exceptions import VeoImageError
from veo_provider.media.formats.tiff import read_tiff

NUMBERS = [(UNSIGNED, bits) for bits in (8, 16, 32, 64)]
NUMBERS += [(SIGNED, bits) for bits in (8, 16, 32, 64)] + [(FLOATS, bits) for bits in (16, 32, 64)]


def converted_or_error(data):
    try:
        return convert(data)
    except VeoImageError as error:
        return error


def kinds(number_format, bits):
    for channels, planar, order, big, compression in product(
        (1, 2, 3, 4, 5), (False, True), "<>", (False, True), (UNCOMPRESSED, DEFLATED)
    ):
        if channels > 1 or not planar:
            yield Kind(bits, number_format, channels, planar, order, big, compression)


def is_ramp(image, *, falls):
    """Whether its greys go from one end to the other, pixel by pixel, but for what a JPEG changes."""
    greys = list(PIL.Image.open(io.BytesIO(b"".join(image.chunks(1 << 20)))).convert("L").tobytes())
    greys = greys[::-1] if falls else greys
    return greys[0] < 5 and greys[-1] > 250 and max(map(abs, map(int.__sub__, greys, sorted(greys)))) < 8


@pytest.mark.parametrize(("number_format", "bits"), NUMBERS)
def test_no_kind_of_number_is_called_broken_or_shown_wrong(number_format, bits):
    """A ramp from black to white stays one, or the numbers are named; four channels are inks and darken."""
    for kind in kinds(number_format, bits):
        image = converted_or_error(tiff(kind))
        if isinstance(image, VeoImageError):
            assert f"{bits}-bit" in str(image), kind
            assert "broken" not in str(image), kind
        else:
            assert is_ramp(image, falls=kind.channels == 4), kind


@pytest.mark.parametrize("kind", [Kind(8), Kind(16, channels=3), Kind(8, channels=3, big=True)], ids=str)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_cut_one_is_called_broken(kind, share):
    """Its directory, or the pixels that it points to, lie beyond the end."""
    data = tiff(kind)
    cut = data[: max(int(share * len(data)), 9)]
    assert read_tiff(memoryview(cut)).is_cut
    with pytest.raises(VeoImageError, match="broken or cut off"):
        convert(cut)


@pytest.mark.parametrize("at", range(4, 16))
def test_a_directory_that_makes_no_sense_is_no_other_error(at):
    """Whatever stands in its place, the file is cut or has other tags."""
    data = bytearray(tiff(Kind(8)))
    data[at : at + 4] = b"\xff\xff\xff\xff"
    assert read_tiff(memoryview(bytes(data))) is not None


def test_what_is_no_tiff_is_none():
    """Its first four bytes decide."""
    assert read_tiff(memoryview(b"\x89PNG\r\n\x1a\n")) is None
    assert read_tiff(memoryview(b"")) is None
