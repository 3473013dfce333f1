"""Write awkward pictures and films into a folder, and what is right for each, as data."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import awkward
import films
from refused_films import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES, FILMS, EXPECTED = "pictures", "films", "expected.json"


def write(folder: Path) -> list[dict[str, str]]:
    """Write all of it, and return what is right for each file."""
    for name in (PICTURES, FILMS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    expected = [*_write_pictures(folder), *_write_films(folder)]
    (folder / EXPECTED).write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return expected


def _write_pictures(folder: Path) -> Iterator[dict[str, str]]:
    for name, file in awkward.write_awkward(folder / PICTURES).items():
        yield {"file": f"{PICTURES}/{name}", "kind": file.kind, "outcome": file.outcome, "says": file.says}


def _write_films(folder: Path) -> Iterator[dict[str, str]]:
    for number, kind in enumerate(films.KINDS):
        film = films.awkward_film(kind)
        name = f"{FILMS}/{number:03}-{kind}.mp4"
        (folder / name).write_bytes(film.data)
        outcome = "stored" if film.marked else "stored if its length is known"
        yield {"file": name, "kind": kind, "outcome": outcome, "says": ""}
    for number, (kind, name, make, says) in enumerate(REFUSED, start=len(films.KINDS)):
        (folder / FILMS / f"{number:03}-{name}").write_bytes(make())
        yield {"file": f"{FILMS}/{number:03}-{name}", "kind": kind, "outcome": "refused", "says": says}


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    expected = write(parser.parse_args().folder)
    sys.stdout.write(f"{len(expected)} files; {EXPECTED} says what is right for each.\n")


if __name__ == "__main__":
    main()
