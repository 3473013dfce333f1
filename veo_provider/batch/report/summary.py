"""The table of an archive's images: what became of each, what it cost, and where its video is.

It is made by one pass over the archive and its receipts, and streamed into S3, so that its memory does not
grow with the archive. Where the rows are from is told in :mod:`veo_provider.batch.report.journal`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import re
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from veo_provider.batch.outcome import RETRYABLE, Outcome, outcome_of_receipt
from veo_provider.exceptions import VeoSummaryDeniedError, VeoSummaryUnavailableError
from veo_provider.receipts.charges import charges_of
from veo_provider.receipts.receipt import ReceiptState
from veo_provider.s3.client import translate_errors
from veo_provider.s3.multipart_upload import MultipartUpload
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.receipts.receipt import Receipt

log = logging.getLogger(__name__)

_ROW_GROUP = 1000
"""How many rows are held for Parquet, which stores them by columns."""


@dataclass(frozen=True)
class SummaryRow:
    """One image of an archive, as the summary tells of it.

    :param key: unlike any other's: the image's S3 key, or for an image of a list its output, see
        :class:`~veo_provider.batch.manifest.ManifestItem`.
    :param image: where it is from.
    :param output: where its video is, or would be.
    :param outcome: one of :class:`~veo_provider.batch.outcome.Outcome`.
    :param reason: why there is no video; else empty.
    :param cost_usd: what the run pays for it: each submission of its own that was accepted and did not fail,
        at the price of then.
    :param unknown_usd: what the run may be charged besides: for submissions of its own of unknown fate.
    :param price_usd: what the last generation costs; None where that is not known, or there is no receipt.
    :param paid_by: the task instance that submitted last, and pays unless that failed; else empty.
    :param veo_task_id: the API's task id, as far as there is one.
    :param generations: how many submissions of the request were accepted.
    :param changed_at: when its receipt was changed last, in ISO 8601.
    :param bytes: size of the video.
    :param sha256: hex digest of the video.
    :param duration_seconds: length of the video.
    :param width: pixels.
    :param height: pixels.
    """

    key: str
    image: str
    output: str
    outcome: Outcome
    reason: str = ""
    cost_usd: float = 0.0
    unknown_usd: float = 0.0
    price_usd: float | None = None
    paid_by: str = ""
    veo_task_id: str | None = None
    generations: int = 0
    changed_at: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None

    @classmethod
    def of(
        cls,
        item: ManifestItem,
        receipt: Receipt | None,
        run: str,
        *,
        outcome: Outcome | None = None,
        reason: str = "",
    ) -> SummaryRow:
        """Return the row of an item.

        :param receipt: the item's receipt; None if there is none.
        :param run: the task instance whose summary it is, see
            :class:`~veo_provider.receipts.receipt.Attempt`.
        :param outcome: what became of it, where the receipt does not tell; None to take it from there.
        :param reason: the reason that belongs to that outcome.
        """
        if outcome is None:
            outcome, reason = _outcome(item, receipt, run)
        # A service's message may hold half a character, which no file can.
        reason = reason.encode("utf-8", "replace").decode()
        if receipt is None:
            return cls(item.key, item.image, item.output, outcome, reason)
        video = receipt.video if receipt.state is ReceiptState.STORED and receipt.video else {}
        paid = charges_of(receipt, run)
        return cls(
            key=item.key,
            image=item.image,
            output=item.output,
            outcome=outcome,
            reason=reason,
            cost_usd=paid.charged,
            unknown_usd=paid.unknown,
            price_usd=receipt.price_usd,
            paid_by=receipt.claimant,
            veo_task_id=receipt.veo_task_id,
            generations=receipt.generations,
            changed_at=receipt.history[-1].get("at") if receipt.history else None,
            **{name: video.get(name) for name in ("bytes", "sha256", "duration_seconds", "width", "height")},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the row by the names of its columns."""
        return {**vars(self), "outcome": self.outcome.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SummaryRow:
        """Read what :meth:`to_dict` returned, of this release or another one."""
        names = {one.name for one in fields(cls)}
        known = {name: value for name, value in data.items() if name in names}
        return cls(**{**known, "outcome": Outcome(data["outcome"])})


def _outcome(item: ManifestItem, receipt: Receipt | None, run: str) -> tuple[Outcome, str]:
    """Return what became of an item as its name and its receipt tell, and the reason."""
    if item.outcome is not None:
        return item.outcome, item.reason
    if receipt is None:
        return Outcome.NOT_STARTED, ""
    return outcome_of_receipt(receipt, run)


@dataclass(frozen=True)
class Summary:
    """What a summary comes to.

    :param uri: of the table in JSON lines, one row for each image.
    :param parquet_uri: of the same in Parquet; None where pyarrow is not installed.
    :param counts: how many images have which outcome; those of which there are none are left out.
    :param cost_usd: the sum over its rows. Prices that are not known are left out.
    :param to_fetch: how many were submitted, or may have been, are not known to have failed, and have no
        video yet.
    :param unknown_usd: the same sum of what may be charged besides.
    """

    uri: str
    parquet_uri: str | None
    counts: dict[str, int]
    cost_usd: float
    to_fetch: int = 0
    unknown_usd: float = 0.0


def run_folder(output_prefix: str, run: str) -> str:
    """Return where a run keeps its summary and the like: ``s3://bucket/prefix/_veo/dag/run/task/``.

    :param run: the task instance, see :class:`~veo_provider.receipts.receipt.Attempt`.
    """
    from veo_provider.batch.manifest import OWN_FOLDER

    path = "/".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-") for part in run.split(" / "))
    return f"{output_prefix}{OWN_FOLDER}/{path}/"


def write(rows: Iterable[SummaryRow], s3: S3Client, folder: str) -> Summary:
    """Stream rows into ``summary.jsonl`` and, where pyarrow is installed, ``summary.parquet``.

    An object that is there is replaced, and only when the new one is whole.

    :param folder: of the run, see :func:`folder_of`.
    :raises VeoSummaryUnavailableError: they cannot be written now.
    """
    counts: Counter[str] = Counter()
    cost, unknown, to_fetch = 0.0, 0.0, 0
    lines = S3Uri.parse(f"{folder}summary.jsonl", "folder")
    columns = S3Uri.parse(f"{folder}summary.parquet", "folder") if _has_pyarrow() else None
    with unavailable(f"The summary {lines}"), ExitStack() as uploads:
        tables: list[_JsonLines | _Parquet] = [_JsonLines(uploads.enter_context(_upload(s3, lines)))]
        if columns:
            tables.append(_Parquet(uploads.enter_context(_upload(s3, columns))))
        for row in rows:
            counts[row.outcome.value] += 1
            cost += row.cost_usd
            unknown += row.unknown_usd
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
    )


