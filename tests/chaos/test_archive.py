"""An archive of thousands of images in a real Airflow, whose processes are killed now and then.

``ARCHIVE_IMAGES``, ``ARCHIVE_IN_FLIGHT``, ``ARCHIVE_SECONDS`` (the mean of what a generation takes) and
``ARCHIVE_KILL_EVERY`` (seconds; 0 kills nothing) say how large; ``make archives`` makes the large ones.
"""

import json
import os
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from support.archive import fill, listed
from support.buckets import s3_client_of
from support.killing import FAST_RECOVERY, kill_and_restart, running_tasks

from demo.airflow import LocalAirflow
from veo_provider.sandbox.process import Sandbox

IMAGES = int(os.environ.get("ARCHIVE_IMAGES", "40"))
IN_FLIGHT = int(os.environ.get("ARCHIVE_IN_FLIGHT", "10"))
MEAN = float(os.environ.get("ARCHIVE_SECONDS", "5"))
KILL_EVERY = float(os.environ.get("ARCHIVE_KILL_EVERY", "0"))
PRICE = 0.30
LOOK_EVERY = 0.5
REPORT_EVERY = 30.0
EARLY = 1000
"""Videos after which memory should not grow any more."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    data = tmp_path_factory.mktemp("sandbox")
    with Sandbox(
        film="small",
        latency=MEAN,
        latency_sigma=0.5,
        content_delay=0,
        balance=IMAGES + 100.0,
        data=data,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, sandbox):
    connection = json.loads(sandbox.veo_conn())
    # A hundred generations that take ten seconds are looked at more often than a hundred that take ninety.
    connection["extra"]["polls_per_second"] = 200
    env = {
        "AIRFLOW_CONN_VEO_DEFAULT": json.dumps(connection),
        "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
        "ARCHIVE_IN_FLIGHT": str(IN_FLIGHT),
        # A busy machine is no dead one: where nothing is killed, nobody needs to be taken for dead soon.
        **(FAST_RECOVERY if KILL_EVERY else {}),
    }
    dags = Path(__file__).parent / "dags"
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), dags, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def s3(sandbox):
    client = s3_client_of(sandbox)
    yield client
    client.close()


@dataclass
class Watch:
    """What is seen of Airflow's processes while the archive is made."""

    airflow: LocalAirflow
    launches: set[int] = field(default_factory=set)
    peaks: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)

    def look(self):
        """Count launches, and note how much memory a task and the triggerer hold."""
        triggerer = psutil.Process(self.airflow.pid("triggerer"))
        seen = {"worker": running_tasks(self.airflow), "triggerer": triggerer.children(recursive=True)}
        self.launches |= {task.pid for task in seen["worker"]}
        for who, processes in seen.items():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    self.peaks[who] = max(self.peaks[who], process.memory_info().rss)

    def kill(self, who):
        """Kill a running task, or a component with all that it started."""
        if who == "worker":
            tasks = running_tasks(self.airflow)
            for task in tasks:
                task.kill()
            self.killed[who] += len(tasks)
        else:
            kill_and_restart(self.airflow, who)
            self.killed[who] += 1

    def megabytes(self):
        return {who: round(peak / 2**20) for who, peak in sorted(self.peaks.items())}


