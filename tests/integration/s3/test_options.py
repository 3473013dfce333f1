"""Options that a bucket demands of each object: encryption, tags and the like, on every write."""

import asyncio
import json
from contextlib import suppress

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from veo_provider.exceptions import VeoRequestError, VeoStorageUnavailableError
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.receipts.conditional_writes import ConditionalWrites
from veo_provider.s3.client import s3_client
from veo_provider.s3.multipart_upload import PART_BYTES, MultipartUpload
from veo_provider.s3.uri import S3Uri
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator
from veo_provider.triggers import batch as trigger_module
from veo_provider.triggers.batch import VeoBatchTrigger

pytestmark = pytest.mark.usefixtures("connections")

OPTIONS = {"ServerSideEncryption": "AES256", "Tagging": "team=film", "StorageClass": "STANDARD_IA"}
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::videos/*",
            "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"}},
        }
    ],
}


@pytest.fixture(autouse=True)
def _empty(s3, monkeypatch):
    """Empty buckets, and nothing known of them yet."""
    monkeypatch.setattr(ConditionalWrites, "_supported", {})
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])
    for number in range(3):
        source = {"Bucket": "images", "Key": "rocket.jpg"}
        s3.copy_object(Bucket="images", Key=f"options/{number}.jpg", CopySource=source)


@pytest.fixture
def demanding(s3):
    """The bucket of videos refuses each object that is not encrypted, as companies' buckets do."""
    s3.put_bucket_policy(Bucket="videos", Policy=json.dumps(POLICY))
    yield
    s3.delete_bucket_policy(Bucket="videos")


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, run_id, task_id, map_index, try_number = "options", "monday", "make", -1, 1

    def xcom_push(self, key, value):
        pass


def one_video(**fields):
    fields = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4", **fields}
    operator = VeoImageToVideoOperator(
        task_id="make", output="s3://videos/one.mp4", deferrable=False, poll_interval=0.1, **fields
    )
    return operator.execute({"ti": Instance()})


def batch(**fields):
    """Run a batch as Airflow does, and return its result and what its triggers were given."""

    def operator():
        return VeoBatchOperator(
            task_id="make",
            images="s3://images/options/",
            output_prefix="s3://videos/lot/",
            prompt="It comes alive",
            seconds="4",
            poll_interval=0.1,
            **fields,
        )

    async def event_of(kwargs):
        (event,) = [event async for event in VeoBatchTrigger(**kwargs).run()]
        return event.payload

    given, step = [], lambda: operator().execute({"ti": Instance()})
    while True:
        try:
            return step(), given
        except TaskDeferred as deferral:
            given.append(json.dumps(deferral.trigger.serialize()[1]))
            event = asyncio.run(event_of(json.loads(given[-1])))
            step = lambda event=event: operator().execute_complete({"ti": Instance()}, event)  # noqa: E731


def objects(s3):
    """Return what S3 knows of each object: its encryption, storage class and tags."""
    found = {}
    for one in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        head = s3.head_object(Bucket="videos", Key=one["Key"])
        tags = s3.get_object_tagging(Bucket="videos", Key=one["Key"])["TagSet"]
        found[one["Key"]] = (
            head.get("ServerSideEncryption"),
            head.get("StorageClass"),
            {tag["Key"]: tag["Value"] for tag in tags},
        )
    return found


EXPECTED = ("AES256", "STANDARD_IA", {"team": "film"})


@pytest.mark.usefixtures("demanding")
def test_each_object_of_a_video_has_the_options(s3, sandbox):
    """Receipt and video are written with them, from the first trial of the store on."""
    one_video(s3_extra_args=OPTIONS)
    assert objects(s3) == {"one.mp4": EXPECTED, "one.mp4.veo.json": EXPECTED}
    assert sandbox.charges()["count"] == 1


# Not in the demanding bucket: the sandbox's S3 asks for the header at the completion as well, which has none.
def test_a_video_in_parts_has_the_options(s3, sandbox, completed):
    """An upload in parts is begun with them."""
    sandbox.add_faults([{"call": "content", "pad": 2 * PART_BYTES}])
    operator = VeoToS3Operator(
        task_id="store", veo_task_id=completed, s3_key="s3://videos/parts.mp4", s3_extra_args=OPTIONS
    )
    operator.execute({})
    assert objects(s3) == {"parts.mp4": EXPECTED}


@pytest.mark.usefixtures("demanding")
def test_a_receipt_without_a_video_has_the_options(s3):
    """VeoSubmitOperator writes its receipt with them."""
    operator = VeoSubmitOperator(
        task_id="submit",
        image="s3://images/rocket.jpg",
        prompt="The rocket lifts off",
        receipt="s3://videos/receipt.json",
        s3_extra_args=OPTIONS,
    )
    operator.execute({"ti": Instance()})
    assert objects(s3) == {"receipt.json": EXPECTED}


@pytest.mark.usefixtures("demanding")
def test_each_object_of_a_batch_has_the_options(s3, sandbox, tune):
    """Videos, receipts, progress, notes and summary are written with them, by worker and triggerer alike."""
    tune(report_interval=0.05)
    result, given = batch(s3_extra_args=OPTIONS)
    assert result["counts"] == {"stored": 3}
    found = objects(s3)
    assert {"summary.jsonl", "progress.json", "0.jpg.mp4"} <= {key.rpartition("/")[2] for key in found}
    assert set(map(str, found.values())) == {str(EXPECTED)}
    assert all(json.loads(one)["job"]["s3_extra_args"] == OPTIONS for one in given)
    assert given
    assert sandbox.charges()["count"] == 3


@pytest.mark.usefixtures("demanding")
def test_the_connection_may_say_the_options(s3, sandbox, monkeypatch):
    """For all tasks at once, an administrator writes them into the connection; a task's own ones win."""
    connection = json.loads(sandbox.aws_conn())
    connection["extra"]["service_config"] = {"s3": {"extra_args": OPTIONS}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    one_video(s3_extra_args={"Tagging": "team=other", "StorageClass": ""})
    expected = ("AES256", None, {"team": "other"})
    assert objects(s3) == {"one.mp4": expected, "one.mp4.veo.json": expected}
    result, _ = batch()
    assert result["counts"] == {"stored": 3}


@pytest.mark.usefixtures("demanding")
@pytest.mark.parametrize("make", [one_video, batch])
def test_a_bucket_that_refuses_plain_objects_is_said_before_money_moves(s3, sandbox, make):
    """One error names encryption and the parameter, ends the task, and nothing was submitted."""
    with pytest.raises(AirflowFailException, match=r"encryption.*s3_extra_args.*Nothing is submitted"):
        make()
    assert sandbox.tasks() == []
    assert objects(s3) == {}


SECRET = "ssssssssssssssssssssssssssssssss"
IMPOSSIBLE = {
    "Body": "mine",
    "Key": "elsewhere.mp4",
    "ContentType": "text/plain",
    "IfMatch": "*",
    "Metadata": {"veo_task_id": "x"},
    "ChecksumCRC32": "AAAA",
    "Encryption": "AES256",
    "SSECustomerKey": SECRET,
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("make", [one_video, batch])
def test_options_that_are_none_are_refused_by_name(sandbox, s3, make, name):
    """What the provider sets itself, what S3 does not know, and keys of one's own: nothing is submitted."""
    with pytest.raises(AirflowFailException, match=f"{name} of S3 cannot be used") as caught:
        make(s3_extra_args={name: IMPOSSIBLE[name]})
    assert SECRET not in str(caught.value)
    assert sandbox.tasks() == []
    assert objects(s3) == {}


def test_options_are_a_mapping(sandbox):
    """A text in their place is refused, and not repeated, since it may hold a secret."""
    with pytest.raises(AirflowFailException, match="must be a mapping") as caught:
        one_video(s3_extra_args=SECRET)
    assert SECRET not in str(caught.value)


def sent_by(client):
    """Return the headers of what a client sends."""
    sent = []
    client.meta.events.register(
        "before-send.s3", lambda request, **_: sent.append((request.method, dict(request.headers)))
    )
    return sent


KMS = {
    "ServerSideEncryption": "aws:kms",
    "SSEKMSKeyId": "arn:aws:kms:us-east-1:1:key/2",
    "BucketKeyEnabled": "True",
}


@pytest.mark.parametrize(
    ("size", "first"), [(1000, "PUT"), (PART_BYTES + 1, "POST")], ids=["whole", "in parts"]
)
def test_a_key_in_kms_goes_with_each_write(size, first):
    """Algorithm, key and bucket key are sent with what begins a write; the sandbox's S3 has no KMS."""
    client = s3_client("aws_default", extra_args=KMS)
    sent = sent_by(client)
    with MultipartUpload(client, S3Uri("videos", "kms.mp4"), content_type="video/mp4", metadata={}) as upload:
        upload.write(bytes(size))
        with suppress(VeoStorageUnavailableError):
            upload.complete()
    method, headers = sent[0]
    assert method == first
    sse = {name.lower(): value for name, value in headers.items() if "server-side" in name.lower()}
    assert {name: value.decode() if isinstance(value, bytes) else value for name, value in sse.items()} == {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": KMS["SSEKMSKeyId"],
        "x-amz-server-side-encryption-bucket-key-enabled": "true",
    }
    client.close()


def test_reads_are_sent_as_they_are(s3):
    """Options of a write are none of a read."""
    client = s3_client("aws_default", extra_args=OPTIONS)
    sent = sent_by(client)
    client.head_object(Bucket="images", Key="rocket.jpg")
    client.get_object(Bucket="images", Key="rocket.jpg")["Body"].close()
    assert [name for _, headers in sent for name in headers if "server-side" in name.lower()] == []
    client.close()


def test_a_client_without_options_refuses_none():
    """An empty mapping, and a template that renders to nothing, are no options."""
    for nothing in (None, {}, "", {"Tagging": ""}, {"SSEKMSKeyId": None}):
        s3_client("aws_default", extra_args=nothing).close()
    with pytest.raises(VeoRequestError):
        s3_client("aws_default", extra_args={"Nothing": ""})
