"""Everything that can go wrong, at once: faults of every class, and processes killed at random.

``CHAOS_VIDEOS`` says how many videos; ``make chaos`` makes 300 of them, ``make test`` a few.
``CHAOS_GATEWAY`` says which gateway the sandbox plays; ``make gateways-chaos`` goes through all of them.
"""

import hashlib
import json
import math
import os
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.buckets import s3_client_of
from support.faces import MODELS
from support.killing import FAST_RECOVERY, kill_and_restart, running_tasks

from demo.airflow import LocalAirflow
from veo_provider.media.mp4 import Mp4Parser
from veo_provider.sandbox.process import Sandbox

VIDEOS = int(os.environ.get("CHAOS_VIDEOS", "8"))
GATEWAY = os.environ.get("CHAOS_GATEWAY", "apiyi")
KILLED_TASKS = 0.2
"""The share of all task processes that is killed, each at some moment of its life."""
TASK_SECONDS = 6.0
REPORT_SECONDS = 15.0
COMPONENTS = ("triggerer", "triggerer", "scheduler")
COMPONENT_SECONDS = 60.0
"""How often one of these is killed with all that it started, the running tasks included."""
BUSY = {"code": "upstream_load_saturated", "message": "busy", "data": None}
BLOCKED = {"code": "PUBLIC_ERROR_UNSAFE", "message": "blocked by safety"}
WRECKED = {"code": "INTERNAL", "message": "the file was lost"}
FIREWALL = {"status": 403, "text": "<!doctype html><title>Access denied</title>"}
WRAPPED = {
    "wrap": True,
    "words": {
        "queued": "NOT_START",
        "in_progress": "IN_PROGRESS",
        "completed": "SUCCESS",
        "failed": "FAILURE",
    },
}
NO_RETRY = ("No request for this model will be accepted again", "No retry brings the video back")
"""What a task says when no retry can help: its model is retired, or its video was charged and is lost."""
PAD = 1_000_000


def by_chance(*rules):
    """Give each rule a seed of its own, so that they do not strike together."""
    return [{"seed": seed, **rule} if "probability" in rule else rule for seed, rule in enumerate(rules)]


def one_at_a_time(*rules, calls=5000):
    """Let each call meet one rule at most: no service says 429 and accepts the submission all the same."""
    # With this seed, the first ten calls meet a retired model, a lost answer, a gateway without a channel,
    # informational answers, 429, an answer that breaks off after the id, and a charged video that is lost.
    chance = random.Random(16282)  # noqa: S311 - no secret is made of it
    weights = [rule.pop("probability") for rule in rules]
    struck = chance.choices([*range(len(rules)), None], [*weights, 1 - sum(weights)], k=calls)
    return [
        {**rule, "occurrence": [call for call, found in enumerate(struck, 1) if found == number]}
        for number, rule in enumerate(rules)
    ]


def two_versions(task):
    """Cut a video's first download, and go on with a part of another version of the same length."""
    content = {"call": "content", "task": task, "pad": PAD}
    return [
        {**content, "occurrence": 2, "truncate": 0.9},
        {**content, "occurrence": 3, "etag": "mixed"},
    ]


