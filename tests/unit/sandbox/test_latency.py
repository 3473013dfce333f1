"""How long generations take."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from veo_provider.sandbox.latency import Latency


def test_without_scatter_each_takes_the_mean() -> None:
    """A fixed number of seconds is the case of a sigma of 0."""
    assert {Latency(8.0, seed=seed).for_task(number) for seed in (0, 1) for number in (1, 2)} == {8.0}


def test_scattered_times_keep_their_mean() -> None:
    """Log-normal: the mean is what was asked, the median is lower, and the tail is long."""
    latency = Latency(10.0, sigma=0.5)
    times = [latency.for_task(number) for number in range(1, 5001)]
    assert statistics.mean(times) == pytest.approx(10, rel=0.03)
    assert statistics.median(times) == pytest.approx(8.82, rel=0.03)
    assert min(times) > 0
    assert sum(time > 28 for time in times) == pytest.approx(50, abs=25)


def test_times_are_the_same_in_each_run() -> None:
    """The Nth task takes what the seed gives it, whoever asks in whatever order."""
    first, again, other = Latency(10.0, 0.5, 7), Latency(10.0, 0.5, 7), Latency(10.0, 0.5, 8)
    assert [first.for_task(number) for number in (1, 2, 3)] == [
        again.for_task(number) for number in (3, 2, 1)
    ][::-1]
    assert first.for_task(1) != first.for_task(2)
    assert first.for_task(1) != other.for_task(1)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"mean": -1}, "`mean` is a number from 0, not -1"),
        ({"mean": float("nan")}, "`mean`"),
        ({"mean": "8"}, "`mean`"),
        ({"mean": 8, "sigma": float("inf")}, "`sigma`"),
        ({"mean": 8, "seed": 0.5}, "`seed` is an integer, not 0.5"),
    ],
)
def test_no_such_numbers(said: dict[str, Any], wrong: str) -> None:
    """The error names the one that makes no sense."""
    with pytest.raises(ValueError, match=wrong):
        Latency(**said)
