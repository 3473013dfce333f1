"""Receipts in a real S3: who is first, who finds out, and what happens when nobody can tell."""

from dataclasses import replace

import pytest
from botocore.config import Config
from support.receipts import DAMAGED, ME, OTHER, TARGET, answer, new_claim, refuse_writes

from veo_provider.exceptions import (
    ReceiptConflictError,
    VeoReceiptDeniedError,
    VeoReceiptError,
    VeoReceiptUnavailableError,
)
from veo_provider.receipts.conditional_writes import ConditionalWrites
from veo_provider.receipts.receipt import SUFFIX, ReceiptState
from veo_provider.receipts.s3_store import S3ReceiptStore
from veo_provider.s3.uri import S3Uri


def test_a_receipt_is_created_read_and_changed(s3):
    """What is written is read again, and can be changed as it was read."""
    store = S3ReceiptStore(s3, TARGET)
    assert store.read() is None
    created = store.write(new_claim(), None)
    assert store.read() == created
    changed = store.write(
        created.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1"), created
    )
    assert store.read() == changed
    assert changed.etag != created.etag
    assert [step["state"] for step in changed.receipt.history] == ["claimed", "submitted"]
    assert store.uri == "s3://videos/clips/rocket.mp4.veo.json"


def test_the_second_to_create_finds_out(s3, new_s3):
    """Of two that found no receipt, one writes it and the other learns that it is there."""
    first, second = S3ReceiptStore(s3, TARGET), S3ReceiptStore(new_s3(), TARGET)
    written = first.write(new_claim(), None)
    with pytest.raises(ReceiptConflictError):
        second.write(new_claim(OTHER), None)
    assert second.read() == written


def test_the_second_to_change_finds_out(s3):
    """Of two that read the same receipt, one changes it and the other learns that it has changed."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(), None)
    written = store.write(read.receipt.transition(ReceiptState.REFUSED, ME), read)
    with pytest.raises(ReceiptConflictError):
        store.write(read.receipt.transition(ReceiptState.UNKNOWN, OTHER), read)
    assert store.read() == written


def test_a_receipt_that_is_gone_cannot_be_changed(s3):
    """A receipt that somebody removed meanwhile is not made anew by a change."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(), None)
    s3.delete_object(Bucket=TARGET.bucket, Key=TARGET.key)
    with pytest.raises(ReceiptConflictError):
        store.write(read.receipt.transition(ReceiptState.REFUSED, ME), read)
    assert store.read() is None


@pytest.mark.parametrize("after", ["nothing", "a receipt"])
def test_a_repeated_write_of_our_own_is_adopted(s3, after):
    """boto3 repeats a PUT whose answer was lost: the refusal of the second is not taken for a rival's win."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(OTHER), None) if after == "a receipt" else None
    ours = new_claim()
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=ours.to_json())
    adopted = store.write(ours, read)
    assert adopted.receipt == ours
    store.write(ours.transition(ReceiptState.REFUSED, ME), adopted)


def test_a_write_whose_answer_is_lost_is_repeated_by_boto3_and_adopted(s3, new_s3):
    """The same, with boto3's own retry after an answer that never came back."""
    client = new_s3(config=Config(retries={"max_attempts": 2, "mode": "standard"}))
    store = S3ReceiptStore(client, TARGET)
    store.write(new_claim(), None)
    read, ours, sent = store.read(), new_claim(), []

    def lose_first_answer(request, **_):
        sent.append(request.url)
        if len(sent) > 1:
            return None
        s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=ours.to_json())
        return answer(request, 503, "SlowDown")

    client.meta.events.register("before-send.s3.PutObject", lose_first_answer)
    assert store.write(ours, read).receipt == ours
    assert len(sent) == 2


