"""Install a wheel beside each Airflow of constraints/, and tell which installed versions that changes.

Prints a table in Markdown, and fails if a version has changed or packages do not fit each other::

    python constraints/clean_installs.py dist/*.whl
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

BASE = ("apache-airflow", "apache-airflow-providers-amazon")
"""What a platform has before it installs the provider."""


def main(wheel: Path) -> int:
    """Try each version, and return the exit code."""
    print("| Airflow | packages before | changed | added | `pip check` |\n|---|---|---|---|---|")
    unchanged = [_is_unchanged(pins, wheel) for pins in sorted(Path(__file__).parent.glob("airflow-*.txt"))]
    return 0 if all(unchanged) else 1


def _is_unchanged(pins: Path, wheel: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="clean-install-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = str(Path(folder, "bin", "python"))
        _pip(python, "install", "-q", "-c", str(pins), *BASE)
        before = _versions(python)
        # Without constraints: what the provider requires must not need them.
        _pip(python, "install", "-q", str(wheel))
        after = _versions(python)
        check = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    changed = sorted(name for name in before if after.get(name) != before[name])
    added = sorted(f"{name} {after[name]}" for name in after.keys() - before.keys())
    fits = "fits" if check.returncode == 0 else check.stdout.strip().replace("\n", "; ")
    version = pins.stem.removeprefix("airflow-")
    names = ", ".join(changed) or "nothing"
    print(f"| {version} | {len(before)} | {names} | {', '.join(added)} | {fits} |", flush=True)
    return not changed and check.returncode == 0


def _pip(python: str, *arguments: str) -> str:
    command = [python, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _versions(python: str) -> dict[str, str]:
    frozen = _pip(python, "list", "--format=freeze").splitlines()
    return dict(line.split("==", 1) for line in frozen)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
