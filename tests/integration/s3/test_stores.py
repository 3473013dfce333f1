"""What stores say and allow: buckets that are none, codes, keys, and what readers have to pay."""

import json
import unicodedata
from contextlib import suppress

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from support.archive import picture
from support.s3_proxy import Proxy, refusal, running

from veo_provider.batch.manifest import open_manifest
from veo_provider.exceptions import VeoError, VeoImageError, VeoReceiptError, VeoStorageError
from veo_provider.media.image_source import open_image
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.receipts.conditional_writes import ConditionalWrites
from veo_provider.s3.client import head_object, s3_client
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Uri

pytestmark = [pytest.mark.usefixtures("connections"), pytest.mark.slow]


@pytest.fixture
def proxy(sandbox, monkeypatch):
    """Stands before S3, and Airflow's connection leads through it."""
    monkeypatch.setattr(ConditionalWrites, "_supported", {})
    connection = json.loads(sandbox.aws_conn())
    with running(Proxy(sandbox)) as one:
        connection["extra"] |= {"endpoint_url": one.url, "config_kwargs": {"retries": {"max_attempts": 0}}}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        yield one


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, run_id, task_id, map_index, try_number = "stores", "monday", "make", -1, 1

    def xcom_push(self, key, value):
        pass


def one_video(images, videos, **fields):
    operator = VeoImageToVideoOperator(
        task_id="make",
        image=f"s3://{images}/rocket.jpg",
        prompt="The rocket lifts off",
        seconds="4",
        output=f"s3://{videos}/stores/clip.mp4",
        deferrable=False,
        poll_interval=0.1,
        **fields,
    )
    return operator.execute({"ti": Instance()})


def submit(images, videos):
    operator = VeoSubmitOperator(
        task_id="submit",
        image=f"s3://{images}/rocket.jpg",
        prompt="The rocket lifts off",
        receipt=f"s3://{videos}/stores/receipt.json",
    )
    return operator.execute({"ti": Instance()})


def batch(images, videos, **fields):
    operator = VeoBatchOperator(
        task_id="make",
        images=f"s3://{images}/rocket.*",
        output_prefix=f"s3://{videos}/stores/",
        prompt="It comes alive",
        seconds="4",
        deferrable=False,
        poll_interval=0.1,
        **fields,
    )
    return operator.execute({"ti": Instance()})


def dry_run(images, videos):
    return batch(images, videos, dry_run=True)


