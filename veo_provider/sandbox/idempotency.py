"""Idempotency keys: a repeated submission returns the first one's task."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from veo_provider.sandbox.errors import gateway_error

if TYPE_CHECKING:
    from veo_provider.sandbox.body_parser import ParsedBody
    from veo_provider.sandbox.tasks import Task

LIFETIME = 7 * 24 * 3600
"""Seconds after which a key is forgotten (https://docs.inworld.ai, "Create a video")."""


class IdempotencyKeys:
    """The keys of accepted submissions, each with what was submitted and its task."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Task]] = {}

    def task_of(self, key: str, body: ParsedBody, now: float) -> Task | None:
        """Return the task that an earlier submission with this key has created; None if there was none.

        :param key: the header's value; empty for none.
        :param now: Unix seconds.
        :raises ApiError: the earlier submission had another body.
        """
        digest, task = self._known.get(key, ("", None))
        if task is None or now >= task.created + LIFETIME:
            return None
        if digest != _digest(body):
            raise gateway_error(
                409, "This Idempotency-Key was used with another body", "idempotency_key_reused"
            )
        return task

    def remember(self, key: str, body: ParsedBody, task: Task) -> None:
        """Keep the key of a submission that has been accepted; an empty one is none."""
        if key:
            self._known[key] = (_digest(body), task)

    def clear(self) -> None:
        """Forget all keys."""
        self._known.clear()


def _digest(body: ParsedBody) -> str:
    said = [body.fields, [(each.field, each.sha256) for each in body.files]]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
