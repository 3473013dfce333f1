"""Which files are called broken: those that show it themselves, and no good file."""

import contextlib
import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.media import drawing, foreign_files, images, reported_images
from support.media.conversion import awkward_file, convert, kinds_of

from veo_provider.exceptions import VeoImageError
from veo_provider.media.formats.damage import is_certainly_broken
from veo_provider.media.formats.jpeg import with_end_marker
from veo_provider.media.formats.kinds import image_kind, other_kind

LARGE = {
    "144 million pixels",
    "bomb",
    "25 MB",
    "25 MB with much after the image",
    "long panorama",
}
SMALL = [kind for kind in images.KINDS if kind not in LARGE]


GOOD = kinds_of("as it is") + kinds_of("converted")
GOOD += [kind for kind, *_ in (*foreign_files.IMAGES, *foreign_files.OTHERS)]


@pytest.mark.parametrize("kind", GOOD)
def test_no_good_file_is_broken(kind):
    """Of any kind, decodable or not; a panorama gets the end marker that it lacks."""
    data = memoryview(awkward_file(kind).data)
    assert not is_certainly_broken(memoryview(with_end_marker(data) or data))


@pytest.mark.parametrize(
    "options", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str
)
def test_a_panorama_without_its_end_shows_all_of_it(options):
    """As much as with one, however it is encoded; one that lacks more than the marker is refused."""
    whole = drawing.encoded(drawing.noise(400, 300), "JPEG", **options)
    data = reported_images.panorama(**options)
    assert with_end_marker(memoryview(data)) == whole
    assert convert(data).reason == "it has no end marker"
    with pytest.raises(VeoImageError, match="damaged"):
        convert(reported_images.panorama(missing=3000, **options))


def test_an_invalid_trailer_is_no_trailer():
    """Its directory and what it refers to must be in the file; a JPEG with an end marker needs no other."""
    data = reported_images.panorama()
    for at in (-4, -8, -16):  # its mark, the length of its directory, and where its entry starts
        spoilt = bytearray(data)
        spoilt[at : at + 4 or None] = b"\xff\xff\xff\xff"
        assert with_end_marker(memoryview(bytes(spoilt))) is None, at
    assert with_end_marker(memoryview(drawing.encoded(drawing.corners(), "JPEG") + data[-1000:])) is None
    assert with_end_marker(memoryview(b"SEFT")) is None


@pytest.mark.parametrize(
    "file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF", "JPEG2000"]
)
@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.5, 1, exclude_max=True))
def test_a_cut_is_certain(file_format, share):
    """Wherever in the pixels it is, be the last bytes missing only."""
    whole = _whole(file_format)
    assert not is_certainly_broken(memoryview(whole))
    cut = whole[: int(share * len(whole))]
    assert is_certainly_broken(memoryview(cut))


@functools.cache
def _whole(file_format):
    return drawing.encoded(drawing.noise(160, 120), file_format)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(SMALL), data=st.data())
def test_no_damage_escapes_as_another_error(kind, data):
    """Bytes that are changed, missing or too many give an image or our error, and nothing else."""
    spoilt = bytearray(awkward_file(kind).data)
    at = data.draw(st.integers(0, min(len(spoilt), data.draw(st.sampled_from([64, 10**9])))))
    spoilt[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    view = memoryview(bytes(spoilt))
    assert image_kind(view) is None or image_kind(view).startswith(("a ", "an "))
    assert other_kind(view) is None or isinstance(other_kind(view), str)
    with contextlib.suppress(VeoImageError):
        convert(bytes(view))
