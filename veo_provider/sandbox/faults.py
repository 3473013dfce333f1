"""Fault rules: which calls go wrong, and how.

A fault file is a JSON list of rules. A rule names a call, the conditions under which it matches, and what
is done then::

    [
      {"call": "submit", "occurrence": 1, "status": 429, "headers": {"Retry-After": "2"}},
      {"call": "submit", "occurrence": 2, "reset": "after"},
      {"call": "poll", "per_task": true, "first": 2, "status": 503, "text": "upstream trouble"},
      {"call": "content", "probability": 0.2, "seed": 7, "truncate": 0.5}
    ]

Conditions (without one, a rule matches every call of its kind; with several, all must hold):

=============== ========================== ===========================================================
key             value                      meaning
=============== ========================== ===========================================================
``call``        ``submit`` ``poll``        required; ``file`` is the download from a link; ``list`` is the
                ``content`` ``file``       list of videos, or the account's tasks; ``log`` its charges
                ``account`` ``list``
                ``log``
``occurrence``  N or [N, ...]              the Nth call since the rule was added, from 1
``first``       N                          the first N calls
``after``       N                          all calls but the first N
``probability`` 0 to 1                     each call at random, the same calls in each run
``seed``        integer                    seed of ``probability`` (default 0)
``per_task``    true                       count the calls of each task separately
``task``        id, or N                   only calls about this task, or the Nth accepted one
``model``       text                       only submissions for this model, and calls about them
=============== ========================== ===========================================================

Actions (at least one; if several rules match and set the same key, the first rule wins):

=================== ====================== ===========================================================
key                 value                  meaning
=================== ====================== ===========================================================
``status``          0 to 999               respond with this instead; a submission is not accepted. From
                                           100 to 199, only a head is sent and the connection closes
``body``            JSON                   with ``status``: the body; default an error of the gateway
``text``            text                   with ``status``: the body as plain text, or as HTML if it
                                           starts with ``<``
``headers``         {name: value}          headers to add to the response
``accept``          true, false            submit, with ``status`` or ``garbage``: accepted anyway, so
                                           that it runs and is charged (default false)
``delay``           seconds                wait before the response; a submission is accepted first
``early``           100 to 199, or a list  send these informational responses first, before ``delay``
``reset``           ``before`` ``after``   TCP reset instead of a response; a submission is not
                                           accepted (before), or runs and is charged (after)
``garbage``         true, ``html``         200 with another body: HTML (true), truncated JSON, or random
                    ``json`` ``mp4``       bytes labelled as a video
``framing``         ``chunk`` ``length``   submit, poll: the response is sent with broken framing, then
                    ``cut`` ``encoding``   the connection closes: no last chunk; a Content-Length that is
                                           too large; half of the JSON, with the id; or labelled as gzip,
                                           which it is not. A submission is accepted
``set``             {name: value}          submit, poll: fields of the object to change or add
``drop``            [name, ...]            submit, poll: fields of the object to remove
``task_status``     text                   poll: this status instead of the true one
``words``           {status: text}         submit, poll: replace statuses by other words
``wrap``            true                   submit, poll: nest the object as ``data`` of another one
``other_task``      true, id               poll: the object of another task, with its id: of a failed
                                           one, else a completed one, else any, else a made-up one
``fail``            true, {code, message}  submit: the generation fails, without or with a reason
``filtered``        true, 502, 404, 400    submit: the task completes and is charged, but content calls
                                           always get this status (default 502)
``completed_error`` {code, message}        submit: the task completes and is charged, its object has this
                                           error, and content calls get 404 or the one of ``filtered``
``retired``         true, 404, 400         submit: refused, as the model is no longer available
``no_channel``      true, 503, 500         submit: refused, as the gateway has no channel for the model
``truncate``        bytes, or 0 < part < 1 content, file: announce the whole length, send part of it and
                                           close the connection (with ``reset``: reset it)
``drip``            bytes per second       content, file: limit the speed
``pad``             bytes, at least 16     content, file: append a ``free`` box of this size to the MP4
``ranges``          false                  content, file: ignore Range, always respond with 200
``etag``            ``weak`` ``none``      content, file: a weak ETag; no ETag; a new file with a new
                    ``new`` ``mixed``      ETag in each response (the bytes of ``pad`` differ); the same
                                           as ``new``, and Range is served even if If-Range does not match
``gone``            true                   content, file: 404, as after the two days of retention
``json_url``        true                   content: JSON with a URL on another host name, which refuses
                                           requests with Authorization
``row_delay``       seconds                submit: the lists show the task only so long after acceptance
``no_row``          true                   submit: the lists never show the task, which is charged
``only_row``        true                   submit, with ``status`` or ``reset``: the lists show a task
                                           that does not exist, and is not charged
``foreign``         ``same`` ``other``     submit: somebody else submits at the same time with another
                                           key of the account, the same or with another prompt; listed
                                           and pollable, but not on this bill
``empty``           true                   list, log: no rows
``stale``           seconds                list, log: nothing that is younger
``skew``            seconds                list, log: the times of the rows are so much later (or earlier)
``keys``            true                   list: the task list's rows hold the key, as the log's always do
``input_object``    true                   list: the task list's ``input`` is an object, not JSON text
=================== ====================== ===========================================================

More examples::

    {"call": "submit", "status": 502, "accept": true}           5xx, but it was accepted
    {"call": "submit", "delay": 30}                             accepted, response after 30 s
    {"call": "submit", "early": [102, 103]}                     informational responses, then the true one
    {"call": "submit", "status": 102, "accept": true}           only an informational one, then nothing
    {"call": "submit", "status": 403, "text": "<html>Blocked"}  a firewall
    {"call": "submit", "model": "veo-3.1-fast-generate-preview", "after": 20, "retired": true}
    {"call": "submit", "fail": {"code": "PUBLIC_ERROR_UNSAFE", "message": "Blocked by safety"}}
    {"call": "poll", "first": 3, "task_status": "unknown"}      not finished, according to the gateway
    {"call": "poll", "set": {"model": "other", "completed_at": 1}, "drop": ["progress"]}
    {"call": "content", "occurrence": [1, 2], "truncate": 1000}
    {"call": "content", "pad": 536870912}                       half a gigabyte
    {"call": "submit", "reset": "after", "row_delay": 20}       an answer is lost, and its row comes late
    {"call": "submit", "status": 500, "foreign": "same"}        not accepted, but somebody's twin was
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
    """A fault rule is invalid; the message says which one and why."""


_FIELDS = CONDITIONS | ACTIONS


class Rule:
    """One rule, and how often it matched.

    :param spec: the rule as in the file.
    :param where: its name in messages, such as ``rule 3``.
    :raises FaultError: if it is invalid.
    """

    def __init__(self, spec: Any, where: str = "rule") -> None:
        _check(spec, where)
        self.spec: dict[str, Any] = spec
        self.call: str = spec["call"]
        self.action = {name: value for name, value in spec.items() if name in ACTIONS}
        self.matched = 0
        self._seen: Counter[str | None] = Counter()
        self._chance = random.Random(spec.get("seed", 0))  # noqa: S311 - repeatable on purpose

    def matches(self, call: str, task: str | None, number: int | None, model: str | None) -> bool:
        """Count a call of this rule's kind and return whether the rule applies to it."""
        if call != self.call or self.spec.get("task", task) not in (task, number):
            return False
        if self.spec.get("model", model) != model:
            return False
        key = task if self.spec.get("per_task") else None
        self._seen[key] += 1
        matched = self._is_due(self._seen[key])
        self.matched += matched
        return matched

    def _is_due(self, count: int) -> bool:
        spec = self.spec
        occurrence = spec.get("occurrence", count)
        return (
            count in (occurrence if isinstance(occurrence, list) else [occurrence])
            and count <= spec.get("first", count)
            and count > spec.get("after", 0)
            and ("probability" not in spec or self._chance.random() < spec["probability"])
        )


