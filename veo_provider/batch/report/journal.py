"""The journal of a run: the result of each image as it finishes, from which the summary is written.

Images without a video: the journal is the only record of what went wrong. It counts for its own try only, as
the next try attempts these images again.

Images with a video: the journal caches their summary rows. Their receipts say the same, but reading ten
thousand of them takes most of a minute. The try after a crash uses the cached rows if they are recent;
otherwise the receipts are read.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from contextlib import closing
from dataclasses import replace
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from veo_provider.batch.outcome import WITH_VIDEO, Outcome
from veo_provider.batch.report.row import SummaryRow
from veo_provider.batch.report.run_folder import put, unavailable
from veo_provider.concurrency.executors import map_ordered
from veo_provider.exceptions import VeoReceiptError, VeoStorageError, VeoSummaryUnavailableError
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, ReceiptState
from veo_provider.receipts.s3_store import S3ReceiptStore, sidecar_of
from veo_provider.s3.client import head_object, iter_objects
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.batch.spec import BatchTuning
    from veo_provider.receipts.receipt import Receipt

log = logging.getLogger(__name__)

_THREADS = 8
_AHEAD = 64
"""Receipts that are read before their rows are due."""


class JournalEntry(NamedTuple):
    """The result of an image without a video, as far as its receipt does not say it.

    :param key: the item's, see :class:`~veo_provider.batch.manifest.ManifestItem`.
    :param outcome: the value of an :class:`~veo_provider.batch.outcome.Outcome`.
    :param reason: why there is no video.
    """

    key: str
    outcome: str
    reason: str


class ResultJournal:
    """The journal of a run, kept in S3 until the summary is written.

    Between :meth:`add` and :meth:`flush`, results are held in memory. So are the entries of images without a
    video while the summary is written: memory grows with the images that went wrong, not with the manifest.

    :param s3: boto3's client.
    :param folder: of the run, see :func:`~veo_provider.batch.report.run_folder.run_folder`.
    :param run: the task instance, see :class:`~veo_provider.receipts.attempt.Attempt`.
    :param request: identifies what was asked for: cached rows of another request are not used.
    :param try_number: Airflow's number of the try: what went wrong in other tries does not count.
    :param tuning: how long cached rows count, and how many are held in memory.
    """

    def __init__(
        self,
        s3: S3Client,
        folder: str,
        run: str,
        request: str,
        try_number: int,
        tuning: BatchTuning,
    ) -> None:
        self._s3 = s3
        self._root = S3Uri.parse(f"{folder}notes", "folder")
        self._start_marker = S3Uri.parse(f"{folder}began.json", "folder")
        self._try_number = try_number
        self._run = run
        self._tuning = tuning
        self._with_video = f"{self._root.key}/videos-{request}/"
        self._without_video = f"{self._root.key}/try-{try_number}/"
        self._entries: list[JournalEntry] = []
        self._rows: list[dict[str, Any]] = []
        self._flushing = Lock()

    def add(
        self, item: ManifestItem, outcome: Outcome, reason: str = "", receipt: Receipt | None = None
    ) -> None:
        """Add the result of an item; its last one counts.

        :param receipt: of its video, if there is one.
        """
        if outcome is Outcome.NOT_STARTED:
            return  # an item without an entry is not started
        if outcome not in WITH_VIDEO:
            self._entries.append(JournalEntry(item.key, outcome.value, reason))
        elif receipt is not None:
            row = SummaryRow.for_item(item, receipt, self._run, outcome=outcome, reason=reason)
            self._rows.append(row.to_dict())

    def flush(self) -> None:
        """Write what was added since the last time. No checkpoint may pass an item before that.

        :raises VeoSummaryUnavailableError: the entries cannot be written now; they are kept for the next
            time. Cached rows raise no error: the receipts say the same.
        """
        with self._flushing:
            self._write(self._without_video, self._entries)
            try:
                self._write(self._with_video, self._rows)
            except VeoSummaryUnavailableError as error:
                log.warning("%s", error)

    def _write(self, prefix: str, added: list[Any]) -> None:
        lines = [f"{json.dumps(one)}\n" for one in added[:]]
        if lines:
            name = f"{prefix}{time.time_ns()}-{uuid.uuid4().hex}.jsonl"
            put(self._s3, S3Uri(self._root.bucket, name), "".join(lines).encode(), "application/jsonl")
            del added[: len(lines)]

    def start_try(self) -> JournalReplay | None:
        """Delete what does not count in a new try; return the recent rows that a crash has left.

        :raises VeoSummaryUnavailableError: the journal cannot be listed now.
        """
        with unavailable(f"The journal in {self._root}"):
            keys = list(self._keys(f"{self._root.key}/"))
        rows = [key for key in keys if key.startswith(self._with_video)]
        newest = int(max(rows).removeprefix(self._with_video).partition("-")[0]) / 1e9 if rows else 0.0
        fresh = -CLOCK_DIFFERENCE <= time.time() - newest < self._tuning.max_cache_age - CLOCK_DIFFERENCE
        self._delete(key for key in keys if not fresh or key not in rows)
        return self._replay() if fresh else None

    def run_started_at(self, *, fresh: bool) -> float:
        """Return when the run started, in Unix seconds by the clock of S3; 0 if that is unknown.

        :param fresh: whether nothing was done in this try yet. If it is the first one, the run starts now.
        :raises VeoSummaryUnavailableError: S3 cannot say it now.
        """
        with unavailable(str(self._start_marker)):
            found = head_object(self._s3, self._start_marker)
        if found is None and fresh and self._try_number == 1:
            put(self._s3, self._start_marker, b"{}", "application/json")
            return self.run_started_at(fresh=False)
        return found["LastModified"].timestamp() if found else 0.0

    def rows(
        self,
        items: Iterable[ManifestItem],
        why_not_started: str = "",
        orphans: Iterable[tuple[ManifestItem, Receipt]] = (),
    ) -> Iterator[SummaryRow]:
        """Yield the row of each image in the order of the manifest: from its entry, or from its receipt.

        :param items: of the manifest.
        :param why_not_started: the reason for images without entry and receipt.
        :param orphans: what was paid for images that are no longer in the manifest; their rows come last.
        :raises VeoSummaryUnavailableError: the journal cannot be read now.
        :raises VeoReceiptUnavailableError: a receipt cannot be read now.
        """
        entries = self._read_entries()
        replay = self._replay()

        def row(found: tuple[ManifestItem, SummaryRow | None]) -> SummaryRow:
            item, cached = found
            return cached or self._row(item, entries.get(item.key), why_not_started)

        # A receipt cannot add to a row of its own try, but it can to an entry without a video.
        cached = ((item, None if item.key in entries else replay.pop(item)) for item in items)
        rows = map_ordered(row, cached, threads=_THREADS, ahead=_AHEAD, name="summary")
        rest = (self._row_of(item, receipt, entries.get(item.key)) for item, receipt in orphans)
        return chain(rows, rest)

    def clear(self) -> None:
        """Delete the journal of all tries."""
        self._delete(self._keys(f"{self._root.key}/"))

    def _delete(self, keys: Iterable[str]) -> None:
        """Delete files of the journal; if a policy forbids that, they do no harm."""
        try:
            with translate_errors(f"The journal in {self._root} cannot be deleted"):
                for key in keys:
                    self._s3.delete_object(Bucket=self._root.bucket, Key=key)
        except VeoStorageError as error:
            log.warning("%s", error)

    def _row(self, item: ManifestItem, entry: JournalEntry | None, why_not_started: str) -> SummaryRow:
        """Return the row of an item that has no cached row."""
        if item.outcome is not None:
            return SummaryRow.for_item(item, None, self._run)
        output = S3Uri.parse(item.output, "output")
        try:
            found = S3ReceiptStore(self._s3, sidecar_of(output)).read()
        except VeoReceiptError as error:
            return SummaryRow.for_item(item, None, self._run, outcome=Outcome.ERROR, reason=str(error))
        if found is None and entry is None:
            outcome = Outcome.NOT_STARTED
            return SummaryRow.for_item(item, None, self._run, outcome=outcome, reason=why_not_started)
        return self._row_of(item, found.receipt if found else None, entry)

    def _row_of(self, item: ManifestItem, receipt: Receipt | None, entry: JournalEntry | None) -> SummaryRow:
        """Return the row of an item by its receipt and its entry."""
        # A stored video is newer than an entry of an earlier segment, unless it is another request's.
        stored = receipt is not None and receipt.state is ReceiptState.STORED
        if entry is not None and (not stored or entry.outcome == Outcome.CHANGED):
            outcome = Outcome(entry.outcome)
            return SummaryRow.for_item(item, receipt, self._run, outcome=outcome, reason=entry.reason)
        return SummaryRow.for_item(item, receipt, self._run)

    def _read_entries(self) -> dict[str, JournalEntry]:
        """Return the last entry of each item without a video, by the item's key."""
        # A newer release may write longer entries.
        found = (JournalEntry(*entry[:3]) for entries in self._read(self._without_video) for entry in entries)
        return {entry.key: entry for entry in found}

    def _replay(self) -> JournalReplay:
        return JournalReplay(self._read(self._with_video), self._tuning.max_cached_rows)

    def _read(self, prefix: str) -> Iterator[list[Any]]:
        """Yield what was written, one flush at a time."""
        with unavailable(f"The journal in {self._root}"):
            for key in self._keys(prefix):
                with closing(self._s3.get_object(Bucket=self._root.bucket, Key=key)["Body"]) as body:
                    yield [json.loads(line) for line in body.iter_lines()]

    def _keys(self, prefix: str) -> Iterator[str]:
        return (found["Key"] for found in iter_objects(self._s3, S3Uri(self._root.bucket, prefix)))


class JournalReplay:
    """Streams cached rows in the approximate order of the manifest, and buffers only what reordering needs.

    :param written: the cached rows, one flush at a time.
    :param max_rows: maximum number of rows in memory.
    """

    def __init__(self, written: Iterator[list[dict[str, Any]]], max_rows: int) -> None:
        self._written = written
        self._max_rows = max_rows
        self._buffer: dict[str, SummaryRow] = {}

    def pop(self, item: ManifestItem) -> SummaryRow | None:
        """Return the row of an item; None if there is none, or if it is too far out of order.

        :raises VeoSummaryUnavailableError: the journal cannot be read now.
        """
        if item.outcome is not None:
            return None
        while item.output not in self._buffer and len(self._buffer) < self._max_rows:
            rows = next(self._written, None)
            if rows is None:
                break
            # By output: earlier releases had other keys. Newer ones may have other outcomes.
            known = (row for row in map(SummaryRow.from_dict, rows) if row.outcome in WITH_VIDEO)
            self._buffer.update((row.output, row) for row in known)
        row = self._buffer.pop(item.output, None)
        return row and replace(row, key=item.key)
