"""A file in S3 that is read in pieces, wherever a reader wants one: only one is in memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from veo_provider.s3.error_mapping import translate_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from veo_provider.s3.uri import S3Uri

PIECE_BYTES = 256 * 1024


class ObjectReader(io.RawIOBase):
    """Reads an object by ranges; use it in an :class:`io.BufferedReader` of :data:`PIECE_BYTES`.

    :param client: boto3's client.
    :param target: the object.
    :param max_bytes: the sum of all reads after which the reader gives up.
    :raises VeoStorageError: there is no such object, or S3 did not say.
    """

    def __init__(self, client: S3Client, target: S3Uri, max_bytes: int) -> None:
        super().__init__()
        self._client = client
        self._target = target
        self._left = max_bytes
        self._position = 0
        with translate_errors(f"{target} cannot be read"):
            found = client.head_object(Bucket=target.bucket, Key=target.key)
        self._size, self._etag = found["ContentLength"], found["ETag"]

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position of the next read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: object) -> int:
        """Read into a buffer, and return the number of bytes; 0 at the end.

        :raises VeoStorageError: S3 did not return them, or the object has changed.
        :raises OSError: more than ``max_bytes`` were read.
        """
        view = memoryview(buffer)  # type: ignore[arg-type]  # whatever Python's io passes is a buffer
        count = min(len(view), self._size - self._position)
        if count <= 0:
            return 0
        self._left -= count
        if self._left < 0:
            raise OSError(f"Too much of {self._target} was read.")
        asked = f"bytes={self._position}-{self._position + count - 1}"
        with translate_errors(f"{self._target} cannot be read"):
            answer = self._client.get_object(
                Bucket=self._target.bucket, Key=self._target.key, Range=asked, IfMatch=self._etag
            )
            data = answer["Body"].read()[:count]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
