"""Runs the sandbox as a child process, for tests and demonstrations."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from veo_provider.sandbox.faces.models import MODELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

_ROOT = Path(__file__).parents[2]
_REQUEST_SECONDS = 30
_STOP_SECONDS = 20
_PAGE = 1000  # tasks


class SandboxError(Exception):
    """The sandbox did not start, or refused a request; the message says why."""


class Sandbox:
    """Runs ``python -m veo_provider.sandbox`` on free ports for the length of a ``with`` block.

    ::

        with Sandbox(latency=0.5, faults=[{"call": "submit", "first": 1, "status": 429}]) as sandbox:
            client = OpenAI(base_url=sandbox.api, api_key=sandbox.api_key)
            ...
            assert sandbox.charges()["usd"] == 0.30

    It stops at the end of the block, and also when this process dies.

    :param gateway: which one to play: ``apiyi``, ``openai``, ``litellm``, ``openrouter`` or ``inworld``.
    :param latency: average seconds from a submission to its completion.
    :param latency_sigma: spread of the latency, as the standard deviation of its logarithm; 0 for none, see
        :class:`veo_provider.sandbox.latency.Latency`.
    :param latency_seed: seed of that spread.
    :param content_delay: seconds after completion during which content calls still get 400.
    :param film: what a video shows: ``picture``, the uploaded image, or ``small``, the same second for every
        task, which saves the rendering; the bytes of each video are still unique.
    :param faults: fault rules, see :mod:`veo_provider.sandbox.faults`.
    :param s3: whether to run S3 too; it takes about two seconds to start.
    :param data: directory to keep all data in; default a temporary one, removed at the end. With the
        same directory, keys, S3 objects and rendered videos outlive the block; tasks do not.
    :param host: address to listen on.
    :param port: port of the API; 0 for a free one.
    :param s3_port: port of S3; 0 for a free one.
    :param api_key: default a random one.
    :param balance: US dollars on the account at the start.
    :param log: file for the sandbox's log; default a temporary one, see :attr:`log`.
    """

    api: str
    """Base URL of the API, ending in ``/v1``."""
    gateway: str
    """The gateway that is played."""
    s3: str | None
    """Endpoint of S3, or None without it."""
    api_key: str
    """For ``Authorization: Bearer``."""
    account_token: str
    """For the balance, in ``Authorization`` without ``Bearer``."""
    aws_access_key_id: str | None
    """The S3 user, or None without S3."""
    aws_secret_access_key: str | None
    """The S3 user's secret, or None without S3."""

    def __init__(
        self,
        *,
        gateway: str = "apiyi",
        latency: float = 0.5,
        latency_sigma: float = 0.0,
        latency_seed: int = 0,
        content_delay: float = 0.0,
        film: str = "picture",
        faults: Sequence[Mapping[str, Any]] = (),
        s3: bool = True,
        data: Path | str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        s3_port: int = 0,
        api_key: str | None = None,
        balance: float = 100.0,
        log: Path | str | None = None,
    ) -> None:
        self.gateway = gateway
        self._options: dict[str, object] = {
            "gateway": gateway,
            "latency": latency,
            "latency-sigma": latency_sigma,
            "latency-seed": latency_seed,
            "content-delay": content_delay,
            "film": film,
            "host": host,
            "port": port,
            "s3-port": s3_port,
            "balance": balance,
        }
        optional = {"data": data, "api-key": api_key}
        self._options.update({name: value for name, value in optional.items() if value is not None})
        self._faults = faults
        self._with_s3 = s3
        self._log = log
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="veo-sandbox-")))
            self._log = self._log or directory / "sandbox.log"
            self._process = self._start(directory)
            stack.callback(_stop, self._process)
            self._read_ready_line(self._process)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """Return the child's process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """Return what the sandbox has logged so far."""
        return Path(self._log).read_text(errors="replace") if self._log else ""

    def charges(self) -> dict[str, Any]:
        """Return ``{"count", "usd", "tasks": [{"task_id", "model", "usd", "completed_at"}]}``."""
        charges: dict[str, Any] = self._call("GET", "charges")
        return charges

    def tasks(self) -> list[dict[str, Any]]:
        """Return each accepted submission with its fields, files and status."""
        tasks: list[dict[str, Any]] = []
        # In pages, so that the sandbox can serve other calls in between.
        while len(tasks) % _PAGE == 0:
            page = self._call("GET", f"tasks?after={len(tasks)}&limit={_PAGE}")
            if not page:
                break
            tasks += page
        return tasks

    def summary(self) -> dict[str, Any]:
        """Return totals of charges and tasks.

        :returns: ``count`` and ``usd`` of the charges, and the numbers of ``accepted`` tasks, of tasks by
            status (``statuses``), of ``polls`` and of ``content_requests``.
        """
        summary: dict[str, Any] = self._call("GET", "summary")
        return summary

    def set_latency(self, mean: float, sigma: float = 0.0, seed: int = 0) -> None:
        """Change the latency of later submissions, until :meth:`reset`.

        :param mean: average in seconds.
        :param sigma: its spread, see :class:`veo_provider.sandbox.latency.Latency`.
        :param seed: seed of that spread.
        :raises SandboxError: if a parameter is invalid; then nothing changes.
        """
        self._call("POST", "latency", {"mean": mean, "sigma": sigma, "seed": seed})

    def faults(self) -> list[dict[str, Any]]:
        """Return the active rules, each with the number of calls that it ``matched``."""
        rules: list[dict[str, Any]] = self._call("GET", "faults")
        return rules

    def add_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Add rules; their counts start now.

        :param rules: see :mod:`veo_provider.sandbox.faults`.
        :raises SandboxError: if one is invalid; then none is added.
        """
        self._call("POST", "faults", [dict(rule) for rule in rules])

    def clear_faults(self) -> None:
        """Remove all rules."""
        self._call("DELETE", "faults")

    def reset(self) -> None:
        """Restore the state of a fresh start: no tasks, initial balance, latency and rules; S3 is kept."""
        self._call("POST", "reset")

    def veo_conn(self) -> str:
        """Return an Airflow connection to the API as JSON, for ``AIRFLOW_CONN_VEO_DEFAULT``.

        It names the gateway and describes its models and their prices; of the default gateway's, it says that
        the sandbox still serves those that Google has ended.
        """
        own: dict[str, Any] = (
            {"account_token": self.account_token} if self.gateway == "apiyi" else {"gateway": self.gateway}
        )
        return json.dumps(
            {
                "conn_type": "veo",
                "host": self.api,
                "password": self.api_key,
                "extra": {**own, "models": MODELS[self.gateway]},
            }
        )

    def aws_conn(self) -> str:
        """Return an Airflow connection to S3 as JSON, for ``AIRFLOW_CONN_AWS_DEFAULT``.

        :raises SandboxError: if the sandbox runs without S3.
        """
        if self.s3 is None:
            raise SandboxError("this sandbox runs without S3: use Sandbox(s3=True)")
        return json.dumps(
            {
                "conn_type": "aws",
                "login": self.aws_access_key_id,
                "password": self.aws_secret_access_key,
                "extra": {"endpoint_url": self.s3, "region_name": "us-east-1"},
            }
        )

    def _start(self, directory: Path) -> subprocess.Popen[bytes]:
        faults = directory / "faults.json"
        faults.write_text(json.dumps([dict(rule) for rule in self._faults]))
        command = [sys.executable, "-m", "veo_provider.sandbox", "--stop-on-eof", f"--faults={faults}"]
        command += [f"--{name}={value}" for name, value in self._options.items()]
        command += [] if self._with_s3 else ["--no-s3"]
        path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with Path(self._log or os.devnull).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
                # Ctrl-C in a terminal is for the parent only, which then leaves this block.
                start_new_session=True,
            )

    def _read_ready_line(self, process: subprocess.Popen[bytes]) -> None:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise SandboxError(f"the sandbox ended with code {process.wait()}:\n{self.log}")
        vars(self).update(json.loads(line))

    def _call(self, method: str, name: str, body: object = None) -> Any:
        url = urlsplit(self.api)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_REQUEST_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, f"/_sandbox/{name}", json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            result = json.loads(response.read())
        if response.status != http.client.OK:
            raise SandboxError(result["error"]["message"])
        return result


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
