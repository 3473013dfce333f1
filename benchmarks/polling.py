"""What one look at a status costs in a triggerer, beside the ways that others go."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure, Series, show
from benchmarks.stand_in import polls, stand_in

ROUNDS = 7
WAITS = 100
INTERVAL = 0.1
WARM_UP_SECONDS = 2.0
MEASURED_SECONDS = 4.0
PACE = 1e6
"""Polls a second that are allowed: as good as no limit, so that only the work counts."""
KEY = "sk-benchmark"


def measure() -> list[Figure]:
    """Measure every contestant in turn, each time in a fresh process."""
    needed: dict[str, list[float]] = {who: [] for who in CONTESTANTS}
    with stand_in() as root, TemporaryDirectory() as home:
        for _ in range(ROUNDS):
            for who in CONTESTANTS:
                needed[who].append(_in_a_process(who, root, home))
    return [
        Figure(
            name="cpu-per-poll",
            title="CPU time of one poll in a triggerer",
            unit="µs",
            ours=OURS,
            against=BARE,
            goal=1.3,
            series=tuple(Series(who, tuple(values)) for who, values in needed.items()),
            note=f"{WAITS} waits in one process poll every {INTERVAL} s, over HTTP, a server in another.",
        )
    ]


def _in_a_process(who: str, root: str, home: str) -> float:
    connection = {
        "conn_type": "veo",
        "password": KEY,
        "host": f"{root}/v1",
        "extra": {"polls_per_second": 1e6},
    }
    http = {"conn_type": "http", "host": root, "extra": {"Authorization": f"Bearer {KEY}"}}
    env = {
        **os.environ,
        "AIRFLOW_HOME": home,
        "AIRFLOW_CONN_VEO_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps(http),
    }
    command = [sys.executable, "-m", "benchmarks.polling", who, root]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


async def _cpu_per_poll(poller: Callable[[str], Awaitable[object]], root: str) -> float:
    """Let all waits run, and return the microseconds of CPU that each poll took meanwhile."""
    waits = [asyncio.ensure_future(poller(f"task_{number:032}")) for number in range(WAITS)]
    await asyncio.sleep(WARM_UP_SECONDS)
    before, begun = await asyncio.to_thread(polls, root), time.process_time()
    await asyncio.sleep(MEASURED_SECONDS)
    spent, after = time.process_time() - begun, await asyncio.to_thread(polls, root)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    return spent / (after - before) * 1e6


async def _provider(root: str) -> float:
    from veo_provider.triggers import veo

    veo.FIRST_EVENT_SECONDS = 0.0

    async def wait(veo_task_id: str) -> None:
        trigger = veo.VeoTaskTrigger(veo_task_id, "veo_default", INTERVAL, time.time() + 3600)
        async for _ in trigger.run():
            raise AssertionError("The stand-in finishes no video.")

    return await _cpu_per_poll(wait, root)


async def _bare(root: str) -> float:
    import aiohttp

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def wait(veo_task_id: str) -> None:
            while True:
                async with session.get(f"{root}/v1/videos/{veo_task_id}") as answer:
                    assert (await answer.json())["status"] == "in_progress"
                await asyncio.sleep(INTERVAL)

        return await _cpu_per_poll(wait, root)


async def _http_provider(root: str) -> float:
    from airflow.providers.http.triggers.http import HttpTrigger

    async def wait(veo_task_id: str) -> None:
        trigger = HttpTrigger(method="GET", endpoint=f"v1/videos/{veo_task_id}")
        hook = trigger._get_async_hook()  # noqa: SLF001  # what its run() does for one poll
        while True:
            answer = await trigger._get_response(hook)  # noqa: SLF001  # as above
            assert answer.json()["status"] == "in_progress"
            await asyncio.sleep(INTERVAL)

    return await _cpu_per_poll(wait, root)


async def _thread_per_poll(root: str) -> float:
    import requests

    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {KEY}"
        session.mount(root, requests.adapters.HTTPAdapter(pool_maxsize=WAITS))

        async def wait(veo_task_id: str) -> None:
            while True:
                url = f"{root}/v1/videos/{veo_task_id}"
                answer = await asyncio.to_thread(session.get, url, timeout=60)
                assert answer.json()["status"] == "in_progress"
                await asyncio.sleep(INTERVAL)

        return await _cpu_per_poll(wait, root)


OURS, BARE = "VeoTaskTrigger", "a bare aiohttp loop"
CONTESTANTS = {
    OURS: _provider,
    BARE: _bare,
    "the http provider's trigger": _http_provider,
    "requests in a thread": _thread_per_poll,
}


if __name__ == "__main__":
    if sys.argv[1:]:
        print(asyncio.run(CONTESTANTS[sys.argv[1]](sys.argv[2])))
    else:
        show(measure())
