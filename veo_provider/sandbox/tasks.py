"""Generations, called tasks: the status of each, and the account that pays for them."""

from __future__ import annotations

import secrets
import string
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.charging import Charging
from veo_provider.sandbox.errors import relay_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from veo_provider.sandbox.action import Action
    from veo_provider.sandbox.submission import Submission

QUOTA_PER_USD = 500_000
"""Quota units per US dollar."""

QUOTA_PER_CENT = QUOTA_PER_USD // 100

QUEUED_SHARE = 0.25
"""Share of the latency in which a task is still queued."""

PROGRESS = {"in_progress": 50, "completed": 100, "failed": 100}
"""Percent by status; 0 in any other one."""

_LETTERS = string.ascii_letters + string.digits


def new_id() -> str:
    """Return a new id in the service's format."""
    return "task_" + "".join(secrets.choice(_LETTERS) for _ in range(32))


def price(model: str) -> int:
    """Return the price of a completed video in US cents; length and size do not change it."""
    fast = "fast" in model
    if model.endswith("-fl"):
        return 15 if fast else 25
    return 30 if fast else 120


@dataclass(slots=True)
class Task:
    """One accepted submission. Times are Unix seconds.

    :param number: its number in the order of acceptance, from 1.
    :param submission: what was requested.
    :param created: time of acceptance.
    :param latency: seconds until it ends, unless rendering takes longer.
    :param rendering: future of the MP4's path; None if there will be no MP4.
    :param fail: the error that it will fail with; an empty mapping for no reason given, None for success.
    :param filtered: HTTP status of every content call, if the video is filtered.
    :param completed_error: the error in its object once it is completed.
    :param cents: its price in US cents.
    :param charging: when it is charged.
    :param row_delay: seconds after acceptance until it is in the lists of the account.
    """

    number: int
    submission: Submission
    created: float
    latency: float
    rendering: Future[Path] | None
    fail: Mapping[str, str] | None = None
    filtered: int | None = None
    completed_error: Mapping[str, str] | None = None
    cents: int = 0
    charging: Charging = field(default_factory=Charging)
    row_delay: float = 0
    id: str = field(default_factory=new_id)
    request_id: str = field(default_factory=lambda: secrets.token_hex(16))
    rendered: float | None = None
    polls: int = 0
    content_requests: int = 0

    @property
    def ended(self) -> float | None:
        """Return when it ends, possibly in the future; None while the end is unknown because it renders."""
        due = self.created + self.latency
        if self.rendering is None:
            return due
        return None if self.rendered is None else max(due, self.rendered)

    def status(self, now: float) -> str:
        """Return ``queued``, ``in_progress``, ``completed`` or ``failed``."""
        if self.ended is not None and self.ended <= now:
            return "completed" if self.error is None else "failed"
        return "queued" if now < self.created + self.latency * QUEUED_SHARE else "in_progress"

    @property
    def error(self) -> Mapping[str, str] | None:
        """Return why it fails: an empty mapping for no reason given, None for success."""
        if self.rendering is not None and self.rendering.done() and self.rendering.exception() is not None:
            return {"code": "INTERNAL", "message": f"rendering failed: {self.rendering.exception()!r}"}
        return self.fail

    @property
    def moderated(self) -> bool:
        """Return whether moderation lets it fail."""
        code = (self.error or {}).get("code", "")
        return code.startswith("PUBLIC_") or "moderation" in code

    def charged_cents(self, now: float) -> int:
        """Return what the bill says of it at a time."""
        return self.cents if self.charging.charges(self.status(now), moderated=self.moderated) else 0

    @property
    def video_path(self) -> Path | None:
        """Return the path of the MP4, once it is rendered."""
        if self.rendering is None or not self.rendering.done() or self.rendering.exception() is not None:
            return None
        return self.rendering.result()

    def api_object(self, now: float, status: str | None = None) -> dict[str, Any]:
        """Return the JSON object of the API for this task.

        :param now: Unix seconds.
        :param status: replaces the true status.
        """
        status = status or self.status(now)
        result: dict[str, Any] = {
            "id": self.id,
            "task_id": self.id,
            "object": "video",
            "model": self.submission.model,
            "status": status,
            "progress": PROGRESS.get(status, 0),
            "created_at": int(self.created),
            "seconds": str(self.submission.seconds),
            "size": self.submission.size,
        }
        if status == "completed" and self.ended is not None:
            result["completed_at"] = int(self.ended)
        if status == "completed" and self.completed_error is not None:
            result["error"] = dict(self.completed_error)
        if status == "failed" and self.error:
            result["error"] = dict(self.error)
        return result

    def record(self, now: float) -> dict[str, Any]:
        """Return the entry of ``/_sandbox/tasks`` about it."""
        status = self.status(now)
        return {
            "task_id": self.id,
            **self.submission.record(),
            "status": status,
            "created_at": self.created,
            "ended_at": self.ended if status in ("completed", "failed") else None,
            "charged_usd": self.charged_cents(now) / 100,
            "polls": self.polls,
            "content_requests": self.content_requests,
        }


