"""The faces by name."""

from __future__ import annotations

from veo_provider.sandbox.faces.apiyi import APIYI
from veo_provider.sandbox.faces.inworld import INWORLD
from veo_provider.sandbox.faces.litellm import LITELLM
from veo_provider.sandbox.faces.openai import OPENAI
from veo_provider.sandbox.faces.openrouter import OPENROUTER

BY_NAME = {face.name: face for face in (APIYI, OPENAI, LITELLM, OPENROUTER, INWORLD)}
"""By the name of ``--gateway``."""
