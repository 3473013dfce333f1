"""What ten thousand waits in one triggerer cost: memory, and the punctuality of its event loop."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from benchmarks.figures import Figure, Series, show
from benchmarks.stand_in import stand_in

ROUNDS = 5
WAITS = 10_000
BEGUN_PER_SECOND = 1000
"""Twenty times as many as Airflow's triggerer takes up."""
STEADY_SECONDS = 60.0
"""A full garbage collection comes once in so many; less would count it too often, or not at all."""
TICK = 0.005
AGES = 240
"""Seconds over which the submissions are spread, so that many are due at any time."""


def measure() -> list[Figure]:
    """Measure both kinds of trigger in turn, each time in a fresh process."""
    found: dict[str, list[tuple[float, float, float]]] = {who: [] for who in CONTESTANTS}
    with stand_in() as root, TemporaryDirectory() as home:
        for _ in range(ROUNDS):
            for who in CONTESTANTS:
                found[who].append(_in_a_process(who, root, home))
    beyond = tuple(ours[0] - bare[0] for ours, bare in zip(found[OURS], found[BARE], strict=True))
    how = f"{WAITS} waits, {BEGUN_PER_SECOND} begun a second, the default pace and schedule"
    return [
        Figure(
            name="memory-per-wait",
            title="Memory of one wait in a triggerer",
            unit="KiB",
            ours=BEYOND,
            against="",
            goal=8.0,
            series=(Series(BEYOND, beyond), Series(BARE, tuple(memory for memory, *_ in found[BARE]))),
            note=f"Growth of the resident memory over {how}.",
        ),
        Figure(
            name="loop-lateness",
            title="Lateness of the event loop, 99.9th percentile",
            unit="ms",
            ours=OURS,
            against="",
            goal=50.0,
            series=tuple(Series(who, tuple(late for _, late, _ in values)) for who, values in found.items()),
            note=f"A tick every {TICK * 1000:.0f} ms beside {how}, for {STEADY_SECONDS:.0f} s more; "
            "Airflow's own modules are frozen out of the garbage collector.",
        ),
        Figure(
            name="loop-stall",
            title="The longest stall of the event loop",
            unit="ms",
            ours=OURS,
            against="",
            goal=None,
            series=tuple(Series(who, tuple(most for *_, most in values)) for who, values in found.items()),
            note="In the same time. It is Python's full garbage collection, which walks over all objects: "
            "each wait has 19 of them, and the least that a trigger can be has 15.",
        ),
    ]


def _in_a_process(who: str, root: str, home: str) -> tuple[float, float, float]:
    connection = {"conn_type": "veo", "password": "sk-benchmark", "host": f"{root}/v1"}
    env = {
        **os.environ,
        "AIRFLOW_HOME": home,
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW_CONN_VEO_DEFAULT": json.dumps(connection),
    }
    command = [sys.executable, "-m", "benchmarks.waits", who]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    memory, late, longest = json.loads(done.stdout.splitlines()[-1])
    return memory, late, longest


class SleepingTrigger(BaseTrigger):
    """The least that a trigger can be."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer needs to rebuild this trigger."""
        return "benchmarks.waits.SleepingTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep."""
        await asyncio.sleep(3600)
        yield TriggerEvent({})


def _sleeping(_: int) -> BaseTrigger:
    return SleepingTrigger()  # type: ignore[no-untyped-call]  # Airflow left its base untyped


def _waiting(number: int) -> BaseTrigger:
    from veo_provider.triggers.veo import VeoTaskTrigger

    return VeoTaskTrigger(
        f"task_{number:032}",
        "veo_default",
        None,
        time.time() + 3600,
        model="veo-3.1-fast-generate-preview",
        resolution="720p",
        submitted_at=time.time() - number % AGES,
    )


async def _events(trigger: BaseTrigger) -> None:
    async for _ in trigger.run():
        raise AssertionError("No wait ends here.")


async def _cost(who: str) -> tuple[float, float, float]:
    """Return KiB for each wait, the lateness in ms that one tick in a thousand exceeds, and the longest."""
    from veo_provider.polling.session import shared_session

    # What all waits share, and what they import, is there before they begin.
    async with shared_session("veo_default") as line:
        await line.get("task_0", time.time() + 60)
        late: list[float] = []
        ticking = asyncio.ensure_future(_tick(late))
        # What Airflow itself has imported would stall any loop, whenever the collector walks over it.
        gc.collect()
        gc.freeze()
        before, waits = _resident(), []
        for number in range(WAITS):
            waits.append(asyncio.ensure_future(_events(CONTESTANTS[who](number))))
            await asyncio.sleep(1 / BEGUN_PER_SECOND)
        await asyncio.sleep(STEADY_SECONDS)
        after = _resident()
        for wait in (ticking, *waits):
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    late.sort()
    return (after - before) / WAITS / 1024, late[-len(late) // 1000] * 1000, late[-1] * 1000


async def _tick(late: list[float]) -> None:
    """Note how late each tick comes; a stall makes all late that fall into it."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += TICK
        await asyncio.sleep(max(0.0, due - loop.time()))
        late.append(loop.time() - due)


def _resident() -> int:
    """Return the bytes of memory that this process occupies; only Linux says so here."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


OURS, BARE = "VeoTaskTrigger", "a trigger that only sleeps"
BEYOND = "VeoTaskTrigger, beyond that"
CONTESTANTS = {OURS: _waiting, BARE: _sleeping}


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(asyncio.run(_cost(sys.argv[1]))))
    else:
        show(measure())