def _check(spec: Any, where: str) -> None:
    if not isinstance(spec, dict):
        raise FaultError(f"{where}: a rule is an object, not {json.dumps(spec)}")
    if "call" not in spec:
        raise FaultError(f"{where}: `call` is missing: {_FIELDS['call'].description}")
    for name, value in spec.items():
        _check_field(name, value, spec, where)
    if not spec.keys() & ACTIONS.keys():
        raise FaultError(f"{where}: nothing happens; say one of {', '.join(ACTIONS)}")


def _check_field(name: str, value: Any, spec: Mapping[str, Any], where: str) -> None:
    field = _FIELDS.get(name)
    if field is None:
        raise FaultError(f"{where}: unknown key `{name}`; known are {', '.join(_FIELDS)}")
    if not field.validate(value):
        raise FaultError(f"{where}: `{name}` is {field.description}, not {json.dumps(value)}")
    if spec["call"] not in field.calls:
        raise FaultError(f"{where}: `{name}` is for {', '.join(field.calls)}, not for {spec['call']}")
    if field.only_with and not spec.keys() & set(field.only_with):
        raise FaultError(f"{where}: `{name}` needs {' or '.join(field.only_with)}")


class Faults:
    """The active rules.

    :param rules: those active at the start, and again after a reset.
    """

    def __init__(self, rules: Any = ()) -> None:
        self._initial = list(rules)
        self._rules: list[Rule] = []
        self.reset()

    def reset(self) -> None:
        """Restore the initial rules, with all counts at zero."""
        self._rules = parse(self._initial)

    def add(self, specs: Any) -> None:
        """Add a rule or a list of rules; their counts start now."""
        self._rules.extend(parse(specs if isinstance(specs, list) else [specs]))

    def clear(self) -> None:
        """Remove all rules."""
        self._rules = []

    def pick(
        self, call: str, task: str | None = None, number: int | None = None, model: str | None = None
    ) -> Action:
        """Count a call and return what the matching rules do to it.

        :param call: one of :data:`veo_provider.sandbox.rule_schema.CALLS`.
        :param task: id of its task.
        :param number: that task's number in the order of acceptance, from 1.
        :param model: the model of the submission.
        """
        matching = [rule.action for rule in self._rules if rule.matches(call, task, number, model)]
        merged: dict[str, Any] = {}
        for action in reversed(matching):
            merged.update(action)
        return Action(**merged)

    def record(self) -> list[dict[str, Any]]:
        """Return the rules as they were given, each with how often it ``matched``."""
        return [{**rule.spec, "matched": rule.matched} for rule in self._rules]


def parse(specs: Iterable[Any]) -> list[Rule]:
    """Validate a list of rules.

    :raises FaultError: at the first invalid one.
    """
    return [Rule(spec, f"rule {number}") for number, spec in enumerate(specs, 1)]


def load(path: Path) -> list[Any]:
    """Read and validate a fault file.

    :param path: the JSON file.
    :returns: the rules as they are in the file.
    :raises FaultError: if it is not a JSON list, or a rule is invalid.
    :raises OSError: if it cannot be read.
    """
    try:
        specs = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FaultError(f"{path} is not JSON: {error}") from error
    if not isinstance(specs, list):
        raise FaultError(f"{path}: a fault file is a list of rules")
    parse(specs)
    return specs
