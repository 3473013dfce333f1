"""Streams a completed video from the service into S3, and checks it on the way.

The object appears only once the video is whole. Nothing here spends money.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from veo_provider.api.parsing.download import START
from veo_provider.exceptions import (
    VeoConnectionError,
    VeoIncompleteVideoError,
    VeoStorageDeniedError,
    VeoStorageError,
    VeoStorageMissingError,
)
from veo_provider.generation import retries
from veo_provider.media.mp4 import Mp4Parser
from veo_provider.s3.client import head_object
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.multipart_upload import MultipartUpload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.media.mp4 import Mp4Info
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.s3.uri import S3Uri

log = logging.getLogger(__name__)

_READ_BYTES = 1024 * 1024
_PROGRESS_BYTES = 1024 * 1024
"""A download that gets this much further than all before it does not count as a failed attempt."""


@dataclass(frozen=True)
class StoredVideo:
    """A whole video in S3.

    :param uri: ``s3://bucket/key``.
    :param veo_task_id: the API's task id.
    :param bytes: size of the object.
    :param sha256: hex digest of its bytes.
    :param duration_seconds: length of the video.
    :param width: pixels.
    :param height: pixels.
    """

    uri: str
    veo_task_id: str
    bytes: int
    sha256: str
    duration_seconds: float
    width: int
    height: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict for JSON and XCom."""
        return asdict(self)


class VideoInspector:
    """Checks and measures a video while its bytes pass."""

    def __init__(self) -> None:
        self._parser = Mp4Parser()
        self._digest = hashlib.sha256()

    @property
    def position(self) -> int:
        """Number of bytes that have passed."""
        return self._parser.position

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        :raises VeoIncompleteVideoError: they are not MP4.
        """
        self._parser.feed(chunk)
        self._digest.update(chunk)

    def finish(
        self, uri: str, veo_task_id: str, expected_bytes: int | None, asked_seconds: float | None = None
    ) -> StoredVideo:
        """Return the description of the whole video.

        :param uri: where it is stored.
        :param veo_task_id: the API's task id.
        :param expected_bytes: its size according to the response, see
            :meth:`~veo_provider.media.mp4.Mp4Parser.finish`.
        :param asked_seconds: the requested length.
        :raises VeoIncompleteVideoError: the bytes so far are not a whole video.
        """
        info: Mp4Info = self._parser.finish(expected_bytes, asked_seconds=asked_seconds)
        return StoredVideo(
            uri=uri,
            veo_task_id=veo_task_id,
            bytes=self.position,
            sha256=self._digest.hexdigest(),
            duration_seconds=info.duration_seconds,
            width=info.width,
            height=info.height,
        )


def transfer_video(
    client: VeoClient,
    veo_task_id: str,
    uri: str,
    upload: MultipartUpload,
    *,
    asked_seconds: str | None = None,
) -> StoredVideo:
    """Stream a completed video from the service into S3, and return its description. This is free.

    A download that breaks off is resumed.

    :param uri: where the upload goes, for the result.
    :param upload: takes the bytes; completed only if they are a whole MP4.
    :param asked_seconds: the requested length, as in the request: half a video may be a valid file, too.
    :raises VeoError: :data:`~veo_provider.generation.retries.STORE_ATTEMPTS` attempts in a row got no
        further.
    """
    transfer = _Transfer(client, veo_task_id, uri, upload, asked_seconds)
    stored = None
    with upload:
        while stored is None:
            stored = retries.store_retries()(transfer.attempt)
    return stored


class _Transfer:
    """The transfer of one video, over as many connections as it takes.

    A download is resumed only if the file still has the same strong ETag; otherwise the transfer starts over.
    """

    def __init__(
        self,
        client: VeoClient,
        veo_task_id: str,
        uri: str,
        upload: MultipartUpload,
        asked_seconds: str | None,
    ) -> None:
        self._client = client
        self._veo_task_id = veo_task_id
        self._uri = uri
        self._upload = upload
        self._asked_seconds = _seconds(asked_seconds)
        self._inspector = VideoInspector()
        self._file = START
        self._furthest = 0

    def attempt(self) -> StoredVideo | None:
        """Return the stored video, or None if the connection broke after a good deal of progress.

        Attempts with progress are not counted, but limited by the size of the video.
        """
        try:
            return self._resume()
        except VeoConnectionError as error:
            if self._inspector.position - self._furthest < _PROGRESS_BYTES:
                raise
            self._furthest = self._inspector.position
            known = replace(self._file, start=self._furthest).resumable
            log.warning("%s Resuming at byte %d.", error, self._furthest if known else 0)
            return None
        except (VeoIncompleteVideoError, VeoStorageError):
            self._start_over()
            raise

    def _resume(self) -> StoredVideo:
        wanted = replace(self._file, start=self._inspector.position)
        with self._client.download(self._veo_task_id, wanted) as download:
            if download.position.start == 0:
                self._start_over()
            self._file = download.position
            for chunk in download:
                self._inspector.feed(chunk)
                self._upload.write(chunk)
            stored = self._inspector.finish(
                self._uri, self._veo_task_id, download.length, self._asked_seconds
            )
        self._upload.complete()
        return stored

    def _start_over(self) -> None:
        self._upload.restart()
        self._inspector = VideoInspector()
        self._file = START


def _seconds(asked: str | None) -> float | None:
    """Return a length as a number; None if it is none, as another model's may be."""
    try:
        return float(asked or "")
    except ValueError:
        return None


