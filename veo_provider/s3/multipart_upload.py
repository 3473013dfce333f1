"""Streams an object into S3: it appears as a whole, or not at all."""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from hashlib import md5
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any
from zlib import crc32

from veo_provider.exceptions import (
    VeoRequestError,
    VeoStorageConflictError,
    VeoStorageDeniedError,
    VeoStorageError,
    VeoStorageMissingError,
    VeoUploadLostError,
)
from veo_provider.s3.client import head_object
from veo_provider.s3.error_mapping import translate_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef
    from typing_extensions import Self

    from veo_provider.s3.uri import S3Uri

log = logging.getLogger(__name__)

PART_BYTES = 5 * 1024 * 1024
"""Size of a part: S3's minimum. With S3's maximum of 10,000 parts, an object may have 48 GiB."""
CONCURRENT_PARTS = 2
"""Parts that are uploaded at the same time. With the one that is being filled, they are all in memory."""
_MD5 = re.compile("[0-9a-f]{32}")
"""The ETag of a part; one that is encrypted by KMS, for example, has another."""
_EXISTS = ("PreconditionFailed", "412")
"""S3's codes for a completion with ``IfNoneMatch`` if the object exists."""


class MultipartUpload:
    """Streams bytes into an object in parts; memory is bounded by :data:`CONCURRENT_PARTS` and one more.

    The object appears when :meth:`complete` is called. If the block is left without that, by an error or a
    signal, the upload is aborted, so that neither a truncated object nor an unfinished upload remains. After
    an error of :meth:`write` or :meth:`complete`, call :meth:`restart` to try again.

    Only :meth:`cancel` calls S3 in the caller's thread; all other calls are made by the upload's own threads.
    So a signal handler may call it without deadlocking on boto3's locks.

    :param client: S3 client of boto3.
    :param target: the object to write.
    :param content_type: media type of the object.
    :param metadata: user metadata of the object; S3 keeps ASCII only, so anything else becomes ``?``.
    :param replace: whether to replace an object that exists; if False, the completion fails.
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
        self._object: dict[str, Any] = {"Bucket": target.bucket, "Key": target.key}
        self._attributes: dict[str, Any] = {
            "ContentType": content_type,
            "Metadata": {name: _ascii(value) for name, value in metadata.items()},
        }
        self._condition: dict[str, Any] = {} if replace else {"IfNoneMatch": "*"}
        self._with_checksums = _wants_checksums(client)
        self._cancelled = False
        self._upload_id: str | None = None
        self._creation = Lock()
        self._buffer = BytesIO()
        self._spare_buffers: list[BytesIO] = []
        self._sending: deque[Future[CompletedPartTypeDef]] = deque()
        self._parts: list[CompletedPartTypeDef] = []

    def __enter__(self) -> Self:
        self._senders = ThreadPoolExecutor(CONCURRENT_PARTS, "s3-upload")
        return self

    def __exit__(self, *_: object) -> None:
        with self._senders:
            self.restart()

    def restart(self) -> None:
        """Abort the upload, and start again with an empty object."""
        wait(self._sending)  # a part that arrives after the abort would remain
        self._senders.submit(self.abort).result()
        self._sending.clear()
        self._parts.clear()
        self._buffer.seek(0)

    def write(self, chunk: bytes) -> None:
        """Append bytes; blocks while a part is full and the previous ones are still being uploaded.

        :raises InterruptedError: the upload was cancelled.
        :raises VeoUploadLostError: another task aborted the upload.
        :raises VeoStorageError: S3 did not accept a part.
        """
        rest = memoryview(chunk)
        while rest:
            taken = self._buffer.write(rest[: PART_BYTES - self._buffer.tell()])
            rest = rest[taken:]
            if self._buffer.tell() == PART_BYTES:
                self._send_part()

    def complete(self) -> None:
        """Complete the upload: the object appears.

        :raises InterruptedError: the upload was cancelled.
        :raises VeoUploadLostError: another task aborted the upload.
        :raises VeoRequestError: the object exists, and ``replace`` is False.
        :raises VeoStorageError: S3 did not complete it.
        """
        if self._buffer.tell() and (self._parts or self._sending):
            self._send_part()
        self._collect(0)
        try:
            self._senders.submit(self._unless_cancelled, self._complete).result()
        except VeoUploadLostError:
            if not self._senders.submit(self._is_complete).result():
                raise
            self._upload_id = None
        except VeoStorageConflictError as error:
            if error.code not in _EXISTS:
                raise
            self._require_own_object(error)

    def _is_complete(self) -> bool:
        """Whether an upload that S3 no longer has was completed by an earlier call, whose response was lost.

        boto3 retries such a call, and many stores forget an upload once it is complete. The ETag proves it if
        it is computed from the parts' MD5; otherwise, as with encryption by KMS, nothing does.
        """
        tags = [part["ETag"].strip('"') for part in self._parts]
        if not all(_MD5.fullmatch(tag) for tag in tags):
            return False
        whole = md5(bytes.fromhex("".join(tags)), usedforsecurity=False).hexdigest()
        try:
            found = head_object(self._client, self._target)
        except VeoStorageError as error:
            log.warning("%s", error)
            return False
        return found is not None and found["ETag"].strip('"') == f"{whole}-{len(tags)}"

    def _require_own_object(self, refusal: VeoStorageConflictError) -> None:
        """Pass if the existing object is ours: boto3 retried a completion whose response was lost.

        :raises VeoRequestError: it is not.
        """
        try:
            found = self._senders.submit(head_object, self._client, self._target).result()
        except VeoStorageDeniedError:
            found = None
        if found is None or found["Metadata"] != self._attributes["Metadata"]:
            raise VeoRequestError(
                f"{self._target} exists with other content, and replace=False: it was not overwritten."
            ) from refusal

    def _send_part(self) -> None:
        """Upload the filled part in a thread, as soon as one is free."""
        self._collect(CONCURRENT_PARTS - 1)
        number = len(self._parts) + len(self._sending) + 1
        self._sending.append(
            self._senders.submit(self._unless_cancelled, self._upload_part, self._filled(), number)
        )
        # Buffers are reused: freeing and allocating them again would need more memory.
        self._buffer = self._spare_buffers.pop() if self._spare_buffers else BytesIO()

    def _filled(self) -> BytesIO:
        """Return the filled part, positioned at its start."""
        self._buffer.truncate()
        self._buffer.seek(0)
        return self._buffer

    def _collect(self, left: int) -> None:
        """Wait until at most this many parts are being uploaded; raise the error of a part that failed."""
        while len(self._sending) > left:
            self._parts.append(self._sending[0].result())
            self._sending.popleft()

    def cancel(self) -> None:
        """Abort the upload, and refuse further calls. May be called by a signal handler."""
        self._cancelled = True
        self.abort()

    def abort(self) -> None:
        """Abort the upload, unless it was completed; may be called again."""
        upload_id = self._upload_id
        if upload_id is None:
            return
        try:
            with translate_errors(f"The unfinished upload of {self._target} cannot be aborted"):
                self._client.abort_multipart_upload(**self._object, UploadId=upload_id)
        except VeoStorageMissingError:
            log.debug("The upload of %s was aborted before.", self._target)
        except Exception:
            # The user must see the error that caused the abort, not this one.
            log.warning("The unfinished upload of %s could not be aborted.", self._target, exc_info=True)
        # A cancelled upload is aborted again: a part in flight may have arrived after the first call.
        self._upload_id = upload_id if self._cancelled else None

    def _unless_cancelled(self, call: Callable[..., Any], *args: Any) -> Any:
        """Make a call to S3. If the upload is cancelled meanwhile, abort what the call has created."""
        try:
            self._require_not_cancelled()
            with translate_errors(f"{self._target} cannot be written"):
                return call(*args)
        except VeoStorageMissingError as error:
            self._require_not_cancelled()
            if error.code != "NoSuchUpload":
                raise
            raise VeoUploadLostError(f"The upload of {self._target} was aborted by another task.") from error
        finally:
            if self._cancelled:
                self.abort()

    def _require_not_cancelled(self) -> None:
        if self._cancelled:
            raise InterruptedError(f"The upload of {self._target} was cancelled.")

    def _upload_part(self, body: BytesIO, number: int) -> CompletedPartTypeDef:
        response = self._client.upload_part(
            **self._object, **self._checksum(body), UploadId=self._create_once(), PartNumber=number, Body=body
        )
        part: CompletedPartTypeDef = {"ETag": response["ETag"], "PartNumber": number}
        if "ChecksumCRC32" in response:
            part["ChecksumCRC32"] = response["ChecksumCRC32"]
        body.seek(0)
        self._spare_buffers.append(body)
        return part

    def _checksum(self, body: BytesIO) -> dict[str, Any]:
        """Return the checksum by which S3 verifies the body, as an argument of the call.

        Computed here, it is sent in a header. Over TLS, boto3's own would be sent as a trailer in chunked
        encoding, which many stores do not support, and the body would be in memory twice.
        """
        if not self._with_checksums:
            return {}
        with body.getbuffer() as content:
            return {"ChecksumCRC32": b64encode(crc32(content).to_bytes(4, "big")).decode()}

    def _create_once(self) -> str:
        """Return the id of the upload; the first part creates it."""
        with self._creation:
            if self._upload_id is None:
                kind: dict[str, Any] = {"ChecksumAlgorithm": "CRC32"} if self._with_checksums else {}
                created = self._client.create_multipart_upload(**self._object, **self._attributes, **kind)
                self._upload_id = created["UploadId"]
        self._require_not_cancelled()
        return self._upload_id

    def _complete(self) -> None:
        if self._upload_id is None:
            body = self._filled()
            self._client.put_object(
                **self._object, **self._attributes, **self._condition, **self._checksum(body), Body=body
            )
            return
        self._client.complete_multipart_upload(
            **self._object,
            **self._condition,
            UploadId=self._upload_id,
            MultipartUpload={"Parts": self._parts},
        )
        self._upload_id = None


def _wants_checksums(client: S3Client) -> bool:
    """Whether boto3 would add checksums to an upload, which is its default.

    The connection of a store without checksums needs ``request_checksum_calculation="when_required"``.
    """
    return getattr(client.meta.config, "request_checksum_calculation", "") == "when_supported"


def abort_stale_uploads(client: S3Client, target: S3Uri) -> None:
    """Abort the unfinished uploads of an object that killed attempts have left.

    Call it once the object is complete: earlier, it would abort the upload of another task that stores it.
    """
    try:
        with translate_errors(f"Unfinished uploads of {target} cannot be listed"):
            response = client.list_multipart_uploads(Bucket=target.bucket, Prefix=target.key)
            for upload in response.get("Uploads", []):
                if upload["Key"] == target.key:
                    client.abort_multipart_upload(
                        Bucket=target.bucket, Key=target.key, UploadId=upload["UploadId"]
                    )
                    log.info("Aborted an unfinished upload of %s.", target)
    except VeoStorageError as error:
        # Housekeeping, which a policy may forbid.
        log.warning("%s", error)


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()[:500]
