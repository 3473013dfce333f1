"""The rows of the page: one query for the XComs that tasks leave, and what they mean together."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from veo_provider.generation.fingerprint import connection_of
from veo_provider.receipts.receipt import SUFFIX
from veo_provider.receipts.video_row import ROW_KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy.orm import Session

MADE, UNDER_WAY, PERSON, FAILED, NOT_STARTED = "made", "in flight", "needs a person", "failed", "not started"
GROUPS = {
    "stored": MADE,
    "skipped": MADE,
    "under way": UNDER_WAY,
    "unknown": PERSON,
    "lost": PERSON,
    "changed": PERSON,
    "moderated": FAILED,
    "failed": FAILED,
    "rejected": FAILED,
    "error": FAILED,
    "not started": NOT_STARTED,
    "to make": NOT_STARTED,
}
"""What an outcome means to the person who looks."""
_ADVICE = {
    UNDER_WAY: "The task has ended while its generation was in flight: clear the task to fetch the video, "
    "which pays nothing more.",
    "unknown": "Look for it in the service's task log. If it is there, attach its id; if it is not, "
    "say that it never happened.",
}
_TEXTS = ("state", "receipt", "image", "prompt", "model", "account", "gateway", "cause", "advice", "part")
_TEXTS_TOO = ("veo_task_id", "paid_by", "spent_at", "object", "kind", "key", "output")
_FILES = ("summary", "sheet", "folder")
_AMOUNTS = ("price_usd", "cost_usd", "unknown_usd", "told_usd", "max_cost_usd")
_NUMBERS = ("bytes", "duration_seconds", "width", "height")


@dataclass(frozen=True)
class Place:
    """Which rows are looked at; None is all."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None


@dataclass(frozen=True)
class Filters:
    """Which of the rows are shown."""

    day: str = ""
    group: str = ""
    model: str = ""
    gateway: str = ""
    account: str = ""
    search: str = ""

    def accept(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row is shown."""
        wanted = self.search.lower()
        return (
            (not self.group or self.group == row.get("group") or row["kind"] == "batch")
            and (not self.day or self.day == row["day"])
            and all(
                not getattr(self, name) or getattr(self, name) == row.get(name)
                for name in ("model", "gateway", "account")
            )
            and (not wanted or any(wanted in str(row.get(name, "")).lower() for name in _SEARCHED))
        )


_SEARCHED = ("prompt", "key", "image", "output", "veo_task_id", "summary")
FILTERS = tuple(one.name for one in fields(Filters))


def read_rows(
    session: Session, dag_ids: Collection[str], place: Place, days: int | None
) -> list[dict[str, Any]]:
    """Return the rows of some DAGs, newest first, by one query.

    :param days: how far to look back, from the start of that day in UTC; None for everything.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    xcom: Any = XComModel
    task: Any = TaskInstance
    same = (xcom.dag_id == task.dag_id) & (xcom.run_id == task.run_id)
    same &= (xcom.task_id == task.task_id) & (xcom.map_index == task.map_index)
    query = (
        select(xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index, xcom.value, xcom.timestamp, task.state)
        .join(task, same, isouter=True)
        .where(xcom.key == ROW_KEY, xcom.dag_id.in_(dag_ids))
        .order_by(xcom.timestamp.desc())
    )
    for column, value in (
        (xcom.dag_id, place.dag_id),
        (xcom.run_id, place.run_id),
        (xcom.task_id, place.task_id),
        (xcom.map_index, place.map_index),
    ):
        if value is not None:
            query = query.where(column == value)
    first = first_day(days)
    if first is not None:
        # A row is written when or after its money is spent.
        query = query.where(xcom.timestamp >= first)
    rows = merged(_row(*one) for one in session.execute(query))
    return rows if first is None else [row for row in rows if row["day"] >= first.date().isoformat()]


def first_day(days: int | None) -> datetime | None:
    """Return the start of the first of the last days in UTC."""
    if days is None:
        return None
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days - 1)


