"""The command ``python -m veo_provider.sandbox``."""

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
from veo_provider.sandbox.faces.builtin import BY_NAME
from veo_provider.sandbox.faults import FaultError, load
from veo_provider.sandbox.latency import Latency
from veo_provider.sandbox.s3_server import STOP_SIGNALS, S3Server, S3ServerError
from veo_provider.sandbox.service import FILM_MODES, Service, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_LARGEST_S3_PORT = 65_535 - 10_000


@dataclass(frozen=True)
class Credentials:
    """The keys that clients need; kept in ``--data``, because S3 stores its user there."""

    api_key: str
    account_token: str
    aws_access_key_id: str
    aws_secret_access_key: str

    @classmethod
    def load(cls, data: Path, api_key: str | None) -> Credentials:
        """Return the credentials of a data directory, which are generated at its first use.

        :param data: the directory.
        :param api_key: replaces the generated one.
        """
        path = data / "keys.json"
        stored = json.loads(path.read_text()) if path.exists() else _generate()
        credentials = cls(**{**stored, **({"api_key": api_key} if api_key else {})})
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(credentials)))
        return credentials


def _generate() -> dict[str, str]:
    return {
        "api_key": f"sk-{secrets.token_hex(24)}",
        "account_token": secrets.token_hex(16),
        "aws_access_key_id": f"SANDBOX{secrets.token_hex(6).upper()}",
        "aws_secret_access_key": secrets.token_hex(20),
    }


class _StopRequest:
    """Turns SIGTERM and SIGINT into KeyboardInterrupt, which unwinds the ``with`` blocks.

    Python drops an exception that a handler raises inside a destructor, so the request is also kept.
    """

    def __init__(self) -> None:
        self.received = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._interrupt)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True
        raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox until it is asked to stop.

    :param arguments: command-line arguments.
    :returns: the exit code: 0 if it was asked to stop, 1 if it could not start, 2 for wrong arguments.
    """
    stop = _StopRequest()
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        faults = load(options.faults) if options.faults else []
    except (FaultError, OSError) as error:
        print(f"--faults: {error}", file=sys.stderr)
        return 2
    try:
        _run(options, faults, stop)
    except (S3ServerError, OSError) as error:
        print(f"the sandbox cannot start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m veo_provider.sandbox", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=0, help="port of the API (0: a free one)")
    add("--s3-port", type=_s3_port, default=0, help="port of S3 (0: a free one)")
    add("--no-s3", action="store_true", help="run the API alone")
    add("--data", type=Path, help="directory for all data, kept (default: a temporary one, removed)")
    add("--latency", type=_number, default=8.0, help="mean seconds until a video is completed (%(default)s)")
    add("--latency-sigma", type=_number, default=0.0, help="their log-normal spread (0: none)")
    add("--latency-seed", type=int, default=0, help="seed of that spread (%(default)s)")
    add(
        "--content-delay",
        type=_number,
        default=3.0,
        help="seconds until content is served (%(default)s)",
    )
    add("--film", choices=FILM_MODES, default="picture", help="a video of each image, or one small one")
    add("--gateway", choices=tuple(BY_NAME), default="apiyi", help="which one to play (%(default)s)")
    add("--faults", type=Path, help="JSON file with fault rules")
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


def _run(options: argparse.Namespace, faults: list[Any], stop: _StopRequest) -> None:
    with contextlib.ExitStack() as stack:
        data = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="veo-sandbox-")))
        data.mkdir(parents=True, exist_ok=True)
        credentials = Credentials.load(data, options.api_key)
        ready: dict[str, Any] = {"s3": None, **asdict(credentials)}
        if options.no_s3:
            ready.update(aws_access_key_id=None, aws_secret_access_key=None)
        else:
            user = credentials.aws_access_key_id, credentials.aws_secret_access_key
            s3 = S3Server(data.absolute() / "s3", *user, options.s3_port)
            stack.callback(s3.stop)
            s3.start()
            ready["s3"] = s3.url
        service = Service(_settings(options, faults, data, credentials))
        stack.callback(service.close)
        asyncio.run(_serve(options, service, ready, stop))


def _settings(
    options: argparse.Namespace, faults: list[Any], data: Path, credentials: Credentials
) -> Settings:
    return Settings(
        data=data,
        api_key=credentials.api_key,
        account_token=credentials.account_token,
        latency=Latency(options.latency, options.latency_sigma, options.latency_seed),
        content_delay=options.content_delay,
        balance=options.balance,
        faults=faults,
        film=options.film,
        face=BY_NAME[options.gateway],
    )


async def _serve(
    options: argparse.Namespace, service: Service, ready: dict[str, Any], stop: _StopRequest
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    if stop.received:
        return
    if options.stop_on_eof:
        threading.Thread(target=_wait_for_eof, args=(loop, stopping), daemon=True).start()
    runner, port = await server.start(service, options.host, options.port)
    try:
        host = "127.0.0.1" if options.host in ("0.0.0.0", "::", "") else options.host  # noqa: S104 - compared
        api = f"http://{host}:{port}{service.face.base_path}"
        print(json.dumps({"api": api, **ready}), flush=True)
        await stopping.wait()
    finally:
        await runner.cleanup()


def _wait_for_eof(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    # Not sys.stdin: a thread that blocks there holds a lock that the interpreter needs to exit.
    while os.read(0, 1024):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is already closed
        loop.call_soon_threadsafe(stopping.set)


if __name__ == "__main__":
    sys.exit(main())
