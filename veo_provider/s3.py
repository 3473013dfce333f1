"""An object in S3: its name, and a way to stream one there that leaves all of it or nothing."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from veo_provider.api.errors import VeoError, VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, HeadObjectOutputTypeDef
    from typing_extensions import Self

log = logging.getLogger(__name__)

PART_BYTES = 8 * 1024 * 1024
"""Size of an upload's parts, and so of the memory that it needs; S3 asks for 5 MiB at least."""


class VeoUploadLostError(VeoError):
    """An upload was taken back while it was under way, by a task that stores the same object."""

    money = "Storing costs nothing."
    advice = "Trying again is safe."
    temporary = True


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


class S3Upload:
    """Streams bytes into an object, in parts, holding one part in memory at a time.

    The object appears with :meth:`complete` only. Left without it, by an error or a signal, what was
    uploaded is taken back, so that neither a cut object nor an orphaned upload remains.

    :param client: S3 client of boto3.
    :param target: the object to write.
    :param content_type: media type of the object.
    :param metadata: user metadata of the object; S3 keeps ASCII only, so anything else becomes ``?``.
    :param replace: whether an object that exists by then is replaced, or the completion fails.
    """

    def __init__(
        self,
        client: S3Client,
        target: S3Uri,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        replace: bool = True,
    ) -> None:
        self._client = client
        self._target = target
        self._where: dict[str, Any] = {"Bucket": target.bucket, "Key": target.key}
        self._what: dict[str, Any] = {
            "ContentType": content_type,
            "Metadata": {name: _ascii(value) for name, value in metadata.items()},
        }
        self._condition: dict[str, Any] = {} if replace else {"IfNoneMatch": "*"}
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._cancelled = False
        self._parts: list[CompletedPartTypeDef] = []

    def __enter__(self) -> Self:
        """Begin from the start, also after an attempt that failed."""
        self._buffer.clear()
        self._parts = []
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; a full part is uploaded at once.

        :raises InterruptedError: the upload was cancelled.
        """
        self._buffer += chunk
        while len(self._buffer) >= PART_BYTES:
            part = bytes(memoryview(self._buffer)[:PART_BYTES])
            del self._buffer[:PART_BYTES]
            self._upload_part(part)

    def complete(self) -> None:
        """Make the object appear, whole.

        :raises InterruptedError: the upload was cancelled.
        """
        self._require_not_cancelled()
        if self._upload_id is None:
            self._client.put_object(**self._where, **self._what, **self._condition, Body=bytes(self._buffer))
        else:
            if self._buffer:
                self._upload_part(bytes(self._buffer))
            with self._own_errors():
                self._client.complete_multipart_upload(
                    **self._where,
                    **self._condition,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": self._parts},
                )
            self._upload_id = None

    def cancel(self) -> None:
        """Stop from outside, such as a signal handler: take back what was uploaded, refuse what follows."""
        self._cancelled = True
        self.abort()

    def abort(self) -> None:
        """Take back what was uploaded, unless the object was completed; harmless to call again."""
        if self._upload_id is None:
            return
        try:
            self._client.abort_multipart_upload(**self._where, UploadId=self._upload_id)
        except self._client.exceptions.NoSuchUpload:
            log.debug("The upload of %s was taken back before.", self._target)
        except Exception:
            # The error that led here must reach the user, not this one.
            log.warning("The unfinished upload of %s could not be taken back.", self._target, exc_info=True)
        # A cancelled upload is taken back twice: a part on its way may have landed after the first time.
        self._upload_id = self._upload_id if self._cancelled else None

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Say who took the upload back, if that is why a call failed."""
        try:
            yield
        except self._client.exceptions.NoSuchUpload as error:
            self._require_not_cancelled()
            raise VeoUploadLostError(
                f"The upload of {self._target} was taken back by another task."
            ) from error

    def _require_not_cancelled(self) -> None:
        if self._cancelled:
            raise InterruptedError(f"The upload of {self._target} was cancelled.")

    def _upload_part(self, part: bytes) -> None:
        self._require_not_cancelled()
        if self._upload_id is None:
            self._upload_id = self._client.create_multipart_upload(**self._where, **self._what)["UploadId"]
        number = len(self._parts) + 1
        with self._own_errors():
            answer = self._client.upload_part(
                **self._where, UploadId=self._upload_id, PartNumber=number, Body=part
            )
        self._parts.append({"ETag": answer["ETag"], "PartNumber": number})


def abort_leftovers(client: S3Client, target: S3Uri) -> None:
    """Take back unfinished uploads of an object, as an attempt that was killed leaves them.

    Call it when the object is complete: before, it would hit another task that is just storing it.
    """
    try:
        answer = client.list_multipart_uploads(Bucket=target.bucket, Prefix=target.key)
        for upload in answer.get("Uploads", []):
            if upload["Key"] == target.key:
                client.abort_multipart_upload(
                    Bucket=target.bucket, Key=target.key, UploadId=upload["UploadId"]
                )
                log.info("Took back an unfinished upload of %s.", target)
    except client.exceptions.ClientError as error:
        # A housekeeping call: a policy may well forbid it.
        log.warning("Unfinished uploads of %s could not be looked for: %s", target, error)


def head(client: S3Client, target: S3Uri) -> HeadObjectOutputTypeDef | None:
    """Return what S3 knows of an object, or None if there is none."""
    try:
        return client.head_object(Bucket=target.bucket, Key=target.key)
    except client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.NOT_FOUND:
            return None
        raise


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()[:500]


def s3_client(aws_conn_id: str | None) -> S3Client:
    """Return boto3's client for S3 as Airflow's connection describes it.

    :param aws_conn_id: connection of type ``aws``; None uses boto3's own credentials.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    client: S3Client = S3Hook(aws_conn_id=aws_conn_id).get_conn()
    return client
