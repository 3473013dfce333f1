"""Keeps a poster beside a stored video (``clip.mp4`` has ``clip.mp4.veo.jpg``), for people to look at.

A poster costs nothing and is worth nothing: whatever goes wrong with it, the task goes on without one.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from veo_provider.media import poster
from veo_provider.s3.object_reader import PIECE_BYTES, ObjectReader
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

SUFFIX = ".veo.jpg"
"""What the name of a poster in S3 adds to the name of its video."""
_MAX_READ_BYTES = 64 * 1024 * 1024
"""The most that is read of a video for its poster: its index, and up to its first picture."""


def poster_beside(video: S3Uri) -> S3Uri:
    """Return the object of a video's poster."""
    return S3Uri(video.bucket, video.key + SUFFIX)


def keep_poster(s3: S3Client, video: S3Uri) -> bool:
    """Make a stored video's poster, and return whether there is one now; this call blocks, and never fails.

    :param s3: boto3's client.
    :param video: the stored video.
    """
    if not poster.can_make():
        log.info("%s has no poster: pip install 'airflow-provider-veo[posters]'.", video)
        return False
    try:
        raw = ObjectReader(s3, video, _MAX_READ_BYTES)
        picture = poster.poster_of(io.BufferedReader(raw, PIECE_BYTES))
        target = poster_beside(video)
        s3.put_object(Bucket=target.bucket, Key=target.key, Body=picture, ContentType="image/jpeg")
    # PyAV, Pillow and S3 each raise their own errors.
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("%s has no poster: %s", video, error)
        return False
    return True
