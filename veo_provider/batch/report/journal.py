"""What a batch notes about each image as it finishes, of which the summary is made in the end.

For an image without a video, its note is the only word on what went wrong, and it counts in its try: the
next one tries again. For an image with a video it is the row of the summary. Its receipt tells the same, but
ten thousand of them take most of a minute, in the end and after a crash; so the try that follows a crash
believes the rows, if they are fresh. In all other cases, receipts tell.
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
from veo_provider.batch.report.summary import SummaryRow, put, unavailable
from veo_provider.concurrency.executors import map_ordered
from veo_provider.exceptions import VeoReceiptError, VeoStorageError, VeoSummaryUnavailableError
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, ReceiptState, S3ReceiptStore, sidecar_of
from veo_provider.s3.client import head_object, iter_objects, translate_errors
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client

    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.receipts.receipt import Receipt

log = logging.getLogger(__name__)

FRESH_SECONDS = 900.0
"""The age up to which the newest row makes the next try believe them all; it is written every few seconds.

The clock of who wrote it may differ, so that it must look younger than this by what clocks may differ by.
"""
MOST_ROWS = 2_000
"""Rows that are held at once while the summary is written, about a kilobyte each."""
_THREADS = 8
_AHEAD = 64
"""How many receipts are asked for before their rows are due."""


class JournalEntry(NamedTuple):
    """What became of an image without a video, beyond what its receipt tells.

    :param key: the item's, see :class:`~veo_provider.batch.manifest.ManifestItem`.
    :param outcome: one of :class:`~veo_provider.batch.outcome.Outcome`, as its value.
    :param reason: why there is no video.
    """

    key: str
    outcome: str
    reason: str


class ResultJournal:
    """The notes of a run, kept in S3 until the summary is written.

    Between :meth:`add` and :meth:`flush` they are held, and those on images without a video are held again
    while the summary is written: memory grows with the images that went wrong, not with the archive.

    :param s3: boto3's client.
    :param folder: of the run, see :func:`~veo_provider.batch.report.summary.run_folder`.
    :param run: the task instance, see :class:`~veo_provider.receipts.receipt.Attempt`.
    :param request: names what was asked for: rows that were noted for something else do not count.
    :param try_number: Airflow's number of the try: what went wrong in others does not count.
    """

    def __init__(self, s3: S3Client, folder: str, run: str, request: str, try_number: int) -> None:
        self._s3 = s3
        self._all = S3Uri.parse(f"{folder}notes", "folder")
        self._beginning = S3Uri.parse(f"{folder}began.json", "folder")
        self._try_number = try_number
        self._run = run
        self._with = f"{self._all.key}/videos-{request}/"
        self._without = f"{self._all.key}/try-{try_number}/"
        self._notes: list[JournalEntry] = []
        self._rows: list[dict[str, Any]] = []
        self._flushing = Lock()

    def add(
        self, item: ManifestItem, outcome: Outcome, reason: str = "", receipt: Receipt | None = None
    ) -> None:
        """Note what became of an item; its last note counts.

        :param receipt: of its video, where there is one.
        """
        if outcome is Outcome.NOT_STARTED:
            return  # which is what an item is that nobody knows anything of
        if outcome not in WITH_VIDEO:
            self._notes.append(JournalEntry(item.key, outcome.value, reason))
        elif receipt is not None:
            self._rows.append(
                SummaryRow.of(item, receipt, self._run, outcome=outcome, reason=reason).to_dict()
            )

    def flush(self) -> None:
        """Write what was added since. Before that, no cursor may go on after an item that was noted.

        :raises VeoSummaryUnavailableError: it cannot be written now; it is kept for the next time. Rows are
            not worth an error: receipts tell the same.
        """
        with self._flushing:
            self._write(self._without, self._notes)
            try:
                self._write(self._with, self._rows)
            except VeoSummaryUnavailableError as error:
                log.warning("%s", error)

    def _write(self, below: str, added: list[Any]) -> None:
        lines = [f"{json.dumps(one)}\n" for one in added[:]]
        if lines:
            name = f"{below}{time.time_ns()}-{uuid.uuid4().hex}.jsonl"
            put(self._s3, S3Uri(self._all.bucket, name), "".join(lines).encode(), "application/jsonl")
            del added[: len(lines)]

    def begin(self) -> JournalReplay | None:
        """Begin a try: delete what does not count for it, and return the rows that a crash has just left.

        :raises VeoSummaryUnavailableError: the notes cannot be listed now.
        """
        with unavailable(f"The notes in {self._all}"):
            keys = list(self._keys(f"{self._all.key}/"))
        rows = [key for key in keys if key.startswith(self._with)]
        newest = int(max(rows).removeprefix(self._with).partition("-")[0]) / 1e9 if rows else 0.0
        fresh = -CLOCK_DIFFERENCE <= time.time() - newest < FRESH_SECONDS - CLOCK_DIFFERENCE
        self._delete(key for key in keys if not fresh or key not in rows)
        return JournalReplay(self._lines(self._with)) if fresh else None

    def began(self, *, fresh: bool) -> float:
        """Return when the run began first, in Unix seconds by the clock of S3; 0 if that is not known.

        :param fresh: whether nothing was done in this try. If it is the first one, the run begins now.
        :raises VeoSummaryUnavailableError: it cannot be told now.
        """
        with unavailable(str(self._beginning)):
            found = head_object(self._s3, self._beginning)
        if found is None and fresh and self._try_number == 1:
            put(self._s3, self._beginning, b"{}", "application/json")
            return self.began(fresh=False)
        return found["LastModified"].timestamp() if found else 0.0

    def rows(
        self,
        items: Iterable[ManifestItem],
        why_not_started: str = "",
        leftovers: Iterable[tuple[ManifestItem, Receipt]] = (),
    ) -> Iterator[SummaryRow]:
        """Yield the row of each image in the order of the archive: from its note, or from its receipt.

        :param items: of the archive.
        :param why_not_started: the reason for those that nothing is known of.
        :param leftovers: what was paid for images that are in the archive no more; their rows come last.
        :raises VeoSummaryUnavailableError: the notes cannot be read now.
        :raises VeoReceiptUnavailableError: a receipt cannot be read now.
        """
        notes = self._read()
        noted = JournalReplay(self._lines(self._with))

        def row(told: tuple[ManifestItem, SummaryRow | None]) -> SummaryRow:
            item, row = told
            return row or self._row(item, notes.get(item.key), why_not_started)

        # A receipt cannot tell more than a note of its own try; of what was noted as without a video, it can.
        told = ((item, None if item.key in notes else noted.pop(item)) for item in items)
        rows = map_ordered(row, told, threads=_THREADS, ahead=_AHEAD, name="summary")
        left = (self._told(item, receipt, notes.get(item.key)) for item, receipt in leftovers)
        return chain(rows, left)

    def clear(self) -> None:
        """Delete the notes of all tries."""
        self._delete(self._keys(f"{self._all.key}/"))

    def _delete(self, keys: Iterable[str]) -> None:
        """Delete notes; harmless where a policy forbids it."""
        try:
            with translate_errors(f"The notes in {self._all} cannot be deleted"):
                for key in keys:
                    self._s3.delete_object(Bucket=self._all.bucket, Key=key)
        except VeoStorageError as error:
            log.warning("%s", error)

    def _row(self, item: ManifestItem, note: JournalEntry | None, why_not_started: str) -> SummaryRow:
        """Return the row of an item that was not noted with a video."""
        if item.outcome is not None:
            return SummaryRow.of(item, None, self._run)
        output = S3Uri.parse(item.output, "output")
        try:
            held = S3ReceiptStore(self._s3, sidecar_of(output)).read()
        except VeoReceiptError as error:
            return SummaryRow.of(item, None, self._run, outcome=Outcome.ERROR, reason=str(error))
        if held is None and note is None:
            return SummaryRow.of(item, None, self._run, outcome=Outcome.NOT_STARTED, reason=why_not_started)
        return self._told(item, held.receipt if held else None, note)

    def _told(self, item: ManifestItem, receipt: Receipt | None, note: JournalEntry | None) -> SummaryRow:
        """Return the row of an item as its receipt and its note tell."""
        # A video that is there belies a note of an earlier leg, unless it is that of another request.
        stored = receipt is not None and receipt.state is ReceiptState.STORED
        if note is not None and (not stored or note.outcome == Outcome.CHANGED):
            return SummaryRow.of(item, receipt, self._run, outcome=Outcome(note.outcome), reason=note.reason)
        return SummaryRow.of(item, receipt, self._run)

    def _read(self) -> dict[str, JournalEntry]:
        """Return the last note of each item without a video, by the item's key."""
        # A newer release may have noted more.
        found = (JournalEntry(*note[:3]) for notes in self._lines(self._without) for note in notes)
        return {note.key: note for note in found}

    def _lines(self, below: str) -> Iterator[list[Any]]:
        """Yield what was written, one flush after the other."""
        with unavailable(f"The notes in {self._all}"):
            for key in self._keys(below):
                with closing(self._s3.get_object(Bucket=self._all.bucket, Key=key)["Body"]) as body:
                    yield [json.loads(line) for line in body.iter_lines()]

    def _keys(self, below: str) -> Iterator[str]:
        return (found["Key"] for found in iter_objects(self._s3, S3Uri(self._all.bucket, below)))


class JournalReplay:
    """Rows that were noted, to be had about in the order of the archive: no more are held than that asks for.

    :param written: what was noted, flush by flush.
    """

    def __init__(self, written: Iterator[list[dict[str, Any]]]) -> None:
        self._written = written
        self._held: dict[str, SummaryRow] = {}

    def pop(self, item: ManifestItem) -> SummaryRow | None:
        """Return the row of an item; None if it was not noted, or out of all order.

        :raises VeoSummaryUnavailableError: the notes cannot be read now.
        """
        if item.outcome is not None:
            return None
        while item.output not in self._held and len(self._held) < MOST_ROWS:
            rows = next(self._written, None)
            if rows is None:
                break
            # By the output: earlier releases have had other keys, and newer ones may know other outcomes.
            known = (row for row in map(SummaryRow.from_dict, rows) if row.outcome in WITH_VIDEO)
            self._held.update((row.output, row) for row in known)
        row = self._held.pop(item.output, None)
        return row and replace(row, key=item.key)
