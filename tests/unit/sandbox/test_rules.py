"""Fault rules: which calls they match, and which rules make no sense."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

import veo_provider.sandbox.faults as faults_module
from veo_provider.sandbox.action import Action
from veo_provider.sandbox.faults import FaultError, Faults, load, parse
from veo_provider.sandbox.rule_schema import ACTIONS, CALLS, CONDITIONS

if TYPE_CHECKING:
    from pathlib import Path


def statuses(faults: Faults, calls: int, call: str = "submit", task: str | None = None) -> list[int | None]:
    """What rules answer to the same call again and again."""
    return [faults.pick(call, task).status for _ in range(calls)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, [503, 503, 503, 503]),
        ({"occurrence": 2}, [None, 503, None, None]),
        ({"occurrence": [1, 3]}, [503, None, 503, None]),
        ({"first": 2}, [503, 503, None, None]),
        ({"first": 3, "occurrence": [2, 4]}, [None, 503, None, None]),
        ({"after": 0}, [503, 503, 503, 503]),
        ({"after": 2}, [None, None, 503, 503]),
        ({"after": 1, "first": 3}, [None, 503, 503, None]),
        ({"probability": 0}, [None, None, None, None]),
        ({"probability": 1}, [503, 503, 503, 503]),
    ],
)
def test_a_condition_picks_calls_by_their_count(
    condition: dict[str, Any], expected: list[int | None]
) -> None:
    """Occurrence, first and probability each say which calls a rule matches; several must all hold."""
    assert statuses(Faults([{"call": "submit", "status": 503, **condition}]), 4) == expected


def test_a_rule_is_about_one_call() -> None:
    """Other calls neither match a rule nor count."""
    faults = Faults([{"call": "poll", "occurrence": 1, "status": 503}])
    assert [faults.pick(call).status for call in CALLS if call != "poll"] == [None] * (len(CALLS) - 1)
    assert faults.pick("poll").status == 503


def test_chances_are_the_same_in_each_run_and_differ_by_seed() -> None:
    """Probability is drawn from the rule's own seed."""
    rule = {"call": "submit", "status": 503, "probability": 0.5}
    runs = [statuses(Faults([{**rule, "seed": seed}]), 50) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_per_task_counts_each_task_by_itself() -> None:
    """The first poll of each task is its first."""
    faults = Faults([{"call": "poll", "first": 1, "per_task": True, "status": 503}])
    assert statuses(faults, 2, "poll", "a") == [503, None]
    assert statuses(faults, 2, "poll", "b") == [503, None]


@pytest.mark.parametrize("name", ["task_b", 2])
def test_a_rule_can_be_about_one_task(name: str | int) -> None:
    """A task is named by its id or by its number."""
    faults = Faults([{"call": "poll", "task": name, "first": 1, "status": 503}])
    assert faults.pick("poll", "task_a", 1).status is None
    assert faults.pick("poll", "task_b", 2).status == 503


def test_a_rule_can_be_about_one_model() -> None:
    """It counts the submissions of that model alone."""
    faults = Faults([{"call": "submit", "model": "old", "after": 1, "status": 404}])
    asked = ["old", "new", "new", "old", "new", "old"]
    answered = [faults.pick("submit", model=model).status for model in asked]
    assert answered == [None, None, None, 404, None, 404]


def test_of_two_rules_the_earlier_one_holds_and_the_rest_adds_up() -> None:
    """Rules that match the same call are combined."""
    faults = Faults(
        [
            {"call": "submit", "status": 429},
            {"call": "submit", "status": 500, "headers": {"Retry-After": "1"}},
        ]
    )
    assert faults.pick("submit") == Action(status=429, headers={"Retry-After": "1"})


def test_added_rules_count_from_their_addition_and_reset_removes_them() -> None:
    """After a reset only the rules of the start are left, and nothing is counted."""
    faults = Faults([{"call": "submit", "occurrence": 1, "status": 500}])
    assert statuses(faults, 2) == [500, None]
    faults.add({"call": "submit", "occurrence": 1, "status": 429})
    assert statuses(faults, 2) == [429, None]
    assert [rule["matched"] for rule in faults.record()] == [1, 1]
    faults.reset()
    assert statuses(faults, 2) == [500, None]
    faults.clear()
    assert faults.record() == []


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("submit", "a rule is an object"),
        ({"status": 500}, "`call` is missing"),
        ({"call": "delete", "status": 500}, "`call` is one of submit"),
        ({"call": "submit"}, "nothing happens"),
        ({"call": "submit", "statsu": 500}, "unknown key `statsu`"),
        ({"call": "submit", "status": "500"}, "`status` is a status"),
        ({"call": "submit", "status": True}, "`status` is a status"),
        ({"call": "submit", "status": 500, "occurrence": 0}, "`occurrence` is a number from 1"),
        ({"call": "submit", "status": 500, "occurrence": []}, "`occurrence` is a number from 1"),
        ({"call": "submit", "status": 500, "probability": 2}, "`probability` is a number from 0 to 1"),
        ({"call": "submit", "status": 500, "seed": 2}, "`seed` needs probability"),
        ({"call": "submit", "status": 500, "per_task": True}, "`per_task` is for poll, content, file"),
        ({"call": "submit", "body": {}}, "`body` needs status"),
        ({"call": "submit", "accept": True}, "`accept` needs status or garbage"),
        ({"call": "submit", "reset": "now"}, "`reset` is before or after"),
        ({"call": "submit", "headers": {"Retry-After": 2}}, "`headers` is an object of texts"),
        ({"call": "poll", "truncate": 5}, "`truncate` is for content, file"),
        ({"call": "content", "truncate": 1.5}, "`truncate` is bytes, or a part"),
        ({"call": "content", "pad": 8}, "`pad` is bytes from 16"),
        ({"call": "content", "delay": -1}, "`delay` is seconds from 0"),
        ({"call": "poll", "fail": True}, "`fail` is for submit"),
        ({"call": "poll", "drop": "id"}, "`drop` is a list of names"),
        ({"call": "submit", "status": 1000}, "`status` is a status from 0 to 999"),
        ({"call": "submit", "status": 500, "after": -1}, "`after` is a number from 0"),
        ({"call": "account", "status": 500, "model": "x"}, "`model` is for submit, poll, content, file"),
        ({"call": "poll", "early": 200}, "`early` is a status from 100 to 199, or a list"),
        ({"call": "poll", "early": []}, "`early` is a status from 100 to 199, or a list"),
        ({"call": "poll", "framing": "gzip"}, "`framing` is one of chunk, length, cut, encoding"),
        ({"call": "content", "framing": "cut"}, "`framing` is for submit, poll"),
        ({"call": "submit", "retired": 403}, "`retired` is true, 404 or 400"),
        ({"call": "poll", "no_channel": True}, "`no_channel` is for submit"),
        ({"call": "submit", "completed_error": True}, "`completed_error` is an object of texts"),
        ({"call": "submit", "filtered": 500}, "`filtered` is true, 502, 404 or 400"),
        ({"call": "submit", "other_task": True}, "`other_task` is for poll"),
        ({"call": "poll", "other_task": False}, "`other_task` is true or a task id"),
        ({"call": "poll", "words": {"completed": 3}}, "`words` is an object of texts"),
        ({"call": "poll", "wrap": False}, "`wrap` is true"),
        ({"call": "content", "etag": "strong"}, "`etag` is weak, none, new or mixed"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: object, says: str) -> None:
    """The message names the rule, the key, and what is expected there."""
    with pytest.raises(FaultError) as caught:
        parse([{"call": "submit", "status": 500}, rule])
    assert str(caught.value).startswith("rule 2: ")
    assert says in str(caught.value)


def test_the_documentation_names_each_key_and_no_other() -> None:
    """What a rule may say is what its tables say."""
    lines = (faults_module.__doc__ or "").splitlines()
    named = [line.split("``")[1] for line in lines if line.startswith("``")]
    assert sorted(named) == sorted(CONDITIONS | ACTIONS)
    assert {field.name for field in dataclasses.fields(Action)} == set(ACTIONS)


@pytest.mark.parametrize(
    ("text", "says"), [("[", "is not JSON"), ("{}", "a list of rules"), ("[{}]", "rule 1")]
)
def test_a_fault_file_is_a_list_of_rules(tmp_path: Path, text: str, says: str) -> None:
    """Anything else is refused when it is loaded."""
    (tmp_path / "faults.json").write_text(text)
    with pytest.raises(FaultError, match=says):
        load(tmp_path / "faults.json")


def test_a_fault_file_is_loaded_as_it_was_said(tmp_path: Path) -> None:
    """Loading checks the rules and changes nothing."""
    rules = [{"call": "content", "truncate": 0.5}, {"call": "submit", "fail": {"code": "x", "message": "y"}}]
    (tmp_path / "faults.json").write_text(json.dumps(rules))
    assert load(tmp_path / "faults.json") == rules


@pytest.mark.parametrize(
    ("action", "reaches"),
    [
        (Action(), True),
        (Action(delay=3), True),
        (Action(status=502), False),
        (Action(status=502, accept=True), True),
        (Action(garbage=True), False),
        (Action(garbage="json", accept=True), True),
        (Action(reset="before"), False),
        (Action(reset="after"), True),
        (Action(reset="before", truncate=10), True),
        (Action(status=102), False),
        (Action(status=102, accept=True), True),
        (Action(early=[103]), True),
        (Action(framing="chunk"), True),
    ],
)
def test_an_action_says_whether_the_call_gets_through(action: Action, *, reaches: bool) -> None:
    """What is answered, and what has happened, are two things."""
    assert action.reaches_service is reaches
