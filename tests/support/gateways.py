"""Gateways for tests."""

from dataclasses import replace

from veo_provider.api.gateways.apiyi import APIYI

SERVED = replace(APIYI, models={name: replace(model, ends=None) for name, model in APIYI.models.items()})
"""The default gateway as the sandbox plays it: it still serves the models that Google has ended."""
