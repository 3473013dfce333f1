"""What a rule may say: each key with the values that make sense, and the calls that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[Any], bool]

CALLS = ("submit", "poll", "content", "file", "account")
"""What a rule may be about; ``file`` is the URL that some content leads to."""

FRAMINGS = ("chunk", "length", "cut", "encoding")
"""How an answer may break after its body, or most of it, has been sent."""

_ANSWERS = ("submit", "poll")
_OF_A_TASK = ("poll", "content", "file")
_STREAMS = ("content", "file")


@dataclass(frozen=True)
class Key:
    """What a rule may say under one name."""

    wanted: str
    valid: Check
    calls: tuple[str, ...] = CALLS
    only_with: tuple[str, ...] = ()


def _whole(low: int, high: int | None = None) -> Check:
    return lambda value: type(value) is int and value >= low and (high is None or value <= high)


def _number(low: float, high: float | None = None) -> Check:
    return lambda value: type(value) in (int, float) and value >= low and (high is None or value <= high)


def _one_of(*values: Any) -> Check:
    return lambda value: any(type(value) is type(each) and value == each for each in values)


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _some(each_is: Check) -> Check:
    """One such value, or a list of them."""

    def valid(value: Any) -> bool:
        values = value if isinstance(value, list) else [value]
        return bool(values) and all(each_is(each) for each in values)

    return valid


def _part(value: Any) -> bool:
    return _whole(0)(value) or (isinstance(value, float) and 0 < value < 1)


CONDITIONS = {
    "call": Key(f"one of {', '.join(CALLS)}", _one_of(*CALLS)),
    "occurrence": Key("a number from 1, or a list of them", _some(_whole(1))),
    "first": Key("a number from 1", _whole(1)),
    "after": Key("a number from 0", _whole(0)),
    "probability": Key("a number from 0 to 1", _number(0, 1)),
    "seed": Key("an integer", lambda value: type(value) is int, only_with=("probability",)),
    "per_task": Key("true or false", _one_of(True, False), _OF_A_TASK),
    "task": Key("a task id or a number from 1", lambda value: _text(value) or _whole(1)(value), _OF_A_TASK),
    "model": Key("text", _text, ("submit", *_OF_A_TASK)),
}
ACTIONS = {
    "status": Key("a status from 0 to 999", _whole(0, 999)),
    "body": Key("JSON", lambda _: True, only_with=("status",)),
    "text": Key("text", _text, only_with=("status",)),
    "headers": Key("an object of texts", _texts),
    "accept": Key("true or false", _one_of(True, False), ("submit",), ("status", "garbage")),
    "delay": Key("seconds from 0", _number(0)),
    "reset": Key("before or after", _one_of("before", "after")),
    "garbage": Key("true, html, json or mp4", _one_of(True, "html", "json", "mp4")),
    "set": Key("an object", lambda value: isinstance(value, dict), _ANSWERS),
    "drop": Key("a list of names", _names, _ANSWERS),
    "task_status": Key("text", _text, ("poll",)),
    "fail": Key("true, or an object of texts", lambda value: value is True or _texts(value), ("submit",)),
    "filtered": Key("true, 502, 404 or 400", _one_of(True, 502, 404, 400), ("submit",)),
    "truncate": Key("bytes, or a part between 0 and 1", _part, _STREAMS),
    "drip": Key("bytes per second from 1", _whole(1), _STREAMS),
    "pad": Key("bytes from 16", _whole(16), _STREAMS),
    "ranges": Key("false", _one_of(False), _STREAMS),
    "gone": Key("true", _one_of(True), _STREAMS),
    "json_url": Key("true", _one_of(True), ("content",)),
    "early": Key("a status from 100 to 199, or a list of them", _some(_whole(100, 199))),
    "framing": Key(f"one of {', '.join(FRAMINGS)}", _one_of(*FRAMINGS), _ANSWERS),
    "retired": Key("true, 404 or 400", _one_of(True, 404, 400), ("submit",)),
    "no_channel": Key("true, 503 or 500", _one_of(True, 503, 500), ("submit",)),
    "completed_error": Key("an object of texts", _texts, ("submit",)),
    "other_task": Key("true or a task id", lambda value: value is True or _text(value), ("poll",)),
    "words": Key("an object of texts", _texts, _ANSWERS),
    "wrap": Key("true", _one_of(True), _ANSWERS),
    "etag": Key("weak, none, new or mixed", _one_of("weak", "none", "new", "mixed"), _STREAMS),
}
