"""LiteLLM's proxy: OpenAI's interface with long ids, and headers that tell the cost; no usable list.

Facts from release 1.108.7. Its own repeats of a submission are not played.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from veo_provider.sandbox.faces.openai import OPENAI, price, read

if TYPE_CHECKING:
    from veo_provider.sandbox.tasks import Task


def _new_id() -> str:
    deployment, video = secrets.token_hex(32), secrets.token_hex(16)
    inner = f"litellm:custom_llm_provider:openai;model_id:{deployment};video_id:video_{video}"
    return f"video_{base64.urlsafe_b64encode(inner.encode()).decode().rstrip('=')}"


def _headers(task: Task) -> dict[str, str]:
    return {
        "x-litellm-call-id": task.request_id,
        "x-litellm-response-cost": str(task.cents / 100),
        "x-litellm-attempted-retries": "0",
        "x-litellm-attempted-fallbacks": "0",
    }


LITELLM = replace(
    OPENAI,
    name="litellm",
    read=partial(read, "litellm"),
    price=partial(price, "litellm"),
    new_id=_new_id,
    headers=_headers,
    has_list=False,
    has_models=True,
)
