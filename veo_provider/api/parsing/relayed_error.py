"""An upstream's error inside the one that LiteLLM's proxy makes of it.

Facts from its source (``litellm_core_utils/exception_mapping_utils.py`` and ``router_utils/common_utils.py``)
and from running release 1.108.7.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_RELAYED = re.compile(r"litellm\.\w+: .{0,100}?\w+Exception(?: \w+)? - ", re.DOTALL)
_OUTCOME = re.compile(r"\n\nLiteLLM: model group .*", re.DOTALL)
_ASKED_NO_OTHER_MODEL = ("No fallback was attempted.", "was not retried on another model.")
_FALLBACKS = re.compile(r"Fallback to (.{1,500}?) also failed", re.DOTALL)
_RATE_LIMIT_WORDS = re.compile(
    r"rate[\s_-]*limit|service tier capacity exceeded|request too large"
    r"|quota exceeded for|resource exhausted",
    re.IGNORECASE,
)
"""Words which LiteLLM answers with 429, also if upstream's own status was 500."""


@dataclass(frozen=True)
class RelayedError:
    """What the proxy says of an upstream's error.

    :param body: upstream's own JSON; None if it is none.
    :param fallbacks: how many other models the proxy has asked as well; each may have been accepted.
    :param alone: whether it says that it has asked no other model.
    :param speaks_of_rate_limit: whether upstream's words alone would give the status 429.
    """

    body: Any
    fallbacks: int
    alone: bool
    speaks_of_rate_limit: bool


def relayed_error(data: Any) -> RelayedError | None:
    """Return upstream's error inside the body of a response; None if it is none of LiteLLM's."""
    error = data.get("error") if isinstance(data, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    start = _RELAYED.match(message) if isinstance(message, str) else None
    if start is None or not isinstance(message, str):
        return None
    outcome = _OUTCOME.search(message)
    text = message[start.end() : outcome.start() if outcome else None].strip()
    others = [names.count(",") + 1 for names in _FALLBACKS.findall(outcome.group() if outcome else "")]
    return RelayedError(
        body=_json(text),
        fallbacks=sum(others),
        alone=bool(outcome) and any(phrase in message for phrase in _ASKED_NO_OTHER_MODEL) and not others,
        speaks_of_rate_limit=bool(_RATE_LIMIT_WORDS.search(text)),
    )


def unrelayed(data: Any) -> Any:
    """Return upstream's own body, if a response relays one; otherwise the body as it is."""
    relayed = relayed_error(data)
    return data if relayed is None or relayed.body is None else relayed.body


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
