"""Names of objects."""

import pytest

from veo_provider.exceptions import VeoRequestError
from veo_provider.s3.uri import S3Prefix, S3Uri


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


@pytest.mark.parametrize(
    ("uri", "key"), [("s3://b/", ""), ("s3://b/a/", "a/"), ("s3://b/a b/#?/", "a b/#?/")]
)
def test_a_prefix_names_a_folder(uri, key):
    """It ends with a slash, or is the whole bucket, and its objects have a path in it."""
    prefix = S3Prefix.parse(uri, "images")
    assert prefix == S3Prefix("b", key)
    assert str(prefix.object("c.jpg")) == f"{uri}c.jpg"


@pytest.mark.parametrize("uri", ["", "s3://", "s3://b", "s3://b/folder", "s3:///a/", "/b/", None])
def test_anything_else_is_no_prefix(uri):
    """The error names the parameter to correct."""
    with pytest.raises(VeoRequestError, match=r"images=.*s3://bucket/prefix/.*nothing was charged"):
        S3Prefix.parse(uri, "images")


@pytest.mark.parametrize("parse", [S3Uri.parse, S3Prefix.parse])
def test_a_connection_in_a_uri_is_refused(parse):
    """Only an image may have one; the error names the parameter that takes it."""
    with pytest.raises(VeoRequestError, match="aws_conn_id='other'"):
        parse("s3://other@b/a/" if parse == S3Prefix.parse else "s3://other@b/a", "output")
