"""The sandbox as a child process, for tests and demonstrations."""

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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

_ROOT = Path(__file__).parents[2]
_REQUEST_SECONDS = 30
_STOP_SECONDS = 20
_PAGE = 1000  # tasks


class SandboxError(Exception):
    """The sandbox did not start, or refused what it was told; the message says why."""


class Sandbox:
    """
    Runs ``python -m veo_provider.sandbox`` on free ports for the length of a ``with`` block.

    ::

        with Sandbox(latency=0.5, faults=[{"call": "submit", "first": 1, "status": 429}]) as sandbox:
            client = OpenAI(base_url=sandbox.api, api_key=sandbox.api_key)
            ...
            assert sandbox.charges()["usd"] == 0.30

    It ends with the block, and also when this process dies.

    :param latency: seconds from a submission to its completion, on average.
    :param latency_sigma: how they scatter: the standard deviation of their logarithm; 0 is not at all, see
        :class:`veo_provider.sandbox.latency.Latency`.
    :param latency_seed: another one scatters them in another way.
    :param content_delay: seconds after completion in which the content still answers 400.
    :param film: what a video shows: ``picture``, the uploaded one, or ``small``, the same second for all of
        them, which costs no rendering; each video still has bytes of its own.
    :param faults: rules, see :mod:`veo_provider.sandbox.faults`.
    :param s3: whether to run S3 too; it takes about two seconds to start.
    :param data: directory to keep all data in; default a temporary one, removed in the end. With the
        same directory, keys, S3 objects and finished videos outlive the block; tasks do not.
    :param host: address to listen on.
    :param port: of the API; 0 picks a free one.
    :param s3_port: of S3; 0 picks a free one.
    :param api_key: default a random one.
    :param balance: US dollars on the account at the start.
    :param log: file for the sandbox's log; default a temporary one, see :meth:`log`.
    """

    api: str
    """Base URL of the API, ending in ``/v1``."""
    s3: str | None
    """Endpoint of S3, or None without it."""
    api_key: str
    """For ``Authorization: Bearer``."""
    account_token: str
    """For the balance, in ``Authorization`` as it is."""
    aws_access_key_id: str | None
    """The S3 user, or None without S3."""
    aws_secret_access_key: str | None
    """The S3 user's secret, or None without S3."""

    def __init__(
        self,
        *,
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
        self._options: dict[str, object] = {
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
        """The child's process id, to look at it or to kill it."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What the sandbox has logged so far."""
        return Path(self._log).read_text(errors="replace") if self._log else ""

    def charges(self) -> dict[str, Any]:
        """The bill: ``{"count", "usd", "tasks": [{"task_id", "model", "usd", "completed_at"}]}``."""
        bill: dict[str, Any] = self._call("GET", "charges")
        return bill

    def tasks(self) -> list[dict[str, Any]]:
        """Each accepted submission, with the fields and the files it carried and what became of it."""
        tasks: list[dict[str, Any]] = []
        # In pages, so that the sandbox goes on answering others meanwhile.
        while len(tasks) % _PAGE == 0:
            page = self._call("GET", f"tasks?after={len(tasks)}&limit={_PAGE}")
            if not page:
                break
            tasks += page
        return tasks

    def summary(self) -> dict[str, Any]:
        """
        Bill and tasks in numbers, however many there are.

        :returns: ``count`` and ``usd`` of the bill, how many were ``accepted``, in which ``statuses`` they
            are, and how many ``polls`` and ``content_requests`` there were.
        """
        summary: dict[str, Any] = self._call("GET", "summary")
        return summary

    def set_latency(self, mean: float, sigma: float = 0.0, seed: int = 0) -> None:
        """
        Change what submissions take from now on, until :meth:`reset`.

        :param mean: seconds on average.
        :param sigma: how they scatter, see :class:`veo_provider.sandbox.latency.Latency`.
        :param seed: another one scatters them in another way.
        :raises SandboxError: when one of them makes no sense; then nothing changes.
        """
        self._call("POST", "latency", {"mean": mean, "sigma": sigma, "seed": seed})

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force, each with the number of calls that it ``matched``."""
        rules: list[dict[str, Any]] = self._call("GET", "faults")
        return rules

    def add_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """
        Add rules; their counts begin now.

        :param rules: see :mod:`veo_provider.sandbox.faults`.
        :raises SandboxError: when one of them does not make sense; then none is added.
        """
        self._call("POST", "faults", [dict(rule) for rule in rules])

    def clear_faults(self) -> None:
        """Remove all rules."""
        self._call("DELETE", "faults")

    def reset(self) -> None:
        """As freshly started: no tasks, full balance, latency and rules of the start. S3 stays."""
        self._call("POST", "reset")

    def veo_conn(self) -> str:
        """An Airflow connection to the API as JSON, for ``AIRFLOW_CONN_VEO_DEFAULT``."""
        return json.dumps(
            {
                "conn_type": "veo",
                "host": self.api,
                "password": self.api_key,
                "extra": {"account_token": self.account_token},
            }
        )

    def aws_conn(self) -> str:
        """
        An Airflow connection to S3 as JSON, for ``AIRFLOW_CONN_AWS_DEFAULT``.

        :raises SandboxError: when the sandbox runs without S3.
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
                # Ctrl-C in a terminal is for the parent, which then ends this block in order.
                start_new_session=True,
            )

    def _read_ready_line(self, process: subprocess.Popen[bytes]) -> None:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise SandboxError(f"the sandbox ended with code {process.wait()}:\n{self.log}")
        vars(self).update(json.loads(line))

    def _call(self, method: str, name: str, body: object = None) -> Any:
        place = urlsplit(self.api)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_REQUEST_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, f"/_sandbox/{name}", json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != http.client.OK:
            raise SandboxError(answer["error"]["message"])
        return answer


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