REFUSALS = [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed"), (404, "NoSuchKey")]


@pytest.mark.parametrize(("status", "code"), REFUSALS)
@pytest.mark.parametrize("after", ["nothing", "a receipt"])
def test_a_refusal_is_no_lost_race_while_nobody_has_changed_the_receipt(s3, new_s3, status, code, after):
    """S3 refuses conditional writes for other reasons as well: what is stored shows what to do."""
    S3ReceiptStore(s3, S3Uri("videos", f"clips/known{SUFFIX}")).write(new_claim(), None)
    read = S3ReceiptStore(s3, TARGET).write(new_claim(), None) if after == "a receipt" else None
    client = new_s3()
    sent = refuse_writes(client, 1, status, code)
    ours = new_claim().transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1")
    assert S3ReceiptStore(client, TARGET).write(ours, read).receipt == ours
    assert S3ReceiptStore(s3, TARGET).read().receipt == ours
    assert len(sent) == 2


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_a_refusal_that_stays_may_pass(s3, new_s3, status, code):
    """Refused again and again, the write is tried again later, and is not given up for lost."""
    read = S3ReceiptStore(s3, TARGET).write(new_claim(), None)
    client = new_s3()
    refuse_writes(client, 100, status, code)
    with pytest.raises(VeoReceiptUnavailableError, match="nobody has changed it"):
        S3ReceiptStore(client, TARGET).write(
            read.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1"), read
        )
    assert S3ReceiptStore(s3, TARGET).read() == read


def test_a_receipt_that_the_store_has_rewritten_is_still_the_same(s3):
    """Copied in parts, as a migration does it, the same receipt has another ETag: nobody has changed it."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(), None)
    where = {"Bucket": TARGET.bucket, "Key": TARGET.key}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=read.receipt.to_json())
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    assert store.read().etag != read.etag
    changed = read.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1")
    assert store.write(changed, read) == store.read()
    assert store.read().receipt == changed


def test_what_a_person_changed_meanwhile_is_not_overwritten(s3):
    """Edited by hand, a receipt keeps its revision, and is another one all the same."""
    store = S3ReceiptStore(s3, TARGET)
    read = store.write(new_claim(), None)
    edited = replace(read.receipt, state=ReceiptState.SUBMITTED, veo_task_id="task_1")
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=edited.to_json())
    with pytest.raises(ReceiptConflictError):
        store.write(read.receipt.transition(ReceiptState.UNKNOWN, ME), read)
    assert store.read().receipt == edited


TROUBLE = {
    "no bucket": ({}, S3Uri("no-such-bucket", TARGET.key)),
    "refused connection": ({"endpoint_url": "http://127.0.0.1:1"}, TARGET),
    "wrong key": ({"aws_secret_access_key": "wrong"}, TARGET),
    "unknown user": ({"aws_access_key_id": "nobody"}, TARGET),
}


MAY_PASS = ("refused connection",)


def error_of(trouble):
    return VeoReceiptUnavailableError if trouble in MAY_PASS else VeoReceiptDeniedError


@pytest.mark.parametrize("trouble", TROUBLE)
def test_what_cannot_be_read_is_not_taken_for_absent(new_s3, trouble):
    """Trouble with the store is an error, tried again where it may pass, and never taken for none."""
    changes, target = TROUBLE[trouble]
    with pytest.raises(error_of(trouble), match=r"cannot be read.*Nothing is submitted") as caught:
        S3ReceiptStore(new_s3(**changes), target).read()
    assert caught.value.retryable == (trouble in MAY_PASS)


@pytest.mark.parametrize("known", [False, True], ids=["first write", "later write"])
# Without "no bucket": the sandbox's S3 makes a bucket for the first object that is put there.
@pytest.mark.parametrize("trouble", ["refused connection", "wrong key", "unknown user"])
def test_what_cannot_be_written_is_our_error(new_s3, trouble, known, monkeypatch):
    """Trouble with the store while writing is the same error, whether the store is known already or not."""
    changes, target = TROUBLE[trouble]
    client = new_s3(**changes)
    if known:
        ConditionalWrites._supported[client.meta.endpoint_url, target.bucket, "If-Match"] = True
    with pytest.raises(error_of(trouble), match="cannot be written"):
        S3ReceiptStore(client, target).write(new_claim(), None)


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (429, "SlowDown"), (404, "NotFound")]
)
def test_only_a_missing_key_means_that_there_is_no_receipt(s3, new_s3, status, code):
    """Any other answer leaves open whether there is one."""
    S3ReceiptStore(s3, TARGET).write(new_claim(), None)
    client = new_s3()
    client.meta.events.register(
        "before-send.s3.GetObject", lambda request, **_: answer(request, status, code)
    )
    with pytest.raises(VeoReceiptUnavailableError):
        S3ReceiptStore(client, TARGET).read()


def test_a_receipt_that_may_not_be_read_names_the_permission(s3, new_s3):
    """Without s3:ListBucket S3 denies a missing object as well: that is said, and not tried for ever."""
    client = new_s3()
    client.meta.events.register(
        "before-send.s3.GetObject", lambda request, **_: answer(request, 403, "AccessDenied")
    )
    with pytest.raises(VeoReceiptDeniedError, match=r"s3:GetObject.*s3:ListBucket") as caught:
        S3ReceiptStore(client, TARGET).read()
    assert not caught.value.retryable


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_receipt_is_told_and_left_alone(s3, damage):
    """What cannot be understood is no receipt to go by, and nothing to overwrite."""
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=DAMAGED[damage])
    with pytest.raises(VeoReceiptError, match=r"rocket\.mp4\.veo\.json"):
        S3ReceiptStore(s3, TARGET).read()
    assert s3.get_object(Bucket=TARGET.bucket, Key=TARGET.key)["Body"].read() == DAMAGED[damage]


def test_a_receipt_of_a_newer_release_is_told_and_left_alone(s3):
    """A newer version is refused with the way out, even where its fields are unknown."""
    newer = b'{"schema_version": 3, "state": "paid in advance"}'
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=newer)
    with pytest.raises(VeoReceiptError, match=r"version 2.*upgrade airflow-provider-veo"):
        S3ReceiptStore(s3, TARGET).read()
    assert s3.get_object(Bucket=TARGET.bucket, Key=TARGET.key)["Body"].read() == newer
