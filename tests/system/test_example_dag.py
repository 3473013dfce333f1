"""The example DAG in a whole running Airflow: a photograph becomes a video, paid for once."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import pytest
from support.buckets import s3_client_of

if TYPE_CHECKING:
    from pathlib import Path

    from demo.airflow import LocalAirflow
    from veo_provider.sandbox.process import Sandbox

DAG_ID = "veo_image_to_video"
LOOKS = 5
"""At the pool while the sensor is deferred; before that, the generation does not finish."""


@dataclass
class ExampleRun:
    """What was seen of a run: how it ended, and the pool at the moments when a task was in a state."""

    airflow: LocalAirflow
    sandbox: Sandbox
    run_id: str
    state: str = "running"
    pools: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    contents_while_deferred: dict[str, bytes] = field(default_factory=dict)

    def xcom(self, task_id: str) -> Any:
        """Return what a task returned."""
        return self.airflow.xcom(DAG_ID, self.run_id, task_id)

    def states(self) -> dict[str, str]:
        """Return the state of each task."""
        instances = self.airflow.task_instances(DAG_ID, self.run_id)
        return {instance["task_id"]: instance["state"] for instance in instances}

    def watch(self) -> None:
        """Follow the run to its end."""
        while (state := self.airflow.dag_run(DAG_ID, self.run_id)["state"]) not in {"success", "failed"}:
            before, pool, after = self.states(), self.airflow.pool(), self.states()
            for task_id, task_state in before.items():
                if after[task_id] == task_state:
                    self.pools[task_id, task_state].append(pool)
            if before["wait"] == "deferred" and not self.contents_while_deferred:
                self.contents_while_deferred = contents(self.airflow.home)
            if len(self.pools["wait", "deferred"]) >= LOOKS:
                self.sandbox.clear_faults()
            time.sleep(0.5)
        self.state = state


def contents(home: Path) -> dict[str, bytes]:
    """Return each file's bytes, and the database also as SQL: in its pages a long value may be split."""
    found = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with closing(sqlite3.connect(f"file:{home / 'airflow.db'}?mode=ro", uri=True)) as database:
        found["airflow.db as SQL"] = "\n".join(database.iterdump()).encode()
    return found


@pytest.fixture(scope="module")
def example(airflow: LocalAirflow, sandbox: Sandbox) -> ExampleRun:
    """Run the example DAG once, from its trigger to its end."""
    airflow.wait_for_dag(DAG_ID)
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    run = ExampleRun(airflow, sandbox, airflow.trigger(DAG_ID))
    run.watch()
    return run


def test_the_run_succeeds(example: ExampleRun) -> None:
    """Every task of the example DAG succeeds at its first try."""
    tasks = example.airflow.task_instances(DAG_ID, example.run_id)
    outcome = {task["task_id"]: (task["state"], task["try_number"]) for task in tasks}
    log = "\n".join(
        example.airflow.task_log(DAG_ID, example.run_id, name, tries)
        for name, (state, tries) in outcome.items()
        if state == "failed"
    )
    assert outcome == dict.fromkeys(("submit", "wait", "store"), ("success", 1)), log


def test_submit_hands_on_the_task_id_and_nothing_else(example: ExampleRun) -> None:
    """The XCom value of the submission is the API's task id, a plain string."""
    [charged] = example.sandbox.charges()["tasks"]
    assert example.xcom("submit") == charged["task_id"]


def test_the_bill_is_one_generation(example: ExampleRun) -> None:
    """A run costs one generation at the fast model's price."""
    charges = example.sandbox.charges()
    assert (charges["count"], charges["usd"]) == (1, pytest.approx(0.30))


def test_the_video_in_s3_is_whole(example: ExampleRun, tmp_path: Path) -> None:
    """The MP4 in S3 decodes to its last frame: 8 s of 1280x720 H.264 with AAC sound."""
    stored = example.xcom("store")
    video = _download(example, stored["uri"], tmp_path / "video.mp4")
    with av.open(video) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (picture.width, picture.height) == (1280, 720)
        rate = picture.average_rate
        assert rate
        frames = sum(1 for _ in container.decode(picture))
        assert frames / rate == pytest.approx(8, abs=0.1)
    with av.open(video) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        assert samples / container.streams.audio[0].rate == pytest.approx(8, abs=0.1)
    assert (stored["bytes"], stored["width"], stored["height"]) == (video.stat().st_size, 1280, 720)
    assert stored["duration_seconds"] == pytest.approx(8, abs=0.1)


def test_no_worker_slot_is_held_while_the_sensor_waits(example: ExampleRun) -> None:
    """The sensor waits deferred, and meanwhile no slot of the pool is occupied."""
    pools = example.pools["wait", "deferred"]
    assert len(pools) >= LOOKS
    assert {(pool["occupied_slots"], pool["running_slots"], pool["deferred_slots"]) for pool in pools} == {
        (0, 0, 1)
    }


@pytest.mark.parametrize("moment", ["while deferred", "at the end"])
def test_the_api_key_is_written_nowhere(example: ExampleRun, moment: str) -> None:
    """No file of Airflow's has the API key: no log, no rendered template, no row of the database."""
    at_the_end = moment == "at the end"
    files = contents(example.airflow.home) if at_the_end else example.contents_while_deferred
    assert _holding(files, example.xcom("submit")), "the search must find what is there"
    assert _holding(files, example.sandbox.api_key) == []


def _holding(files: dict[str, bytes], text: str) -> list[str]:
    return [name for name, content in files.items() if text.encode() in content]


def _download(example: ExampleRun, uri: str, to: Path) -> Path:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3 = s3_client_of(example.sandbox)
    s3.download_file(bucket, key, str(to))
    return to
