"""The models of each face, and their prices; without imports, so that a test can read them alone."""

from __future__ import annotations

from typing import Any

_FAST = {"720p": 0.10, "1080p": 0.12, "4k": 0.30}
_STANDARD = {"720p": 0.40, "1080p": 0.40, "4k": 0.60}


def _veo(usd_per_second: dict[str, float]) -> dict[str, Any]:
    return {
        "usd_per_second": usd_per_second,
        "seconds": [4, 6, 8],
        "default_seconds": 8,
        "default_resolution": "720p",
        "default_aspect_ratio": "16:9",
    }


_OWN_NAMES = {"veo-3.1-fast-generate-001": _veo(_FAST), "veo-3.1-generate-001": _veo(_STANDARD)}
_ROUTED_NAMES = {"google/veo-3.1-fast": _veo(_FAST), "google/veo-3.1": _veo(_STANDARD)}

APIYI_MODELS = (
    "veo-3.1-fast-generate-preview",
    "veo-3.1-generate-preview",
    "veo-3.1-fast-generate-preview-fl",
    "veo-3.1-generate-preview-fl",
)
"""Models that Google has ended, and that the sandbox still serves. It serves any other name too."""

MODELS: dict[str, dict[str, Any]] = {
    "apiyi": {name: {"ends": None} for name in APIYI_MODELS},
    "openai": _OWN_NAMES,
    "litellm": _OWN_NAMES,
    "openrouter": _ROUTED_NAMES,
    "inworld": _ROUTED_NAMES,
}
"""By face: its models, as a connection's extra describes them. All but ``apiyi`` serve no others."""

FACES = tuple(MODELS)
"""The names of the faces."""

BASE_PATHS = {"openrouter": "/api/v1"}
"""Where the interface is served, if not at ``/v1``."""


def cents(face: str, model: str, seconds: int, resolution: str) -> int:
    """Return the price of a video in US cents, where it depends on the length and the resolution."""
    rate: float = MODELS[face][model]["usd_per_second"][resolution]
    return round(100 * rate * seconds)
