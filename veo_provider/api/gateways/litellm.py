"""LiteLLM's proxy, which passes ``/v1/videos`` on to Vertex, xAI and others.

Facts from its source and from running release 1.108.7.
"""

from __future__ import annotations

from dataclasses import replace

from veo_provider.api.gateways.gateway import LookUp
from veo_provider.api.gateways.openai import OPENAI

LITELLM = replace(
    OPENAI,
    name="litellm",
    # By default it repeats a POST that failed twice, also one that was accepted and then failed.
    submission_headers={"x-litellm-num-retries": "0"},
    cost_header="x-litellm-response-cost",
    extra_generations_headers=("x-litellm-attempted-retries", "x-litellm-attempted-fallbacks"),
    call_id_header="x-litellm-call-id",
    # Its list needs a provider, and asks that provider's default host.
    look_up=LookUp.NONE,
    check="models",
    # It has no list: without a database, not even its UI shows what it has sent.
    task_log="the log of the provider after LiteLLM (LiteLLM's own, in its UI under Logs, needs a database)",
    key_kind="it must be a key of the proxy, not of the provider after it",
    kept="The provider after LiteLLM keeps videos for some time only",
)
