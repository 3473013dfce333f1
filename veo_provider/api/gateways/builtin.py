"""The gateways that a connection can name."""

from __future__ import annotations

from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.gateways.inworld import INWORLD
from veo_provider.api.gateways.litellm import LITELLM
from veo_provider.api.gateways.openai import OPENAI
from veo_provider.api.gateways.openrouter import OPENROUTER

GATEWAYS = {gateway.name: gateway for gateway in (APIYI, OPENAI, LITELLM, OPENROUTER, INWORLD)}
"""By the name in a connection's extra."""
