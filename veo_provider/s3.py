"""An object in S3: its name, and a way to stream one there that leaves all of it or nothing."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any
from zlib import crc32

from veo_provider.api.errors import VeoError, VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, HeadObjectOutputTypeDef
    from typing_extensions import Self

log = logging.getLogger(__name__)

PART_BYTES = 5 * 1024 * 1024
"""Size of an upload's parts: the least that S3 takes. Of 10,000 parts, its most, 48 GiB can be made."""
_AT_ONCE = 2
"""Parts on their way at a time. With the one that fills, they are the memory that an upload needs."""


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
    """Streams bytes into an object, in parts: two are uploaded while the next one fills, and no more is held.

    The object appears with :meth:`complete` only. Left without it, by an error or a signal, what was
    uploaded is taken back, so that neither a cut object nor an orphaned upload remains.

    All calls to S3 are made by threads of its own, except for that of :meth:`cancel`. So the signal that
    leads there never interrupts such a call in its own thread, whose locks it would wait for in vain.

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
        self._with_checksums = _wants_checksums(client)
        self._cancelled = False
        self._upload_id: str | None = None
        self._beginning = Lock()
        self._filling = BytesIO()
        self._spare: list[BytesIO] = []
        self._sending: deque[Future[CompletedPartTypeDef]] = deque()
        self._parts: list[CompletedPartTypeDef] = []

    def __enter__(self) -> Self:
        self._senders = ThreadPoolExecutor(_AT_ONCE, "s3-upload")
        return self

    def __exit__(self, *_: object) -> None:
        with self._senders:
            self.restart()

    def restart(self) -> None:
        """Take back what was uploaded, and begin anew."""
        # Behind the parts that are on their way, which no upload may outlive.
        wait(self._sending)
        self._senders.submit(self.abort).result()
        self._sending.clear()
        self._parts.clear()
        self._filling.seek(0)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; waits while a full part is ready and the ones before are still on their way.

        :raises InterruptedError: the upload was cancelled.
        :raises VeoUploadLostError: another task took the upload back.
        """
        rest = memoryview(chunk)
        while rest:
            taken = self._filling.write(rest[: PART_BYTES - self._filling.tell()])
            rest = rest[taken:]
            if self._filling.tell() == PART_BYTES:
                self._send_part()

    def complete(self) -> None:
        """Make the object appear, whole.

        :raises InterruptedError: the upload was cancelled.
        :raises VeoUploadLostError: another task took the upload back.
        """
        if self._filling.tell() and (self._parts or self._sending):
            self._send_part()
        self._collect(0)
        self._senders.submit(self._unless_cancelled, self._complete).result()

    def _send_part(self) -> None:
        """Let a sender take the part that was filled, as soon as one is free."""
        self._collect(_AT_ONCE - 1)
        number = len(self._parts) + len(self._sending) + 1
        self._sending.append(
            self._senders.submit(self._unless_cancelled, self._upload_part, self._filled(), number)
        )
        # Used again, because memory that is freed and asked for anew comes on top of what is freed.
        self._filling = self._spare.pop() if self._spare else BytesIO()

    def _filled(self) -> BytesIO:
        """Return what was written as a file that is read from its begin."""
        self._filling.truncate()
        self._filling.seek(0)
        return self._filling

    def _collect(self, left: int) -> None:
        """Wait until so few parts are on their way; an error of one of them is raised here."""
        while len(self._sending) > left:
            self._parts.append(self._sending[0].result())
            self._sending.popleft()

    def cancel(self) -> None:
        """Stop from outside, such as a signal handler: take back what was uploaded, refuse what follows."""
        self._cancelled = True
        self.abort()

    def abort(self) -> None:
        """Take back what was uploaded, unless the object was completed; harmless to call again."""
        upload_id = self._upload_id
        if upload_id is None:
            return
        try:
            self._client.abort_multipart_upload(**self._where, UploadId=upload_id)
        except self._client.exceptions.NoSuchUpload:
            log.debug("The upload of %s was taken back before.", self._target)
        except Exception:
            # The error that led here must reach the user, not this one.
            log.warning("The unfinished upload of %s could not be taken back.", self._target, exc_info=True)
        # A cancelled upload is taken back again: a part on its way may have landed after the first time.
        self._upload_id = upload_id if self._cancelled else None

    def _unless_cancelled(self, call: Callable[..., Any], *args: Any) -> Any:
        """Make a call to S3; take back what a cancellation meanwhile could not know of."""
        try:
            self._require_not_cancelled()
            return call(*args)
        except self._client.exceptions.NoSuchUpload as error:
            self._require_not_cancelled()
            raise VeoUploadLostError(
                f"The upload of {self._target} was taken back by another task."
            ) from error
        finally:
            if self._cancelled:
                self.abort()

    def _require_not_cancelled(self) -> None:
        if self._cancelled:
            raise InterruptedError(f"The upload of {self._target} was cancelled.")

    def _upload_part(self, body: BytesIO, number: int) -> CompletedPartTypeDef:
        answer = self._client.upload_part(
            **self._where, **self._sum(body), UploadId=self._begin(), PartNumber=number, Body=body
        )
        part: CompletedPartTypeDef = {"ETag": answer["ETag"], "PartNumber": number}
        if "ChecksumCRC32" in answer:
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        body.seek(0)
        self._spare.append(body)
        return part

    def _sum(self, body: BytesIO) -> dict[str, Any]:
        """Return the checksum by which S3 verifies what arrives.

        Given by us, it goes into a header. Over TLS, boto3's own would follow the body in chunks of a coding
        that many a store does not know, and be held in memory once more.
        """
        if not self._with_checksums:
            return {}
        with body.getbuffer() as content:
            return {"ChecksumCRC32": b64encode(crc32(content).to_bytes(4, "big")).decode()}

    def _begin(self) -> str:
        """Return the id of the upload, begun by the first part that needs it."""
        with self._beginning:
            if self._upload_id is None:
                kind: dict[str, Any] = {"ChecksumAlgorithm": "CRC32"} if self._with_checksums else {}
                begun = self._client.create_multipart_upload(**self._where, **self._what, **kind)
                self._upload_id = begun["UploadId"]
        self._require_not_cancelled()
        return self._upload_id

    def _complete(self) -> None:
        if self._upload_id is None:
            body = self._filled()
            self._client.put_object(
                **self._where, **self._what, **self._condition, **self._sum(body), Body=body
            )
            return
        self._client.complete_multipart_upload(
            **self._where,
            **self._condition,
            UploadId=self._upload_id,
            MultipartUpload={"Parts": self._parts},
        )
        self._upload_id = None


def _wants_checksums(client: S3Client) -> bool:
    """Whether boto3 would add checksums to an upload by itself, as it does unless it is told not to.

    A store that does not know them needs ``request_checksum_calculation="when_required"`` in the connection.
    """
    return getattr(client.meta.config, "request_checksum_calculation", "") == "when_supported"


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


def s3_client(aws_conn_id: str | None, connections: int = 10) -> S3Client:
    """Return boto3's client for S3 as Airflow's connection describes it.

    :param aws_conn_id: connection of type ``aws``; None uses boto3's own credentials.
    :param connections: how many connections to S3 are kept, at least: one for each thread that uses it.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from botocore.config import Config

    hook = S3Hook(aws_conn_id=aws_conn_id)
    known = hook.config
    # Config has its options as attributes that it makes at run time.
    most = max(connections, getattr(known, "max_pool_connections", 0))
    client: S3Client = hook.get_client_type(config=known.merge(Config(max_pool_connections=most)))
    return client
