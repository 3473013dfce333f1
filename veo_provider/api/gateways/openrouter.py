"""OpenRouter's videos, an interface that ofox and others have copied: JSON with the image as a data URL."""

from __future__ import annotations

from veo_provider.api.gateways.gateway import IMAGE, Charging, Field, Gateway

FRAME_IMAGES = {
    "frame_images": [{"type": "image_url", "image_url": {"url": IMAGE}, "frame_type": "first_frame"}]
}

OPENROUTER = Gateway(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    default_path="api/v1",
    form=False,
    fields=(
        Field(name="model", source="model"),
        Field(name="prompt", source="prompt"),
        Field(name="duration", source="effective_seconds", number=True),
        Field(name="size", source="size"),
        Field(name="resolution", source="resolution_unless_size"),
        Field(name="aspect_ratio", source="aspect_ratio_unless_size"),
        Field(name="seed", source="seed", number=True),
    ),
    image_json=FRAME_IMAGES,
    charging=Charging(at="completion"),
    cost_keys=("usage", "cost"),
    check="models",
    task_log="https://openrouter.ai/activity",
)
