"""Software that no one here wrote, between or beside client and sandbox; ``make gateways`` installs it."""

import pytest
import tenacity
from gateways import proxy
from support.batches import Instance

from veo_provider.generation import retries
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.receipts.receipt import Receipt
from veo_provider.sandbox.process import Sandbox

URI = "s3://videos/relayed/one.mp4"


@pytest.fixture(scope="session")
def _upstream():
    with Sandbox(gateway="openai", latency=0.2, film="small", s3=False) as running:
        yield running


@pytest.fixture(scope="session")
def proxy_url(_upstream, tmp_path_factory):
    """The base URL of LiteLLM's proxy."""
    assert proxy.COMMAND.exists(), "run these tests by: make gateways"
    with proxy.running(_upstream, tmp_path_factory.mktemp("litellm")) as url:
        yield url


@pytest.fixture
def upstream(_upstream):
    """The sandbox after the proxy; like the worst service known, it charges at submission, and keeps it."""
    _upstream.reset()
    _upstream.clear_faults()
    return _upstream


@pytest.fixture
def relayed(upstream, proxy_url, connections, s3, monkeypatch):
    """Airflow's default connections: to LiteLLM's proxy, and to S3. Returns what is after the proxy."""
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", proxy.connection(proxy_url))
    for bucket, prefix in (("images", "lot/"), ("videos", "")):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=found["Key"])
    return upstream


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """No pauses between attempts: these tests are about their number."""
    monkeypatch.setattr(retries, "CONTENT_NOT_READY_WAIT", 0.0)
    monkeypatch.setattr(retries, "_backoff", tenacity.wait_none())


@pytest.fixture
def make_one():
    """Makes one video in one task."""

    def make(run_id="monday", **fields):
        asked = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}
        asked = {"model": "veo", "resolution": "720p", "aspect_ratio": "16:9", **asked, **fields}
        task = VeoImageToVideoOperator(
            task_id="make", output=URI, deferrable=False, poll_interval=0.1, **asked
        )
        return task.execute({"ti": Instance(run_id)})

    return make


@pytest.fixture
def receipt(s3):
    """Reads the receipt of that video."""

    def read():
        found = s3.get_object(Bucket="videos", Key="relayed/one.mp4.veo.json")
        return Receipt.from_json(found["Body"].read(), URI)

    return read
