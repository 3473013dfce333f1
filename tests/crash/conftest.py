"""What Airflow does around a task, with processes that can be killed."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.moments import until
from support.unasked import unasked

from veo_provider.receipts.receipt import SUFFIX, Receipt, ReceiptState
from veo_provider.s3.multipart_upload import PART_BYTES

BUCKET = "videos"
KEY = "clips/rocket.mp4"
URI = f"s3://{BUCKET}/{KEY}"
RECEIPT = KEY + SUFFIX
TRIES = 4
HINTS = ("https://api.apiyi.com/task", "veo_task_id", "resubmit")
"""What an error about a lost submission says, whose gateway is APIYI."""


class Processes:
    """Forks workers and triggerers from one warm parent, as Airflow's executors do."""

    def __init__(self, process):
        self._process = process

    def _ask(self, command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, **job):
        """Return the id of a process that does a job."""
        return self._ask({"run": job})

    def wait(self, pid):
        """Return how a process ended, or that it was stopped."""
        return self._ask({"wait": pid})


class Task:
    """One task instance: its tries, and between them what scheduler, executor and triggerer do.

    :param endings: for each process that ran, its stage and what came of it.
    """

    def __init__(self, processes, directory, env, operator, run_id="monday"):
        self._processes = processes
        self._directory = directory
        self._env = env
        self._operator = operator
        self._ti = {"dag_id": "clips", "run_id": run_id, "task_id": "rocket", "map_index": -1}
        self._count = 0
        self.settings = {
            "veo_provider.triggers.veo:FIRST_EVENT_SECONDS": 0.05,
            "veo_provider.generation.look_up:PAUSE_SECONDS": 0.05,
        }
        self.tries = 0
        self.endings = []

    def run(self, *moments, **changes):
        """Try until the task ends, with one process killed at each of the moments, and return its end.

        :param changes: parameters of the operator that someone has changed since.
        """
        self._operator = {**self._operator, **changes}
        self._moments = list(moments)
        last = self.tries + TRIES
        while self.tries < last:
            self.tries += 1
            end = self._try()
            if end["outcome"] in ("success", "failed"):
                break
        assert not self._moments, f"nothing came to {self._moments}: {self.endings}"
        return end

    def _try(self):
        """Run one try through its deferrals; a killed worker ends it, a killed triggerer is replaced."""
        end = self._process("execute")
        while end["outcome"] == "deferred":
            trigger = _shortened(end["trigger"])
            event = {"outcome": "killed"}
            while event["outcome"] == "killed":
                event = self._process("wait", trigger=trigger)
            end = self._process("resume", event=event["event"])
        return end

    def add_connection(self, name, connection):
        """Let its processes know another connection."""
        self._env = {**self._env, f"AIRFLOW_CONN_{name}": connection}

    def until_resume(self):
        """Begin a try, and return the event with which it would resume."""
        self.tries += 1
        deferred = self.process("execute")
        return self.process("wait", trigger=_shortened(deferred["trigger"]))["event"]

    def _process(self, stage, **job):
        end = self.process(stage, moment=self._moments[0] if self._moments else None, **job)
        if end["outcome"] == "killed":
            self._moments.pop(0)
        return end

    def process(self, stage, **job):
        """Run one process and return what came of it."""
        return self.finish(stage, self.start(stage, **job))

    def finish(self, stage, pid):
        """Return what came of the newest process, or that it is stopped."""
        how = self._processes.wait(pid)
        result = self.result()
        if how in ("killed by 9", "stopped"):
            assert result is None
            end = {"outcome": how.split()[0], "pid": pid}
        else:
            assert result, f"{stage} {how}: {self.log}"
            end = result
        self.endings.append((stage, end["outcome"]))
        return end

    def start(self, stage, *, output=None, **job):
        """Start one process and return its id."""
        self._count += 1
        return self._processes.start(
            stage=stage,
            result=str(self._directory / f"{self._count}.json"),
            log=str(self._directory / "log"),
            operator={**self._operator, **({"output": output} if output else {})},
            ti={**self._ti, "try_number": max(self.tries, 1)},
            env=self._env,
            settings=self.settings,
            **job,
        )

    @property
    def newest(self):
        """The number of the newest process."""
        return self._count

    def result(self, number=None):
        """Return what a process came to, the newest by default, or None if it was killed before."""
        result = self._directory / f"{number or self._count}.json"
        return json.loads(result.read_text()) if result.exists() else None

    @property
    def log(self):
        """All that its processes have said."""
        return (self._directory / "log").read_text()


