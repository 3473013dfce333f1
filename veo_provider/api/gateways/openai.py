"""OpenAI's ``/v1/videos``: it ended on 2026-09-24 and lives on in vLLM-Omni, SGLang, new-api and others."""

from __future__ import annotations

from veo_provider.api.gateways.gateway import Charging, Field, Gateway, LookUp

OPENAI = Gateway(
    name="openai",
    form_without_image=True,  # vLLM-Omni takes nothing else
    fields=(
        Field(name="model", source="model"),
        Field(name="prompt", source="prompt"),
        Field(name="seconds", source="effective_seconds"),
        Field(name="size", source="effective_size"),
        # What a size has said is not said again.
        Field(name="resolution", source="resolution_without_size"),
        Field(name="aspect_ratio", source="aspect_ratio_without_size"),
        Field(name="seed", source="seed", number=True),
        Field(name="negative_prompt", source="negative_prompt"),
    ),
    charging=Charging(at="submission"),
    look_up=LookUp.LIST,
)
