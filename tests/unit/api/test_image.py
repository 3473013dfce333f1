"""What counts as an image that the API takes."""

import hashlib
import io

import pytest

from veo_provider.api.image import MAX_IMAGE_BYTES, Image
from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)


@pytest.mark.parametrize(
    ("header", "content_type"),
    [
        (b"\xff\xd8\xff\xdb" + bytes(20), "image/jpeg"),
        (PNG, "image/png"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20), "image/webp"),
    ],
)
def test_the_type_comes_from_the_bytes(header, content_type):
    """A name says nothing: the first bytes tell the type."""
    assert Image.from_bytes(header, "lies.txt").content_type == content_type


@pytest.mark.parametrize(
    "data", [b"GIF89a" + bytes(20), b"<html>", b"RIFF\x10\0\0\0WAVEfmt ", b"\xff\xd8", b"\0\0\0\x18ftypheic"]
)
def test_anything_else_is_refused(data):
    """A file that is none of the three types is refused before any money is spent."""
    with pytest.raises(VeoImageError, match=r"not a JPEG, PNG or WebP.*nothing was charged"):
        Image.from_bytes(data, "photo.jpg")


def test_an_empty_image_is_refused():
    """Zero bytes are no image."""
    with pytest.raises(VeoImageError, match="is empty"):
        Image.from_bytes(b"")


def test_more_than_20_mb_is_refused():
    """The gateway would ignore the image, make a video of the text alone, and charge for it."""
    limits = {"header": PNG, "open_stream": lambda: io.BytesIO(PNG)}
    assert Image.check("a.png", size=MAX_IMAGE_BYTES, **limits).size == 20_000_000
    with pytest.raises(VeoImageError, match="at most 20 MB"):
        Image.check("a.png", size=MAX_IMAGE_BYTES + 1, **limits)


def test_a_file_is_opened_anew_each_time(tmp_path):
    """Two attempts at a submission both send the whole image."""
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    image = Image.from_path(path)
    for _ in range(2):
        stream = image.open()
        assert stream.read() == PNG
        stream.close()


def test_a_missing_file_is_told_in_a_sentence(tmp_path):
    """A path that leads nowhere names itself in the error."""
    with pytest.raises(VeoImageError, match=r"nowhere\.png cannot be read"):
        Image.from_path(tmp_path / "nowhere.png")


def test_a_digest_is_made_once():
    """A second look takes what the first found."""
    opened = []
    image = Image.check(
        "a.png", size=len(PNG), header=PNG, open_stream=lambda: opened.append(1) or io.BytesIO(PNG)
    )
    hashed = image.hashed()
    assert hashed.hashed().sha256 == hashlib.sha256(PNG).hexdigest()
    assert hashed == image
    assert opened == [1]


@pytest.mark.parametrize("change", [b"more", b""], ids=["grown", "shrunk"])
def test_an_image_of_another_size_than_it_was_found_with_has_no_digest(change):
    """Somebody is writing it: that is for another attempt."""
    data = PNG + change if change else PNG[:-1]
    image = Image.check("a.png", size=len(PNG), header=PNG, open_stream=lambda: io.BytesIO(data))
    with pytest.raises(VeoImageUnavailableError, match=r"changed while it was read.*Retrying is safe"):
        image.hashed()


@pytest.mark.parametrize("start", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"], ids=["JPEG", "PNG"])
@pytest.mark.parametrize("zeros", [512, 3_000_000])
def test_a_file_that_was_reserved_and_not_written_is_damaged(start, zeros):
    """Zeros at the end are padding after what a whole file ends with, and damage after anything else."""
    end = b"\xff\xd9" if start.startswith(b"\xff") else b"IEND\xaeB`\x82"
    pixels = b"pixels\0" * 100
    assert Image.from_bytes(start + pixels + end + bytes(zeros)).hashed().sha256
    assert Image.from_bytes(start + pixels + bytes(100)).hashed().sha256
    with pytest.raises(VeoImageError, match=r"are zeros.*nothing was charged"):
        Image.from_bytes(start + pixels + bytes(zeros)).hashed()