def _shortened(trigger):
    """Return a trigger that waits for a claim a shorter time than its 15 seconds."""
    path, fields = trigger
    return [path, {name: 1 if name == "seconds" else value for name, value in fields.items()}]


class World:
    """What is left outside: the bill, the bucket, the receipt."""

    receipt_key = RECEIPT

    def __init__(self, sandbox, s3):
        self._sandbox = sandbox
        self._s3 = s3

    def submissions(self):
        """Return all that was accepted, when each of it has ended."""
        ended = ("completed", "failed")
        until(lambda: all(task["status"] in ended for task in self._sandbox.tasks()))
        return self._sandbox.tasks()

    def bill(self):
        """Return how many videos were charged, all told."""
        self.submissions()
        return self._sandbox.charges()["count"]

    def calls(self):
        """Return how often the API was called about each video."""
        return [(task["polls"], task["content_requests"]) for task in self._sandbox.tasks()]

    def objects(self):
        """Return the keys of everything in the bucket."""
        return sorted(found["Key"] for found in self._s3.list_objects_v2(Bucket=BUCKET).get("Contents", []))

    def uploads(self):
        """Return the unfinished uploads."""
        return self._s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])

    def receipt(self):
        """Return the receipt as the provider reads it."""
        return Receipt.from_json(self._body(RECEIPT), RECEIPT)

    def edit_receipt(self, **fields):
        """Change the receipt as a person does."""
        edited = {**json.loads(self._body(RECEIPT)), **fields}
        self._s3.put_object(Bucket=BUCKET, Key=RECEIPT, Body=json.dumps(edited, indent=2).encode())

    def _body(self, key):
        return self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def require_one_video(self, end, *, submissions=1):
        """Assert that all is as if nothing had ever gone wrong: one video, one receipt, one charge."""
        assert end["outcome"] == "success", end
        tasks = self.submissions()
        assert (len(tasks), self.bill()) == (submissions, 1)
        assert self.objects() == [KEY, RECEIPT]
        assert self.uploads() == []
        receipt, body = self.receipt(), self._body(KEY)
        assert receipt.state is ReceiptState.STORED
        assert receipt.veo_task_id == tasks[-1]["task_id"] == end["value"]["veo_task_id"]
        assert receipt.generations <= submissions
        assert receipt.video["bytes"] == len(body)
        assert receipt.video["sha256"] == hashlib.sha256(body).hexdigest()
        assert receipt.video["duration_seconds"] == 4.0
        assert [step["state"] for step in receipt.history][-1] == "stored"

    def require_unknown(self, end, *, accepted, hints=HINTS, may_retry=False):
        """Assert that the task has failed, says what to check, and paid no more than it had."""
        assert end["outcome"] in (["failed", "up for retry"] if may_retry else ["failed"]), end
        assert any("Unknown" in name for name in end["error"])
        for hint in hints:
            assert hint in end["message"]
        assert (len(self.submissions()), self.bill()) == (accepted, accepted)
        assert self.objects() == [RECEIPT]
        assert self.uploads() == []
        assert self.receipt().state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN)


@pytest.fixture(scope="session")
def _processes():
    command = [sys.executable, str(Path(__file__).parent / "worker.py")]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        yield Processes(process)
        process.stdin.close()


@pytest.fixture
def world(sandbox, s3):
    """An empty bucket, an empty bill, and videos of several parts."""
    for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=found["Key"])
    for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
    sandbox.add_faults([{"call": "content", "pad": 2 * PART_BYTES}])
    return World(sandbox, s3)


@pytest.fixture
def veo_connection(sandbox):
    """The connection to the API; of the default gateway, one that does not look lost responses up."""
    return unasked(sandbox) if sandbox.gateway == "apiyi" else sandbox.veo_conn()


@pytest.fixture
def new_task(_processes, world, sandbox, veo_connection, photo, tmp_path):
    """Makes the task instances of one task, one for each run; none of them ever says a secret."""
    env = {"AIRFLOW_CONN_VEO_DEFAULT": veo_connection, "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn()}
    operator = {
        "task_id": "rocket",
        "image": str(photo),
        "prompt": "The rocket lifts off",
        "seconds": "4",
        "output": URI,
        "poll_interval": 0.1,
    }
    made = []

    def make(run_id="monday", **changes):
        directory = tmp_path / run_id
        directory.mkdir()
        made.append(Task(_processes, directory, env, {**operator, **changes}, run_id))
        return made[-1]

    yield make
    for task in filter(lambda task: task.newest, made):
        for secret in (sandbox.api_key, sandbox.account_token, sandbox.aws_secret_access_key):
            assert secret not in task.log


@pytest.fixture
def task(new_task):
    """The task instance of Monday's run."""
    return new_task()
