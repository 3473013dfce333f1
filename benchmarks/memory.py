"""
How much memory a process needs to store a video, on top of what it had.

The growth is that of the peak of resident memory (``VmHWM``) over what was resident just before, in a
process that has stored a small video already. Linux only.
"""

import sys
from pathlib import Path

from benchmarks import storing
from benchmarks.figures import Figure, Series, show
from benchmarks.storing import CONTENT, FILEOBJ, MIB, OURS, Store

ROUNDS = 5
SIZES = {"64 MiB": 64 * MIB, "1 GiB": 1024 * MIB}
CONTESTANTS = {"64 MiB": (OURS, FILEOBJ, CONTENT), "1 GiB": (OURS, FILEOBJ)}
GOAL_MIB = 24.0


def _growth(store: Store) -> float:
    """Give MiB by which the peak rose over what was resident before."""
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    store()
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def measure() -> list[Figure]:
    """Store a large and a very large video with each contestant in turn."""
    grown: dict[str, dict[str, list[float]]] = {
        size: {who: [] for who in contestants} for size, contestants in CONTESTANTS.items()
    }
    for _ in range(ROUNDS):
        for size, contestants in grown.items():
            # A sandbox for each, because what was deleted from S3 keeps its place on the disk.
            with storing.stage() as stage:
                for who, values in contestants.items():
                    values.append(storing.in_process("benchmarks.memory", who, stage, SIZES[size]))
    return [
        Figure(
            name=f"memory-{size.replace(' ', '-').lower()}",
            title=f"memory to store a video of {size}",
            unit="MiB",
            ours=OURS,
            against="",
            goal=GOAL_MIB,
            series=tuple(Series(who, tuple(values)) for who, values in contestants.items()),
            note="Growth of the peak of resident memory, in a process that has stored a small video before.",
        )
        for size, contestants in grown.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:]:
        contestant = storing.ready(sys.argv[1])
        storing.wait_for_go()
        print(_growth(contestant))
    else:
        show(measure())
