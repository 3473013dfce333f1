"""The command: ``python -m veo_provider.sandbox``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox import server
from veo_provider.sandbox.faults import FaultError, load
from veo_provider.sandbox.latency import Latency
from veo_provider.sandbox.s3_server import S3Server, S3ServerError
from veo_provider.sandbox.service import FILM_MODES, Service, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_LARGEST_S3_PORT = 65_535 - 10_000


@dataclass(frozen=True)
class Credentials:
    """What a client needs to be let in; kept in ``--data``, because S3 remembers its user there."""

    api_key: str
    account_token: str
    aws_access_key_id: str
    aws_secret_access_key: str

    @classmethod
    def of(cls, data: Path, api_key: str | None) -> Credentials:
        """
        The keys of a data directory, made up at its first use.

        :param data: the directory.
        :param api_key: takes the place of the one made up.
        """
        path = data / "keys.json"
        known = json.loads(path.read_text()) if path.exists() else _made_up()
        keys = cls(**{**known, **({"api_key": api_key} if api_key else {})})
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(keys)))
        return keys


def _made_up() -> dict[str, str]:
    return {
        "api_key": f"sk-{secrets.token_hex(24)}",
        "account_token": secrets.token_hex(16),
        "aws_access_key_id": f"SANDBOX{secrets.token_hex(6).upper()}",
        "aws_secret_access_key": secrets.token_hex(20),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the sandbox until it is told to stop.

    :param arguments: of the command line.
    :returns: the exit code: 0 when it was told to stop, 1 when it could not start, 2 for wrong
        arguments.
    """
    # Until the event loop takes over, SIGTERM has to unwind the `with` blocks as Ctrl-C does.
    signal.signal(signal.SIGTERM, _leave)
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        faults = load(options.faults) if options.faults else []
    except (FaultError, OSError) as error:
        print(f"--faults: {error}", file=sys.stderr)
        return 2
    try:
        _run(options, faults)
    except (S3ServerError, OSError) as error:
        print(f"the sandbox cannot start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m veo_provider.sandbox", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=0, help="port of the API (0: a free one)")
    add("--s3-port", type=_s3_port, default=0, help="port of S3 (0: a free one)")
    add("--no-s3", action="store_true", help="the API alone")
    add("--data", type=Path, help="directory for all data, kept (default: a temporary one, removed)")
    add("--latency", type=_number, default=8.0, help="mean seconds until a video is completed (%(default)s)")
    add("--latency-sigma", type=_number, default=0.0, help="how they scatter, log-normal (0: not at all)")
    add("--latency-seed", type=int, default=0, help="another one scatters them in another way")
    add("--content-delay", type=_number, default=3.0, help="seconds until it can be fetched (%(default)s)")
    add(
        "--film",
        choices=FILM_MODES,
        default=FILM_MODES[0],
        help="a video of each picture, or one small one for all",
    )
    add("--faults", type=Path, help="JSON file of rules, what goes wrong and when")
    add("--api-key", default=os.environ.get("VEO_SANDBOX_API_KEY"), help="default: a random one")
    add("--balance", type=float, default=100.0, help="US dollars on the account (%(default)s)")
    add("--stop-on-eof", action="store_true", help="also stop when standard input closes")
    return parser


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("a number from 0")
    return number


def _s3_port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= _LARGEST_S3_PORT:
        raise argparse.ArgumentTypeError(f"from 0 to {_LARGEST_S3_PORT}: port + 10000 is used too")
    return port


def _run(options: argparse.Namespace, faults: list[Any]) -> None:
    with contextlib.ExitStack() as stack:
        data = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="veo-sandbox-")))
        data.mkdir(parents=True, exist_ok=True)
        keys = Credentials.of(data, options.api_key)
        ready: dict[str, Any] = {"s3": None, **asdict(keys)}
        if options.no_s3:
            ready.update(aws_access_key_id=None, aws_secret_access_key=None)
        else:
            names = keys.aws_access_key_id, keys.aws_secret_access_key
            ready["s3"] = stack.enter_context(S3Server(data.absolute() / "s3", *names, options.s3_port)).url
        service = Service(_settings(options, faults, data, keys))
        stack.callback(service.close)
        asyncio.run(_serve(options, service, ready))


def _settings(options: argparse.Namespace, faults: list[Any], data: Path, keys: Credentials) -> Settings:
    return Settings(
        data=data,
        api_key=keys.api_key,
        account_token=keys.account_token,
        latency=Latency(options.latency, options.latency_sigma, options.latency_seed),
        content_delay=options.content_delay,
        balance=options.balance,
        faults=faults,
        film=options.film,
    )


async def _serve(options: argparse.Namespace, service: Service, ready: dict[str, Any]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if options.stop_on_eof:
        threading.Thread(target=_wait_for_eof, args=(loop, stopping), daemon=True).start()
    runner, port = await server.start(service, options.host, options.port)
    try:
        host = "127.0.0.1" if options.host in ("0.0.0.0", "::", "") else options.host  # noqa: S104 - compared
        print(json.dumps({"api": f"http://{host}:{port}/v1", **ready}), flush=True)
        await stopping.wait()
    finally:
        await runner.cleanup()


def _wait_for_eof(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    # Not through sys.stdin: a thread that waits there holds a lock that the interpreter's end needs.
    while os.read(0, 1024):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(stopping.set)


if __name__ == "__main__":
    sys.exit(main())
