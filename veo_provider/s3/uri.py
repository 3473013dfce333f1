"""URIs of S3: ``s3://bucket/key`` names an object, and ``s3://bucket/prefix/`` a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass

from veo_provider.exceptions import VeoRequestError

_ACCESS_POINT = re.compile(r"arn:[^/]+:(accesspoint|outpost/[^/]+/accesspoint)/[^/]+")
"""The ARN of an access point, which replaces the bucket's name and contains slashes."""


def split_uri(uri: str) -> tuple[str, str, str | None]:
    """Return scheme, bucket and key of a URI; the key is None if no slash follows the bucket.

    The bucket may be the ARN of an access point.
    """
    scheme, _, rest = str(uri).partition("://")
    access_point = _ACCESS_POINT.match(rest)
    length = len(access_point[0]) if access_point else len(rest.partition("/")[0])
    return scheme, rest[:length], rest[length + 1 :] if len(rest) > length else None


@dataclass(frozen=True)
class S3Uri:
    """The name of an object, written ``s3://bucket/key``."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str, parameter: str, *, with_connection: bool = False) -> S3Uri:
        """Return the object that a URI names. A key may contain any character, including ``#`` and ``?``.

        :param parameter: the parameter's name, for the error message.
        :param with_connection: allow a connection id before the bucket; it remains a part of the bucket.
        :raises VeoRequestError: it does not have the form ``s3://bucket/key``.
        """
        scheme, bucket, key = split_uri(uri)
        if scheme != "s3" or not bucket or not key or key.endswith("/"):
            raise VeoRequestError(f"{parameter}={uri!r} is not of the form s3://bucket/key.")
        if not with_connection:
            _refuse_connection(uri, bucket, parameter)
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class S3Prefix:
    """The name of a folder, written ``s3://bucket/prefix/``: its key is empty, or ends with a slash."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str, parameter: str) -> S3Prefix:
        """Return the folder that a URI names.

        :param parameter: the parameter's name, for the error message.
        :raises VeoRequestError: it does not have the form ``s3://bucket/prefix/``.
        """
        scheme, bucket, key = split_uri(uri)
        if scheme != "s3" or not bucket or key is None or (key and not key.endswith("/")):
            raise VeoRequestError(f"{parameter}={uri!r} is not of the form s3://bucket/prefix/.")
        _refuse_connection(uri, bucket, parameter)
        return cls(bucket, key)

    def object(self, path: str) -> S3Uri:
        """Return the object with a path in this folder."""
        return S3Uri(self.bucket, f"{self.key}{path}")


def _refuse_connection(uri: object, bucket: str, parameter: str) -> None:
    """Refuse a connection id in a URI, ``s3://connection@bucket/key``, since it would not be used.

    :raises VeoRequestError: there is one; no bucket has ``@`` in its name.
    """
    if "@" in bucket:
        conn_id = bucket.rpartition("@")[0]
        raise VeoRequestError(
            f"{parameter}={str(uri)!r} has a connection in it, which only an image may have: remove "
            f"it, and set aws_conn_id={conn_id!r}."
        )
