"""A stand-in for the API that answers polls as fast as it can, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

from aiohttp import web


@contextmanager
def stand_in() -> Iterator[str]:
    """Run the stand-in, and give the URL of its root."""
    command = [sys.executable, "-m", "benchmarks.stand_in"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def polls(root: str) -> int:
    """Ask how many polls it has answered so far."""
    with urlopen(f"{root}/polls") as answer:
        return int(answer.read())


def _application() -> web.Application:
    answered = 0

    async def poll(request: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        video = {
            "id": request.match_info["id"],
            "task_id": request.match_info["id"],
            "object": "video",
            "model": "veo-3.1-fast-generate-preview",
            "status": "in_progress",
            "progress": 50,
            "created_at": 1_790_000_000,
        }
        return web.Response(body=json.dumps(video).encode(), content_type="application/json")

    async def count(_: web.Request) -> web.Response:
        return web.Response(text=str(answered))

    application = web.Application()
    application.add_routes([web.get("/v1/videos/{id}", poll), web.get("/polls", count)])
    return application


def _listening(root: str) -> None:
    print(root, flush=True)


async def _serve() -> None:
    import asyncio

    runner = web.AppRunner(_application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    _listening(f"http://127.0.0.1:{runner.addresses[0][1]}")
    await asyncio.Event().wait()


if __name__ == "__main__":
    import asyncio

    asyncio.run(_serve())