FAULTS = one_at_a_time(
    {"call": "submit", "probability": 0.10, "status": 429, "headers": {"Retry-After": "2"}},
    {"call": "submit", "probability": 0.05, "status": 429},
    {"call": "submit", "probability": 0.05, "status": 403, "body": BUSY},
    {"call": "submit", "probability": 0.02, "status": 503, "accept": True},
    {"call": "submit", "probability": 0.02, "status": 502},
    {"call": "submit", "probability": 0.02, "reset": "before"},
    {"call": "submit", "probability": 0.02, "reset": "after"},
    {"call": "submit", "probability": 0.02, "garbage": "json", "accept": True},
    {"call": "submit", "probability": 0.05, "fail": {"code": "oops", "message": "upstream broke"}},
    {"call": "submit", "probability": 0.02, "fail": BLOCKED},
    {"call": "submit", "probability": 0.02, "filtered": 502},
    {"call": "submit", "probability": 0.03, "early": 103},
    {"call": "submit", "probability": 0.03, "early": [100, 102, 103, 199]},
    {"call": "submit", "probability": 0.01, "status": 102, "accept": True},
    {"call": "submit", "probability": 0.01, "status": 999, "accept": True},
    {"call": "submit", "probability": 0.01, "accept": True, **FIREWALL},
    {"call": "submit", "probability": 0.02, "framing": "chunk"},
    {"call": "submit", "probability": 0.02, "framing": "length"},
    {"call": "submit", "probability": 0.02, "framing": "cut"},
    {"call": "submit", "probability": 0.02, "framing": "encoding"},
    {"call": "submit", "probability": 0.02, **WRAPPED},
    {"call": "submit", "probability": 0.02, "no_channel": 503},
    {"call": "submit", "probability": 0.01, "no_channel": 500},
    {"call": "submit", "probability": 0.01, "retired": 404},
    {"call": "submit", "probability": 0.01, "retired": 400},
    {"call": "submit", "probability": 0.02, "completed_error": WRECKED},
) + by_chance(
    {"call": "poll", "probability": 0.05, "status": 503},
    {"call": "poll", "probability": 0.03, "reset": "before"},
    {"call": "poll", "probability": 0.03, "garbage": True},
    {"call": "poll", "probability": 0.03, "status": 429, "headers": {"Retry-After": "3"}},
    {"call": "poll", "probability": 0.05, "task_status": "unknown"},
    {"call": "content", "per_task": True, "first": 1, "status": 400},
    {"call": "content", "probability": 0.10, "truncate": 0.6},
    {"call": "content", "probability": 0.05, "truncate": 90_000, "reset": "before"},
    {"call": "content", "probability": 0.05, "status": 502},
    {"call": "content", "probability": 0.05, "garbage": "mp4"},
    {"call": "content", "probability": 0.05, "drip": 200_000},
    {"call": "content", "probability": 0.10, "pad": 20_000_000},
    {"call": "poll", "probability": 0.10, "early": [102, 103]},
    {"call": "poll", "probability": 0.08, "other_task": True},
    {"call": "poll", "probability": 0.10, **WRAPPED},
    {"call": "poll", "probability": 0.01, "framing": "chunk"},
    {"call": "poll", "probability": 0.01, "framing": "length"},
    {"call": "poll", "probability": 0.01, "framing": "cut"},
    {"call": "poll", "probability": 0.01, "framing": "encoding"},
    {"call": "poll", "probability": 0.02, **FIREWALL},
    {"call": "poll", "probability": 0.02, "status": 404, "body": {"detail": "Not Found"}},
    {"call": "poll", "probability": 0.01, "status": 999},
    {"call": "content", "probability": 0.10, "early": 103},
    {"call": "content", "probability": 0.03, **FIREWALL},
    {"call": "content", "probability": 0.10, "etag": "weak"},
    {"call": "content", "probability": 0.05, "etag": "none"},
    {"call": "content", "probability": 0.05, "etag": "new"},
    *(rule for task in range(1, VIDEOS + 1, 4) for rule in two_versions(task)),
)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    data = tmp_path_factory.mktemp("sandbox")
    with Sandbox(gateway=GATEWAY, latency=10, faults=FAULTS, data=data) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, sandbox):
    env = {
        "AIRFLOW_CONN_VEO_DEFAULT": sandbox.veo_conn(),
        "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(VIDEOS),
        **FAST_RECOVERY,
        "CHAOS_VIDEOS": str(VIDEOS),
        "CHAOS_MODEL": MODELS.get(GATEWAY, ""),
    }
    dags = Path(__file__).parent / "dags"
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), dags, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def s3(sandbox):
    client = s3_client_of(sandbox)
    yield client
    client.close()


class Killer:
    """SIGKILLs running tasks, as the kernel does when memory is short, and now and then a component."""

    def __init__(self, airflow):
        self._airflow = airflow
        self._chance = random.Random(7)  # noqa: S311 - no secret is made of it
        self._ends = {}
        self._next_component = time.monotonic() + COMPONENT_SECONDS / 2
        self.killed = Counter()

    def strike(self):
        """Kill whose time has come."""
        now = time.monotonic()
        for task in running_tasks(self._airflow):
            self._ends.setdefault(task.pid, now + self._life())
            if now >= self._ends[task.pid]:
                task.kill()
                self.killed["task"] += 1
        if now >= self._next_component:
            component = self._chance.choice(COMPONENTS)
            kill_and_restart(self._airflow, component)
            self.killed[component] += 1
            self._next_component = now + self._chance.uniform(0.5, 1.5) * COMPONENT_SECONDS

    def _life(self):
        """Decide how long a task that was just seen may live, in seconds."""
        return self._chance.uniform(0, TASK_SECONDS) if self._chance.random() < KILLED_TASKS else math.inf


@pytest.fixture(scope="module")
def run(airflow):
    """Make all videos while things are killed; returns the run's id and its task instances."""
    killer, began = Killer(airflow), time.monotonic()
    airflow.wait_for_dag("chaos")
    run_id = airflow.trigger("chaos")
    while airflow.dag_run("chaos", run_id)["state"] not in {"success", "failed"}:
        report(airflow, run_id, began, killer)
        until = time.monotonic() + REPORT_SECONDS
        while time.monotonic() < until:
            time.sleep(0.3)
            with suppress(psutil.NoSuchProcess):  # it ended by itself in that moment
                killer.strike()
    return run_id, report(airflow, run_id, began, killer)


def report(airflow, run_id, began, killer):
    """Say how far the run is, and return its task instances."""
    instances = airflow.task_instances("chaos", run_id)
    states = dict(Counter(one["state"] for one in instances))
    print(f"{time.monotonic() - began:.0f} s: {states}, killed {dict(killer.killed)}", flush=True)
    return instances


def objects(s3):
    listed = s3.get_paginator("list_objects_v2").paginate(Bucket="videos", Prefix="chaos/")
    return {found["Key"] for page in listed for found in page.get("Contents", [])}


