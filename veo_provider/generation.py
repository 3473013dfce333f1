"""The way from a request to a stored video, in three retry domains that never mix.

*Submit* spends money: it is tried again only when the request provably was not accepted. *Wait* is free,
and lives in the sensor and its trigger. *Store* is free: it is tried again, redone from the start, and
never leads back to a submission.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import tenacity

from veo_provider.api.errors import VeoContentNotReadyError, VeoError, VeoNotSentError, VeoRateLimitError
from veo_provider.api.mp4 import Mp4Walker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from veo_provider.api.client import VeoClient
    from veo_provider.api.mp4 import Mp4Info
    from veo_provider.api.request import VeoRequest
    from veo_provider.api.video import Video
    from veo_provider.s3 import S3Upload

log = logging.getLogger(__name__)

SUBMIT_PATIENCE = 300.0
"""Seconds that a submission is tried for while it is provably not accepted; Airflow's retries follow."""
STORE_ATTEMPTS = 6
"""A first download and five more: the documented patience with the 400 after completion."""
CONTENT_NOT_READY_WAIT = 4.0
"""Seconds between two attempts at a video that is not there yet, as documented."""

_backoff = tenacity.wait_exponential_jitter(initial=1, max=60)


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


def submit(client: VeoClient, request: VeoRequest) -> Video:
    """Submit a generation, again only as long as no server can have accepted it.

    :raises VeoSubmissionUnknown: it may have been accepted; it is not tried again.
    :raises VeoError: it was refused, or not accepted for :data:`SUBMIT_PATIENCE` seconds.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((VeoNotSentError, VeoRateLimitError)),
        wait=_wait,
        stop=tenacity.stop_before_delay(SUBMIT_PATIENCE),
        before_sleep=_say_why,
        reraise=True,
    )
    return retrying(client.submit, request)


def store(client: VeoClient, veo_task_id: str, uri: str, upload: S3Upload) -> StoredVideo:
    """Stream a completed video from the service into S3, and again from the start where it fails.

    :param uri: where the upload goes, for the result.
    :param upload: takes the bytes; completed only if they are a whole MP4.
    :raises VeoError: the video could not be had in :data:`STORE_ATTEMPTS` attempts.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_temporary),
        wait=_wait,
        stop=tenacity.stop_after_attempt(STORE_ATTEMPTS),
        before_sleep=_say_why,
        reraise=True,
    )
    return retrying(_store_once, client, veo_task_id, uri, upload)


def _store_once(client: VeoClient, veo_task_id: str, uri: str, upload: S3Upload) -> StoredVideo:
    inspector = VideoInspector()
    with upload, client.download(veo_task_id) as download:
        for chunk in download:
            inspector.feed(chunk)
            upload.write(chunk)
        stored = inspector.finish(uri, veo_task_id, download.length)
        upload.complete()
    return stored


def inspect(chunks: Iterable[bytes], uri: str, veo_task_id: str, expected_bytes: int) -> StoredVideo:
    """Return what a video is that lies in S3 already.

    :raises VeoIncompleteVideoError: it is no whole MP4.
    """
    inspector = VideoInspector()
    for chunk in chunks:
        inspector.feed(chunk)
    return inspector.finish(uri, veo_task_id, expected_bytes)


def is_temporary(error: BaseException) -> bool:
    """Whether the same step may succeed later, unchanged and without paying twice."""
    return isinstance(error, VeoError) and error.temporary


def _wait(state: tenacity.RetryCallState) -> float:
    """Return seconds until the next attempt: what the service asked for, else a growing pause."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    if asked is not None:
        return float(asked)
    return CONTENT_NOT_READY_WAIT if isinstance(error, VeoContentNotReadyError) else _backoff(state)


def _say_why(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0
    log.warning("Attempt %d: %s Trying again in %.1f s.", state.attempt_number, error, pause)
