"""Prompts that lie in S3: beside the image, or in its metadata."""

import uuid

import pytest

from veo_provider.batch.manifest import ManifestItem
from veo_provider.batch.prompts import MAX_SIDECAR_BYTES, prompts_of
from veo_provider.exceptions import VeoImageUnavailableError, VeoRequestError


@pytest.fixture
def item(sandbox):
    """An image whose name is awkward, in a folder of its own, where there is nothing yet."""
    key = f"{uuid.uuid4().hex}//50% cat #1?.v2.jpg"
    return ManifestItem(key, f"s3://images/{key}", key, f"s3://videos/{key}.mp4")


@pytest.fixture
def put(s3, item):
    """Puts an object whose key begins like the image's, without its suffix."""

    def put(end, body=b"", **options):
        s3.put_object(Bucket="images", Key=item.key.removesuffix(".jpg") + end, Body=body, **options)

    return put


def test_the_text_beside_an_image_is_its_prompt(s3, item, put):
    """It is taken as it is, a dollar too, without the white space around it."""
    put(".txt", "\ufeff Die Katze springt für $5 ☃\n\n".encode())
    assert prompts_of(None, ".txt", s3).of(item) == "Die Katze springt für $5 ☃"


def test_a_text_with_the_whole_name_goes_first(s3, item, put):
    """What is said of cat.jpg alone counts more than what is said of cat.jpg and cat.png."""
    put(".txt", b"Any cat")
    put(".jpg.txt", b"This cat")
    assert prompts_of(None, ".txt", s3).of(item) == "This cat"


def test_an_image_without_a_text_has_no_prompt(s3, item):
    """Both names that were tried are told."""
    with pytest.raises(VeoRequestError, match=r"neither .*\.v2\.jpg\.txt nor .*\.v2\.txt exists"):
        prompts_of(None, ".txt", s3).of(item)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b" \n", "empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * (MAX_SIDECAR_BYTES + 1), "more than 32768 bytes"),
    ],
)
def test_a_text_that_is_no_prompt_is_told(s3, item, put, body, reason):
    """The reason belongs to this one image."""
    put(".txt", body)
    with pytest.raises(VeoRequestError, match=f"is no prompt: it .*{reason}"):
        prompts_of(None, ".txt", s3).of(item)


def test_metadata_fills_a_template(s3, item, put):
    """A dash is an underscore, and RFC 2047 is decoded, as S3 gives what is not ASCII."""
    put(".jpg", Metadata={"Shot-By": "=?utf-8?q?J=C3=B6rg?=", "place": "Bonn"})
    prompts = prompts_of("$stem, by $metadata_shot_by in ${metadata_place}", None, s3)
    assert prompts.of(item) == "50% cat #1?.v2, by Jörg in Bonn"


def test_metadata_that_is_missing_is_told(s3, item, put):
    """The image is rejected, and the name is told."""
    put(".jpg", Metadata={"place": "Bonn"})
    with pytest.raises(VeoRequestError, match=r"\$metadata_author, and s3://images/.* has no such metadata"):
        prompts_of("By $metadata_author in $metadata_place", None, s3).of(item)


def test_a_store_that_is_away_does_not_cost_an_image(item):
    """It is tried again, and not rejected."""
    import boto3
    from botocore.config import Config

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    config = Config(retries={"total_max_attempts": 1})
    away = boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=config, **keys)
    with pytest.raises(VeoImageUnavailableError):
        prompts_of(None, ".txt", away).of(item)
    away.close()
