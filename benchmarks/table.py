"""The figures as tables in reStructuredText, which the documentation includes."""

from collections.abc import Iterator
from itertools import chain

from benchmarks.figures import Figure, Series, goal, number, verdict
from benchmarks.results import Result


def table(results: dict[str, Result]) -> str:
    """Give one table of all goals, and for each benchmark what it ran on and all that it measured."""
    lines = chain(
        _heading("Goals", "-"),
        _goals([figure for result in results.values() for figure in result.figures]),
        *(_benchmark(name, result) for name, result in results.items()),
    )
    return ".. Written by python -m benchmarks: change nothing here.\n\n" + "\n".join(lines) + "\n"


def _goals(figures: list[Figure]) -> Iterator[str]:
    yield from _list_table("38 17 30 15", "", "ours", "goal", "")
    for figure in figures:
        ours = f"{number(figure.of(figure.ours).median)} {figure.unit}"
        yield from _row(figure.heading, ours, goal(figure), verdict(figure))
    yield ""


def _benchmark(name: str, result: Result) -> Iterator[str]:
    yield from _heading(name.capitalize(), "-")
    yield from (f".. automodule:: benchmarks.{name}", "   :no-members:", "   :no-index:", "")
    machine = "; ".join(f"{what} {value}" for what, value in result.machine.items())
    yield from (f"Measured by ``python -m benchmarks {name}`` on: {machine}.", "")
    for figure in result.figures:
        yield from _figure(figure)


def _figure(figure: Figure) -> Iterator[str]:
    yield from _heading(figure.heading, "~")
    yield from _list_table("46 16 24 14", "", f"median ({figure.unit})", "lowest to highest", "ours is")
    for series in figure.series:
        yield from _row(series.who, *_cells(figure, series))
    yield ""
    yield f"Goal: {goal(figure)}: **{verdict(figure)}**." if figure.goal is not None else "No goal."
    yield figure.note
    yield ""


def _cells(figure: Figure, series: Series) -> tuple[str, str, str]:
    if not series.values:
        return "not installed", "", ""
    spread = f"{number(min(series.values))} to {number(max(series.values))}"
    share = "" if series.who == figure.ours else f"{number(figure.over(series))} of it"
    return number(series.median), spread, share


def _heading(text: str, line: str) -> Iterator[str]:
    yield from (text, line * len(text), "")


def _list_table(widths: str, *header: str) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    yield from _row(*header)


def _row(*cells: str) -> Iterator[str]:
    """Give one row; an empty cell leaves no space at the end of its line."""
    for index, cell in enumerate(cells):
        yield f"   {' ' if index else '*'} - {cell}".rstrip()
