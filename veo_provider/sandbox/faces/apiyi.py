"""APIYI's channel, which the sandbox plays by default: lenient, with an account, a task list and a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.faces.face import Face, View
from veo_provider.sandbox.submission import validate
from veo_provider.sandbox.tasks import price

if TYPE_CHECKING:
    from veo_provider.sandbox.tasks import Task


def _describe(task: Task, view: View) -> dict[str, Any]:
    return task.api_object(view.now, view.status)


APIYI = Face(
    name="apiyi",
    read=validate,
    price=lambda submission: price(submission.model),
    describe=_describe,
    error=lambda error: error.body,
    has_account=True,
)
