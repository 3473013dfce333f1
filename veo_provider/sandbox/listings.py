"""The lists of an account's tasks: OpenAI's list of videos, and APIYI's task list and log."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.errors import gateway_error
from veo_provider.sandbox.tasks import QUOTA_PER_CENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from veo_provider.sandbox.action import Action
    from veo_provider.sandbox.tasks import Task

_STATUSES = {"queued": "QUEUED", "in_progress": "IN_PROGRESS", "completed": "SUCCESS", "failed": "FAILURE"}
_CHARGE, _REFUND = 2, 11
_MOST_TASKS, _MOST_LOG_ROWS, _MOST_VIDEOS = 100, 5000, 100
_DEFAULT_ROWS, _DEFAULT_VIDEOS = 10, 20


def listed(tasks: Iterable[Task], action: Action, now: float) -> list[Task]:
    """Return the tasks that a list shows, newest first.

    :param tasks: all that have a row, in the order of acceptance.
    :param action: what fault rules do to this list.
    :param now: Unix seconds.
    """
    if action.empty:
        return []
    return [
        task
        for task in reversed(list(tasks))
        if now >= task.created + task.row_delay and task.created <= now - action.stale
    ]


def video_page(
    tasks: Sequence[Task], query: Mapping[str, str], describe: Callable[[Task], dict[str, Any]]
) -> dict[str, Any]:
    """Return a page of OpenAI's list of videos.

    :param tasks: newest first.
    :param query: ``limit`` from 1 to 100 (default 20), ``after`` (the last id of the page before) and
        ``order`` (``desc``, newest first, or ``asc``).
    :param describe: returns a task's object.
    :raises ApiError: a parameter is wrong.
    """
    limit, order = query.get("limit", str(_DEFAULT_VIDEOS)), query.get("order", "desc")
    if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_VIDEOS:
        raise gateway_error(400, f"limit must be from 1 to {_MOST_VIDEOS}")
    if order not in ("asc", "desc"):
        raise gateway_error(400, "order must be asc or desc")
    ordered = list(tasks if order == "desc" else reversed(tasks))
    if after := query.get("after", ""):
        before = list(takewhile(lambda task: task.id != after, ordered))
        if len(before) == len(ordered):
            raise gateway_error(404, f"after: there is no video {after}", "not_found")
        ordered = ordered[len(before) + 1 :]
    page = ordered[: int(limit)]
    return {
        "object": "list",
        "data": [describe(task) for task in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(ordered) > len(page),
    }


def task_page(
    tasks: Iterable[Task], query: Mapping[str, str], action: Action, now: float, api_key: str
) -> dict[str, Any]:
    """Return a page of APIYI's task list, ``GET /api/task/self``.

    :param tasks: newest first.
    :param query: ``task_id``, ``model_name``, ``start_timestamp`` and ``end_timestamp`` (of the submission)
        filter; ``p`` is the page from 1, ``page_size`` at most 100.
    :param action: what fault rules do to this list.
    :param now: Unix seconds.
    :param api_key: shown in the rows if a rule says so.
    """
    rows = [_task_row(task, action, now, api_key) for task in tasks]
    rows = [
        row
        for row in _filtered(rows, query, "submit_time")
        if query.get("task_id", row["task_id"]) == row["task_id"]
    ]
    size = _number(query, "page_size", _DEFAULT_ROWS, _MOST_TASKS)
    page = max(1, _number(query, "p", 1))
    return _envelope(rows, rows[(page - 1) * size : page * size], page, size)


def log_page(
    tasks: Iterable[Task], query: Mapping[str, str], action: Action, now: float, api_key: str
) -> dict[str, Any]:
    """Return a page of APIYI's log of charges and refunds, ``GET /api/log/self``.

    :param tasks: newest first.
    :param query: ``type`` (2 charge, 11 refund, 0 both), ``model_name``, ``start_timestamp`` and
        ``end_timestamp`` filter; ``p`` is the page from **0**, ``pageSize`` at most 5000. ``page_size`` is
        ignored.
    :param action: what fault rules do to this list.
    :param now: Unix seconds.
    :param api_key: each row shows it in plaintext, as the service does.
    """
    rows = [row for task in tasks for row in _log_rows(task, action, now, api_key)]
    rows.sort(key=lambda row: row["created_at"], reverse=True)
    kind = _number(query, "type", 0)
    rows = [row for row in _filtered(rows, query, "created_at") if kind in (0, row["type"])]
    size = _number(query, "pageSize", _DEFAULT_ROWS, _MOST_LOG_ROWS)
    page = _number(query, "p", 0)
    return _envelope(rows, rows[page * size : (page + 1) * size], page, size)


def _task_row(task: Task, action: Action, now: float, api_key: str) -> dict[str, Any]:
    status, submission = task.status(now), task.submission
    said = {
        "model": submission.model,
        "prompt": submission.prompt,
        "seconds": str(submission.seconds),
        "size": submission.size,
    }
    finished = status in ("completed", "failed") and task.ended is not None
    row = {
        "task_id": task.id,
        "platform": "sora",
        "action": "generate",
        "status": _STATUSES[status],
        "quota": task.cents * QUOTA_PER_CENT,
        "submit_time": int(task.created + action.skew),
        "finish_time": int((task.ended or now) + action.skew) if finished else 0,
        "progress": "100%" if finished else "0%",
        "fail_reason": (task.error or {}).get("message", "") if status == "failed" else "",
        "model_name": submission.model,
        "properties": {"input": said if action.input_object else json.dumps(said)},
    }
    return {**row, "token_key": api_key} if action.keys else row


def _log_rows(task: Task, action: Action, now: float, api_key: str) -> list[dict[str, Any]]:
    """Return the rows about a task: its charge, and the refund if it has failed and is not charged."""
    quota, status = task.cents * QUOTA_PER_CENT, task.status(now)
    rows = [_log_row(task, _CHARGE, quota, task.created + action.skew, api_key)]
    if status == "failed" and not task.charged_cents(now):
        rows.append(_log_row(task, _REFUND, -quota, (task.ended or now) + action.skew, api_key))
    return rows


def _log_row(task: Task, kind: int, quota: int, when: float, api_key: str) -> dict[str, Any]:
    word = "charge" if kind == _CHARGE else "refund"
    return {
        "id": int(task.request_id[:7], 16) * 2 + (kind == _REFUND),
        "created_at": int(when),
        "type": kind,
        "content": f"{word} of the video task {task.id}",
        "model_name": task.submission.model,
        "quota": quota,
        "token_name": "sandbox",
        "token_key": api_key,
        "request_id": task.request_id,
    }


def _filtered(
    rows: Iterable[dict[str, Any]], query: Mapping[str, str], time_key: str
) -> list[dict[str, Any]]:
    """Return the rows of a model and a time; a filter that is empty, 0 or no number is none."""
    model = query.get("model_name")
    start, end = _number(query, "start_timestamp", 0), _number(query, "end_timestamp", 0)
    return [
        row
        for row in rows
        if (not model or row["model_name"] == model)
        and row[time_key] >= start
        and (not end or row[time_key] <= end)
    ]


def _number(query: Mapping[str, str], name: str, default: int, most: int | None = None) -> int:
    """Return a number of the query as new-api does: anything else is the default."""
    text = query.get(name, "")
    value = int(text) if text.isdecimal() else default
    return value if most is None else min(value or default, most)


def _envelope(
    rows: Sequence[dict[str, Any]], page_rows: Sequence[dict[str, Any]], page: int, size: int
) -> dict[str, Any]:
    data = {"items": list(page_rows), "total": len(rows), "page": page, "page_size": size}
    return {"success": True, "message": "", "data": data}
