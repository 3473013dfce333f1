"""The summary of a run: a table of all images, streamed into S3 with memory that does not grow with it.

The rows come from the receipts and from the run's :mod:`~veo_provider.batch.report.journal`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.batch.outcome import RETRYABLE
from veo_provider.batch.report.run_folder import put, unavailable
from veo_provider.batch.report.writers import JsonLinesWriter, ParquetWriter, has_pyarrow, open_upload
from veo_provider.exceptions import VeoSummaryUnavailableError
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.report.row import SummaryRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """A summary that was written, and its totals.

    :param uri: of the table in JSON lines, with one row for each image.
    :param parquet_uri: of the table in Parquet; None if pyarrow is not installed.
    :param counts: how many images have which outcome; outcomes without images are left out.
    :param cost_usd: the sum over its rows; unknown prices are left out.
    :param to_fetch: how many were or may have been submitted, are not known to have failed, and have no video
        yet.
    :param unknown_usd: the same sum of what may be charged in addition.
    :param told_usd: the same sum of what the gateway says; None if it says nothing.
    """

    uri: str
    parquet_uri: str | None
    counts: dict[str, int]
    cost_usd: float
    to_fetch: int = 0
    unknown_usd: float = 0.0
    told_usd: float | None = None


def write_summary(rows: Iterable[SummaryRow], s3: S3Client, folder: str) -> Summary:
    """Stream rows into ``summary.jsonl`` and, where pyarrow is installed, ``summary.parquet``.

    An existing object is replaced only once the new one is complete.

    :param folder: of the run, see :func:`~veo_provider.batch.report.run_folder.run_folder`.
    :raises VeoSummaryUnavailableError: they cannot be written now.
    """
    counts: Counter[str] = Counter()
    cost, unknown, to_fetch = 0.0, 0.0, 0
    told: float | None = None
    lines = S3Uri.parse(f"{folder}summary.jsonl", "folder")
    columns = S3Uri.parse(f"{folder}summary.parquet", "folder") if has_pyarrow() else None
    with unavailable(f"The summary {lines}"), ExitStack() as uploads:
        tables: list[JsonLinesWriter | ParquetWriter] = [
            JsonLinesWriter(uploads.enter_context(open_upload(s3, lines)))
        ]
        if columns:
            tables.append(ParquetWriter(uploads.enter_context(open_upload(s3, columns))))
        for row in rows:
            counts[row.outcome.value] += 1
            cost += row.cost_usd
            unknown += row.unknown_usd
            told = told if row.told_usd is None else (told or 0.0) + row.told_usd
            to_fetch += row.outcome in RETRYABLE and (row.veo_task_id is not None or row.unknown_usd > 0)
            for table in tables:
                table.add(row)
        for table in tables:
            table.complete()
    return Summary(
        uri=str(lines),
        parquet_uri=str(columns) if columns else None,
        counts=dict(counts),
        cost_usd=round(cost, 2),
        to_fetch=to_fetch,
        unknown_usd=round(unknown, 2),
        told_usd=None if told is None else round(told, 2),
    )


def write_progress(s3: S3Client, folder: str, progress: Mapping[str, Any]) -> None:
    """Write ``progress.json`` beside the summary; an error is only logged, so the run goes on.

    :param progress: figures that JSON can carry.
    """
    body = json.dumps(progress, indent=2, ensure_ascii=False).encode("utf-8", "replace")
    try:
        put(s3, S3Uri.parse(f"{folder}progress.json", "folder"), body, "application/json")
    except VeoSummaryUnavailableError as error:
        log.warning("%s", error)
