"""APIYI's "VEO 3.1 Official" channel, for which this provider was made: the default."""

from __future__ import annotations

from datetime import date

from veo_provider.api.gateways.gateway import Charging, Field, Gateway, LookUp
from veo_provider.api.model import SIZES, Model, Price
from veo_provider.exceptions import KEPT, KEY_KIND, TASK_LOG

_RETIRED = date(2026, 10, 22)
"""The day on which Google has ended the preview models (https://ai.google.dev/gemini-api/docs/deprecations)."""


def _veo(name: str, usd: float, successor: str) -> Model:
    return Model(
        name=name,
        seconds=("4", "6", "8"),
        seconds_of={"1080p": ("8",), "4k": ("8",)},
        resolutions=("720p", "1080p", "4k"),
        aspect_ratios=("16:9", "9:16"),
        sizes=SIZES,
        default_seconds="8",
        default_resolution="720p",
        default_aspect_ratio="16:9",
        price=Price(usd_per_video=usd),
        ends=_RETIRED,
        successor=successor,
    )


FAST_MODEL = "veo-3.1-fast-generate-preview"
STANDARD_MODEL = "veo-3.1-generate-preview"
_MODELS = (
    _veo(FAST_MODEL, 0.30, "veo-3.1-fast-generate-001"),
    _veo(STANDARD_MODEL, 1.20, "veo-3.1-generate-001"),
    _veo(f"{FAST_MODEL}-fl", 0.15, "veo-3.1-fast-generate-001"),
    _veo(f"{STANDARD_MODEL}-fl", 0.25, "veo-3.1-generate-001"),
)
"""Prices per completed request, whatever the length or resolution, as published by the service."""

APIYI = Gateway(
    name="apiyi",
    base_url="https://api.apiyi.com/v1",
    fields=(
        Field(name="model", source="model"),
        Field(name="prompt", source="prompt"),
        # Newer gateways read `seconds`, and make 4 s of `duration` alone; older ones read `duration`.
        Field(name="seconds", source="effective_seconds"),
        Field(name="duration", source="effective_seconds"),
        Field(name="size", source="size"),
        # Always sent, so no changed default changes the bill.
        Field(name="resolution", source="effective_resolution", detail=True),
        Field(name="aspectRatio", source="effective_aspect_ratio", detail=True),
        Field(name="seed", source="seed", detail=True),
        Field(name="negativePrompt", source="negative_prompt", detail=True),
    ),
    json_details="metadata",
    # "Per completed request … failed is not charged"; a moderated one is a failed one.
    charging=Charging(at="completion", failed=False, moderated=False),
    look_up=LookUp.TASK_LOG,
    task_log=TASK_LOG,
    key_kind=KEY_KIND,
    kept=KEPT,
    models={model.name: model for model in _MODELS},
    default_model=FAST_MODEL,
    unknown_model=Model(
        name="",
        default_seconds="8",
        default_resolution="720p",
        default_aspect_ratio="16:9",
        known=False,
    ),
)
