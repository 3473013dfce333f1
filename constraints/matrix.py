"""Run the tests on each Airflow of this folder, and print the table of the documentation.

    python constraints/matrix.py [TARGET …]

The targets are those of the Makefile; by default ``unit``, ``integration`` and ``demo``. Each
version gets a virtual environment of its own. Logs are in ``.run/matrix``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
LOGS = HERE.parent / ".run" / "matrix"
TARGETS = ("unit", "integration", "demo")
OF_AIRFLOW_3 = ("system",)
"""Targets that need Airflow 3: its assets, and its backfills over the REST API."""
SUMMARY = re.compile(r"=+ (.*(?:passed|failed|error).*) in ([\d.]+)s")


def main(targets: tuple[str, ...]) -> int:
    """Run all targets on all versions, print the table, and return the exit status."""
    versions = sorted(path.stem.removeprefix("airflow-") for path in HERE.glob("airflow-*.txt"))
    cells = {(version, target): run(version, target) for version in versions for target in targets}
    print("\n.. list-table::\n   :header-rows: 1\n\n   * - Airflow")
    for target in targets:
        print(f"     - ``make {target}``")
    for version in versions:
        print(f"   * - {version}")
        for target in targets:
            print(f"     - {cells[version, target]}")
    return int(any(cell.startswith("FAILED") for cell in cells.values()))


def run(version: str, target: str) -> str:
    """Run one target on one version, and return what came of it in words."""
    if version.startswith("2.") and target in OF_AIRFLOW_3:
        return "needs Airflow 3"
    LOGS.mkdir(parents=True, exist_ok=True)
    log, started = LOGS / f"{version}-{target}.log", time.monotonic()
    with log.open("wb") as file:
        status = subprocess.call(
            ["make", f"AIRFLOW={version}", target],  # noqa: S607 - the one that runs this
            cwd=HERE.parent,
            env={**os.environ, "PYTEST_ADDOPTS": "--color=no"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    found = SUMMARY.findall(log.read_text(errors="replace"))
    said = found[-1][0] if found else "ran" if status == 0 else f"exit status {status}"
    cell = said if status == 0 else f"FAILED: {said}"
    print(f"{version} {target}: {cell}, {time.monotonic() - started:.0f} s", flush=True)
    return cell


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or TARGETS))
