"""VeoToS3Operator against the sandbox and a real S3: all of the video, or nothing."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext

import boto3
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from support.moments import PATIENCE, until

from veo_provider import exceptions
from veo_provider.generation import storage
from veo_provider.generation.retries import STORE_ATTEMPTS
from veo_provider.polling import poller
from veo_provider.s3.multipart_upload import PART_BYTES, MultipartUpload
from veo_provider.s3.uri import S3Uri
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

pytestmark = pytest.mark.usefixtures("connections")

KEY = "clips/rocket.mp4"
URI = f"s3://videos/{KEY}"


@pytest.fixture(autouse=True)
def _empty_bucket(s3):
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


def store(veo_task_id, **fields):
    return VeoToS3Operator(task_id="store", veo_task_id=veo_task_id, s3_key=URI, **fields).execute({})


def stored(s3):
    return [found["Key"] for found in s3.list_objects_v2(Bucket="videos").get("Contents", [])]


def unfinished(s3):
    return s3.list_multipart_uploads(Bucket="videos").get("Uploads", [])


def test_outlets_get_the_result_as_their_extra(completed):
    """The asset event of an outlet has the fields that the one-task operator's has."""
    from airflow.providers.common.compat.sdk import Asset

    clip = Asset(URI)

    class Event:
        extra = None

    events = {clip: Event()}
    task = VeoToS3Operator(task_id="store", veo_task_id=completed, s3_key=URI, outlets=[clip])
    result = task.execute({"outlet_events": events})
    assert events[clip].extra == {**result, "receipt_uri": None, "price_usd": None}


def test_a_video_is_stored_whole_and_labelled(s3, sandbox, client, completed):
    """The object is the video byte for byte, with its type, task id and model; the result describes it."""
    result = store(completed)
    found = s3.get_object(Bucket="videos", Key=KEY)
    body = found["Body"].read()
    with client.download(completed) as download:
        assert body == b"".join(download)
    assert found["ContentType"] == "video/mp4"
    assert found["Metadata"] == {"veo_task_id": completed, "veo_model": "veo-3.1-fast-generate-preview"}
    assert result == {
        "uri": URI,
        "veo_task_id": completed,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "duration_seconds": 4.0,
        "width": 1280,
        "height": 720,
    }


def test_an_id_may_be_too_new_to_be_known(s3, sandbox, completed, no_pause):
    """A status that is not there for a moment fails no task."""
    missing = {"code": "task_not_exist", "message": "task_not_exist", "data": None}
    sandbox.add_faults([{"call": "poll", "first": 3, "status": 404, "body": missing}])
    assert store(completed)["veo_task_id"] == completed
    assert no_pause == [15.0] * 3


def test_an_id_that_does_not_exist_is_believed_in_the_end(sandbox, no_pause, monkeypatch):
    """After as many denials as the sensor takes, the task ends without a retry."""
    monkeypatch.setattr(poller, "REFUSED_SECONDS", 0.0)
    with pytest.raises(AirflowFailException, match="task_not_exist"):
        store("task_" + "0" * 32)
    assert len(no_pause) == poller.REFUSED_POLLS - 1


@pytest.mark.parametrize("seconds", ["4", 4, 4.0, None, "None"])
def test_a_video_of_the_asked_length_is_stored(sandbox, completed, seconds):
    """The length may be a number, and may be left out."""
    assert store(completed, seconds=seconds)["duration_seconds"] == 4.0


@pytest.mark.parametrize("seconds", ["long", 0, -4, [4], True, "inf"])
def test_a_length_that_is_none_is_refused(sandbox, completed, seconds):
    """Before anything is fetched."""
    with pytest.raises(AirflowFailException, match="seconds"):
        store(completed, seconds=seconds)


def test_a_large_video_goes_in_parts(s3, sandbox, completed):
    """A video of several parts arrives whole."""
    sandbox.add_faults([{"call": "content", "pad": 3 * PART_BYTES}])
    result = store(completed)
    body = s3.get_object(Bucket="videos", Key=KEY)["Body"].read()
    assert len(body) == result["bytes"] > 3 * PART_BYTES
    assert hashlib.sha256(body).hexdigest() == result["sha256"]
    assert unfinished(s3) == []


