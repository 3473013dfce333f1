"""What needs a person: videos of single tasks, and the images of batches, as their summaries have them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException

from veo_provider.ui import batches, settling
from veo_provider.ui.ledger import GROUPS, PERSON

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from veo_provider.ui.ledger import Filters

_MOST_BATCHES = 20
"""The number of summaries that one look reads: those of the latest batches."""
_READERS = 8


def needing(rows: Iterable[Mapping[str, Any]], filters: Filters) -> Iterator[dict[str, Any]]:
    """Yield the videos that need a person, and after each batch its own.

    A batch that has no summary yet is left out: what it has lost is in its progress.

    :param rows: of the page, before any filter.
    """
    left = _MOST_BATCHES
    for row in rows:
        if row["kind"] != "batch":
            if row["group"] == PERSON and filters.accept(row):
                yield dict(row)
        elif left and row.get("summary") and any(GROUPS.get(one) == PERSON for one in row["counts"]):
            left -= 1
            yield from _images(row, filters)


def with_receipts(rows: Iterable[dict[str, Any]], settleable: Collection[str]) -> list[dict[str, Any]]:
    """Return rows with what their receipts say now, where the viewer may settle them.

    A summary stays as it was until its task is run again, so that a settled image is still in it.

    :param settleable: the DAGs whose videos the viewer may settle.
    """
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(lambda row: {**row, **_now(row, settleable)}, rows))


def _images(batch: Mapping[str, Any], filters: Filters) -> Iterator[dict[str, Any]]:
    try:
        found = batches.images(batch)
    except HTTPException:  # its summary is gone, or S3 does not answer: the others are shown
        return
    yield from (row for row in found if row["group"] == PERSON and filters.accept(row))


def _now(row: Mapping[str, Any], settleable: Collection[str]) -> dict[str, Any]:
    if row["state"] != "unknown" or not row.get("receipt") or row["dag_id"] not in settleable:
        return {"may_settle": False}
    try:
        lost = settling.read(row)
    except HTTPException as error:
        return {"may_settle": False, "note": error.detail}
    return {"may_settle": True, "etag": lost["etag"], "candidates": lost["candidates"]}