def receipts(s3):
    keys = [key for key in objects(s3) if key.endswith(".veo.json")]
    return {key: json.loads(s3.get_object(Bucket="videos", Key=key)["Body"].read()) for key in keys}


@pytest.mark.timeout(4500)
def test_every_task_ends(run):
    """Each task ends as success or failure, and none is forgotten."""
    _, instances = run
    assert len(instances) == VIDEOS
    assert {one["state"] for one in instances} <= {"success", "failed"}


def test_no_generation_is_charged_twice(run, sandbox, s3):
    """For each video at most one generation is charged, and what is stored was charged once."""
    charged = {task["task_id"] for task in sandbox.charges()["tasks"]}
    by_video = Counter(task["prompt"] for task in sandbox.tasks() if task["task_id"] in charged)
    print(f"bill: {sandbox.charges()['count']} generations, ${sandbox.charges()['usd']:.2f}")
    assert {video: times for video, times in by_video.items() if times > 1} == {}
    prompts = {task["task_id"]: task["prompt"] for task in sandbox.tasks()}
    stored = {key: one["veo_task_id"] for key, one in receipts(s3).items() if one["state"] == "stored"}
    assert set(stored.values()) <= charged
    assert {key: prompts[veo_task_id] for key, veo_task_id in stored.items()} == {
        key: f"Video {int(key[6:10])}" for key in stored
    }


def test_every_charge_is_stored_or_told(run, sandbox, s3):
    """What is charged is in its place, or its receipt says: of unknown fate, lost, or still to be fetched."""
    found = receipts(s3)
    print(f"receipts: {dict(Counter(one['state'] for one in found.values()))}")
    prompts = {task["task_id"]: task["prompt"] for task in sandbox.tasks()}
    for veo_task_id in (task["task_id"] for task in sandbox.charges()["tasks"]):
        number = int(prompts[veo_task_id].removeprefix("Video "))
        receipt = found[f"chaos/{number:04d}.mp4.veo.json"]
        if receipt["state"] in {"stored", "lost", "submitted"}:
            assert receipt["veo_task_id"] == veo_task_id
        else:
            assert receipt["state"] in {"unknown", "claimed"}, (receipt["state"], receipt.get("reason"))


def test_every_stored_video_is_whole(run, s3):
    """Each object is the whole MP4 that its receipt describes, and there is none without a receipt."""
    found = receipts(s3)
    videos = {key for key in objects(s3) if not key.endswith(".veo.json")}
    assert videos <= {key.removesuffix(".veo.json") for key in found}
    for key in videos:
        whole = s3.get_object(Bucket="videos", Key=key)
        body = whole["Body"].read()
        walker = Mp4Parser()
        walker.feed(body)
        walker.finish(len(body))
        assert whole["Metadata"]["veo_task_id"] == found[f"{key}.veo.json"]["veo_task_id"]
        assert found[f"{key}.veo.json"]["video"]["sha256"] == hashlib.sha256(body).hexdigest()
        if body[-PAD:].startswith(PAD.to_bytes(4, "big") + b"free"):
            assert len(set(body[8 - PAD :])) == 1, f"{key} is joined from two versions"


def test_no_video_is_lost(run, s3):
    """A successful task has its video; a failed one has a receipt that says why, or how far it came."""
    _, instances = run
    found = receipts(s3)
    for one in instances:
        receipt = found.get(f"chaos/{one['map_index']:04d}.mp4.veo.json")
        if one["state"] == "success":
            assert receipt["state"] == "stored"
        else:
            assert receipt["state"] in {"claimed", "unknown", "failed", "submitted", "lost", "refused"}


@pytest.fixture(scope="module")
def failed_logs(run, airflow):
    """The logs of each task that failed, one for each of its tries, by its number."""
    run_id, instances = run
    return {
        one["map_index"]: [
            airflow.task_log("chaos", run_id, "make", number, one["map_index"])
            for number in range(1, one["try_number"] + 1)
        ]
        for one in instances
        if one["state"] == "failed"
    }


def test_every_failure_names_its_cause(failed_logs):
    """A failed task's log says what happened and what it cost; its last try may have been killed."""
    causes = ("may have been accepted", "Change the image or the prompt", "not charged", *NO_RETRY)
    for number, logs in failed_logs.items():
        assert any(cause in log for cause in causes for log in logs), (number, logs[-1][-2000:])


def test_what_no_retry_can_cure_is_not_retried(failed_logs):
    """A model that is retired, and a video that is charged and lost, are the end of their task."""
    for number, logs in failed_logs.items():
        assert not any(words in log for words in NO_RETRY for log in logs[:-1]), (number, len(logs))


def test_no_upload_is_orphaned(run, s3):
    """No unfinished multipart upload is left in the bucket."""
    assert s3.list_multipart_uploads(Bucket="videos").get("Uploads", []) == []


def test_the_key_is_nowhere(run, airflow, sandbox, s3):
    """Neither logs nor database nor receipts hold the API key."""
    key = sandbox.api_key.encode()
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert [path for path in files if key in path.read_bytes()] == []
    assert key.decode() not in json.dumps(receipts(s3))
