"""What is called broken: what says so itself, and no good file."""

import contextlib
import functools
import io

import awkward
import drawing
import foreign
import pytest
import reported
from hypothesis import given, settings
from hypothesis import strategies as st

from veo_provider.exceptions import VeoImageError
from veo_provider.media import conversion
from veo_provider.media.broken_files import is_certainly_broken
from veo_provider.media.image_files import with_end
from veo_provider.media.picture_kinds import kind_of_other, kind_of_picture

awkward_file = functools.cache(awkward.awkward_file)
LARGE = {
    "144 million pixels",
    "bomb",
    "25 MB",
    "25 MB with much behind the picture",
    "long panorama",
}
SMALL = [kind for kind in awkward.KINDS if kind not in LARGE]


GOOD = [kind for kind, _, _, outcome, _ in awkward._KINDS if outcome != "refused"]
GOOD += [kind for kind, *_ in (*foreign.PICTURES, *foreign.OTHERS)]


@pytest.mark.parametrize("kind", GOOD)
def test_no_good_file_is_broken(kind):
    """Whatever it is, and whether it can be read here; a panorama is given the end that it lacks."""
    data = memoryview(awkward_file(kind).data)
    assert not is_certainly_broken(memoryview(with_end(data) or data))


@pytest.mark.parametrize(
    "options", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str
)
def test_a_panorama_without_its_end_shows_all_of_it(options):
    """As much as with one, in whatever way it is coded; what lacks more than the mark is refused."""
    whole = drawing.encoded(drawing.noise(400, 300), "JPEG", **options)
    data = reported.panorama(**options)
    assert with_end(memoryview(data)) == whole
    assert convert(data).reason == "its end is not marked"
    with pytest.raises(VeoImageError, match="damaged"):
        convert(reported.panorama(missing=3000, **options))


def test_a_trailer_that_makes_no_sense_is_none():
    """Its directory and what it points to must lie in the file; and a JPEG with its end needs no other."""
    data = reported.panorama()
    for at in (-4, -8, -16):  # its mark, the length of its directory, and where its entry begins
        spoilt = bytearray(data)
        spoilt[at : at + 4 or None] = b"\xff\xff\xff\xff"
        assert with_end(memoryview(bytes(spoilt))) is None, at
    assert with_end(memoryview(drawing.encoded(drawing.corners(), "JPEG") + data[-1000:])) is None
    assert with_end(memoryview(b"SEFT")) is None


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


def convert(data):
    return conversion.convert("a.jpg", size=len(data), header=data[:12], open_stream=lambda: io.BytesIO(data))


@functools.cache
def _whole(file_format):
    return drawing.encoded(drawing.noise(160, 120), file_format)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(SMALL), data=st.data())
def test_no_damage_escapes_as_another_error(kind, data):
    """Bytes that are changed, missing or too many give a picture or our error, and nothing else."""
    spoilt = bytearray(awkward_file(kind).data)
    at = data.draw(st.integers(0, min(len(spoilt), data.draw(st.sampled_from([64, 10**9])))))
    spoilt[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    view = memoryview(bytes(spoilt))
    assert kind_of_picture(view) is None or kind_of_picture(view).startswith(("a ", "an "))
    assert kind_of_other(view) is None or isinstance(kind_of_other(view), str)
    with contextlib.suppress(VeoImageError):
        convert(bytes(view))