class Ledger:
    """All tasks in the order of acceptance, and the account that pays for them.

    :param balance: US dollars at the start.
    """

    def __init__(self, balance: float) -> None:
        self._cents = round(balance * 100)
        self._tasks: dict[str, Task] = {}
        self._others: dict[str, Task] = {}
        self._rows: list[Task] = []
        self._running: list[Task] = []
        self._spent = 0

    def next_number(self) -> int:
        """Return the number of the next task, from 1."""
        return len(self._tasks) + 1

    def check_funds(self, cents: int, now: float) -> None:
        """Check that the account can pay for one more video.

        :param cents: its price.
        :param now: Unix seconds.

        :raises ApiError: if it cannot.
        """
        if self._available_cents(now) < cents:
            raise relay_error(
                403, "insufficient_user_quota", "user quota is not enough, please top up the balance"
            )

    def add(self, task: Task, *, row: bool = True) -> None:
        """Add an accepted task.

        :param row: whether the lists of the account show it.
        """
        self._tasks[task.id] = task
        self._running.append(task)
        if row:
            self._rows.append(task)

    def add_foreign(self, task: Task) -> None:
        """Add a task that somebody else has submitted with another key: listed, but not on this bill."""
        self._others[task.id] = task
        self._rows.append(task)

    def add_row(self, task: Task) -> None:
        """Add a row of the lists without a task."""
        self._rows.append(task)

    def rows(self) -> Sequence[Task]:
        """Return the tasks that the lists of the account show, in the order of acceptance."""
        return self._rows

    def find(self, task_id: str) -> Task | None:
        """Return the task with an id, or None."""
        return self._tasks.get(task_id) or self._others.get(task_id)

    def get(self, task_id: str) -> Task:
        """Return the task with an id.

        :raises ApiError: if there is none.
        """
        task = self.find(task_id)
        if task is None:
            raise relay_error(400, "task_not_exist", "task_not_exist")
        return task

    def other_than(self, task: Task, now: float) -> Task | None:
        """Return another task: preferably a failed one, then a completed one, then any."""
        others = [other for other in self._tasks.values() if other is not task]
        statuses = ("failed", "completed", "in_progress", "queued")
        return min(others, key=lambda other: statuses.index(other.status(now)), default=None)

    def clear(self) -> None:
        """Remove all tasks and restore the initial balance."""
        self._tasks.clear()
        self._others.clear()
        self._rows.clear()
        self._running.clear()
        self._spent = 0

    def quota(self, now: float) -> int:
        """Return the quota left: reduced at submission, refunded on failure."""
        return self._available_cents(now) * QUOTA_PER_CENT

    def used_quota(self, now: float) -> int:
        """Return the quota that completed videos have cost."""
        self._settle(now)
        return self._spent * QUOTA_PER_CENT

    def _available_cents(self, now: float) -> int:
        self._settle(now)
        return self._cents - self._spent - sum(task.cents for task in self._running)

    def _settle(self, now: float) -> None:
        """Charge what has ended, so that a long history does not make the account slow."""
        running = []
        for task in self._running:
            if task.status(now) in ("completed", "failed"):
                self._spent += task.charged_cents(now)
            else:
                running.append(task)
        self._running = running

    def charges(self, now: float) -> dict[str, Any]:
        """Return the charges, polled or not."""
        charged = [task for task in self._tasks.values() if task.charged_cents(now)]
        return {
            "count": len(charged),
            "usd": sum(task.cents for task in charged) / 100,
            "tasks": [
                {
                    "task_id": task.id,
                    "model": task.submission.model,
                    "usd": task.cents / 100,
                    "completed_at": int(task.ended or now),
                }
                for task in charged
            ],
        }

    def record(self, now: float, after: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the entries of ``/_sandbox/tasks``, or a page of them.

        :param now: Unix seconds.
        :param after: how many of the first tasks to skip.
        :param limit: maximum number of entries; None for all.
        """
        stop = None if limit is None else after + limit
        return [task.record(now) for task in islice(self._tasks.values(), after, stop)]

    def summary(self, now: float) -> dict[str, Any]:
        """Return charges and tasks as totals."""
        tasks = self._tasks.values()
        statuses = Counter(task.status(now) for task in tasks)
        self._settle(now)
        unsettled = sum(task.charged_cents(now) for task in self._running)
        return {
            "count": sum(task.charged_cents(now) > 0 for task in tasks),
            "usd": (self._spent + unsettled) / 100,
            "accepted": len(tasks),
            "statuses": dict(statuses),
            "polls": sum(task.polls for task in tasks),
            "content_requests": sum(task.content_requests for task in tasks),
        }


def outcome(action: Action) -> dict[str, Any]:
    """Return how the fault rules of a submission let its task end, as arguments of :class:`Task`."""
    fail = dict(action.fail) if not isinstance(action.fail, bool) else ({} if action.fail else None)
    filtered = (502 if action.filtered is True else int(action.filtered)) or None
    if action.completed_error is not None:
        filtered = filtered or 404
    return {"fail": fail, "filtered": filtered, "completed_error": action.completed_error}
