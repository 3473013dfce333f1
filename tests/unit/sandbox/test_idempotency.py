"""Idempotency keys, with the clock in hand."""

from __future__ import annotations

import pytest
from unit.sandbox.test_tasks import task

from veo_provider.sandbox.body_parser import ParsedBody
from veo_provider.sandbox.errors import ApiError
from veo_provider.sandbox.idempotency import LIFETIME, IdempotencyKeys


def test_a_key_lives_seven_days() -> None:
    """Until then it leads to the first task, and to a refusal with another body; afterwards it is new."""
    keys, body, made = IdempotencyKeys(), ParsedBody(is_json=True, fields={"prompt": "x"}), task()
    keys.remember("k", body, made)
    assert LIFETIME == 7 * 86_400
    assert keys.task_of("k", body, made.created + LIFETIME - 1) is made
    assert keys.task_of("k", body, made.created + LIFETIME) is None
    assert keys.task_of("other", body, made.created) is None
    with pytest.raises(ApiError, match="409"):
        keys.task_of("k", ParsedBody(is_json=True, fields={"prompt": "y"}), made.created)


def test_no_key_is_not_a_key() -> None:
    """Two submissions without a key are two."""
    keys, body = IdempotencyKeys(), ParsedBody(is_json=True)
    keys.remember("", body, task())
    assert keys.task_of("", body, 1000) is None
