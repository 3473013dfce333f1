"""All awkward images, made when they are needed, and what is right for each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from support.media import blank_images, foreign_files, reported_images
from support.media.broken_images import BROKEN
from support.media.good_images import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Outcome = Literal["as it is", "converted", "refused"]


@dataclass(frozen=True)
class Awkward:
    """A file, and what a conversion makes of it.

    :param kind: what is awkward about it.
    :param name: file name.
    :param outcome: whether it is sent as it is, converted, or refused.
    :param says: what the reason of a conversion, or the error, says of it.
    """

    kind: str
    name: str
    data: bytes
    outcome: Outcome
    says: str = ""


ROWS: list[tuple[str, str, Callable[[int], bytes], Outcome, str]] = [
    *GOOD,
    *BROKEN,
    *(
        (kind, name, lambda seed, make=make: make(seed), "refused", "shows nothing")
        for kind, name, make in blank_images.BLANK
    ),
    *(
        (kind, name, lambda seed, make=make: make(), "refused", says)
        for kind, name, make, says in (*foreign_files.IMAGES, *foreign_files.OTHERS)
    ),
    *(
        (kind, name, lambda seed, make=make: make(), "converted", "TIFF")
        for kind, name, make in foreign_files.READ
    ),
    *(
        (kind, name, lambda seed, make=make: make(), outcome, says)
        for kind, name, make, outcome, says, _ in reported_images.REPORTED
    ),
]
"""Kind, file name, how it is made of a seed, its outcome, and what the reason or the error says."""
KINDS = [kind for kind, *_ in ROWS]


def awkward_file(kind: str, seed: int = 0) -> Awkward:
    """Return one file; another seed makes another one where the contents are arbitrary."""
    _, name, make, outcome, says = next(row for row in ROWS if row[0] == kind)
    return Awkward(kind, name, make(seed), outcome, says)


def awkward_files(count: int = len(KINDS)) -> Iterator[Awkward]:
    """Yield as many files as asked for, of all kinds in turn, each under another name."""
    for number, kind in enumerate(itertools.islice(itertools.cycle(KINDS), count)):
        file = awkward_file(kind, seed=number)
        yield Awkward(kind, f"{number:04}-{file.name}", file.data, file.outcome, file.says)


def write_awkward(folder: Path, count: int = len(KINDS)) -> dict[str, Awkward]:
    """Write as many files as asked for into a folder, and return what is to become of each by its name."""
    expected = {}
    for file in awkward_files(count):
        (folder / file.name).write_bytes(file.data)
        expected[file.name] = Awkward(file.kind, file.name, b"", file.outcome, file.says)
    return expected
