"""The frame of the benchmarks: what counts as met, and that the page shows what was kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.figures import Figure, Series
from benchmarks.results import Result, load, save
from benchmarks.table import table

SHOWN = Path(__file__).parents[2] / "docs" / "benchmarks"
FIGURE = Figure(
    name="cpu-per-poll",
    title="CPU time of a poll",
    unit="µs",
    ours="ours",
    against="rival",
    goal=0.5,
    series=(Series("ours", (9.0, 1.0, 2.0)), Series("rival", (4.0, 5.0, 4.0)), Series("other", ())),
)


def test_a_ratio_is_of_medians() -> None:
    """One slow round changes nothing."""
    assert FIGURE.ratio == 0.5
    assert FIGURE.met


def test_a_goal_without_a_rival_is_a_value() -> None:
    """With nothing to compare with, the goal is in the figure's own unit."""
    absolute = replace(FIGURE, against="", goal=2.0)
    assert absolute.met
    assert not replace(absolute, goal=1.9).met


def test_a_goal_against_what_was_not_measured_is_not_met() -> None:
    """A rival that is not installed proves nothing."""
    assert not replace(FIGURE, against="other").met
    assert "not measured" in table({"polling": Result({}, (replace(FIGURE, against="other"),))})


def test_needing_nothing_is_within_every_ratio() -> None:
    """Ours may need none at all, and so may both."""
    nothing = Series("ours", (0.0,))
    assert replace(FIGURE, series=(nothing, Series("rival", (3.0,)))).ratio == 0
    assert replace(FIGURE, series=(nothing, Series("rival", (0.0,)))).ratio == 1
    assert not replace(FIGURE, series=(Series("ours", (1.0,)), Series("rival", (0.0,)))).met


def test_a_goal_needs_its_rival() -> None:
    """A misspelt name is found where the figure is made."""
    with pytest.raises(ValueError, match="no series of 'rivall'"):
        replace(FIGURE, against="rivall")


def test_results_are_read_back_as_they_were_kept(tmp_path: Path) -> None:
    """Measuring one benchmark anew leaves the others as they were."""
    results = {"polling": Result({"CPU": "one"}, (FIGURE,))}
    save(tmp_path / "new" / "results.json", results)
    assert load(tmp_path / "new" / "results.json") == results


def test_the_page_shows_what_was_measured() -> None:
    """Nobody has changed the table by hand, or forgotten to write it."""
    assert (SHOWN / "table.rst").read_text(encoding="utf-8") == table(load(SHOWN / "results.json"))
