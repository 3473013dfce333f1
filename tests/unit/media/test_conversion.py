"""What becomes of each image: sent as it is, converted or refused."""

import hashlib
import logging

import pytest
from support.media import images
from support.media.conversion import Stream, awkward_file, convert, kinds_of, pixels

from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoImageError
from veo_provider.generation.fingerprint import sha256_of
from veo_provider.media import conversion, rendering
from veo_provider.media.conversion import ConvertedImage
from veo_provider.media.image_source import open_image


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


@pytest.fixture
def _no_log():
    """Airflow 2 prints what is logged; a test of what libraries print by themselves needs none of it."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_no_log")
@pytest.mark.parametrize("kind", images.KINDS)
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
    """The image is the same as without conversion, streamed from its source."""
    file = awkward_file("wrong extension")
    image = convert(file.data, file.name)
    assert type(image) is Image
    assert image == Image.from_bytes(file.data, file.name)
    assert b"".join(image.chunks(1000)) == file.data


@pytest.mark.parametrize("kind", kinds_of("converted"))
def test_what_is_converted_is_plain(kind):
    """A JPEG of 8 bits per channel, within the limits, with no EXIF, profile, comment or second image."""
    image = pixels(convert(awkward_file(kind).data))
    assert image.format == "JPEG"
    assert image.mode in ("RGB", "L")
    assert max(image.size) <= rendering.MAX_OUTPUT_SIDE
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_the_same_file_becomes_the_same_bytes():
    """A second attempt sends the same bytes, and both know the digest of the original."""
    data = awkward_file("HEIC").data
    one, other = convert(data), convert(data)
    assert b"".join(one.chunks(99)) == b"".join(other.chunks(99))
    assert one.source_sha256 == other.source_sha256
    assert one.source_sha256 != convert(data + b"\0").source_sha256


def test_a_request_is_known_by_the_file_that_was_converted():
    """Its digest does not depend on Pillow's release, nor on whether it is converted."""
    file = awkward_file("TIFF")
    request = VeoRequest(prompt="A harbour", image=convert(file.data, file.name))
    assert sha256_of(request) == hashlib.sha256(file.data).hexdigest()


def test_a_conversion_says_what_it_did_in_the_log(caplog):
    """The log has the reason for each JPEG."""
    with caplog.at_level(logging.INFO, logger=conversion.__name__):
        convert(awkward_file("GIF").data, "s3://bucket/a/still.gif")
    assert caplog.messages == ["The image s3://bucket/a/still.gif is converted to JPEG: it is a GIF."]


@pytest.mark.parametrize("kind", ["spaces", "unicode", "percent", "no extension", "HEIC", "cut JPEG"])
def test_awkward_files_are_found_by_path(kind, tmp_path):
    """By any name, with spaces, letters of all kinds and per cent signs, as a path and as a URI."""
    file = awkward_file(kind)
    (tmp_path / file.name).write_bytes(file.data)
    for scheme in ("", "file://"):
        check(file, found(f"{scheme}{tmp_path}/{file.name}"))


@pytest.mark.parametrize("kind", ["spaces", "unicode", "percent", "HEIC", "cut JPEG", "zero bytes"])
def test_awkward_objects_are_found_in_s3(kind, connections, s3):
    """The same in S3: by any name, and what is converted is read from there whole."""
    file = awkward_file(kind)
    s3.put_object(Bucket="images", Key=f"awkward/{file.name}", Body=file.data)
    check(file, found(f"s3://images/awkward/{file.name}"))


def test_without_a_conversion_the_first_bytes_decide(tmp_path):
    """Unsupported types are refused unread, and damage that only decoding shows is not noticed."""
    for kind, wanted in [("HEIC", "not a JPEG, PNG or WebP"), ("cut JPEG", None), ("CMYK JPEG", None)]:
        path = tmp_path / "image"
        path.write_bytes(awkward_file(kind).data)
        if wanted is None:
            assert type(open_image(path, None)) is Image
        else:
            with pytest.raises(VeoImageError, match=wanted):
                open_image(path, None)


@pytest.mark.parametrize("kind", ["plain JPEG", "GIF"])
def test_a_converted_file_is_read_once(kind):
    """Its digest and its pixels come from the same bytes, even if it is sent as it is."""
    data, opened = awkward_file(kind).data, []
    image = conversion.convert(
        "a", size=len(data), header=data[:12], open_stream=lambda: opened.append(1) or Stream(data)
    )
    request = VeoRequest(prompt="A harbour", image=image.hashed())
    assert sha256_of(request) == hashlib.sha256(data).hexdigest()
    assert opened == [1]
