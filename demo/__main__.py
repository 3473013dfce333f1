"""Run the example DAG in a real Airflow against the sandbox, and show the video and the bill."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.airflow import AirflowError, LocalAirflow
from demo.processes import ending_on_signals, guarded
from demo.releases import INSTALLED
from veo_provider.sandbox.process import Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]

DAG_ID = "veo_image_to_video"
PRICE = 0.30
LATENCY = 14.0  # seconds of pretended generation: long enough to watch the sensor wait
PATIENCE = 600.0
MARK = "VEO_DEMO"  # an environment variable by which all processes of a demo are known

MEANING = {
    "queued": "waits for a worker",
    "running": "runs in a worker",
    "deferred": "waits in the triggerer, no worker slot held",
    "up_for_retry": "failed; will be tried again in a few seconds",
    "up_for_reschedule": "looks again later",
    "success": "done",
    "failed": "its log is shown below",
    "upstream_failed": "not run: a task before it failed",
}


class DemoError(Exception):
    """The demo did not show what it should."""


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="keep everything running until Ctrl-C")
    parser.add_argument(
        "--cluster", action="store_true", help="run Airflow as a cluster: Celery, Redis, PostgreSQL"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".run" / "demo", help="where all of it lies")
    asked = parser.parse_args()
    say = _narrator()
    try:
        with ending_on_signals(), _own(asked.folder.resolve()) as folder:
            _run(folder, say, stay=asked.stay, kind=_cluster() if asked.cluster else LocalAirflow)
    except (DemoError, AirflowError, SandboxError) as error:
        print(f"\nThe demo failed. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Stopped; nothing is left running.")
        return 0 if asked.stay else 130
    return 0


def _cluster() -> type[LocalAirflow]:
    from demo.cluster import CeleryAirflow  # it needs packages that only a cluster has

    return CeleryAirflow


def _run(folder: Path, say: Callable[[str], None], *, stay: bool, kind: type[LocalAirflow]) -> None:
    say("Sandbox: starting")
    with Sandbox(latency=LATENCY, data=folder / "sandbox") as sandbox:
        say(f"Sandbox: the API is at {sandbox.api}, S3 at {sandbox.s3}")
        connections = {
            "AIRFLOW_CONN_VEO_DEFAULT": sandbox.veo_conn(),
            "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
        }
        with kind(folder / "airflow", ROOT / "dags", env=connections, on_progress=say) as airflow:
            stored = _make_video(airflow, say)
            copy = folder / "rocket.mp4"
            _download(sandbox, stored, copy)
            _report(stored, copy, sandbox.charges())
            if stay:
                _stay(airflow, sandbox)
            say("Stopping Airflow and the sandbox")
    if INSTALLED.has_page and not stay:
        print("\nThe page with its video is in a running Airflow: make up, then Browse, Veo videos (/veo/).")


def _make_video(airflow: LocalAirflow, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the DAG to its end and return what its last task says about the stored video."""
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(DAG_ID)
    say(f"DAG {DAG_ID}: started, a photograph of a rocket and a prompt go in")
    state = _watch(airflow, run_id, say)
    if state != "success":
        raise DemoError(f"The run ended as {state}.\n{_failures(airflow, run_id)}")
    stored: dict[str, Any] = airflow.xcom(DAG_ID, run_id, "store")
    return stored


def _watch(airflow: LocalAirflow, run_id: str, say: Callable[[str], None]) -> str:
    """Tell each change of a task's state until the run has ended, and return how it ended."""
    deadline = time.monotonic() + PATIENCE
    known: dict[str, str] = {}
    told = time.monotonic()
    while time.monotonic() < deadline:
        run_state: str = airflow.dag_run(DAG_ID, run_id)["state"]
        for task in airflow.task_instances(DAG_ID, run_id):
            state = task["state"]
            if state in MEANING and known.get(task["task_id"]) != state:
                known[task["task_id"]], told = state, time.monotonic()
                say(f"    {task['task_id']:8}{state:17}{MEANING[state]}")
        if run_state in {"success", "failed"}:
            return run_state
        if "deferred" in known.values() and time.monotonic() - told > 5:  # noqa: PLR2004
            told = time.monotonic()
            pool = airflow.pool()
            say(f"    … still waiting; {pool['occupied_slots']} of {pool['slots']} worker slots occupied")
        time.sleep(0.5)
    raise DemoError(f"The run did not end within {PATIENCE:.0f} s; the tasks are {known}.")


def _failures(airflow: LocalAirflow, run_id: str) -> str:
    """Show the end of the log of each task that failed."""
    tails = []
    for task in airflow.task_instances(DAG_ID, run_id):
        if task["state"] == "failed":
            log = airflow.task_log(DAG_ID, run_id, task["task_id"], task["try_number"])
            lines = (f"    {line}" for line in log.splitlines()[-40:])
            tails.append("\n".join([f"The end of the log of {task['task_id']}:", *lines]))
    return "\n".join(tails)


def _download(sandbox: Sandbox, stored: dict[str, Any], copy: Path) -> None:
    """Copy the video out of S3 and make sure that it is what the task says it stored."""
    import boto3

    s3 = boto3.client(
        "s3",
        endpoint_url=sandbox.s3,
        region_name="us-east-1",
        aws_access_key_id=sandbox.aws_access_key_id,
        aws_secret_access_key=sandbox.aws_secret_access_key,
    )
    bucket, _, key = stored["uri"].removeprefix("s3://").partition("/")
    s3.download_file(bucket, key, str(copy))
    if hashlib.sha256(copy.read_bytes()).hexdigest() != stored["sha256"]:
        raise DemoError(f"What lies at {stored['uri']} is not what the task stored.")


def _report(stored: dict[str, Any], copy: Path, charges: dict[str, Any]) -> None:
    """Show the video and the bill, which must be for one generation."""
    print(f"""
The video
    in S3       {stored["uri"]}
    as a file   {copy}
    length      {stored["duration_seconds"]:.1f} s
    picture     {stored["width"]} x {stored["height"]} pixels
    size        {stored["bytes"]:,} bytes
    task id     {stored["veo_task_id"]}
The bill
    {charges["count"]} generation{"" if charges["count"] == 1 else "s"}, ${charges["usd"]:.2f}
""")
    if charges["count"] != 1 or round(charges["usd"], 6) != PRICE:
        raise DemoError(f"The bill must be for one generation at ${PRICE:.2f}; it is {charges}.")


def _stay(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    """Tell where everything is and wait for Ctrl-C."""
    page = f"\n    the videos  {airflow.url}/veo/  what was made and what it cost; also in Browse"
    print(f"""It stays, on this machine only:
    Airflow     {airflow.url}  (no login){page if INSTALLED.has_page else ""}
    the DAG     {airflow.url}/dags/{DAG_ID}  runs when you trigger it
    the API     {sandbox.api}  key {sandbox.api_key}
    the bill    {sandbox.api.removesuffix("/v1")}/_sandbox/charges
    S3          {sandbox.s3}  key {sandbox.aws_access_key_id}, secret {sandbox.aws_secret_access_key}
Ctrl-C ends it all.
""")
    threading.Event().wait()


@contextmanager
def _own(folder: Path) -> Iterator[Path]:
    """Hold the demo's folder alone, emptied; end with every process that was started within."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"Another demo is running in {folder}: end it first.") from None
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with guarded(MARK) as os.environ[MARK]:
            yield folder


def _narrator() -> Callable[[str], None]:
    """Make a print that says how many seconds have passed."""
    start = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - start:5.0f} s  {what}", flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
