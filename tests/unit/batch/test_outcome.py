"""When a task fails by what became of its images."""

import pytest

from veo_provider.batch.outcome import Outcome, is_failure, parse_fail_on
from veo_provider.exceptions import VeoRequestError


@pytest.mark.parametrize(
    ("value", "taken"),
    [("any", "any"), ("all", "all"), ("never", "never"), (0.1, 0.1), ("0.25", 0.25), (0, 0.0), (1, 1.0)],
)
def test_what_fail_on_can_be(value, taken):
    """A word, or a fraction, which a template makes a text of."""
    assert parse_fail_on(value) == taken


@pytest.mark.parametrize("value", ["some", "", None, 1.1, -0.1, True, "10%", float("nan"), ["any"]])
def test_what_fail_on_cannot_be(value):
    """Anything else is told before any money is spent."""
    with pytest.raises(VeoRequestError, match="fail_on must be"):
        parse_fail_on(value)


@pytest.mark.parametrize(
    ("counts", "failing"),
    [
        ({}, set()),
        ({"stored": 7, "skipped": 3}, set()),
        ({"stored": 9, "rejected": 1}, {"any", 0.0}),
        ({"stored": 8, "rejected": 1, "unknown": 1}, {"any", 0.0, 0.1}),
        ({"stored": 1, "not started": 9}, {"any", 0.0, 0.1, 0.5}),
        ({"moderated": 1}, {"any", "all", 0.0, 0.1, 0.5}),
        ({"under way": 3, "failed": 2}, {"any", "all", 0.0, 0.1, 0.5}),
    ],
)
def test_when_a_task_fails(counts, failing):
    """Every image without a video counts, for whatever reason; a fraction is to be exceeded."""
    every = ("any", "all", "never", 0.0, 0.1, 0.5, 1.0)
    assert {fail_on for fail_on in every if is_failure(counts, fail_on)} == failing


def test_every_outcome_but_two_is_without_a_video():
    """A new outcome is bad until somebody says that it is not."""
    good = {outcome for outcome in Outcome if not is_failure({outcome.value: 1}, "any")}
    assert good == {Outcome.STORED, Outcome.SKIPPED}


def test_a_fraction_that_is_just_reached_does_not_fail():
    """29 of 100 are 0.29, though 0.29 * 100 is less than 29 in floating point."""
    assert not is_failure({"failed": 29, "stored": 71}, 0.29)
    assert is_failure({"failed": 30, "stored": 70}, 0.29)
