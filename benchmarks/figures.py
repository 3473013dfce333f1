"""What a benchmark measured: our values beside the rivals', and the goal that ours have to meet."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.machine import describe


@dataclass(frozen=True)
class Series:
    """
    What one contestant needed, round by round.

    :param who: the contestant's name, as table and plot show it.
    :param values: one value per round, in the figure's unit; empty for a rival that is not installed here.
    """

    who: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds; not a number where the contestant was not measured."""
        return median(self.values) if self.values else math.nan


@dataclass(frozen=True)
class Figure:
    """
    One question, answered by every contestant; lower is always better.

    :param name: a slug, unique over all benchmarks, e.g. ``cpu-per-poll``.
    :param title: a phrase for table and plot.
    :param unit: of every value: ``µs``, ``MiB``, ``s``, ``polls``, …
    :param ours: the name of our own series.
    :param against: the name of the series that the goal's ratio is against; empty where the goal is absolute.
    :param goal: at most this ratio; with ``against`` empty, at most this value; None where none is set.
    :param series: every contestant, ours too.
    :param note: one sentence on how each was configured.
    """

    name: str
    title: str
    unit: str
    ours: str
    against: str
    goal: float | None
    series: tuple[Series, ...]
    note: str = ""

    def __post_init__(self) -> None:
        for who in filter(None, (self.ours, self.against)):
            self.of(who)

    def of(self, who: str) -> Series:
        """
        Give one contestant's series.

        :raises ValueError: the figure has no such contestant.
        """
        for series in self.series:
            if series.who == who:
                return series
        raise ValueError(f"The figure {self.name} has no series of {who!r}.")

    @property
    def rivals(self) -> tuple[Series, ...]:
        """Every series but ours."""
        return tuple(series for series in self.series if series.who != self.ours)

    @property
    def heading(self) -> str:
        """The title as a heading, with a capital letter."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def ratio(self) -> float:
        """Our median over that of the rival named by ``against``; not a number without a measured one."""
        return self.over(self.of(self.against)) if self.against else math.nan

    def over(self, rival: Series) -> float:
        """Give our median over a rival's: 0.5 says that ours needs half."""
        ours = self.of(self.ours).median
        if rival.median == 0:
            return 1.0 if ours == 0 else math.inf
        return ours / rival.median

    @property
    def met(self) -> bool:
        """Whether ours meet the goal; a goal against a rival that was not measured is not met."""
        if self.goal is None:
            return True
        return (self.ratio if self.against else self.of(self.ours).median) <= self.goal

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> "Figure":
        """Give back what :meth:`to_dict` gave."""
        series = tuple(Series(one["who"], tuple(one["values"])) for one in kept["series"])
        return cls(**{**kept, "series": series})


def show(figures: Iterable[Figure]) -> None:
    """Print figures as a table, below the machine and the versions that they were measured with."""
    for what, value in describe().items():
        print(f"{what:10} {value}")
    for figure in figures:
        print(f"\n{figure.heading} [{figure.name}], {figure.unit}")
        for series in figure.series:
            print(f"  {series.who:50} {_summary(figure, series)}")
        print(f"  goal: {goal(figure)}; {verdict(figure)}")
        if figure.note:
            print(f"  {figure.note}")


def number(value: float) -> str:
    """Write a number with three significant digits, and never with an exponent."""
    if not math.isfinite(value):
        return str(value)
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def goal(figure: Figure) -> str:
    """Say what the figure has to be."""
    if figure.goal is None:
        return "none"
    if figure.against:
        return f"at most {number(figure.goal)} of {figure.against}"
    return f"at most {number(figure.goal)} {figure.unit}"


def verdict(figure: Figure) -> str:
    """Say whether the goal is met."""
    if figure.goal is None:
        return ""
    if figure.against and math.isnan(figure.ratio):
        return "not measured"
    return "met" if figure.met else "not met"


def _summary(figure: Figure, series: Series) -> str:
    if not series.values:
        return "not installed here"
    spread = f"{number(series.median):>8}  ({number(min(series.values))} to {number(max(series.values))})"
    return spread if series.who == figure.ours else f"{spread}  ours is {number(figure.over(series))} of it"
