"""OpenRouter's videos: JSON with data URLs, its own status words, an error that is a text, and the cost.

Facts: https://openrouter.ai/docs/api/api-reference/video-generation.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.body_parser import JSON, BodyFormat
from veo_provider.sandbox.errors import gateway_error
from veo_provider.sandbox.faces import strict
from veo_provider.sandbox.faces.face import Face, View
from veo_provider.sandbox.faces.openai import price

if TYPE_CHECKING:
    from veo_provider.sandbox.body_parser import ParsedBody
    from veo_provider.sandbox.errors import ApiError
    from veo_provider.sandbox.submission import Submission
    from veo_provider.sandbox.tasks import Task

_CHECKS = {
    "model": strict.is_text,
    "prompt": strict.is_text,
    "duration": strict.is_integer,
    "size": strict.is_size,
    "resolution": strict.is_resolution,
    "aspect_ratio": strict.is_ratio,
    "seed": strict.is_integer,
}


def read(face: str, body: ParsedBody) -> Submission:
    """Return the submission in JSON."""
    return strict.read_strictly(face, body, body.values, _CHECKS, "duration")


def pop_image(body: dict[str, Any]) -> str | None:
    """Take the first frame out of JSON.

    :raises ApiError: it has another form.
    """
    frames = body.pop("frame_images", None)
    if frames is None:
        return None
    match frames:
        case [{"type": "image_url", "image_url": {"url": str(url)}, "frame_type": "first_frame"}]:
            if url.startswith("data:image/"):
                return url
    raise gateway_error(400, "frame_images: one first_frame with a data URL is needed")


def _describe(task: Task, view: View) -> dict[str, Any]:
    status = view.status or task.status(view.now)
    described: dict[str, Any] = {
        "id": task.id,
        "generation_id": f"gen-{task.request_id}",
        "polling_url": f"/api/v1/videos/{task.id}",
        "status": "pending" if status == "queued" else status,
        "model": task.submission.model,
    }
    if status == "completed":
        described["unsigned_urls"] = [f"{view.base_url}/videos/{task.id}/content?index=0"]
        described["usage"] = {"cost": task.cents / 100, "is_byok": False}
    if status == "failed":
        described["error"] = (task.error or {}).get("message") or "The provider reports no reason"
    return described


def _error(given: ApiError) -> dict[str, Any]:
    if given.code == "task_not_exist":
        return {"error": {"message": "Video job not found", "code": 404}}
    return {"error": {"message": given.message, "code": given.status}}


OPENROUTER = Face(
    name="openrouter",
    read=partial(read, "openrouter"),
    price=partial(price, "openrouter"),
    describe=_describe,
    error=_error,
    body=BodyFormat(types=(JSON,), check_json=lambda _: None, pop_image=pop_image),
    accepted=202,
    new_id=lambda: secrets.token_urlsafe(15).replace("-", "x").replace("_", "y"),
    has_models=True,
)
