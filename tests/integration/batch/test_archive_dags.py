"""The DAGs for many images that users copy, under `airflow dags test`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.usefixtures("airflow_db", "connections"), pytest.mark.slow]

DAGS = Path(__file__).parents[3] / "dags"


def run(dag_id, date):
    """Run a DAG of dags/ to its end, and return the command's exit code and log."""
    command = [sys.executable, "-m", "airflow", "dags", "test", dag_id, date]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS)},
    )
    return done.returncode, done.stdout


@pytest.fixture
def put(s3, photo):
    """Puts photographs, or other bytes, into the bucket for images; they are gone after the test."""
    keys = []

    def put(key, body=None):
        keys.append(key)
        s3.put_object(Bucket="images", Key=key, Body=photo.read_bytes() if body is None else body)

    yield put
    for key in keys:
        s3.delete_object(Bucket="images", Key=key)


def below(s3, prefix):
    """Return the objects below a prefix of the bucket for videos, as texts by their names."""
    found = s3.list_objects_v2(Bucket="videos", Prefix=prefix).get("Contents", [])
    return {
        each["Key"].removeprefix(prefix): s3.get_object(Bucket="videos", Key=each["Key"])["Body"].read()
        for each in found
    }


def test_a_day_of_an_archive_costs_what_was_agreed_and_once(sandbox, s3, put):
    """An estimate tells the price, a run pays it, and the same again pays nothing; other days stay away."""
    put("archive/2026-01-01/a cat.jpg")
    put("archive/2026-01-01/deep/dog.jpg")
    put("archive/2026-01-02/another day.jpg")
    bills = []
    for dag_id in ("veo_archive_estimate", "veo_archive_backfill", "veo_archive_backfill"):
        code, log = run(dag_id, "2026-01-01")
        assert code == 0, log
        bills.append(sandbox.charges()["usd"])
    assert bills == [0, 0.60, 0.60]
    assert sorted(task["prompt"] for task in sandbox.tasks()) == [
        "Slow zoom into a cat, the sounds of the place",
        "Slow zoom into dog, the sounds of the place",
    ]
    found = below(s3, "archive/2026-01-01/")
    assert {"a cat.jpg.mp4", "a cat.jpg.mp4.veo.json", "deep/dog.jpg.mp4"} <= set(found)
    summaries = [name for name in found if name.endswith("summary.jsonl")]
    rows = [json.loads(line) for name in summaries for line in found[name].splitlines()]
    assert {row["outcome"] for row in rows} - {"skipped"} == {"to make", "stored"}
    # Beside each run's summary lies how far it came; an estimate has a folder of its own.
    assert len([name for name in summaries if "/make/dry-run/" in name]) == 1


def test_what_is_new_in_a_folder_is_made_and_told(sandbox, s3, put):
    """Each image is a mapped task; one that is no image fails alone, and the summary has the others."""
    put("inbox/cat.jpg")
    put("inbox/sub/dog.jpg")
    put("inbox/notes.txt", b"no image")
    code, log = run("veo_media_etl", "2026-02-01")
    assert code == 0, log
    found = below(s3, "inbox/")
    (summary,) = (body for name, body in found.items() if name.startswith("_veo/"))
    assert sorted(json.loads(line)["uri"] for line in summary.splitlines()) == [
        "s3://videos/inbox/cat.jpg.mp4",
        "s3://videos/inbox/sub/dog.jpg.mp4",
    ]
    assert sandbox.charges()["usd"] == 0.60


def test_a_folder_without_anything_new_is_no_failure(sandbox):
    """Nothing is mapped, nothing is told, and nothing is paid."""
    code, log = run("veo_media_etl", "2026-02-02")
    assert code == 0, log
    assert "There was nothing new." in log
    assert sandbox.charges()["count"] == 0
