"""Streams an object into S3, and leaves all of it or nothing."""

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
"""Size of an upload's parts: the least that S3 takes. Of 10,000 parts, its most, 48 GiB can be made."""
_AT_ONCE = 2
"""Parts on their way at a time. With the one that fills, they are the memory that an upload needs."""
_MD5 = re.compile("[0-9a-f]{32}")
_EXISTS = ("PreconditionFailed", "412")


class MultipartUpload:
    """Streams bytes into an object, in parts: two are uploaded while the next one fills, and no more is held.

    The object appears with :meth:`complete` only. Left without it, by an error or a signal, what was
    uploaded is taken back, so that neither a cut object nor an orphaned upload remains. After an error of
    :meth:`write` or :meth:`complete`, :meth:`restart` it to try again.

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
        :raises VeoStorageError: S3 did not take a part.
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
        :raises VeoRequestError: the object exists by now, and is not to be replaced.
        :raises VeoStorageError: S3 did not complete it.
        """
        if self._filling.tell() and (self._parts or self._sending):
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
        """Whether an upload that S3 knows no more has become the object: the completion's answer was lost.

        boto3 repeats it then, and many a store knows an upload only until it is complete. The ETag tells,
        where it is that of the parts; where it is another one, encrypted by KMS for example, nothing does.
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
        """Take a refused completion for done if it was ours: boto3 repeats a call whose answer was lost.

        :raises VeoRequestError: somebody else's object is there.
        """
        try:
            found = self._senders.submit(head_object, self._client, self._target).result()
        except VeoStorageDeniedError:
            found = None
        if found is None or found["Metadata"] != self._what["Metadata"]:
            raise VeoRequestError(
                f"{self._target} exists, holds something else, and replace=False: it was not overwritten."
            ) from refusal

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
            with translate_errors(f"The unfinished upload of {self._target} cannot be aborted"):
                self._client.abort_multipart_upload(**self._where, UploadId=upload_id)
        except VeoStorageMissingError:
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
            with translate_errors(f"{self._target} cannot be written"):
                return call(*args)
        except VeoStorageMissingError as error:
            self._require_not_cancelled()
            if error.code != "NoSuchUpload":
                raise
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


def abort_stale_uploads(client: S3Client, target: S3Uri) -> None:
    """Take back unfinished uploads of an object, as an attempt that was killed leaves them.

    Call it when the object is complete: before, it would hit another task that is just storing it.
    """
    try:
        with translate_errors(f"Unfinished uploads of {target} cannot be looked for"):
            answer = client.list_multipart_uploads(Bucket=target.bucket, Prefix=target.key)
            for upload in answer.get("Uploads", []):
                if upload["Key"] == target.key:
                    client.abort_multipart_upload(
                        Bucket=target.bucket, Key=target.key, UploadId=upload["UploadId"]
                    )
                    log.info("Took back an unfinished upload of %s.", target)
    except VeoStorageError as error:
        # A housekeeping call: a policy may well forbid it.
        log.warning("%s", error)


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()[:500]
