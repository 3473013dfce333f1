"""
What goes wrong and when: rules as data.

A fault file is a JSON list of rules. A rule says which calls it is about, which of them it matches,
and what then happens::

    [
      {"call": "submit", "occurrence": 1, "status": 429, "headers": {"Retry-After": "2"}},
      {"call": "submit", "occurrence": 2, "reset": "after"},
      {"call": "poll", "per_task": true, "first": 2, "status": 503, "text": "upstream trouble"},
      {"call": "content", "probability": 0.2, "seed": 7, "truncate": 0.5}
    ]

Which calls (without a condition: all of them; with several: those that meet all):

=============== ========================== ===========================================================
key             value                      meaning
=============== ========================== ===========================================================
``call``        ``submit`` ``poll``        required; ``file`` is the URL that ``json_url`` leads to
                ``content`` ``file``
                ``account``
``occurrence``  N or [N, ...]              the Nth call since the rule was added, from 1
``first``       N                          the first N calls
``probability`` 0 to 1                     each call by chance, the same chances in each run
``seed``        integer                    other chances (default 0)
``per_task``    true                       count the calls about each task by themselves
``task``        id, or N                   only calls about this task, or the Nth accepted submission
=============== ========================== ===========================================================

What happens (one or several; where rules that match say different things, the earlier one holds):

=============== ========================== ===========================================================
key             value                      meaning
=============== ========================== ===========================================================
``status``      200 to 599                 answer this instead; a submission is not accepted
``body``        JSON                       with ``status``: the body; default an error of the first shape
``text``        text                       with ``status``: the body as plain text
``headers``     {name: value}              headers to add to whatever is answered
``accept``      true, false                with ``status`` or ``garbage`` on submit: accepted all the
                                           same, so that it runs and is charged (default false)
``delay``       seconds                    before the answer; a submission is accepted before the delay
``reset``       ``before`` ``after``       TCP reset instead of an answer; a submission is lost
                                           (before), or runs and is charged (after)
``garbage``     true, ``html`` ``json``    200 with something else: a web page (true), JSON that breaks
                ``mp4``                    off, or noise that says it is a video
``set``         {name: value}              submit, poll: fields of the answer to change or add
``drop``        [name, ...]                submit, poll: fields of the answer to leave out
``task_status`` text                       poll: this status, whatever the task is doing
``fail``        true, {code, message}      submit: the generation will fail, without or with a reason
``filtered``    true, 502, 404             submit: it will be completed and charged, but has no content
``truncate``    bytes, or 0 < part < 1     content, file: promise the whole length, send a part, close
                                           (with ``reset``: reset)
``drip``        bytes per second           content, file: send no faster
``pad``         bytes, at least 16         content, file: the MP4 made longer by a ``free`` box
``ranges``      false                      content, file: ignore Range, always answer 200
``gone``        true                       content, file: 404, as two days later
``json_url``    true                       content: JSON with a URL on another host name, which refuses
                                           requests that carry Authorization
=============== ========================== ===========================================================

More examples::

    {"call": "submit", "status": 502, "accept": true}           5xx, though it was accepted
    {"call": "submit", "delay": 30}                             accepted, answered after 30 s
    {"call": "submit", "fail": {"code": "PUBLIC_ERROR_UNSAFE", "message": "Blocked by safety"}}
    {"call": "poll", "first": 3, "task_status": "unknown"}      not finished, says the gateway
    {"call": "poll", "set": {"model": "other", "completed_at": 1}, "drop": ["progress"]}
    {"call": "content", "occurrence": [1, 2], "truncate": 1000}
    {"call": "content", "pad": 536870912}                       half a gigabyte
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    Check = Callable[[Any], bool]

CALLS = ("submit", "poll", "content", "file", "account")
_ANSWERS = ("submit", "poll")
_OF_A_TASK = ("poll", "content", "file")
_STREAMS = ("content", "file")


class FaultError(ValueError):
    """A rule that does not make sense; the message says which one and why."""


@dataclass(frozen=True)
class Action:
    """What happens to one call; field by field the second table of this module."""

    status: int | None = None
    body: Any = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    accept: bool = False
    delay: float = 0
    reset: str | None = None
    garbage: bool | str = False
    set: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    task_status: str | None = None
    fail: bool | Mapping[str, str] = False
    filtered: bool | int = False
    truncate: float | None = None
    drip: int | None = None
    pad: int = 0
    ranges: bool = True
    gone: bool = False
    json_url: bool = False

    @property
    def reaches(self) -> bool:
        """Whether the call gets through to the service, whatever the client hears of it."""
        if self.status is not None or self.garbage:
            return self.accept or self.reset == "after"
        return self.reset != "before" or self.truncate is not None


@dataclass(frozen=True)
class _Key:
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


def _occurrence(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(_whole(1)(each) for each in values)


def _part(value: Any) -> bool:
    return _whole(0)(value) or (isinstance(value, float) and 0 < value < 1)


_CONDITIONS = {
    "call": _Key(f"one of {', '.join(CALLS)}", _one_of(*CALLS)),
    "occurrence": _Key("a number from 1, or a list of them", _occurrence),
    "first": _Key("a number from 1", _whole(1)),
    "probability": _Key("a number from 0 to 1", _number(0, 1)),
    "seed": _Key("an integer", lambda value: type(value) is int, only_with=("probability",)),
    "per_task": _Key("true or false", _one_of(True, False), _OF_A_TASK),
    "task": _Key(
        "a task id or a number from 1", lambda value: isinstance(value, str) or _whole(1)(value), _OF_A_TASK
    ),
}
_ACTIONS = {
    "status": _Key("an HTTP status from 200 to 599", _whole(200, 599)),
    "body": _Key("JSON", lambda _: True, only_with=("status",)),
    "text": _Key("text", lambda value: isinstance(value, str), only_with=("status",)),
    "headers": _Key("an object of texts", _texts),
    "accept": _Key("true or false", _one_of(True, False), ("submit",), ("status", "garbage")),
    "delay": _Key("seconds from 0", _number(0)),
    "reset": _Key("before or after", _one_of("before", "after")),
    "garbage": _Key("true, html, json or mp4", _one_of(True, "html", "json", "mp4")),
    "set": _Key("an object", lambda value: isinstance(value, dict), _ANSWERS),
    "drop": _Key("a list of names", _names, _ANSWERS),
    "task_status": _Key("text", lambda value: isinstance(value, str), ("poll",)),
    "fail": _Key("true, or an object of texts", lambda value: value is True or _texts(value), ("submit",)),
    "filtered": _Key("true, 502 or 404", _one_of(True, 502, 404), ("submit",)),
    "truncate": _Key("bytes, or a part between 0 and 1", _part, _STREAMS),
    "drip": _Key("bytes per second from 1", _whole(1), _STREAMS),
    "pad": _Key("bytes from 16", _whole(16), _STREAMS),
    "ranges": _Key("false", _one_of(False), _STREAMS),
    "gone": _Key("true", _one_of(True), _STREAMS),
    "json_url": _Key("true", _one_of(True), ("content",)),
}
_KEYS = _CONDITIONS | _ACTIONS


class Rule:
    """
    One rule, and how often it was asked and matched.

    :param said: the rule as in the file.
    :param where: how messages call it, like ``rule 3``.
    :raises FaultError: when it does not make sense.
    """

    def __init__(self, said: Any, where: str = "rule") -> None:
        _check(said, where)
        self.said: dict[str, Any] = said
        self.call: str = said["call"]
        self.action = {name: value for name, value in said.items() if name in _ACTIONS}
        self.matched = 0
        self._asked: Counter[str | None] = Counter()
        self._chance = random.Random(said.get("seed", 0))  # noqa: S311 - repeatable on purpose

    def matches(self, call: str, task: str | None, number: int | None) -> bool:
        """Count a call that the rule is about, and say whether it is one of those that it matches."""
        if call != self.call or self.said.get("task", task) not in (task, number):
            return False
        key = task if self.said.get("per_task") else None
        self._asked[key] += 1
        matched = self._is_due(self._asked[key])
        self.matched += matched
        return matched

    def _is_due(self, count: int) -> bool:
        said = self.said
        occurrence = said.get("occurrence", count)
        return (
            count in (occurrence if isinstance(occurrence, list) else [occurrence])
            and count <= said.get("first", count)
            and ("probability" not in said or self._chance.random() < said["probability"])
        )


def _check(said: Any, where: str) -> None:
    if not isinstance(said, dict):
        raise FaultError(f"{where}: a rule is an object, not {json.dumps(said)}")
    if "call" not in said:
        raise FaultError(f"{where}: `call` is missing: {_KEYS['call'].wanted}")
    for name, value in said.items():
        _check_key(name, value, said, where)
    if not said.keys() & _ACTIONS.keys():
        raise FaultError(f"{where}: nothing happens; say one of {', '.join(_ACTIONS)}")


def _check_key(name: str, value: Any, said: Mapping[str, Any], where: str) -> None:
    key = _KEYS.get(name)
    if key is None:
        raise FaultError(f"{where}: unknown key `{name}`; known are {', '.join(_KEYS)}")
    if not key.valid(value):
        raise FaultError(f"{where}: `{name}` is {key.wanted}, not {json.dumps(value)}")
    if said["call"] not in key.calls:
        raise FaultError(f"{where}: `{name}` is for {', '.join(key.calls)}, not for {said['call']}")
    if key.only_with and not said.keys() & set(key.only_with):
        raise FaultError(f"{where}: `{name}` needs {' or '.join(key.only_with)}")


class Faults:
    """
    The rules in force.

    :param rules: those that hold from the start, and again after a reset.
    """

    def __init__(self, rules: Any = ()) -> None:
        self._initial = list(rules)
        self._rules: list[Rule] = []
        self.reset()

    def reset(self) -> None:
        """Only the rules of the start, and nothing counted."""
        self._rules = parse(self._initial)

    def add(self, said: Any) -> None:
        """Add a rule or a list of rules; their counts begin now."""
        self._rules.extend(parse(said if isinstance(said, list) else [said]))

    def clear(self) -> None:
        """No rules."""
        self._rules = []

    def pick(self, call: str, task: str | None = None, number: int | None = None) -> Action:
        """
        Say what happens to a call that has just come in.

        :param call: one of :data:`CALLS`.
        :param task: id of the task that it is about.
        :param number: which accepted submission that was, from 1.
        """
        matching = [rule.action for rule in self._rules if rule.matches(call, task, number)]
        merged: dict[str, Any] = {}
        for action in reversed(matching):
            merged.update(action)
        return Action(**merged)

    def record(self) -> list[dict[str, Any]]:
        """The rules as they were said, and how often each matched."""
        return [{**rule.said, "matched": rule.matched} for rule in self._rules]


def parse(said: Iterable[Any]) -> list[Rule]:
    """
    Check a list of rules.

    :raises FaultError: at the first one that does not make sense.
    """
    return [Rule(each, f"rule {number}") for number, each in enumerate(said, 1)]


def load(path: Path) -> list[Any]:
    """
    Read and check a fault file.

    :param path: the JSON file.
    :returns: the rules as they were said.
    :raises FaultError: when it is no JSON list, or a rule does not make sense.
    :raises OSError: when it cannot be read.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FaultError(f"{path} is not JSON: {error}") from error
    if not isinstance(said, list):
        raise FaultError(f"{path}: a fault file is a list of rules")
    parse(said)
    return said
