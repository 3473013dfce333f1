"""Inworld's router: JSON, Basic authorization, an idempotency key, a list, and the video at a signed URL."""

from __future__ import annotations

from dataclasses import replace

from veo_provider.api.gateways.gateway import Charging, LookUp
from veo_provider.api.gateways.openrouter import OPENROUTER

INWORLD = replace(
    OPENROUTER,
    name="inworld",
    base_url="",
    default_path="v1",
    authorization="Basic {key}",
    content_url=("output", "videos", 0, "url"),
    charging=Charging(at="completion"),
    cost_keys=(),
    # "A retry with the same key returns the original job and is not billed twice": kept for seven days.
    idempotency_header="Idempotency-Key",
    look_up=LookUp.IDEMPOTENCY_KEY,
    check="missing_video",
    task_log="Inworld's portal",
    key_kind="it must be an API key of the gateway, in Base64 as its portal shows it",
    kept="Inworld keeps videos for 7 days",
)
