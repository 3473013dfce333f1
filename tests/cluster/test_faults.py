"""A cluster under faults: what a failover of any part costs, in seconds, in attempts and in money.

``CLUSTER_SINGLES``, ``CLUSTER_BATCH``, ``CLUSTER_PAUSE`` and ``CLUSTER_LATENCY`` (both in seconds) say how
large; ``make cluster-faults`` has 200 single videos, a batch of 500 and pauses of three minutes. Each fault
gets a run of its own.
"""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from support.archive import fill, listed
from support.buckets import s3_client_of

from demo.cluster import BATCH_QUEUE, CeleryAirflow
from veo_provider.sandbox.process import Sandbox

SINGLES = int(os.environ.get("CLUSTER_SINGLES", "20"))
BATCH = int(os.environ.get("CLUSTER_BATCH", "50"))
PAUSE = float(os.environ.get("CLUSTER_PAUSE", "45"))
LATENCY = float(os.environ.get("CLUSTER_LATENCY", "60"))
AWAY = 5.0
"""How long a server is away that is restarted, in seconds."""
LOOK_EVERY = 0.2
PATIENCE = 3000.0
"""When a run is given up, in seconds."""
TRIGGERERS = ("triggerer-1", "triggerer-2")
WORKERS = ("worker-1", "worker-2")
SLOW_UPLOADS = [{"call": "content", "pad": 1_000_000, "drip": 200_000, "probability": 0.5}]
SLOW_ANSWERS = [{"call": "submit", "delay": 2, "probability": 0.5}]

WAITS = "select count(*) from task_instance where dag_id = 'cluster' and run_id = %s and state = 'deferred'"
RUNNING = (
    "select pid, map_index from task_instance where dag_id = 'cluster' and run_id = %s"
    " and task_id = 'single' and state = 'running' and pid is not null and next_method is {} null"
)
ORPHANED = (
    "select count(*) from trigger join job on job.id = trigger.triggerer_id"
    " where job.latest_heartbeat < to_timestamp(%s) or job.state <> 'running'"
)
ENDED = (
    "select count(*) from task_instance where dag_id = 'cluster' and run_id = %s"
    " and state = 'success' and end_date > to_timestamp(%s)"
)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    data = tmp_path_factory.mktemp("sandbox")
    with Sandbox(
        film="small", latency=LATENCY, latency_sigma=0.3, content_delay=0, balance=100_000, data=data
    ) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, sandbox):
    env = {
        "AIRFLOW_CONN_VEO_DEFAULT": sandbox.veo_conn(),
        "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
        "CLUSTER_BATCH_QUEUE": BATCH_QUEUE,
    }
    with CeleryAirflow(
        tmp_path_factory.mktemp("airflow"), Path(__file__).parent / "dags", env=env
    ) as running:
        running.wait_for_dag("cluster")
        yield running


@pytest.fixture(scope="module")
def s3(sandbox):
    client = s3_client_of(sandbox)
    yield client
    client.close()


@dataclass
class Run:
    """A run of the DAG, and what is seen of it while the cluster is hurt."""

    airflow: CeleryAirflow
    sandbox: Sandbox
    folder: str
    run_id: str
    seen: dict[str, object] = field(default_factory=dict)
    hurt: frozenset[str] = frozenset()
    restarts: Counter[str] = field(default_factory=Counter)

    def ask(self, sql, *values):
        """Ask the database, which may be away."""
        try:
            return self.airflow.query(sql, *values)
        except psycopg2.Error:
            return None

    def until(self, happened):
        """Wait until something has happened, and return what it said."""
        deadline = time.monotonic() + PATIENCE
        while not (found := happened()):
            assert self.state() not in {"success", "failed"}, f"The run ended before {happened}."
            assert time.monotonic() < deadline, f"{happened} did not happen."
            time.sleep(LOOK_EVERY)
        return found

    def state(self):
        rows = self.ask("select state from dag_run where dag_id = 'cluster' and run_id = %s", self.run_id)
        return rows[0][0] if rows else None

    def waits(self):
        """Tell whether nearly all single videos wait, and the batch has submitted."""
        rows = self.ask(WAITS, self.run_id)
        batch = sum("in a batch" in one["prompt"] for one in self.sandbox.tasks())
        return rows is not None and rows[0][0] >= 0.9 * SINGLES and batch >= min(BATCH / 5, 50)

    def uploading(self):
        """Find a worker that runs a single video after its wait."""
        return self._worker_of({pid for pid, _ in self.ask(RUNNING.format("not"), self.run_id) or []})

    def submitting(self):
        """Find a worker whose task waits for the answer to a submission that is accepted."""
        rows = self.ask(RUNNING.format(""), self.run_id) or []
        accepted = {one["prompt"] for one in self.sandbox.tasks()}
        return self._worker_of({pid for pid, number in rows if f"{self.folder} single {number}" in accepted})

    def _worker_of(self, pids):
        for worker in WORKERS:
            if pids & {one.pid for one in self.airflow.family(worker)}:
                return worker
        return None

    def recover(self):
        """Measure how long it takes from now until all is well, and until the first task succeeds."""
        began, since = time.monotonic(), time.time()
        happened = {
            "all well": lambda: self.airflow.healthy() >= set(self.airflow.components),
            "waits taken over": lambda: self.ask(ORPHANED, since) == [(0,)],
            "first success": lambda: (self.ask(ENDED, self.run_id, since) or [(0,)])[0][0],
        }
        while happened and self.state() not in {"success", "failed"}:
            for what in [*happened]:
                # Before the new processes have given a sign of life, nobody can tell whose waits are whose.
                early = what == "waits taken over" and "all well" in happened
                if not early and happened[what]():
                    del happened[what]
                    self.seen[what] = round(time.monotonic() - began, 1)
            time.sleep(LOOK_EVERY)


