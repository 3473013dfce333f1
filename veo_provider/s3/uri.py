"""The name of an object in S3."""

from __future__ import annotations

from dataclasses import dataclass

from veo_provider.exceptions import VeoRequestError


@dataclass(frozen=True)
class S3Uri:
    """The name of an object, written ``s3://bucket/key``."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str, parameter: str) -> S3Uri:
        """Return the object that a URI names. A key may hold any character, ``#`` and ``?`` too.

        :param parameter: whose value it is, for the error message.
        :raises VeoRequestError: it is not of the form ``s3://bucket/key``.
        """
        scheme, _, rest = str(uri).partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket or not key or key.endswith("/"):
            raise VeoRequestError(f"{parameter}={uri!r} is not of the form s3://bucket/key.")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
