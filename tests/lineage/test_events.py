"""What OpenLineage's own provider says of each operator, in a running Airflow."""

import hashlib
import json
import time
from pathlib import Path

import pytest
from support.buckets import s3_client_of

from demo.airflow import LocalAirflow
from veo_provider.lineage.events import name_of, of_batch, of_object, of_submission
from veo_provider.sandbox.process import Sandbox

DAG_ID = "lineage"
PROMPT = "The rocket lifts off"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(latency=2.0) as running:
        yield running


@pytest.fixture(scope="module")
def events(sandbox, tmp_path_factory):
    """The last event of each task, after a run of the DAG, as a file has it."""
    home = tmp_path_factory.mktemp("airflow")
    told = home / "events.jsonl"
    transport = {"type": "file", "log_file_path": str(told), "append": True}
    env = {
        "AIRFLOW_CONN_VEO_DEFAULT": sandbox.veo_conn(),
        "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
    }
    with LocalAirflow(home, Path(__file__).parent / "dags", env=env) as airflow:
        airflow.wait_for_dag(DAG_ID)
        run_id = airflow.trigger(DAG_ID)
        while airflow.dag_run(DAG_ID, run_id)["state"] not in {"success", "failed"}:
            time.sleep(0.5)
    found = [json.loads(line) for line in told.read_text().splitlines()]
    return {
        event["job"]["name"].removeprefix(f"{DAG_ID}."): event
        for event in found
        if event["eventType"] in ("COMPLETE", "FAIL")
    }


def names(datasets):
    return [(each["namespace"], each["name"]) for each in datasets]


@pytest.fixture(scope="module")
def receipt(sandbox, events):
    s3 = s3_client_of(sandbox)
    yield json.loads(s3.get_object(Bucket="videos", Key="lineage/rocket.mp4.veo.json")["Body"].read())
    s3.close()


def test_an_image_becomes_a_video(events, receipt):
    """Image and video are named as OpenLineage names objects in S3, and have their digests as versions."""
    event = events["make"]
    assert event["eventType"] == "COMPLETE"
    assert names(event["inputs"]) == [("s3://images", "rocket.jpg")]
    assert names(event["outputs"]) == [("s3://videos", "lineage/rocket.mp4")]
    (source,), (target,) = event["inputs"], event["outputs"]
    assert source["facets"]["version"]["datasetVersion"] == receipt["request"]["image_sha256"]
    assert target["facets"]["version"]["datasetVersion"] == receipt["video"]["sha256"]
    assert target["outputFacets"]["outputStatistics"]["size"] == receipt["video"]["bytes"]


def test_a_video_says_how_it_was_made(events, receipt):
    """Model, digests of image and prompt, price and task id; the prompt itself is not told."""
    made = events["make"]["outputs"][0]["facets"]["veo_generation"]
    assert made["model"] == receipt["request"]["model"]
    assert made["veoTaskId"] == receipt["veo_task_id"]
    assert made["imageSha256"] == receipt["request"]["image_sha256"]
    assert made["promptSha256"] == hashlib.sha256(PROMPT.encode()).hexdigest()
    assert made["priceUsd"] == 0.30
    assert made["gateway"] == "apiyi"
    assert made["parameters"]["seconds"] == "4"
    assert PROMPT not in json.dumps([made, events["make"]["inputs"]])


def test_a_run_says_what_it_paid(events, receipt):
    """The cost, and where the receipt is."""
    paid = events["make"]["run"]["facets"]["veo"]
    assert paid["costUsd"] == 0.30
    assert paid["unknownUsd"] == 0
    assert paid["state"] == "stored"
    assert paid["receipt"] == "s3://videos/lineage/rocket.mp4.veo.json"


def test_three_operators_share_one_video(events):
    """The first reads the image and pays, the last writes the video, and all name the same generation."""
    submit, wait, store = (events[name] for name in ("submit", "wait", "store"))
    assert names(submit["inputs"]) == [("s3://images", "rocket.jpg")]
    assert submit["outputs"] == wait["inputs"] == wait["outputs"] == store["inputs"] == []
    assert names(store["outputs"]) == [("s3://videos", "lineage/two.mp4")]
    paid = [each["run"]["facets"]["veo"] for each in (submit, wait, store)]
    assert len({each["veoTaskId"] for each in paid}) == 1
    assert [each.get("costUsd") for each in paid] == [0.30, None, 0]


def test_a_batch_names_its_archive_and_its_folder(events):
    """Not each of thousands of images; the summary says what became of each."""
    event = events["archive"]
    assert names(event["inputs"]) == [("s3://images", "/")]
    assert names(event["outputs"]) == [("s3://videos", "lineage/archive/")]
    paid = event["run"]["facets"]["veo"]
    assert paid["counts"]["stored"] >= 1
    assert paid["costUsd"] == pytest.approx(0.30 * paid["counts"]["stored"])
    assert paid["receipt"].endswith("summary.jsonl")


def test_a_failure_names_what_it_would_have_read(events):
    """Nothing was paid, and nothing was made."""
    event = events["refused"]
    assert event["eventType"] == "FAIL"
    assert names(event["inputs"]) == [("s3://images", "missing.jpg")]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("https://user:pw@host/a.jpg?X-Amz-Signature=secret", ("https://host", "a.jpg")),
        ("https://host?token=secret", ("https://host", "/")),
        ("s3://bucket/what?#1.jpg", ("s3://bucket", "what?#1.jpg")),
        ("s3://conn@bucket/a.jpg", ("s3://bucket", "a.jpg")),
        ("/tmp/a.jpg", None),
        (None, None),
    ],
)
def test_a_name_holds_neither_credentials_nor_a_signature(uri, name):
    """A key in S3 may contain a question mark; in a web address, what follows it may be a signature."""
    assert name_of(uri) == name


def test_a_failed_task_names_what_it_was_to_write():
    """And a dry run names nothing, since it makes nothing."""
    failed = of_object({}, "task_1", "s3://videos/clip.mp4")
    assert [(each.namespace, each.name) for each in failed.outputs] == [("s3://videos", "clip.mp4")]
    assert of_batch("s3://images/", None, None).outputs == []


def test_a_submission_without_a_receipt_says_what_it_costs():
    """Its task id and its price."""
    facet = of_submission("s3://images/a.jpg", "task_1", 0.3).run_facets["veo"]
    assert (facet.veoTaskId, facet.costUsd) == ("task_1", 0.3)


def test_no_event_holds_a_secret(events, sandbox):
    """Neither the key of the API nor that of S3."""
    told = json.dumps(events)
    for secret in (sandbox.api_key, sandbox.account_token, sandbox.aws_secret_access_key):
        assert secret not in told