TROUBLES = {
    "missing": ("no-such-bucket", None, "NoSuchBucket"),
    "another account's": ("foreign", refusal(403, "AccessDenied"), "AccessDenied"),
    "in another region": ("far", refusal(301, "PermanentRedirect"), "region_name and endpoint_url"),
    "of no such name": ("No_Such!", None, "Invalid bucket name"),
    "of a wrong region": ("near", refusal(400, "AuthorizationHeaderMalformed"), "region_name"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("place", ["images", "videos"])
@pytest.mark.parametrize("make", [one_video, submit, batch, dry_run])
def test_a_bucket_that_is_no_good_is_told_before_money_moves(proxy, sandbox, make, place, trouble):
    """At once, for good, and by its name."""
    bucket, answer, said = TROUBLES[trouble]
    proxy.script = lambda call: answer if call.bucket == bucket else None
    buckets = {"images": "images", "videos": "videos", place: bucket}
    with pytest.raises(AirflowFailException, match=f"(?s){bucket}.*{said}"):
        make(**buckets)
    assert sandbox.tasks() == []


SAYINGS = {
    ("GetObject", 400, "ExpiredToken"): (True, "session token has expired"),
    ("GetObject", 403, "RequestTimeTooSkewed"): (True, "clock of this machine"),
    ("GetObject", 403, "InvalidObjectState"): (False, "archived: restore it"),
    ("GetObject", 403, "AccessDenied"): (False, "permission s3:GetObject"),
    ("GetObject", 503, "SlowDown"): (True, "SlowDown"),
    ("GetObject", 409, "OperationAborted"): (True, "OperationAborted"),
}


@pytest.mark.parametrize("case", SAYINGS, ids=lambda case: case[2])
def test_an_image_that_cannot_be_read_says_why(proxy, case):
    """What may pass is tried again; what does not says what to do about it, and nothing else."""
    _, status, code = case
    temporary, said = SAYINGS[case]
    proxy.script = lambda call: refusal(status, code)
    with pytest.raises(VeoError, match=said) as caught:
        open_image("s3://images/rocket.jpg", "aws_default")
    assert caught.value.retryable == temporary
    assert code == "AccessDenied" or "s3:ListBucket" not in str(caught.value)


def test_a_key_of_kms_that_is_denied_is_named(proxy):
    """Not the permission on the object is missing."""
    message = "User: me is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-1:1:key/2"
    proxy.script = lambda call: refusal(403, "AccessDenied", message)
    with pytest.raises(VeoImageError, match=r"kms:Decrypt.*KMS key") as caught:
        open_image("s3://images/rocket.jpg", "aws_default")
    assert "s3:ListBucket" not in str(caught.value)


def test_a_store_without_checksums_is_not_taken_for_one_without_conditions(proxy, sandbox):
    """The error says what to set, and allow_unconditional_writes does not go past it."""
    message = "Header 'x-amz-checksum-crc32' with value 'AAAA' not implemented"

    def refuse(call):
        known = not any(name.startswith("x-amz-checksum") for name in call.headers)
        return None if known or call.method != "PUT" else refusal(501, "NotImplemented", message)

    proxy.script = refuse
    for unconditional in (False, True):
        with pytest.raises(AirflowFailException, match=r"request_checksum_calculation.*when_required"):
            one_video("images", "videos", allow_unconditional_writes=unconditional)
    assert sandbox.tasks() == []


def test_a_store_without_conditions_is_one(proxy, sandbox):
    """It answers 501 to the condition itself."""
    proxy.script = lambda call: (
        refusal(501, "NotImplemented", "A header is not implemented")
        if call.method == "PUT" and "if-match" in call.headers
        else None
    )
    with pytest.raises(AirflowFailException, match="ignores conditional writes"):
        one_video("images", "videos")
    assert sandbox.tasks() == []


def test_a_locked_bucket_says_that_it_wants_checksums(proxy, sandbox):
    """Where they were switched off in the connection."""
    message = (
        "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock"
    )
    proxy.script = lambda call: refusal(400, "InvalidRequest", message) if call.method == "PUT" else None
    with pytest.raises(AirflowFailException, match="Leave request_checksum_calculation"):
        one_video("images", "videos")
    assert sandbox.tasks() == []


def test_readers_pay_where_they_say_so(proxy, s3, sandbox):
    """A bucket whose readers pay lets in each call that has the header: reads, listings and writes."""
    for key in [found["Key"] for found in s3.list_objects_v2(Bucket="videos").get("Contents", [])]:
        s3.delete_object(Bucket="videos", Key=key)
    proxy.script = lambda call: (
        None
        if call.headers.get("x-amz-request-payer") == "requester" or "uploads" in call.query
        else refusal(403, "AccessDenied")
    )
    with pytest.raises(AirflowFailException):
        one_video("images", "videos")
    pays = {"RequestPayer": "requester"}
    assert one_video("images", "videos", s3_extra_args=pays)["uri"] == "s3://videos/stores/clip.mp4"
    assert set(batch("images", "videos", s3_extra_args=pays)["counts"]) == {"stored"}


def test_a_bucket_may_have_dots(proxy, s3, sandbox):
    """It is a bucket like any other."""
    with suppress(s3.exceptions.BucketAlreadyExists, s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket="films.example.com")
    assert one_video("images", "films.example.com")["uri"].startswith("s3://films.example.com/")


ODD = {
    "plus": "odd/a+b.jpg",
    "percent": "odd/100%25.jpg",
    "a bare percent": "odd/100%.jpg",
    "composed": unicodedata.normalize("NFC", "odd/Möwe.jpg"),
    "decomposed": unicodedata.normalize("NFD", "odd/Möwe.jpg"),
    "space, hash, question": "odd/a b#c?d.jpg",
    "ampersand": "odd/a&b='c'.jpg",
}


@pytest.mark.parametrize("name", ODD)
def test_a_key_is_taken_as_it_stands(proxy, s3, sandbox, name):
    """From the listing to the image, its receipt and its video."""
    key = ODD[name]
    for old in [
        found["Key"] for found in s3.list_objects_v2(Bucket="images", Prefix="odd/").get("Contents", [])
    ]:
        s3.delete_object(Bucket="images", Key=old)
    s3.put_object(Bucket="images", Key=key, Body=picture(name))
    archive = open_manifest("s3://images/odd/", "s3://videos/", s3)
    (item,) = archive.items()
    assert item.image == f"s3://images/{key}"
    assert open_image(item.image, "aws_default").size > 0
    client = s3_client("aws_default")
    target = S3Uri.parse(item.output, "output")
    client.put_object(Bucket=target.bucket, Key=target.key, Body=b"x")
    assert head_object(client, target) is not None
    assert target.key in [
        found["Key"] for found in s3.list_objects_v2(Bucket="videos", Prefix=target.key).get("Contents", [])
    ]
    s3.delete_object(Bucket="images", Key=key)
    client.close()


@pytest.mark.parametrize("key", ["a//b.mp4", "a/../b.mp4", "./b.mp4"])
def test_a_path_that_a_store_does_not_keep_pays_for_nothing_twice(proxy, s3, sandbox, key):
    """A store over a file system may take such a name for another, or refuse it; it is sent as it stands."""
    operator = lambda: VeoImageToVideoOperator(  # noqa: E731 - made anew for each try
        task_id="make",
        image="s3://images/rocket.jpg",
        prompt="p",
        seconds="4",
        output=f"s3://videos/{key}",
        deferrable=False,
        poll_interval=0.1,
    )
    with suppress(VeoError, AirflowFailException):
        operator().execute({"ti": Instance()})
    assert any(call.key == f"{key}.veo.json" for call in proxy.calls)
    with suppress(VeoError, AirflowFailException):
        operator().execute({"ti": Instance()})
    assert sandbox.charges()["count"] <= 1
    for found in s3.list_objects_v2(Bucket="videos").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/films"


@pytest.mark.parametrize(
    "bucket",
    [
        ACCESS_POINT,
        "arn:aws:s3:eu-west-1:123456789012:accesspoint:films",
        "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
        "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-01/accesspoint/films",
    ],
)
def test_an_access_point_is_a_bucket(s3, bucket):
    """Its ARN has slashes and colons of its own."""
    assert S3Uri.parse(f"s3://{bucket}/a/b.mp4", "output") == S3Uri(bucket, "a/b.mp4")
    assert str(S3Uri(bucket, "a/b.mp4")) == f"s3://{bucket}/a/b.mp4"
    open_manifest(f"s3://{bucket}/a/**/*.jpg", f"s3://{bucket}/b/", s3)


def test_an_access_point_is_called_by_its_host(monkeypatch):
    """boto3 takes the ARN as it stands; nothing is sent here."""
    connection = {"conn_type": "aws", "login": "a", "password": "b", "extra": {"region_name": "eu-west-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    client = s3_client("aws_default")
    sent = []

    def stop(request, **_):
        sent.append(request.url)
        raise ConnectionAbortedError

    client.meta.events.register_first("before-send.s3", stop)
    target = S3Uri.parse(f"s3://{ACCESS_POINT}/a/b.mp4", "output")
    with pytest.raises(VeoStorageError), translate_errors("It cannot be read"):
        client.get_object(Bucket=target.bucket, Key=target.key)
    assert sent[0] == "https://films-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/a/b.mp4"
    client.close()


def test_a_deleted_receipt_of_a_versioned_bucket_is_none(s3, sandbox, monkeypatch):
    """Behind a delete marker is nothing to attach to, and a new receipt may be created."""
    monkeypatch.setattr(ConditionalWrites, "_supported", {})
    with suppress(s3.exceptions.BucketAlreadyExists, s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket="versions")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    one_video("images", "versions")
    for key in ("stores/clip.mp4", "stores/clip.mp4.veo.json"):
        s3.delete_object(Bucket="versions", Key=key)
    assert one_video("images", "versions")["uri"] == "s3://versions/stores/clip.mp4"
    assert sandbox.charges()["count"] == 2


def test_a_name_of_more_than_1024_bytes_is_refused_before_money_moves(proxy, sandbox):
    """The receipt's name is the longer one."""
    operator = VeoImageToVideoOperator(
        task_id="make",
        image="s3://images/rocket.jpg",
        prompt="p",
        seconds="4",
        output=f"s3://videos/{'ü' * 508}.mp4",
        deferrable=False,
    )
    with pytest.raises((AirflowFailException, VeoReceiptError), match=r"long|Long"):
        operator.execute({"ti": Instance()})
    assert sandbox.tasks() == []