def test_what_stands_there_already_is_not_fetched_again(s3, sandbox, completed):
    """A second run finds the very video and calls the API not once."""
    first = store(completed)
    calls = sandbox.tasks()[0]["content_requests"], sandbox.tasks()[0]["polls"]
    assert store(completed) == first
    assert (sandbox.tasks()[0]["content_requests"], sandbox.tasks()[0]["polls"]) == calls


def test_a_damaged_object_is_stored_anew(s3, completed):
    """An object that says it is this video but is cut is replaced."""
    s3.put_object(Bucket="videos", Key=KEY, Body=b"\0\0\0\x18ftyp", Metadata={"veo_task_id": completed})
    assert store(completed)["bytes"] > 10_000


def test_something_else_is_replaced_only_if_wanted(s3, sandbox, completed):
    """replace=False keeps another object and says so; the default replaces it."""
    s3.put_object(Bucket="videos", Key=KEY, Body=b"mine")
    with pytest.raises(AirflowFailException, match="replace=False"):
        store(completed, replace=False)
    assert s3.get_object(Bucket="videos", Key=KEY)["Body"].read() == b"mine"
    store(completed)
    assert s3.head_object(Bucket="videos", Key=KEY)["Metadata"]["veo_task_id"] == completed


def test_any_model_name_can_be_recorded(s3, sandbox, completed):
    """S3's metadata are ASCII, and a poll's model may be anything: it never keeps a video from its place."""
    sandbox.add_faults([{"call": "poll", "set": {"model": "模型"}}])
    store(completed)
    assert s3.head_object(Bucket="videos", Key=KEY)["Metadata"]["veo_model"] == "??"


def test_an_object_that_appears_meanwhile_is_kept(s3, sandbox, completed):
    """replace=False holds until the last moment, not only at the first look."""
    s3.delete_object(Bucket="videos", Key=KEY)
    for size in (0, 2 * PART_BYTES):
        upload = MultipartUpload(
            s3, S3Uri("videos", KEY), content_type="video/mp4", metadata={"veo_task_id": "x"}, replace=False
        )
        with upload:
            upload.write(b"theirs" + bytes(size))
            s3.put_object(Bucket="videos", Key=KEY, Body=b"mine")
            with pytest.raises(exceptions.VeoRequestError, match="replace=False"):
                upload.complete()
        assert s3.get_object(Bucket="videos", Key=KEY)["Body"].read() == b"mine"
        assert unfinished(s3) == []
        s3.delete_object(Bucket="videos", Key=KEY)


