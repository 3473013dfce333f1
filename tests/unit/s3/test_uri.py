"""Names of objects."""

import pytest

from veo_provider.exceptions import VeoRequestError
from veo_provider.s3.uri import S3Uri


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://b/k.mp4", "b", "k.mp4"),
        ("s3://b/a/b c/ü#?%20.mp4", "b", "a/b c/ü#?%20.mp4"),
        ("s3://b//k", "b", "/k"),
    ],
)
def test_a_uri_names_bucket_and_key(uri, bucket, key):
    """A key is taken as it stands, with any character."""
    assert S3Uri.parse(uri, "s3_key") == S3Uri(bucket, key)
    assert str(S3Uri(bucket, key)) == uri


@pytest.mark.parametrize("uri", ["", "s3://", "s3://b", "s3://b/", "s3://b/folder/", "/b/k", "S3:/b/k", None])
def test_anything_else_is_refused_by_the_parameters_name(uri):
    """The error names the parameter to correct."""
    with pytest.raises(VeoRequestError, match=r"s3_key=.*s3://bucket/key.*nothing was charged"):
        S3Uri.parse(uri, "s3_key")