def _row(
    dag_id: str, run_id: str, task_id: str, map_index: int, value: Any, written: datetime, state: str | None
) -> dict[str, Any]:
    """Return a row of the page. Whoever may edit an XCom may have written it: only known fields are kept."""
    row = cleaned(_decoded(value))
    row |= {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index, "ti_state": state}
    row["at"] = written.astimezone(timezone.utc).isoformat(timespec="seconds")
    row["day"] = _day_of(row.get("spent_at"), written)
    if row["kind"] != "batch":
        judge(row)
    return row


def _decoded(value: Any) -> dict[str, Any]:
    """Return an XCom's value; Airflow 3.1 encodes one twice more that was edited over its API."""
    for _ in range(3):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                break
    return value if isinstance(value, dict) else {}


def cleaned(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known fields of a row, each of its type."""
    row: dict[str, Any] = {
        name: given[name] for name in (*_TEXTS, *_TEXTS_TOO, *_FILES) if isinstance(given.get(name), str)
    }
    row |= {name: float(given[name]) for name in _AMOUNTS if _is_number(given.get(name))}
    row |= {name: given[name] for name in _NUMBERS if _is_number(given.get(name))}
    row["kind"] = "batch" if row.get("kind") == "batch" else "video"
    if "account" in row:
        row["account"] = connection_of(row["account"])  # the connection, without its host
    row.setdefault("state", "error")
    counts = given.get("counts")
    if row["kind"] == "batch":
        counts = counts if isinstance(counts, dict) else {}
        row["counts"] = {str(name): number for name, number in counts.items() if isinstance(number, int)}
    elif row.get("receipt", "").endswith(SUFFIX):
        row["output"] = row["receipt"].removesuffix(SUFFIX)
    return row


def judge(row: dict[str, Any]) -> None:
    """Add what a row means to the person who looks, and what to do."""
    group = GROUPS.get(row["state"], FAILED)
    ended = row.get("ti_state") in ("failed", "upstream_failed", "removed")
    if group is UNDER_WAY and ended and row.get("part") != "submit":
        group = PERSON
        row.setdefault("advice", _ADVICE[UNDER_WAY])
    elif group is PERSON and row["state"] in _ADVICE:
        row.setdefault("advice", _ADVICE[row["state"]])
    row["group"] = group


def merged(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with one for each video that several tasks of a run make: submit, wait and store."""
    found: list[dict[str, Any]] = []
    submitted: dict[tuple[str, str], dict[str, Any]] = {}
    later: list[dict[str, Any]] = []
    for row in rows:
        part = row.get("part")
        if part in ("wait", "store") and row.get("veo_task_id"):
            later.append(row)
            continue
        if part == "submit" and row.get("veo_task_id"):
            submitted.setdefault((row["dag_id"], row["veo_task_id"]), row)
        found.append(row)
    for row in reversed(later):
        own = submitted.get((row["dag_id"], row["veo_task_id"]))
        if own is None:
            found.append(row)
            continue
        _take_over(own, row)
    return sorted(found, key=lambda row: row["at"], reverse=True)


def _take_over(own: dict[str, Any], row: Mapping[str, Any]) -> None:
    """Add to the row of a submission what a later task of the same video says."""
    kept = ("state", "group", "cause", "advice", "object", "ti_state", *_NUMBERS)
    for name in ("cause", "advice"):
        own.pop(name, None)
    own.update({name: row[name] for name in kept if name in row})
    own["parts"] = {**own.get("parts", {}), row["part"]: row["task_id"]}
    if row["state"] in ("failed", "moderated"):
        own["cost_usd"] = 0.0  # a failed generation is not charged


def _day_of(spent_at: str | None, written: datetime) -> str:
    """Return the day, in UTC, on which a video was paid for; else that of its row."""
    try:
        return datetime.fromisoformat(spent_at or "").astimezone(timezone.utc).date().isoformat()
    except ValueError:
        return written.astimezone(timezone.utc).date().isoformat()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - NaN