# Each returns what it has killed or stopped, and so must have been started again.


def kill(run, name):
    run.airflow.kill(name)
    return [name]


def kill_triggerer(run):
    run.until(run.waits)
    return kill(run, TRIGGERERS[0])


def pause_triggerers(run):
    run.until(run.waits)
    for name in TRIGGERERS:
        run.airflow.send(name, signal.SIGSTOP)
    time.sleep(PAUSE)
    for name in TRIGGERERS:
        run.airflow.send(name, signal.SIGCONT)
    return []


def kill_worker_that_uploads(run):
    run.sandbox.add_faults(SLOW_UPLOADS)
    return kill(run, run.until(run.uploading))


def kill_worker_that_submits(run):
    run.sandbox.add_faults(SLOW_ANSWERS)
    return kill(run, run.until(run.submitting))


def restart(name, run):
    run.until(run.waits)
    run.airflow.restart(name, AWAY)
    return [name]


def kill_everything(run):
    run.until(run.waits)
    with run.airflow.holding(run.airflow.everything):
        for name in reversed(run.airflow.everything):
            run.airflow.kill(name)
    return run.airflow.everything


FAULTS = {
    "triggerer-killed": kill_triggerer,
    "triggerers-paused": pause_triggerers,
    "worker-killed-uploading": kill_worker_that_uploads,
    "worker-killed-submitting": kill_worker_that_submits,
    "redis-restarted": partial(restart, "redis"),
    "postgres-restarted": partial(restart, "postgres"),
    "api-server-restarted": partial(restart, "api-server"),
    "dag-processor-restarted": partial(restart, "dag-processor"),
    "everything-killed": kill_everything,
}


@pytest.fixture(scope="module", params=FAULTS)
def run(request, airflow, sandbox, s3):
    """Make single videos and a batch while the cluster is hurt; returns the run, which has ended."""
    sandbox.clear_faults()
    sandbox.reset()
    fill(s3, "images", f"{request.param}/", BATCH)
    began, before = time.monotonic(), Counter(airflow.restarts)
    conf = {"folder": request.param, "singles": SINGLES}
    run = Run(airflow, sandbox, request.param, airflow.trigger("cluster", conf))
    run.hurt = frozenset(FAULTS[request.param](run))
    run.recover()
    deadline = time.monotonic() + PATIENCE
    while run.state() not in {"success", "failed"} and time.monotonic() < deadline:
        time.sleep(1)
    run.restarts = airflow.restarts - before
    run.seen["whole run"] = round(time.monotonic() - began, 1)
    return run


@pytest.fixture
def charged(sandbox, run):
    """How often each prompt was charged."""
    prompts = {task["task_id"]: task["prompt"] for task in sandbox.tasks()}
    return Counter(prompts[task["task_id"]] for task in sandbox.charges()["tasks"])


def attempts(run):
    """Count attempts beyond the first."""
    sql = "select sum(try_number - 1) from task_instance where dag_id = 'cluster' and run_id = %s"
    return run.airflow.query(sql, run.run_id)[0][0]


@pytest.mark.timeout(2 * PATIENCE)
def test_no_task_fails(run):
    """Airflow's retries are enough: each task ends as success."""
    states = run.airflow.query(
        "select task_id, state, count(*) from task_instance"
        " where dag_id = 'cluster' and run_id = %s group by 1, 2",
        run.run_id,
    )
    print(f"\n{run.folder}: {run.seen}, {attempts(run)} attempts more, restarts {dict(run.restarts)}")
    assert {(task, state): count for task, state, count in states} == {
        ("plan", "success"): 1,
        ("single", "success"): SINGLES,
        ("batch", "success"): 1,
    }


def test_each_video_is_charged_once(run, charged):
    """As many charges as videos, and none for the same prompt."""
    singles = {f"{run.folder} single {number}" for number in range(SINGLES)}
    batch = {f"{number:06} in a batch" for number in range(BATCH)}
    assert set(charged) == singles | batch
    assert set(charged.values()) == {1}


def test_no_video_is_lost(run, s3):
    """Each image has its video, and nothing else lies in its folder."""
    stored = [key for key in listed(s3, "videos", f"{run.folder}/") if key.endswith(".mp4")]
    assert len(stored) == SINGLES + BATCH


def test_no_upload_is_left_open(run, s3):
    """No multipart upload is left, whoever was killed."""
    assert s3.list_multipart_uploads(Bucket="videos").get("Uploads", []) == []


def test_the_faults_were_there(run):
    """Nothing of the above would say anything if nobody had been hurt."""
    assert run.hurt <= set(run.restarts)
