"""Uploads to a real S3: what is damaged on the way, cancelled in the middle, or refused, leaves nothing."""

import io
import json
import os
import signal
import threading
import time

import pytest
from support.moments import PATIENCE, at_moment

from veo_provider.exceptions import VeoStorageUnavailableError
from veo_provider.s3.client import s3_client
from veo_provider.s3.multipart_upload import PART_BYTES, MultipartUpload
from veo_provider.s3.uri import S3Uri

KEY = "clips/upload.mp4"
TARGET = S3Uri("videos", KEY)
CONTENT = bytes(range(256)) * (3 * PART_BYTES // 256 + 1)


@pytest.fixture
def new_client(sandbox, monkeypatch):
    """Makes clients as Airflow's connection describes them."""
    made = []

    def make(**config):
        connection = json.loads(sandbox.aws_conn())
        connection["extra"]["config_kwargs"] = config
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        made.append(s3_client("aws_default"))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def nothing_remains(s3):
    """Tells whether S3 knows anything of the object, and removes it."""
    s3.delete_object(Bucket="videos", Key=KEY)

    def look():
        found = s3.list_objects_v2(Bucket="videos", Prefix=KEY)
        uploads = s3.list_multipart_uploads(Bucket="videos", Prefix=KEY)
        return "Contents" not in found and "Uploads" not in uploads

    yield look
    s3.delete_object(Bucket="videos", Key=KEY)


def upload_to(client):
    return MultipartUpload(client, TARGET, content_type="video/mp4", metadata={})


def store(client, content=CONTENT):
    store_with(upload_to(client), content)


def store_with(upload, content):
    with upload:
        upload.write(content)
        upload.complete()


def damage(request, **_):
    """Flip one bit between us and S3, behind all sums and signatures."""
    if request.method == "PUT":
        body = bytearray(request.body.read())
        body[len(body) // 2] ^= 1
        request.body = io.BytesIO(body)


@pytest.mark.parametrize("size", [1000, len(CONTENT)], ids=["whole", "in parts"])
def test_s3_refuses_what_was_damaged_on_the_way(new_client, nothing_remains, size):
    """A single wrong bit is found by the checksum that S3 itself verifies, and no object appears."""
    client = new_client(s3={"payload_signing_enabled": False})
    client.meta.events.register("before-send.s3", damage)
    with pytest.raises(VeoStorageUnavailableError, match="BadDigest"):
        store(client, CONTENT[:size])
    assert nothing_remains()


def test_the_object_is_pieced_together_by_its_parts_checksums(new_client, s3):
    """Each part's checksum is listed at the completion, so that S3 knows one of the whole object."""
    client, bodies = new_client(), []
    client.meta.events.register(
        "before-call.s3.CompleteMultipartUpload", lambda params, **_: bodies.append(params["body"])
    )
    store(client)
    assert bodies[0].count(b"<ChecksumCRC32>") == 4
    assert "ChecksumCRC32" in s3.head_object(Bucket="videos", Key=KEY, ChecksumMode="ENABLED")
    s3.delete_object(Bucket="videos", Key=KEY)


def test_a_store_that_knows_no_checksums_can_be_used(new_client, s3):
    """The connection's request_checksum_calculation is obeyed, as everywhere in boto3."""
    client, sent = new_client(request_checksum_calculation="when_required"), []
    client.meta.events.register("before-send.s3", lambda request, **_: sent.extend(request.headers))
    for content in (CONTENT, b"small"):
        store(client, content)
        assert s3.get_object(Bucket="videos", Key=KEY)["Body"].read() == content
        s3.delete_object(Bucket="videos", Key=KEY)
    assert sent
    assert not [name for name in sent if "checksum" in name.lower()]


class Gate:
    """Holds the first call of an operation up, before S3 hears of it or before we hear from S3."""

    def __init__(self, client, event):
        self.reached = threading.Event()
        self.opened = threading.Event()
        client.meta.events.register(event, self._hold)

    def _hold(self, **_):
        self.reached.set()
        assert self.opened.wait(PATIENCE)


@pytest.mark.parametrize(
    "event",
    [
        "before-send.s3.CreateMultipartUpload",
        "after-call.s3.CreateMultipartUpload",
        "before-call.s3.UploadPart",
        "before-send.s3.UploadPart",
        "after-call.s3.UploadPart",
    ],
)
def test_what_lands_after_a_cancellation_is_taken_back(new_client, nothing_remains, event):
    """A call on its way while the upload is cancelled may still arrive: nothing of it remains."""
    client = new_client()
    gate = Gate(client, event)
    with upload_to(client) as upload:
        upload.write(CONTENT[:PART_BYTES])
        assert gate.reached.wait(PATIENCE)
        upload.cancel()
        gate.opened.set()
        with pytest.raises(InterruptedError):
            upload.complete()
    assert nothing_remains()


def test_a_part_that_lands_late_is_taken_back_though_nobody_waits_for_it(new_client, nothing_remains):
    """The thread that writes may hang in a download until it is killed: the sender cleans up by itself."""
    client = new_client()
    gate = Gate(client, "after-call.s3.CreateMultipartUpload")
    with upload_to(client) as upload:
        upload.write(CONTENT[:PART_BYTES])
        assert gate.reached.wait(PATIENCE)
        upload.cancel()
        assert not nothing_remains()
        gate.opened.set()
        upload._sending[0].exception(PATIENCE)
        assert nothing_remains()


@pytest.mark.parametrize("where", ["write", "complete"])
def test_a_signal_cancels_a_writer_that_waits(new_client, nothing_remains, where):
    """As Airflow's on_kill does: in the very thread that waits for a part, without a deadlock."""
    client = new_client()
    gate = Gate(client, "before-send.s3.UploadPart")
    upload = upload_to(client)

    def cancel(*_):
        upload.cancel()
        gate.opened.set()

    def interrupt():
        time.sleep(0.5)  # the writer is waiting by then; where it is not yet, the same comes of it
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, cancel)
    interrupter = at_moment(gate.reached.is_set, interrupt)
    try:
        with pytest.raises(InterruptedError):
            store_with(upload, CONTENT if where == "write" else CONTENT[:PART_BYTES])
    finally:
        interrupter.join()
        signal.signal(signal.SIGUSR1, before)
    assert nothing_remains()


def test_an_upload_begins_anew_with_nothing_of_the_old(new_client, s3):
    """After a restart, the object has the new bytes only, whatever was on its way."""
    with upload_to(new_client()) as upload:
        upload.write(b"old" * PART_BYTES)
        upload.restart()
        assert "Uploads" not in s3.list_multipart_uploads(Bucket="videos", Prefix=KEY)
        upload.write(CONTENT)
        upload.complete()
    assert s3.get_object(Bucket="videos", Key=KEY)["Body"].read() == CONTENT
    s3.delete_object(Bucket="videos", Key=KEY)
