"""Where a value is in JSON, as the keys and positions that lead to it."""

from __future__ import annotations

from typing import Any


def dig(data: Any, keys: tuple[str | int, ...]) -> Any:
    """Return the value to which keys and positions lead; None if there is none, or there are no keys."""
    for key in keys:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data if keys else None
