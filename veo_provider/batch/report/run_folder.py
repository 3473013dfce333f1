"""The folder in S3 where a run keeps its summary, its journal and its progress."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from veo_provider.batch.manifest import OWN_FOLDER
from veo_provider.exceptions import VeoSummaryDeniedError, VeoSummaryUnavailableError
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from veo_provider.receipts.attempt import Attempt


def run_folder(output_prefix: str, run: str) -> str:
    """Return the folder of a run: ``s3://bucket/prefix/_veo/dag/run/task/``.

    :param run: the task instance, see :class:`~veo_provider.receipts.attempt.Attempt`.
    """
    path = "/".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-") for part in run.split(" / "))
    return f"{output_prefix}{OWN_FOLDER}/{path}/"


def first_request(s3: S3Client, folder: str, now: dict[str, Any], attempt: Attempt) -> dict[str, Any]:
    """Return the rendered templates of the first try since the task was started or cleared.

    They are kept in the folder for later tries, so they are found only while ``output_prefix`` is the same.

    :param folder: of the run, see :func:`run_folder`.
    :param now: the rendered templates of this try, as JSON carries them.
    :param attempt: which try asks.
    :raises VeoSummaryUnavailableError: they cannot be read or written now.
    """
    target = S3Uri.parse(f"{folder}request.json", "folder")
    found = get(s3, target)
    kept = json.loads(found) if found else {}
    if kept and attempt.continues(kept["first_try"], kept.get("most_tries")):
        return {**now, **kept["fields"]}
    mark = {"first_try": attempt.try_number, "most_tries": attempt.most_tries}
    put(s3, target, json.dumps({**mark, "fields": now}).encode(), "application/json")
    return now


def put(s3: S3Client, target: S3Uri, body: bytes, content_type: str) -> None:
    """Write a small object.

    :raises VeoSummaryUnavailableError: it cannot be written now.
    """
    with unavailable(str(target)):
        s3.put_object(Bucket=target.bucket, Key=target.key, Body=body, ContentType=content_type)


def get(s3: S3Client, target: S3Uri) -> bytes | None:
    """Read a small object; return None if there is none.

    :raises VeoSummaryUnavailableError: it cannot be read now.
    """
    with unavailable(str(target)):
        try:
            return s3.get_object(Bucket=target.bucket, Key=target.key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None


@contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Translate an error of boto3 into a sentence about what was not written or read.

    :raises VeoSummaryUnavailableError: the error may pass.
    :raises VeoSummaryDeniedError: it does not.
    """
    with translate_errors(
        f"{what} cannot be written or read",
        retryable=VeoSummaryUnavailableError,
        final=VeoSummaryDeniedError,
    ):
        yield
