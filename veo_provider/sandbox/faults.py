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
``after``       N                          all calls but the first N
``probability`` 0 to 1                     each call by chance, the same chances in each run
``seed``        integer                    other chances (default 0)
``per_task``    true                       count the calls about each task by themselves
``task``        id, or N                   only calls about this task, or the Nth accepted submission
``model``       text                       only submissions that ask for this model, and calls about them
=============== ========================== ===========================================================

What happens (one or several; where rules that match say different things, the earlier one holds):

=================== ====================== ===========================================================
key                 value                  meaning
=================== ====================== ===========================================================
``status``          0 to 999               answer this instead; a submission is not accepted. From 100
                                           to 199 it is a head alone, and the connection closes
``body``            JSON                   with ``status``: the body; default an error of the first shape
``text``            text                   with ``status``: the body as plain text, or as a web page
                                           where it begins with ``<``
``headers``         {name: value}          headers to add to whatever is answered
``accept``          true, false            with ``status`` or ``garbage`` on submit: accepted all the
                                           same, so that it runs and is charged (default false)
``delay``           seconds                before the answer; a submission is accepted before the delay
``early``           100 to 199, or a list  these informational heads before whatever is answered, and
                                           before ``delay``
``reset``           ``before`` ``after``   TCP reset instead of an answer; a submission is lost
                                           (before), or runs and is charged (after)
``garbage``         true, ``html``         200 with something else: a web page (true), JSON that breaks
                    ``json`` ``mp4``       off, or noise that says it is a video
``framing``         ``chunk`` ``length``   submit, poll: the answer comes, and then the connection closes:
                    ``cut`` ``encoding``   without the last chunk; before a Content-Length that is too
                                           large; in the middle of its JSON, after the id; or the label
                                           says gzip, which it is not. A submission is accepted
``set``             {name: value}          submit, poll: fields of the answer to change or add
``drop``            [name, ...]            submit, poll: fields of the answer to leave out
``task_status``     text                   poll: this status, whatever the task is doing
``words``           {status: text}         submit, poll: other words for the statuses
``wrap``            true                   submit, poll: the object is the ``data`` of another one
``other_task``      true, id               poll: the true object of another task, its id included: of one
                                           that failed, else completed, else any; else an invented one
``fail``            true, {code, message}  submit: the generation will fail, without or with a reason
``filtered``        true, 502, 404, 400    submit: it will be completed and charged, but has no content:
                                           this status for ever (default 502)
``completed_error`` {code, message}        submit: the same, and its status says so from completion on;
                                           content answers 404, or what ``filtered`` says
``retired``         true, 404, 400         submit: refused, the model is no longer available
``no_channel``      true, 503, 500         submit: refused, the gateway has no channel for the model
``truncate``        bytes, or 0 < part < 1 content, file: promise the whole length, send a part, close
                                           (with ``reset``: reset)
``drip``            bytes per second       content, file: send no faster
``pad``             bytes, at least 16     content, file: the MP4 made longer by a ``free`` box
``ranges``          false                  content, file: ignore Range, always answer 200
``etag``            ``weak`` ``none``      content, file: a weak ETag; none at all; another one in each
                    ``new`` ``mixed``      answer, since the file is another one (``pad`` holds other
                                           bytes); the same, and Range is answered with a part of it
                                           whatever If-Range says
``gone``            true                   content, file: 404, as two days later
``json_url``        true                   content: JSON with a URL on another host name, which refuses
                                           requests that carry Authorization
=================== ====================== ===========================================================

More examples::

    {"call": "submit", "status": 502, "accept": true}           5xx, though it was accepted
    {"call": "submit", "delay": 30}                             accepted, answered after 30 s
    {"call": "submit", "early": [102, 103]}                     informational answers, then the true one
    {"call": "submit", "status": 102, "accept": true}           one of them alone, then nothing
    {"call": "submit", "status": 403, "text": "<html>Blocked"}  a firewall
    {"call": "submit", "model": "veo-3.1-fast-generate-preview", "after": 20, "retired": true}
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
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.action import Action
from veo_provider.sandbox.rule_schema import ACTIONS, CONDITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


class FaultError(ValueError):
    """A rule that does not make sense; the message says which one and why."""


_KEYS = CONDITIONS | ACTIONS


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
        self.action = {name: value for name, value in said.items() if name in ACTIONS}
        self.matched = 0
        self._asked: Counter[str | None] = Counter()
        self._chance = random.Random(said.get("seed", 0))  # noqa: S311 - repeatable on purpose

    def matches(self, call: str, task: str | None, number: int | None, model: str | None) -> bool:
        """Count a call that the rule is about, and say whether it is one of those that it matches."""
        if call != self.call or self.said.get("task", task) not in (task, number):
            return False
        if self.said.get("model", model) != model:
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
            and count > said.get("after", 0)
            and ("probability" not in said or self._chance.random() < said["probability"])
        )


def _check(said: Any, where: str) -> None:
    if not isinstance(said, dict):
        raise FaultError(f"{where}: a rule is an object, not {json.dumps(said)}")
    if "call" not in said:
        raise FaultError(f"{where}: `call` is missing: {_KEYS['call'].wanted}")
    for name, value in said.items():
        _check_key(name, value, said, where)
    if not said.keys() & ACTIONS.keys():
        raise FaultError(f"{where}: nothing happens; say one of {', '.join(ACTIONS)}")


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

    def pick(
        self, call: str, task: str | None = None, number: int | None = None, model: str | None = None
    ) -> Action:
        """
        Say what happens to a call that has just come in.

        :param call: one of :data:`veo_provider.sandbox.rule_schema.CALLS`.
        :param task: id of the task that it is about.
        :param number: which accepted submission that was, from 1.
        :param model: what the submission asks for, or asked for.
        """
        matching = [rule.action for rule in self._rules if rule.matches(call, task, number, model)]
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
