"""The figures as one picture: how many times as much as ours each rival needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.transforms import blended_transform_factory

from benchmarks.figures import Figure, number

# The same figures give the same file, so that a change shows in the diff; text stays text.
mpl.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.family": "sans-serif"})

ROW = 0.26
"""Inches."""
FURTHEST = 1000.0
"""Where a bar ends at the latest, also if ours or the rival need nothing at all."""
MORE, LESS, GREY = "#2a78a8", "#c8553d", "#666666"


@dataclass(frozen=True)
class Bar:
    """One line of the picture: a figure's heading, or one rival's multiple of ours."""

    label: str
    times: float | None = None
    goal: float | None = None


def plot(figures: Iterable[Figure], path: Path) -> None:
    """Draw a bar for every measured rival of every figure, on a logarithmic axis, into an SVG."""
    bars = [bar for figure in figures for bar in _bars(figure)]
    canvas = Canvas(figsize=(9, ROW * len(bars) + 1), layout="constrained")
    axes = canvas.subplots()
    for row, bar in enumerate(bars):
        if bar.times is None:
            # From the picture's edge, over the axes: there is no bar in its row.
            place = blended_transform_factory(canvas.transFigure, axes.transData)
            text = axes.text(0.005, row, bar.label, transform=place, va="center", fontsize=9, weight="bold")
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        else:
            _draw(axes, row, bar.times, bar.goal)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks(range(len(bars)), [bar.label if bar.times else "" for bar in bars], fontsize=8)
    axes.axvline(1, color=GREY, linewidth=1, zorder=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{number(value)}×")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("times as much as ours (1× is as much as ours; a tick is the goal)", fontsize=8)
    canvas.savefig(path, format="svg", metadata={"Date": None})


def _bars(figure: Figure) -> list[Bar]:
    """Give the lines of one figure; none where nothing was measured beside ours."""
    rivals = [rival for rival in figure.rivals if rival.values]
    bars = []
    for rival in rivals:
        share = min(max(figure.over(rival), 1 / FURTHEST), FURTHEST)
        needed = 1 / figure.goal if figure.goal and rival.who == figure.against else None
        bars.append(Bar(rival.who, 1 / share, needed))
    ours = f"{figure.heading}: {number(figure.of(figure.ours).median)} {figure.unit}"
    return [Bar(ours), *bars] if bars else []


def _draw(axes: Axes, row: int, times: float, goal: float | None) -> None:
    more = times >= 1
    axes.barh(row, times - 1, left=1, height=0.7, color=MORE if more else LESS)
    axes.annotate(
        f"{'≥ ' if times >= FURTHEST else ''}{number(times)}×",
        (times, row),
        xytext=(4 if more else -4, 0),
        textcoords="offset points",
        ha="left" if more else "right",
        va="center",
        fontsize=8,
    )
    if goal is not None:
        axes.plot([goal, goal], [row - 0.45, row + 0.45], color="black", linewidth=2)