@pytest.fixture(scope="module")
def run(airflow, sandbox, s3):
    """Make the archive; returns what the task returned."""
    fill(s3, "images", "archive/", IMAGES)
    chance = random.Random(11)  # noqa: S311 - no secret is made of it
    airflow.wait_for_dag("archive")
    watch, began = Watch(airflow), time.monotonic()
    run_id = airflow.trigger("archive")
    next_kill, next_report, early = began + KILL_EVERY, began, {}
    while airflow.dag_run("archive", run_id)["state"] not in {"success", "failed"}:
        until = time.monotonic() + REPORT_EVERY / 6
        while time.monotonic() < until:
            time.sleep(LOOK_EVERY)
            with suppress(psutil.NoSuchProcess):  # it ended by itself in that moment
                watch.look()
                if KILL_EVERY and time.monotonic() >= next_kill:
                    watch.kill(chance.choice(["worker", "triggerer", "scheduler"]))
                    next_kill = time.monotonic() + chance.uniform(0.5, 1.5) * KILL_EVERY
        done = sandbox.summary()["count"]
        early = early or (watch.megabytes() if done >= EARLY else {})
        if time.monotonic() >= next_report:
            next_report = time.monotonic() + REPORT_EVERY
            print(f"{time.monotonic() - began:.0f} s: {done} completed, {watch.megabytes()}", flush=True)
    took, ideal = time.monotonic() - began, IMAGES * MEAN / IN_FLIGHT
    assert airflow.dag_run("archive", run_id)["state"] == "success"
    result = airflow.xcom("archive", run_id, "make")
    launches, own = len(watch.launches), result["seconds"]
    print(result)
    print(f"wall time {took:.0f} s, {took / ideal:.3f} of {ideal:.0f} s; the task's own {own:.0f} s")
    print(f"{launches} launches, {100 * launches / IMAGES:.2f} for 100 videos; killed {dict(watch.killed)}")
    print(f"peaks in MiB: {early} after {EARLY} videos, {watch.megabytes()} after all of them")
    print(sandbox.summary())
    return result


@pytest.fixture(scope="module")
def receipts(run, s3):
    keys = [key for key in listed(s3, "videos", "archive/") if key.endswith(".veo.json")]
    return {key: json.loads(s3.get_object(Bucket="videos", Key=key)["Body"].read()) for key in keys}


@pytest.mark.timeout(7200)
def test_every_image_is_accounted_for(run, receipts):
    """Each has its video, but for those of which nobody can know whether they were submitted."""
    states = Counter(receipt["state"] for receipt in receipts.values())
    print(f"receipts: {dict(states)}")
    assert sum(run["counts"].values()) == len(receipts) == IMAGES
    assert run["counts"]["stored"] == states["stored"]
    assert set(run["counts"]) <= ({"stored", "unknown"} if KILL_EVERY else {"stored"})


def test_the_bill_is_that_of_the_receipts(run, receipts, sandbox):
    """No image is charged twice, and to the cent nothing is charged that no receipt tells of."""
    charged = {task["task_id"] for task in sandbox.charges()["tasks"]}
    prompts = {task["task_id"]: task["prompt"] for task in sandbox.tasks()}
    assert max(Counter(prompts[task_id] for task_id in charged).values()) == 1
    stored = {one["veo_task_id"] for one in receipts.values() if one["state"] == "stored"}
    unknown = {f"Video of {key[8:14]}" for key, one in receipts.items() if one["state"] != "stored"}
    assert stored <= charged
    assert {prompts[task_id] for task_id in charged - stored} <= unknown
    bill = sandbox.summary()["usd"]
    print(f"bill ${bill:.2f}, of which ${PRICE * len(charged - stored):.2f} for images of unknown fate")
    assert bill == pytest.approx(PRICE * len(charged), abs=0.001)
    assert run["cost_usd"] <= bill + 0.001
    assert bill <= run["cost_usd"] + run["unknown_usd"] + 0.001
    assert KILL_EVERY or bill == pytest.approx(run["cost_usd"], abs=0.001)


def test_the_summary_has_a_row_for_each(run, s3):
    """In the archive's order, with what was charged."""
    bucket, _, key = run["summary_uri"].removeprefix("s3://").partition("/")
    lines = s3.get_object(Bucket=bucket, Key=key)["Body"].iter_lines()
    rows = [json.loads(line) for line in lines]
    assert [row["key"] for row in rows] == [f"archive/{number:06}.jpg" for number in range(IMAGES)]
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(run["cost_usd"], abs=0.001)
    assert Counter(row["outcome"] for row in rows) == run["counts"]


def test_nothing_is_left_over(run, s3):
    """No unfinished upload, no notes."""
    assert s3.list_multipart_uploads(Bucket="videos").get("Uploads", []) == []
    assert [key for key in listed(s3, "videos", "archive/_veo/") if "/notes/" in key] == []


def test_the_key_is_nowhere(run, airflow, sandbox):
    """Neither logs nor database hold the API key."""
    key = sandbox.api_key.encode()
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert [path for path in files if key in path.read_bytes()] == []
