"""The file formats of a summary: JSON lines and Parquet. Each writer streams into an upload."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from veo_provider.batch.report.row import SummaryRow
from veo_provider.s3.multipart_upload import MultipartUpload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from veo_provider.s3.uri import S3Uri

_ROW_GROUP = 1000
"""Rows in memory for Parquet, which stores a group of rows by columns."""


class JsonLinesWriter:
    """Writes each row as a line of JSON.

    :param upload: the object to write.
    """

    def __init__(self, upload: MultipartUpload) -> None:
        self._upload = upload

    def add(self, row: SummaryRow) -> None:
        """Write a row."""
        line = json.dumps(row.to_dict(), ensure_ascii=False)
        self._upload.write(f"{line}\n".encode())

    def complete(self) -> None:
        """Write the rest, and let the object appear."""
        self._upload.complete()


class ParquetWriter:
    """Writes rows as Parquet, in groups of a thousand.

    :param upload: the object to write.
    """

    def __init__(self, upload: MultipartUpload) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        texts = (
            "key",
            "image",
            "output",
            "outcome",
            "reason",
            "paid_by",
            "gateway",
            "veo_task_id",
            "changed_at",
            "sha256",
        )
        numbers = ("cost_usd", "unknown_usd", "told_usd", "price_usd", "duration_seconds")
        types = {**dict.fromkeys(texts, pa.string()), **dict.fromkeys(numbers, pa.float64())}
        self._schema = pa.schema(
            [(field.name, types.get(field.name, pa.int64())) for field in fields(SummaryRow)]
        )
        self._upload = upload
        self._file = _WriteOnly(upload)
        self._writer = parquet.ParquetWriter(pa.PythonFile(self._file, mode="w"), self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: SummaryRow) -> None:
        """Write a row."""
        self._rows.append(row.to_dict())
        if len(self._rows) == _ROW_GROUP:
            self._write_group()

    def complete(self) -> None:
        """Write the rest, and let the object appear."""
        self._write_group()
        self._writer.close()
        self._upload.complete()

    def _write_group(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows.clear()


class _WriteOnly:
    """An upload as a file for pyarrow; its completion stays with the writer."""

    closed = False

    def __init__(self, upload: MultipartUpload) -> None:
        self.write = upload.write

    def flush(self) -> None:
        """Do nothing: the upload has its own buffer."""

    def close(self) -> None:
        """Do nothing: the upload is completed later."""


def has_pyarrow() -> bool:
    """Whether pyarrow is installed."""
    return importlib.util.find_spec("pyarrow") is not None


def open_upload(s3: S3Client, target: S3Uri) -> MultipartUpload:
    """Return an upload of a summary, as JSON lines or Parquet by its name."""
    parquet = target.key.endswith(".parquet")
    content_type = "application/vnd.apache.parquet" if parquet else "application/jsonl"
    return MultipartUpload(s3, target, content_type=content_type, metadata={})
