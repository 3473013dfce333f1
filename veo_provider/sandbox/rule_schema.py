"""The keys of a fault rule: their valid values, and the calls that each applies to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[Any], bool]

CALLS = ("submit", "poll", "content", "file", "account", "list", "log")
"""Calls that a rule can match; ``file`` is the download from a URL that another call returned."""

FRAMINGS = ("chunk", "length", "cut", "encoding")
"""Ways to break the framing of a response after all or most of its body was sent."""

_OBJECT_CALLS = ("submit", "poll")
_TASK_CALLS = ("poll", "content", "file")
_LIST_CALLS = ("list", "log")
_DOWNLOAD_CALLS = ("content", "file")


@dataclass(frozen=True)
class Field:
    """One key of a rule.

    :param description: its valid values, for messages.
    :param validate: whether a value is valid.
    :param calls: the calls that it applies to.
    :param only_with: the rule must also have one of these keys.
    """

    description: str
    validate: Check
    calls: tuple[str, ...] = CALLS
    only_with: tuple[str, ...] = ()


def _integer(low: int, high: int | None = None) -> Check:
    return lambda value: type(value) is int and value >= low and (high is None or value <= high)


def _number(low: float, high: float | None = None) -> Check:
    return lambda value: type(value) in (int, float) and value >= low and (high is None or value <= high)


def _one_of(*values: Any) -> Check:
    return lambda value: any(type(value) is type(each) and value == each for each in values)


def _is_text_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _one_or_more(is_valid: Check) -> Check:
    """Return a check for one such value or a list of them."""

    def validate(value: Any) -> bool:
        values = value if isinstance(value, list) else [value]
        return bool(values) and all(is_valid(each) for each in values)

    return validate


def _is_bytes_or_fraction(value: Any) -> bool:
    return _integer(0)(value) or (isinstance(value, float) and 0 < value < 1)


CONDITIONS = {
    "call": Field(f"one of {', '.join(CALLS)}", _one_of(*CALLS)),
    "occurrence": Field("a number from 1, or a list of them", _one_or_more(_integer(1))),
    "first": Field("a number from 1", _integer(1)),
    "after": Field("a number from 0", _integer(0)),
    "probability": Field("a number from 0 to 1", _number(0, 1)),
    "seed": Field("an integer", lambda value: type(value) is int, only_with=("probability",)),
    "per_task": Field("true or false", _one_of(True, False), _TASK_CALLS),
    "task": Field(
        "a task id or a number from 1", lambda value: _is_text(value) or _integer(1)(value), _TASK_CALLS
    ),
    "model": Field("text", _is_text, ("submit", *_TASK_CALLS)),
}
ACTIONS = {
    "status": Field("a status from 0 to 999", _integer(0, 999)),
    "body": Field("JSON", lambda _: True, only_with=("status",)),
    "text": Field("text", _is_text, only_with=("status",)),
    "headers": Field("an object of texts", _is_text_mapping),
    "accept": Field("true or false", _one_of(True, False), ("submit",), ("status", "garbage")),
    "delay": Field("seconds from 0", _number(0)),
    "reset": Field("before or after", _one_of("before", "after")),
    "garbage": Field("true, html, json or mp4", _one_of(True, "html", "json", "mp4")),
    "set": Field("an object", lambda value: isinstance(value, dict), _OBJECT_CALLS),
    "drop": Field("a list of names", _is_text_list, _OBJECT_CALLS),
    "task_status": Field("text", _is_text, ("poll",)),
    "fail": Field(
        "true, or an object of texts", lambda value: value is True or _is_text_mapping(value), ("submit",)
    ),
    "filtered": Field("true, 502, 404 or 400", _one_of(True, 502, 404, 400), ("submit",)),
    "truncate": Field("bytes, or a part between 0 and 1", _is_bytes_or_fraction, _DOWNLOAD_CALLS),
    "drip": Field("bytes per second from 1", _integer(1), _DOWNLOAD_CALLS),
    "pad": Field("bytes from 16", _integer(16), _DOWNLOAD_CALLS),
    "ranges": Field("false", _one_of(False), _DOWNLOAD_CALLS),
    "gone": Field("true", _one_of(True), _DOWNLOAD_CALLS),
    "json_url": Field("true", _one_of(True), ("content",)),
    "early": Field("a status from 100 to 199, or a list of them", _one_or_more(_integer(100, 199))),
    "framing": Field(f"one of {', '.join(FRAMINGS)}", _one_of(*FRAMINGS), _OBJECT_CALLS),
    "retired": Field("true, 404 or 400", _one_of(True, 404, 400), ("submit",)),
    "no_channel": Field("true, 503 or 500", _one_of(True, 503, 500), ("submit",)),
    "completed_error": Field("an object of texts", _is_text_mapping, ("submit",)),
    "other_task": Field("true or a task id", lambda value: value is True or _is_text(value), ("poll",)),
    "words": Field("an object of texts", _is_text_mapping, _OBJECT_CALLS),
    "wrap": Field("true", _one_of(True), _OBJECT_CALLS),
    "etag": Field("weak, none, new or mixed", _one_of("weak", "none", "new", "mixed"), _DOWNLOAD_CALLS),
    "row_delay": Field("seconds from 0", _number(0), ("submit",)),
    "no_row": Field("true", _one_of(True), ("submit",)),
    "only_row": Field("true", _one_of(True), ("submit",), ("status", "reset")),
    "foreign": Field("same or other", _one_of("same", "other"), ("submit",)),
    "empty": Field("true", _one_of(True), _LIST_CALLS),
    "stale": Field("seconds from 0", _number(0), _LIST_CALLS),
    "skew": Field("a number of seconds", lambda value: type(value) in (int, float), _LIST_CALLS),
    "keys": Field("true", _one_of(True), ("list",)),
    "input_object": Field("true", _one_of(True), ("list",)),
}
