"""
What an archive costs a whole running Airflow: CPU time and launches of workers for each video.

The CPU time is that of all of Airflow's processes, tasks that have ended included, without what the same
Airflow uses when it has nothing to do. The service and S3 are not counted. Linux only.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import boto3
import psutil
from PIL import Image

from benchmarks.figures import Figure, Series, show
from demo.airflow import COMPONENTS, LocalAirflow
from veo_provider.sandbox.process import Sandbox

ROUNDS = 3
VIDEOS = int(os.environ.get("ARCHIVE_VIDEOS", "40"))
LATENCY = 60.0
"""Seconds a generation takes: longer than it takes to submit them all, so that each is waited for."""
BALANCE = 1e6
IDLE_SECONDS = 30.0
LOOK = 2.0
"""Seconds between two looks at a run, which cost CPU too: an idle Airflow is looked at as often."""
SETTLE = 5.0
"""Seconds for a task's process to end, and to be counted, after its run has."""

OURS = "VeoBatchOperator, one task"
MAPPED = "VeoSubmitOperator, VeoTaskSensor and VeoToS3Operator, mapped"
CONTESTANTS = {OURS: "batch", MAPPED: "mapped"}


@dataclass(frozen=True)
class Use:
    """What Airflow has used so far, or between two moments."""

    seconds: float
    cpu_seconds: float
    launches: int

    def since(self, begin: "Use") -> "Use":
        """Give what was used since then."""
        return Use(
            self.seconds - begin.seconds,
            self.cpu_seconds - begin.cpu_seconds,
            self.launches - begin.launches,
        )


def measure() -> list[Figure]:
    """Make the same archive in both ways in turn, in one Airflow."""
    found: dict[str, list[Use]] = {who: [] for who in CONTESTANTS}
    idle: list[float] = []
    with _airflow() as airflow:
        for dag_id in CONTESTANTS.values():
            airflow.wait_for_dag(dag_id)
        for round_ in range(ROUNDS):
            idle.append(_rate(_idle(airflow)))
            for who in list(CONTESTANTS)[:: -1 if round_ % 2 else 1]:
                found[who].append(_run(airflow, CONTESTANTS[who]))
        idle.append(_rate(_idle(airflow)))
    resting = median(idle)
    seconds = {who: median(use.seconds for use in uses) for who, uses in found.items()}
    how = f"{VIDEOS} images, a generation takes {LATENCY:.0f} s, Airflow is the demonstration's, on SQLite"
    return [
        Figure(
            name="cpu-per-archived-video",
            title="Airflow's CPU time for each video of an archive",
            unit="s",
            ours=OURS,
            against=MAPPED,
            goal=None,
            series=tuple(
                Series(who, tuple((use.cpu_seconds - resting * use.seconds) / VIDEOS for use in uses))
                for who, uses in found.items()
            ),
            note=f"User and system time of API server, scheduler, DAG processor, triggerer and tasks; {how}. "
            f"With nothing to do they use {resting * 60:.1f} s a minute, which is subtracted: the batch took "
            f"{seconds[OURS]:.0f} s, the mapped tasks {seconds[MAPPED]:.0f} s.",
        ),
        Figure(
            name="launches-per-archived-video",
            title="worker launches for each video of an archive",
            unit="launches",
            ours=OURS,
            against=MAPPED,
            goal=None,
            series=tuple(
                Series(who, tuple(use.launches / VIDEOS for use in uses)) for who, uses in found.items()
            ),
            note=f"Processes that ran a task or went on with one after it was deferred; {how}.",
        ),
    ]


@contextmanager
def _airflow() -> Iterator[LocalAirflow]:
    """Run an Airflow beside a sandbox that holds the archive."""
    with (
        TemporaryDirectory(prefix="veo-benchmark-") as home,
        Sandbox(latency=LATENCY, film="small", balance=BALANCE) as sandbox,
    ):
        _fill(sandbox)
        env = {
            "AIRFLOW_CONN_VEO_DEFAULT": sandbox.veo_conn(),
            "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
            # Else no more than 16 of the mapped tasks would wait at once.
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(VIDEOS),
            "ARCHIVE_VIDEOS": str(VIDEOS),
        }
        with LocalAirflow(Path(home), Path(__file__).parent / "dags", env=env) as airflow:
            yield airflow


def _fill(sandbox: Sandbox) -> None:
    picture = BytesIO()
    Image.linear_gradient("L").resize((64, 36)).convert("RGB").save(picture, "JPEG")
    s3 = boto3.client(
        "s3",
        endpoint_url=sandbox.s3,
        region_name="us-east-1",
        aws_access_key_id=sandbox.aws_access_key_id,
        aws_secret_access_key=sandbox.aws_secret_access_key,
    )
    for number in range(VIDEOS):
        s3.put_object(Bucket="images", Key=f"archive/{number:06}.jpg", Body=picture.getvalue())
    s3.close()


def _run(airflow: LocalAirflow, dag_id: str) -> Use:
    """Run a DAG to its end, and give what that took."""
    begin = _used(airflow)
    run_id = airflow.trigger(dag_id)
    while (state := airflow.dag_run(dag_id, run_id)["state"]) not in {"success", "failed"}:
        time.sleep(LOOK)
    if state != "success":
        raise RuntimeError(f"The run of {dag_id} failed: {airflow.task_instances(dag_id, run_id)}")
    time.sleep(SETTLE)
    return _used(airflow).since(begin)


def _idle(airflow: LocalAirflow) -> Use:
    """Give what Airflow uses in a while in which it has nothing to do."""
    begin = _used(airflow)
    while time.monotonic() - begin.seconds < IDLE_SECONDS:
        airflow.pool()
        time.sleep(LOOK)
    return _used(airflow).since(begin)


def _rate(use: Use) -> float:
    return use.cpu_seconds / use.seconds


def _used(airflow: LocalAirflow) -> Use:
    """Give what Airflow has used since its start; what has ended counts among its parent's children."""
    cpu = 0.0
    for component in COMPONENTS:
        process = psutil.Process(airflow.pid(component))
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # it ended by itself in that moment
                times = one.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
    launches = airflow.component_log("api-server").read_text("utf-8", "replace").count("Task started ")
    return Use(time.monotonic(), cpu, launches)


if __name__ == "__main__":
    show(measure())
