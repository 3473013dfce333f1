"""The name of an object in S3."""

from __future__ import annotations

import re
from dataclasses import dataclass

from veo_provider.exceptions import VeoRequestError

_ACCESS_POINT = re.compile(r"arn:[^/]+:(accesspoint|outpost/[^/]+/accesspoint)/[^/]+")
"""What stands in the place of a bucket and has slashes of its own."""


def split(uri: str) -> tuple[str, str, str | None]:
    """Return scheme, bucket and key of a URI; None for a key if no slash follows the bucket.

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
        """Return the object that a URI names. A key may hold any character, ``#`` and ``?`` too.

        :param parameter: whose value it is, for the error message.
        :param with_connection: whether the bucket may have a connection before it, as a part of it then.
        :raises VeoRequestError: it is not of the form ``s3://bucket/key``.
        """
        scheme, bucket, key = split(uri)
        if scheme != "s3" or not bucket or not key or key.endswith("/"):
            raise VeoRequestError(f"{parameter}={uri!r} is not of the form s3://bucket/key.")
        if not with_connection:
            refuse_connection(uri, bucket, parameter)
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def refuse_connection(uri: object, bucket: str, parameter: str) -> None:
    """Refuse a connection in a URI, ``s3://connection@bucket/key``, where another one would be used for it.

    :raises VeoRequestError: there is one; no bucket has such a name.
    """
    if "@" in bucket:
        conn_id = bucket.rpartition("@")[0]
        raise VeoRequestError(
            f"{parameter}={str(uri)!r} has a connection in it, which counts for reading images only: write "
            f"it without, and set aws_conn_id={conn_id!r}."
        )
