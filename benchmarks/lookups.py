"""How often a thousand waits on one connection make Airflow look that connection up."""

import asyncio
import json
import os
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

# Before the backend, which it imports while it is imported itself.
import airflow.secrets  # noqa: F401  # as above

from benchmarks.figures import Figure, Series, show
from benchmarks.stand_in import stand_in

ROUNDS = 5
WAITS = 1000
INTERVAL = 2.0
SECONDS = 8.0


def measure() -> list[Figure]:
    """Count for every contestant in turn, each time in a fresh process."""
    made: dict[str, list[float]] = {who: [] for who in CONTESTANTS}
    with stand_in() as root, TemporaryDirectory() as home:
        for _ in range(ROUNDS):
            for who in CONTESTANTS:
                made[who].append(_in_a_process(who, root, home))
    return [
        Figure(
            name="connection-look-ups",
            title=f"Look-ups of the connection by {WAITS} waits in one triggerer",
            unit="look-ups",
            ours=OURS,
            against="",
            goal=1,
            series=tuple(Series(who, tuple(values)) for who, values in made.items()),
            note=f"Counted by a secrets backend, while all begin at once and poll every {INTERVAL:.0f} s "
            f"for {SECONDS:.0f} s.",
        )
    ]


def _in_a_process(who: str, root: str, home: str) -> float:
    connections = {
        "veo_default": {"conn_type": "veo", "password": "sk-benchmark", "host": f"{root}/v1"},
        "http_default": {"conn_type": "http", "host": root},
    }
    env = {
        **os.environ,
        "AIRFLOW_HOME": home,
        "AIRFLOW__SECRETS__BACKEND": "benchmarks.counting.CountingBackend",
        "CONNECTIONS": json.dumps(connections),
    }
    command = [sys.executable, "-m", "benchmarks.lookups", who]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


async def _provider(number: int) -> None:
    from veo_provider.triggers.veo import VeoTaskTrigger

    trigger = VeoTaskTrigger(f"task_{number:032}", "veo_default", INTERVAL, time.time() + 3600)
    async for _ in trigger.run():
        raise AssertionError("The stand-in finishes no video.")


async def _http_provider(number: int) -> None:
    from airflow.providers.http.triggers.http import HttpTrigger

    trigger = HttpTrigger(method="GET", endpoint=f"v1/videos/task_{number:032}")
    hook = trigger._get_async_hook()  # noqa: SLF001  # what its run() does for one poll
    while True:
        await trigger._get_response(hook)  # noqa: SLF001  # as above
        await asyncio.sleep(INTERVAL)


async def _look_ups(who: str) -> int:
    from benchmarks import counting
    from veo_provider.triggers import veo

    veo.FIRST_EVENT_SECONDS = 0.0
    waits = [asyncio.ensure_future(CONTESTANTS[who](number)) for number in range(WAITS)]
    await asyncio.sleep(SECONDS)
    failed = [wait for wait in waits if wait.done()]
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    if failed:
        failed[0].result()
    return counting.asked


OURS = "VeoTaskTrigger"
CONTESTANTS = {OURS: _provider, "the http provider's trigger": _http_provider}


if __name__ == "__main__":
    if sys.argv[1:]:
        print(asyncio.run(_look_ups(sys.argv[1])))
    else:
        show(measure())