def open_upload(
    s3: S3Client, target: S3Uri, veo_task_id: str, model: str, *, replace: bool = True, stored_by: str = ""
) -> MultipartUpload:
    """Return a new upload of a video; its object is identified by the task id in its metadata.

    :param replace: whether to replace an existing object; otherwise the completion of the upload fails.
    :param stored_by: the task instance, where no receipt beside the video names it.
    """
    metadata = {"veo_task_id": veo_task_id, "veo_model": model}
    if stored_by:
        metadata["veo_stored_by"] = quote(stored_by)  # metadata are ASCII
    return MultipartUpload(s3, target, content_type="video/mp4", metadata=metadata, replace=replace)


def find_stored_video(s3: S3Client, target: S3Uri, veo_task_id: str) -> StoredVideo | None:
    """Return a generation's video if it is whole in S3, else None. Reads the object to its end.

    :raises VeoStorageError: S3 did not say.
    """
    try:
        with translate_errors(f"Whether {target} exists is unknown"):
            return _read(s3, target, veo_task_id)
    except VeoStorageMissingError as error:
        if error.code == "NoSuchBucket":
            raise
    except VeoStorageDeniedError as error:
        # Without s3:ListBucket, S3 answers 403 for a missing object, too.
        log.warning("%s", error.what)
    return None


def _read(s3: S3Client, target: S3Uri, veo_task_id: str) -> StoredVideo | None:
    found = s3.get_object(Bucket=target.bucket, Key=target.key)
    with closing(found["Body"]) as body:
        if found["Metadata"].get("veo_task_id") != veo_task_id:
            return None
        inspector = VideoInspector()
        try:
            for chunk in body.iter_chunks(_READ_BYTES):
                inspector.feed(chunk)
            return inspector.finish(str(target), veo_task_id, found["ContentLength"])
        except VeoIncompleteVideoError as error:
            log.warning("%s is not a whole video and will be stored again: %s", target, error)
            return None


def is_stored(s3: S3Client, target: S3Uri, receipt: Receipt) -> bool:
    """Whether the object is the video that a receipt describes, by its size and its task id.

    :raises VeoStorageError: S3 did not say.
    """
    found = head_object(s3, target)
    return (
        found is not None
        and found["ContentLength"] == (receipt.video or {}).get("bytes")
        and found["Metadata"].get("veo_task_id") == receipt.veo_task_id
    )
