"""OpenAI's ``/v1/videos`` as vLLM-Omni, SGLang and others serve it: forms, snake_case, a list.

It charges at submission, and never gives anything back: the worst that is known of such services.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.body_parser import FORM, BodyFormat
from veo_provider.sandbox.charging import Charging
from veo_provider.sandbox.faces import strict
from veo_provider.sandbox.faces.face import Face, View
from veo_provider.sandbox.faces.models import cents

if TYPE_CHECKING:
    from veo_provider.sandbox.body_parser import ParsedBody
    from veo_provider.sandbox.errors import ApiError
    from veo_provider.sandbox.submission import Submission
    from veo_provider.sandbox.tasks import Task

_DAY = 24 * 3600
_CHECKS = {
    "model": strict.is_text,
    "prompt": strict.is_text,
    "seconds": strict.is_digits,
    "size": strict.is_size,
    "resolution": strict.is_resolution,
    "aspect_ratio": strict.is_ratio,
    "seed": strict.is_digits,
    "negative_prompt": strict.is_text,
}


def read(face: str, body: ParsedBody) -> Submission:
    """Return the submission in a form; the same for each face that speaks OpenAI's interface."""
    return strict.read_strictly(face, body, body.fields, _CHECKS, "seconds")


def price(face: str, submission: Submission) -> int:
    """Return the price of a submission in US cents."""
    return cents(face, submission.model, submission.seconds, submission.resolution)


def describe(task: Task, view: View) -> dict[str, Any]:
    """Return OpenAI's object of a video."""
    described = task.api_object(view.now, view.status)
    described.pop("task_id")
    described.setdefault("error", None)
    return {**described, "prompt": task.submission.prompt, "expires_at": int(task.created) + _DAY}


def error(given: ApiError) -> dict[str, Any]:
    """Return OpenAI's error."""
    kind = "server_error" if given.status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's own
    code = "not_found" if given.code == "task_not_exist" else given.code
    message = "Video not found" if given.code == "task_not_exist" else given.message
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


OPENAI = Face(
    name="openai",
    read=partial(read, "openai"),
    price=partial(price, "openai"),
    describe=describe,
    error=error,
    body=BodyFormat(types=(FORM,)),
    new_id=lambda: f"video_{secrets.token_hex(16)}",
    charging=Charging(at_submission=True, failed=True, moderated=True),
    has_list=True,
)