UNREADABLE = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::videos/clips/*",
        }
    ],
}


@contextmanager
def unreadable(s3):
    """Make a bucket one that may be written and not read; without s3:ListBucket, S3 answers alike."""
    s3.put_bucket_policy(Bucket="videos", Policy=json.dumps(UNREADABLE))
    try:
        yield
    finally:
        s3.delete_bucket_policy(Bucket="videos")


@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
def test_where_nobody_may_look_the_write_itself_decides(s3, completed, taken):
    """With replace=False, a place that cannot be looked at is written if it is free, and else left alone."""
    if taken:
        s3.put_object(Bucket="videos", Key=KEY, Body=b"mine")
    expected = pytest.raises(AirflowFailException, match="replace=False") if taken else nullcontext()
    with unreadable(s3), expected:
        store(completed, replace=False)
    assert (s3.get_object(Bucket="videos", Key=KEY)["Body"].read() == b"mine") == taken


def refusing(sandbox, operation, times, status, code):
    """Return a client of S3 whose first calls of one kind are refused; it does not try again itself."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=sandbox.s3,
        aws_access_key_id=sandbox.aws_access_key_id,
        aws_secret_access_key=sandbox.aws_secret_access_key,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}),
    )
    refused = []

    def refuse(request, **_):
        if len(refused) == times:
            return None
        refused.append(request.url)
        body = f"<Error><Code>{code}</Code><Message>So the test has it.</Message></Error>".encode()
        return AWSResponse(request.url, status, {"content-length": str(len(body))}, Raw(body))

    client.meta.events.register(f"before-send.s3.{operation}", refuse)
    return client


class Raw:
    """The body of an answer that a test makes up."""

    def __init__(self, body):
        self._body = body

    def stream(self, **_):
        yield self._body


@pytest.mark.parametrize(
    ("operation", "status", "code"),
    [
        ("CreateMultipartUpload", 503, "SlowDown"),
        ("UploadPart", 500, "InternalError"),
        ("CompleteMultipartUpload", 503, "SlowDown"),
        ("CompleteMultipartUpload", 409, "ConditionalRequestConflict"),
        ("CompleteMultipartUpload", 404, "NoSuchUpload"),
    ],
)
def test_trouble_of_s3_in_the_middle_starts_the_upload_over(
    s3, sandbox, client, completed, impatient, operation, status, code
):
    """S3 refuses a call or two of an upload: the video is stored whole all the same, and nothing is left."""
    sandbox.add_faults([{"call": "content", "pad": 2 * PART_BYTES}])
    stubborn = refusing(sandbox, operation, 2, status, code)
    upload = storage.open_upload(stubborn, S3Uri("videos", KEY), completed, "model", replace=False)
    result = storage.transfer_video(client, completed, URI, upload)
    body = s3.get_object(Bucket="videos", Key=KEY)["Body"].read()
    assert hashlib.sha256(body).hexdigest() == result.sha256
    assert unfinished(s3) == []
    stubborn.close()


@pytest.mark.parametrize("size", [1000, PART_BYTES + 1000], ids=["whole", "in parts"])
def test_a_completion_that_boto3_repeats_is_still_ours(s3, sandbox, size):
    """The answer to a completion is lost, and its repetition refused, because our own object is there."""
    target, metadata = S3Uri("videos", KEY), {"veo_task_id": "task_1"}
    operation = "PutObject" if size == 1000 else "CompleteMultipartUpload"
    repeated = refusing(sandbox, operation, 1, 412, "PreconditionFailed")
    with MultipartUpload(
        repeated, target, content_type="video/mp4", metadata=metadata, replace=False
    ) as upload:
        upload.write(bytes(size))
        s3.put_object(Bucket="videos", Key=KEY, Body=bytes(size), Metadata=metadata)
        upload.complete()
    assert unfinished(s3) == []
    repeated.close()


def test_a_look_at_the_status_that_fails_is_tried_again(sandbox, completed, impatient):
    """Storing is free from its first call on, and retried as such."""
    sandbox.add_faults([{"call": "poll", "first": 2, "status": 503}])
    store(completed)


def test_the_recorded_model_may_be_given(s3, completed):
    """A poll may name a wrong model, so the task may name the right one."""
    store(completed, model="veo-3.1-generate-preview")
    assert s3.head_object(Bucket="videos", Key=KEY)["Metadata"]["veo_model"] == "veo-3.1-generate-preview"


def test_the_400_after_completion_is_waited_out(sandbox, completed, impatient):
    """Five times not there yet, and then it is."""
    sandbox.add_faults([{"call": "content", "first": 5, "status": 400}])
    store(completed)
    assert sandbox.tasks()[0]["content_requests"] == 6


def test_every_trouble_on_the_way_is_mended(s3, sandbox, completed, impatient):
    """Cut, reset, garbage and 5xx lead to another download, never to another generation."""
    trouble = [
        {"truncate": 0.5, "pad": 2 * PART_BYTES},
        {"truncate": 30_000, "reset": "before"},
        {"garbage": "mp4"},
        {"garbage": True},
        {"status": 502},
    ]
    sandbox.add_faults([{"call": "content", "occurrence": n, **fault} for n, fault in enumerate(trouble, 1)])
    assert store(completed)["duration_seconds"] == 4.0
    assert unfinished(s3) == []
    assert sandbox.charges()["count"] == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"truncate": 3 * PART_BYTES, "pad": 4 * PART_BYTES, "ranges": False}, exceptions.VeoConnectionError),
        ({"garbage": "mp4"}, exceptions.VeoIncompleteVideoError),
        ({"garbage": True}, exceptions.VeoUnexpectedAnswerError),
        ({"status": 502}, exceptions.VeoContentServerError),
    ],
)
def test_lasting_trouble_leaves_nothing_behind(s3, sandbox, completed, impatient, fault, kind):
    """When all attempts fail there is no object, no unfinished upload, and an error fit for a retry."""
    sandbox.add_faults([{"call": "content", **fault}])
    with pytest.raises(kind):
        store(completed)
    # An attempt that gets further than all before is not one of those that failed.
    assert sandbox.faults()[0]["matched"] == STORE_ATTEMPTS + ("truncate" in fault)
    assert stored(s3) == []
    assert unfinished(s3) == []


def test_a_video_that_is_gone_ends_the_task(s3, sandbox, completed):
    """Two days later the service has no file: no retry mends that."""
    sandbox.add_faults([{"call": "content", "gone": True}])
    with pytest.raises(AirflowFailException, match="about 2 days"):
        store(completed)
    assert stored(s3) == []


def test_a_video_that_is_not_finished_is_waited_for_first(client, sandbox, request_4s):
    """Storing too early says which task to put before it."""
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    video = client.submit(request_4s)
    with pytest.raises(exceptions.VeoContentNotReadyError, match="VeoTaskSensor"):
        store(video.id)


def test_a_failed_generation_is_told(client, sandbox, request_4s):
    """There is nothing to store of a generation that failed."""
    sandbox.add_faults([{"call": "submit", "fail": True}])
    video = client.submit(request_4s)
    while not client.get(video.id).finished:
        time.sleep(0.05)
    with pytest.raises(AirflowFailException, match="not charged"):
        store(video.id)


@pytest.mark.parametrize(
    "key", ["videos/clip.mp4", "s3://videos", "s3://videos/", "s3://videos/folder/", "gs://b/k"]
)
def test_a_target_that_is_no_object_is_refused(completed, key):
    """Where the video goes must be the name of one object."""
    with pytest.raises(AirflowFailException, match="s3://bucket/key"):
        VeoToS3Operator(task_id="store", veo_task_id=completed, s3_key=key).execute({})


STORE = """
import resource, signal, sys
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

store = VeoToS3Operator(task_id="store", veo_task_id=sys.argv[1], s3_key=sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: store.on_kill())  # as Airflow's task runner does
store.execute({})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def run_store(veo_task_id, **kwargs):
    """Run the operator in a process of its own, as a worker does."""
    command = [sys.executable, "-c", STORE, veo_task_id, URI]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ, **kwargs
    )


def test_a_terminated_upload_leaves_nothing_behind(s3, sandbox, completed):
    """A task that is stopped midway takes its upload back."""
    sandbox.add_faults([{"call": "content", "pad": 100 * PART_BYTES, "drip": 2 * PART_BYTES}])
    with run_store(completed) as process:
        until(lambda: unfinished(s3))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) != 0
        assert "cancelled" in process.stderr.read()
    assert unfinished(s3) == []
    assert stored(s3) == []


def test_the_attempt_after_a_kill_cleans_up_and_stores(s3, sandbox, completed):
    """What a killed worker left of its upload is taken back by the next attempt, which stores the video."""
    sandbox.add_faults(
        [{"call": "content", "occurrence": 1, "pad": 100 * PART_BYTES, "drip": 2 * PART_BYTES}]
    )
    with run_store(completed) as process:
        until(lambda: unfinished(s3))
        process.kill()
    assert len(unfinished(s3)) == 1
    assert store(completed)["duration_seconds"] == 4.0
    assert unfinished(s3) == []
    assert sandbox.charges()["count"] == 1


def test_memory_does_not_grow_with_the_video(s3, sandbox, completed):
    """A process that stores 512 MB needs no more memory than one that stores 8 MB."""
    peaks = []
    for megabytes in (8, 512):
        sandbox.clear_faults()
        sandbox.add_faults([{"call": "content", "pad": megabytes * 1_000_000}])
        with run_store(completed) as process:
            output, trouble = process.communicate(timeout=300)
        assert process.returncode == 0, trouble
        peaks.append(int(output.splitlines()[-1]))
        assert s3.head_object(Bucket="videos", Key=KEY)["ContentLength"] > megabytes * 1_000_000
        s3.delete_object(Bucket="videos", Key=KEY)
    print(f"peak memory storing 8 MB: {peaks[0]} MiB, storing 512 MB: {peaks[1]} MiB")
    assert peaks[1] - peaks[0] < 16
