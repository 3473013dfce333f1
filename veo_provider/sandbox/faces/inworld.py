"""Inworld's router: OpenRouter's request, OpenAI's object, idempotency keys, signed URLs.

Facts: https://docs.inworld.ai/api-reference/videoAPI. The form of its errors is not documented.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.body_parser import JSON, BodyFormat
from veo_provider.sandbox.faces import openai
from veo_provider.sandbox.faces.face import Face, View
from veo_provider.sandbox.faces.openrouter import pop_image, read

if TYPE_CHECKING:
    from veo_provider.sandbox.tasks import Task


def _describe(task: Task, view: View) -> dict[str, Any]:
    described = openai.describe(task, view)
    if described["status"] == "completed" and view.file_url:
        described["output"] = {"videos": [{"url": view.file_url}]}
    return described


INWORLD = Face(
    name="inworld",
    read=partial(read, "inworld"),
    price=partial(openai.price, "inworld"),
    describe=_describe,
    error=openai.error,
    body=BodyFormat(types=(JSON,), check_json=lambda _: None, pop_image=pop_image),
    authorization="Basic {key}",
    new_id=openai.OPENAI.new_id,
    has_content=False,
    has_list=True,
    has_idempotency=True,
)
