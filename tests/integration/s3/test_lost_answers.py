"""Answers of S3 that are lost: whichever it is, the video is stored, and paid for once."""

import json
from contextlib import contextmanager

import pytest
from support.s3_proxy import LOST, Proxy, refusal, running

from veo_provider.exceptions import VeoError, VeoStorageUnavailableError, VeoUploadLostError
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.receipts.conditional_writes import ConditionalWrites
from veo_provider.s3.client import iter_objects, s3_client
from veo_provider.s3.multipart_upload import PART_BYTES, MultipartUpload
from veo_provider.s3.uri import S3Uri

pytestmark = [pytest.mark.usefixtures("connections", "impatient"), pytest.mark.slow]

FOLDER = S3Uri("videos", "lost/")
CONTENT = bytes(range(256)) * (PART_BYTES // 256 + 1)


@pytest.fixture
def proxy(sandbox):
    with running(Proxy(sandbox)) as one:
        yield one


@pytest.fixture
def connect(proxy, sandbox, monkeypatch):
    """Lets Airflow's connection lead through the proxy."""

    def make(**config):
        connection = json.loads(sandbox.aws_conn())
        connection["extra"] |= {"endpoint_url": proxy.url, "config_kwargs": config}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))

    return make


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, run_id, task_id, map_index = "lost", "monday", "make", -1

    def __init__(self, try_number):
        self.try_number = try_number

    def xcom_push(self, key, value):
        pass


def one_video(try_number):
    operator = VeoImageToVideoOperator(
        task_id="make",
        image="s3://images/rocket.jpg",
        prompt="The rocket lifts off",
        seconds="4",
        output=f"{FOLDER}clip.mp4",
        deferrable=False,
        poll_interval=0.1,
    )
    return operator.execute({"ti": Instance(try_number)})


def batch(try_number):
    operator = VeoBatchOperator(
        task_id="make",
        images=["s3://images/rocket.jpg"],
        output_prefix=str(FOLDER),
        prompt="It comes alive",
        seconds="4",
        deferrable=False,
        poll_interval=0.1,
    )
    return operator.execute({"ti": Instance(try_number)})


def start_over(s3, sandbox):
    """Forget everything; the next call of the store is the first one."""
    ConditionalWrites._supported.clear()
    sandbox.reset()
    for key in [found["Key"] for found in iter_objects(s3, FOLDER)]:
        s3.delete_object(Bucket=FOLDER.bucket, Key=key)


@contextmanager
def losing(proxy, number, times):
    """Lose the answers to a write and what repeats it; by its number among the writes."""
    seen = []

    def script(call):
        if call.method == "PUT":
            seen.append(call)
        return LOST if call.method == "PUT" and number <= len(seen) < number + times else None

    proxy.script = script
    yield seen
    proxy.script = lambda _: None


@pytest.mark.parametrize(
    ("make", "retries"),
    [(one_video, 0), (one_video, 4), (batch, 0)],
    ids=["the connection dies", "boto3 repeats", "a batch's connection dies"],
)
def test_whichever_answer_is_lost_the_video_is_paid_once(
    s3, sandbox, proxy, connect, tune, monkeypatch, make, retries
):
    """Probe, placeholder, claim, id, video, record, summary: each was written, and nobody was told."""
    monkeypatch.setattr(ConditionalWrites, "_supported", {})
    tune(longest_retry_pause=0.1)
    connect(retries={"max_attempts": retries})
    start_over(s3, sandbox)
    with losing(proxy, 0, 0) as seen:
        make(1)
    assert len(seen) >= 5
    for number in range(1, len(seen) + 1):
        start_over(s3, sandbox)
        with losing(proxy, number, 1):
            try:
                make(1)
            except VeoError:  # one that may pass, since no other is one of these
                make(2)
        assert sandbox.charges()["count"] == 1, seen[number - 1]
        stored = [found["Key"] for found in iter_objects(s3, FOLDER) if found["Key"].endswith(".mp4")]
        assert len(stored) == 1, seen[number - 1]


def upload(client, **fields):
    target = S3Uri(FOLDER.bucket, f"{FOLDER.key}parts.bin")
    with MultipartUpload(client, target, content_type="video/mp4", metadata={}, **fields) as one:
        one.write(CONTENT)
        one.complete()
    return target


def completes(call):
    return call.method == "POST" and "uploadId" in call.query


@pytest.mark.parametrize("replace", [True, False])
def test_a_completion_that_is_repeated_is_done(s3, proxy, connect, replace):
    """S3 has completed the upload and knows it no more: the object is whole, and is not sent again."""
    connect()
    s3.delete_object(Bucket=FOLDER.bucket, Key=f"{FOLDER.key}parts.bin")
    seen = []

    def lose_the_first(call):
        if completes(call):
            seen.append(call)
            return LOST if len(seen) == 1 else refusal(404, "NoSuchUpload")
        return None

    proxy.script = lose_the_first
    client = s3_client("aws_default")
    target = upload(client, replace=replace)
    client.close()
    assert len(seen) == 2
    assert s3.get_object(Bucket=target.bucket, Key=target.key)["Body"].read() == CONTENT


def test_an_upload_that_was_taken_back_is_not_taken_for_done(s3, proxy, connect):
    """Another object of that name is there, of the same size."""
    connect()
    s3.put_object(Bucket=FOLDER.bucket, Key=f"{FOLDER.key}parts.bin", Body=CONTENT[::-1])
    proxy.script = lambda call: refusal(404, "NoSuchUpload") if completes(call) else None
    client = s3_client("aws_default")
    with pytest.raises(VeoUploadLostError):
        upload(client)
    client.close()


@pytest.mark.parametrize("times", [1, 99])
def test_an_error_after_the_200_is_one(s3, proxy, connect, times):
    """S3 begins its answer to a completion before it knows the end: boto3 repeats it, or the upload fails."""
    connect(retries={"max_attempts": 1})
    s3.delete_object(Bucket=FOLDER.bucket, Key=f"{FOLDER.key}parts.bin")
    seen = []

    def fail(call):
        if completes(call):
            seen.append(call)
            return refusal(200, "InternalError") if len(seen) <= times else None
        return None

    proxy.script = fail
    client = s3_client("aws_default")
    if times == 1:
        target = upload(client)
        assert s3.head_object(Bucket=target.bucket, Key=target.key)["ContentLength"] == len(CONTENT)
    else:
        with pytest.raises(VeoStorageUnavailableError):
            upload(client)
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=FOLDER.bucket, Prefix=FOLDER.key)
    client.close()
