"""A video on its way into S3: streamed, looked at as it passes, and there whole or not at all."""

from __future__ import annotations

import hashlib
import logging
from contextlib import closing
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from veo_provider import retrying
from veo_provider.api.errors import VeoIncompleteVideoError
from veo_provider.api.mp4 import Mp4Walker

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.mp4 import Mp4Info
    from veo_provider.s3 import S3Upload, S3Uri

log = logging.getLogger(__name__)

_READ_BYTES = 1024 * 1024


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
        """Return a form that JSON and XCom can carry."""
        return asdict(self)


class VideoInspector:
    """Sees a video's bytes pass, and tells what they were."""

    def __init__(self) -> None:
        self._walker = Mp4Walker()
        self._digest = hashlib.sha256()

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes.

        :raises VeoIncompleteVideoError: they are no MP4.
        """
        self._walker.feed(chunk)
        self._digest.update(chunk)

    def finish(self, uri: str, veo_task_id: str, expected_bytes: int | None) -> StoredVideo:
        """Return what was seen, if it was a whole video.

        :raises VeoIncompleteVideoError: it was not.
        """
        info: Mp4Info = self._walker.finish(expected_bytes)
        return StoredVideo(
            uri=uri,
            veo_task_id=veo_task_id,
            bytes=self._walker.position,
            sha256=self._digest.hexdigest(),
            duration_seconds=info.duration_seconds,
            width=info.width,
            height=info.height,
        )


def store(client: VeoClient, veo_task_id: str, uri: str, upload: S3Upload) -> StoredVideo:
    """Stream a completed video from the service into S3, and again from the start where it fails.

    :param uri: where the upload goes, for the result.
    :param upload: takes the bytes; completed only if they are a whole MP4.
    :raises VeoError: the video could not be had in :data:`~veo_provider.retrying.STORE_ATTEMPTS` attempts.
    """
    return retrying.of_storing()(_store_once, client, veo_task_id, uri, upload)


def _store_once(client: VeoClient, veo_task_id: str, uri: str, upload: S3Upload) -> StoredVideo:
    inspector = VideoInspector()
    with upload, client.download(veo_task_id) as download:
        for chunk in download:
            inspector.feed(chunk)
            upload.write(chunk)
        stored = inspector.finish(uri, veo_task_id, download.length)
        upload.complete()
    return stored


def find(s3: S3Client, target: S3Uri, veo_task_id: str) -> StoredVideo | None:
    """Return a video if it stands whole where it belongs, read once from end to end; else None."""
    try:
        found = s3.get_object(Bucket=target.bucket, Key=target.key)
    except s3.exceptions.NoSuchKey:
        return None
    except s3.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.FORBIDDEN:
            raise
        # Without s3:ListBucket, S3 answers 403 for a missing object, too.
        log.warning("Whether %s exists cannot be told: %s", target, error)
        return None
    with closing(found["Body"]) as body:
        if found["Metadata"].get("veo_task_id") != veo_task_id:
            return None
        inspector = VideoInspector()
        try:
            for chunk in body.iter_chunks(_READ_BYTES):
                inspector.feed(chunk)
            return inspector.finish(str(target), veo_task_id, found["ContentLength"])
        except VeoIncompleteVideoError as error:
            log.warning("%s is not whole and will be stored anew: %s", target, error)
            return None
