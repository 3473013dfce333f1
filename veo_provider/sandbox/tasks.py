"""The service's tasks: how far each one is, and what all of them cost."""

from __future__ import annotations

import secrets
import string
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.errors import relay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from veo_provider.sandbox.action import Action
    from veo_provider.sandbox.submission import Submission

QUOTA_PER_USD = 500_000
"""How the account counts: this much quota is one US dollar."""

QUEUED_PART = 0.25
"""Part of the latency in which a task is still queued."""

PROGRESS = {"in_progress": 50, "completed": 100, "failed": 100}
"""Percent; any other status is 0, and there is nothing in between."""

_LETTERS = string.ascii_letters + string.digits


def new_id() -> str:
    """An id as the service gives them."""
    return "task_" + "".join(secrets.choice(_LETTERS) for _ in range(32))


def price(model: str) -> int:
    """US cents for one completed video, whatever its length and size."""
    fast = "fast" in model
    if model.endswith("-fl"):
        return 15 if fast else 25
    return 30 if fast else 120


@dataclass(slots=True)
class Task:
    """
    One accepted submission. Times are Unix seconds.

    :param number: which accepted submission it is, from 1.
    :param submission: what was asked.
    :param created: when.
    :param latency: seconds until it ends, unless filming takes longer.
    :param rendering: the MP4 on its way; None where there will be none.
    :param fail: why it is going to fail; an empty mapping is no reason, None is success.
    :param filtered: status that the content of a filtered video answers for ever.
    :param completed_error: what its status says is wrong, once it is completed.
    """

    number: int
    submission: Submission
    created: float
    latency: float
    rendering: Future[Path] | None
    fail: Mapping[str, str] | None = None
    filtered: int | None = None
    completed_error: Mapping[str, str] | None = None
    id: str = field(default_factory=new_id)
    rendered: float | None = None
    polls: int = 0
    content_requests: int = 0

    @property
    def ended(self) -> float | None:
        """When it ends, which may lie ahead; None while filming goes on."""
        due = self.created + self.latency
        if self.rendering is None:
            return due
        return None if self.rendered is None else max(due, self.rendered)

    def status(self, now: float) -> str:
        """``queued``, ``in_progress``, ``completed`` or ``failed``."""
        if self.ended is not None and self.ended <= now:
            return "completed" if self.error is None else "failed"
        return "queued" if now < self.created + self.latency * QUEUED_PART else "in_progress"

    @property
    def error(self) -> Mapping[str, str] | None:
        """Why it fails: an empty mapping is no reason, None is success."""
        if self.rendering is not None and self.rendering.done() and self.rendering.exception() is not None:
            return {"code": "INTERNAL", "message": f"rendering failed: {self.rendering.exception()!r}"}
        return self.fail

    @property
    def movie(self) -> Path | None:
        """The MP4, once it is there."""
        if self.rendering is None or not self.rendering.done() or self.rendering.exception() is not None:
            return None
        return self.rendering.result()

    def answer(self, now: float, status: str | None = None) -> dict[str, Any]:
        """
        The object that the API answers.

        :param now: Unix seconds.
        :param status: said instead of the true one.
        """
        status = status or self.status(now)
        answer: dict[str, Any] = {
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
            answer["completed_at"] = int(self.ended)
        if status == "completed" and self.completed_error is not None:
            answer["error"] = dict(self.completed_error)
        if status == "failed" and self.error:
            answer["error"] = dict(self.error)
        return answer

    def record(self, now: float) -> dict[str, Any]:
        """What ``/_sandbox/tasks`` tells about it."""
        status = self.status(now)
        return {
            "task_id": self.id,
            **self.submission.record(),
            "status": status,
            "created_at": self.created,
            "ended_at": self.ended if status in ("completed", "failed") else None,
            "charged_usd": price(self.submission.model) / 100 if status == "completed" else 0.0,
            "polls": self.polls,
            "content_requests": self.content_requests,
        }


class Ledger:
    """
    All tasks in the order of their acceptance, and the account that pays for them.

    :param balance: US dollars at the start.
    """

    def __init__(self, balance: float) -> None:
        self._cents = round(balance * 100)
        self._tasks: dict[str, Task] = {}
        self._running: list[Task] = []
        self._spent = 0

    def next_number(self) -> int:
        """Which accepted submission the next one will be, from 1."""
        return len(self._tasks) + 1

    def check_funds(self, model: str, now: float) -> None:
        """
        Make sure that the account can pay for one more video.

        :raises Refusal: when it cannot.
        """
        if self._left(now) < price(model):
            raise relay(403, "insufficient_user_quota", "user quota is not enough, please top up the balance")

    def add(self, task: Task) -> None:
        """Accept it."""
        self._tasks[task.id] = task
        self._running.append(task)

    def find(self, task_id: str) -> Task | None:
        """The task of that id."""
        return self._tasks.get(task_id)

    def get(self, task_id: str) -> Task:
        """
        The task of that id.

        :raises Refusal: when there is none.
        """
        task = self.find(task_id)
        if task is None:
            raise relay(400, "task_not_exist", "task_not_exist")
        return task

    def another(self, task: Task, now: float) -> Task | None:
        """One that is not this one: the first that failed, else that is completed, else any."""
        others = [other for other in self._tasks.values() if other is not task]
        statuses = ("failed", "completed", "in_progress", "queued")
        return min(others, key=lambda other: statuses.index(other.status(now)), default=None)

    def clear(self) -> None:
        """Forget all tasks; the account is as full as at the start."""
        self._tasks.clear()
        self._running.clear()
        self._spent = 0

    def quota(self, now: float) -> int:
        """What is left on the account: taken at submission, given back on failure."""
        return self._left(now) * QUOTA_PER_USD // 100

    def used_quota(self, now: float) -> int:
        """What completed videos have cost."""
        self._settle(now)
        return self._spent * QUOTA_PER_USD // 100

    def _left(self, now: float) -> int:
        self._settle(now)
        return self._cents - self._spent - sum(price(task.submission.model) for task in self._running)

    def _settle(self, now: float) -> None:
        """Book what has ended, so that an account with a long history is no slower than a new one."""
        running = []
        for task in self._running:
            status = task.status(now)
            if status == "completed":
                self._spent += price(task.submission.model)
            elif status != "failed":
                running.append(task)
        self._running = running

    def charges(self, now: float) -> dict[str, Any]:
        """The bill: completed tasks only, polled or not."""
        charged = [task for task in self._tasks.values() if task.status(now) == "completed"]
        return {
            "count": len(charged),
            "usd": sum(price(task.submission.model) for task in charged) / 100,
            "tasks": [
                {
                    "task_id": task.id,
                    "model": task.submission.model,
                    "usd": price(task.submission.model) / 100,
                    "completed_at": int(task.ended or now),
                }
                for task in charged
            ],
        }

    def record(self, now: float, after: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """
        What ``/_sandbox/tasks`` tells about all of them, or about a page.

        :param now: Unix seconds.
        :param after: how many of the first ones to leave out.
        :param limit: how many to tell about at most; None for all.
        """
        stop = None if limit is None else after + limit
        return [task.record(now) for task in islice(self._tasks.values(), after, stop)]

    def summary(self, now: float) -> dict[str, Any]:
        """The bill and the tasks in numbers, which stay few however many tasks there are."""
        tasks = self._tasks.values()
        statuses = Counter(task.status(now) for task in tasks)
        self._settle(now)
        return {
            "count": statuses["completed"],
            "usd": self._spent / 100,
            "accepted": len(tasks),
            "statuses": dict(statuses),
            "polls": sum(task.polls for task in tasks),
            "content_requests": sum(task.content_requests for task in tasks),
        }


def outcome(action: Action) -> dict[str, Any]:
    """How a task is going to end, as the fault rules of its submission decide."""
    fail = dict(action.fail) if not isinstance(action.fail, bool) else ({} if action.fail else None)
    filtered = (502 if action.filtered is True else int(action.filtered)) or None
    if action.completed_error is not None:
        filtered = filtered or 404
    return {"fail": fail, "filtered": filtered, "completed_error": action.completed_error}
