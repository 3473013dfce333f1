"""Measure everything, or only what is named, and write what the documentation shows: python -m benchmarks."""

import argparse
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.figures import show
from benchmarks.results import Result, load, save
from benchmarks.table import table

HERE = Path(__file__).parent
SHOWN = HERE.parent / "docs" / "benchmarks"


def main() -> int:
    """Run each benchmark in a process of its own; one that fails leaves its kept result as it was."""
    known = sorted(path.stem for path in HERE.glob("*.py") if "\ndef measure()" in path.read_text("utf-8"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(known)}; all of them by default")
    names = parser.parse_args().name or known
    if unknown := set(names) - set(known):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")

    kept = SHOWN / "results.json"
    results = {name: result for name, result in load(kept).items() if name in known}
    failed = []
    for name in names:
        print(f"Measuring {name} …", flush=True)
        try:
            results[name] = _measured(name)
        except Exception:  # noqa: BLE001  whatever one benchmark raises, the others are still measured
            traceback.print_exc()
            failed.append(name)
            continue
        save(kept, results)
        (SHOWN / "table.rst").write_text(table(load(kept)), encoding="utf-8")
        show(results[name].figures)
    _draw(load(kept))
    if failed:
        print(f"Not measured, for the errors above: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _measured(name: str) -> Result:
    """Measure in a fresh interpreter, so that none inherits another's memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(Result.measure, name).result()


def _draw(results: dict[str, Result]) -> None:
    # Imported late: a process takes over its parent's peak of memory, and matplotlib is large.
    from benchmarks.plot import plot

    plot([figure for result in results.values() for figure in result.figures], SHOWN / "ratios.svg")


if __name__ == "__main__":
    sys.exit(main())
