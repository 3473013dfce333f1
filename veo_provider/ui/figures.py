"""Sums over the rows of the page."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from veo_provider.ui.ledger import FAILED, GROUPS, MADE, PERSON, UNDER_WAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BY = ("day", "dag_id", "model", "account")


def totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures above the gallery."""
    counts: Counter[str] = Counter()
    cost = unknown = 0.0
    told = told_of = 0.0
    for row in rows:
        cost += row.get("cost_usd", 0.0)
        unknown += row.get("unknown_usd", 0.0)
        if "told_usd" in row:
            told += row["told_usd"]
            told_of += row.get("cost_usd", 0.0)
        counts.update(_counts(row))
    return {
        "videos": counts[MADE],
        "in_flight": counts[UNDER_WAY],
        "failed": counts[FAILED],
        "needs_a_person": counts[PERSON],
        "cost_usd": round(cost, 2),
        "unknown_usd": round(unknown, 2),
        "told_usd": round(told, 2),
        "told_of_usd": round(told_of, 2),
    }


def _counts(row: Mapping[str, Any]) -> Counter[str]:
    if row["kind"] != "batch":
        return Counter([row["group"]])
    found: Counter[str] = Counter()
    for outcome, number in row["counts"].items():
        found[GROUPS.get(outcome, FAILED)] += number
    return found


def spend(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the spend by day, by DAG, by model and by account."""
    return {name: _spend_by(rows, name) for name in BY}


def _spend_by(rows: Iterable[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    costs: dict[str, float] = defaultdict(float)
    unknowns: dict[str, float] = defaultdict(float)
    videos: Counter[str] = Counter()
    ceilings: dict[str, float] = defaultdict(float)
    for row in rows:
        key = str(row.get(name) or "unknown")
        costs[key] += row.get("cost_usd", 0.0)
        unknowns[key] += row.get("unknown_usd", 0.0)
        videos[key] += _counts(row)[MADE]
        ceilings[key] += row.get("max_cost_usd", 0.0)
    found = [
        {
            name: key,
            "videos": videos[key],
            "cost_usd": round(costs[key], 2),
            "unknown_usd": round(unknowns[key], 2),
            "max_cost_usd": round(ceilings[key], 2) or None,
        }
        for key in sorted(costs)
    ]
    return found if name == "day" else sorted(found, key=lambda one: -one["cost_usd"])


COLUMNS = (
    "day",
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "kind",
    "state",
    "model",
    "gateway",
    "account",
    "veo_task_id",
    "price_usd",
    "cost_usd",
    "unknown_usd",
    "told_usd",
    "output",
    "summary",
)


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as CSV; a text that a spreadsheet would take for a formula is made harmless."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in COLUMNS])
    return out.getvalue()


def _cell(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value