def write_progress(s3: S3Client, folder: str, progress: Mapping[str, Any]) -> None:
    """Write ``progress.json`` beside the summary; a run goes on where that is not possible now.

    :param progress: what JSON can carry.
    """
    body = json.dumps(progress, indent=2, ensure_ascii=False).encode("utf-8", "replace")
    try:
        put(s3, S3Uri.parse(f"{folder}progress.json", "folder"), body, "application/json")
    except VeoSummaryUnavailableError as error:
        log.warning("%s", error)


class _JsonLines:
    """A table with a row in each line."""

    def __init__(self, upload: MultipartUpload) -> None:
        self._upload = upload

    def add(self, row: SummaryRow) -> None:
        line = json.dumps(row.to_dict(), ensure_ascii=False)
        self._upload.write(f"{line}\n".encode())

    def complete(self) -> None:
        self._upload.complete()


class _Parquet:
    """The same table by columns."""

    def __init__(self, upload: MultipartUpload) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        texts = (
            "key",
            "image",
            "output",
            "outcome",
            "reason",
            "paid_by",
            "veo_task_id",
            "changed_at",
            "sha256",
        )
        numbers = ("cost_usd", "unknown_usd", "price_usd", "duration_seconds")
        types = {**dict.fromkeys(texts, pa.string()), **dict.fromkeys(numbers, pa.float64())}
        self._schema = pa.schema(
            [(field.name, types.get(field.name, pa.int64())) for field in fields(SummaryRow)]
        )
        self._upload = upload
        self._file = _WriteOnly(upload)
        self._writer = ParquetWriter(pa.PythonFile(self._file, mode="w"), self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: SummaryRow) -> None:
        self._rows.append(row.to_dict())
        if len(self._rows) == _ROW_GROUP:
            self._write_group()

    def complete(self) -> None:
        self._write_group()
        self._writer.close()
        self._upload.complete()

    def _write_group(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows.clear()


class _WriteOnly:
    """An upload as pyarrow takes it, which leaves its completion to us."""

    closed = False

    def __init__(self, upload: MultipartUpload) -> None:
        self.write = upload.write

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The object appears with the upload's completion."""


def _has_pyarrow() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def _upload(s3: S3Client, target: S3Uri) -> MultipartUpload:
    parquet = target.key.endswith(".parquet")
    content_type = "application/vnd.apache.parquet" if parquet else "application/jsonl"
    return MultipartUpload(s3, target, content_type=content_type, metadata={})


def put(s3: S3Client, target: S3Uri, body: bytes, content_type: str) -> None:
    """Write a small object.

    :raises VeoSummaryUnavailableError: it cannot be written now.
    """
    with unavailable(str(target)):
        s3.put_object(Bucket=target.bucket, Key=target.key, Body=body, ContentType=content_type)


def get(s3: S3Client, target: S3Uri) -> bytes | None:
    """Read a small object; None if there is none.

    :raises VeoSummaryUnavailableError: it cannot be read now.
    """
    with unavailable(str(target)):
        try:
            return s3.get_object(Bucket=target.bucket, Key=target.key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None


@contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Say what could not be written or read, in place of boto3's error.

    :raises VeoSummaryUnavailableError: with the sentence about it.
    """
    with translate_errors(
        f"{what} cannot be written or read",
        retryable=VeoSummaryUnavailableError,
        final=VeoSummaryDeniedError,
    ):
        yield
