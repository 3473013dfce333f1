"""The figures that the documentation shows, kept as JSON beside the page."""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.machine import describe


@dataclass(frozen=True)
class Result:
    """What one benchmark measured, and on what."""

    machine: dict[str, str]
    figures: tuple[Figure, ...]

    @classmethod
    def measure(cls, name: str) -> "Result":
        """Run one benchmark, in this process."""
        return cls(describe(), tuple(import_module(f"benchmarks.{name}").measure()))

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return {"machine": self.machine, "figures": [figure.to_dict() for figure in self.figures]}

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> "Result":
        """Give back what :meth:`to_dict` gave."""
        return cls(kept["machine"], tuple(Figure.from_dict(figure) for figure in kept["figures"]))


def load(path: Path) -> dict[str, Result]:
    """Read the result of each benchmark, by its name; nothing where none was kept yet."""
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {name: Result.from_dict(result) for name, result in kept.items()}


def save(path: Path, results: dict[str, Result]) -> None:
    """Write the result of each benchmark, in the order of their names so that a change is a small one."""
    kept = {name: results[name].to_dict() for name in sorted(results)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
