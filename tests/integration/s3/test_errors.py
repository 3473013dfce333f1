"""Whatever boto3 raises, at whichever call to S3: an error of ours comes out, and of the right kind."""

import inspect
import string

import boto3
import pytest
from botocore import exceptions
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from support.archive import picture
from urllib3.exceptions import IncompleteRead, ReadTimeoutError, SSLError

from veo_provider.batch.manifest import ManifestItem, open_manifest
from veo_provider.batch.outcome import Outcome
from veo_provider.batch.prompts import prompts_of
from veo_provider.batch.report.journal import ResultJournal
from veo_provider.batch.report.run_folder import get
from veo_provider.batch.report.summary import write_progress, write_summary
from veo_provider.batch.spec import BatchTuning
from veo_provider.exceptions import (
    VeoError,
    VeoImageError,
    VeoImageUnavailableError,
    VeoReceiptDeniedError,
    VeoReceiptUnavailableError,
    VeoRequestError,
    VeoStorageDeniedError,
    VeoStorageMissingError,
    VeoStorageUnavailableError,
    VeoSummaryUnavailableError,
)
from veo_provider.generation import storage
from veo_provider.media.image_source import open_image
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.charges import iter_receipts
from veo_provider.receipts.conditional_writes import ConditionalWrites
from veo_provider.receipts.receipt import SUFFIX, ReceiptState, claim
from veo_provider.receipts.s3_store import S3ReceiptStore
from veo_provider.s3 import multipart_upload
from veo_provider.s3.client import head_object, iter_objects
from veo_provider.s3.multipart_upload import MultipartUpload, abort_stale_uploads
from veo_provider.s3.uri import S3Uri

TARGET = S3Uri("videos", "errors/clip.mp4")
RECEIPT = S3Uri("videos", TARGET.key + SUFFIX)
IMAGE = S3Uri("images", "errors/one.jpg")
ITEM = ManifestItem("errors/one.jpg", str(IMAGE), "one.jpg", str(TARGET))
FOLDER = "s3://videos/errors/_veo/"
ME = Attempt("dag / run / me")


def new_claim():
    return claim("f" * 64, {"prompt": "A fjord"}, 0.3, ME, seconds=60)


def all_of_botocores():
    """Return one error of each class that botocore has, and those that urllib3 and Python let through."""
    made = []
    for kind in vars(exceptions).values():
        if not inspect.isclass(kind) or not issubclass(kind, Exception) or issubclass(kind, Warning):
            continue
        if kind.__module__ != exceptions.__name__:
            continue
        if issubclass(kind, exceptions.ClientError):
            made.append(kind({"Error": {"Code": "Whatever", "Message": "So the test has it."}}, "PutObject"))
            continue
        names = [name for _, name, _, _ in string.Formatter().parse(getattr(kind, "fmt", "")) if name]
        parameters = inspect.signature(kind.__init__).parameters
        required = [name for name, one in parameters.items() if name != "self" and _is_required(one)]
        made.append(kind(**dict.fromkeys([*names, *required], "x")))
    return [
        *made,
        ConnectionResetError("cut"),
        TimeoutError("late"),
        IncompleteRead(1, 2),
        SSLError("broken"),
    ]


def _is_required(parameter):
    return parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD


ERRORS = all_of_botocores()


@pytest.fixture
def failing(sandbox):
    """A client of the sandbox's S3, and what it raises in place of sending a call."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=sandbox.s3,
        aws_access_key_id=sandbox.aws_access_key_id,
        aws_secret_access_key=sandbox.aws_secret_access_key,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}),
    )
    yield client
    client.close()


@pytest.fixture(scope="module")
def _image(s3):
    """An image and its prompt."""
    s3.put_object(Bucket="images", Key=IMAGE.key, Body=picture("one"), Metadata={"title": "One"})
    s3.put_object(Bucket="images", Key=f"{IMAGE.key}.txt", Body=b"A fjord")


@pytest.fixture(autouse=True)
def _filled(s3, _image, monkeypatch):
    """A receipt and a note beside them; uploads have small parts, since some tests make a hundred of them."""
    monkeypatch.setattr(multipart_upload, "PART_BYTES", 2000)
    monkeypatch.setattr(ConditionalWrites, "_supported", {})
    for key in [found["Key"] for found in iter_objects(s3, S3Uri("videos", "errors/"))]:
        s3.delete_object(Bucket="videos", Key=key)
    S3ReceiptStore(s3, RECEIPT).write(new_claim(), None)
    notes_of(s3).add(ITEM, Outcome.REJECTED, "too dark")


def notes_of(s3):
    return ResultJournal(s3, FOLDER, ME.task_instance, "request", 1, tuning=BatchTuning())


def write_note(s3):
    notes = notes_of(s3)
    notes.add(ITEM, Outcome.REJECTED, "too dark")
    notes.flush()


def upload(s3, size):
    with MultipartUpload(s3, TARGET, content_type="video/mp4", metadata={}, replace=False) as one:
        one.write(bytes(size))
        one.complete()


def change_receipt(s3, *, known):
    """Change the receipt, in a store that this process knows already, or not."""
    store = S3ReceiptStore(s3, RECEIPT)
    held = S3ReceiptStore(s3, RECEIPT).read()
    if not known:
        ConditionalWrites._supported.clear()
    store.write(held.receipt.transition(ReceiptState.UNKNOWN, ME), held)


SMALL, IN_PARTS = 1000, 3000
CALLS = {
    "read a receipt": ("GetObject", lambda s3: S3ReceiptStore(s3, RECEIPT).read()),
    "try the store": ("PutObject", lambda s3: change_receipt(s3, known=False)),
    "discard what a store should not have": (
        "DeleteObject",
        lambda s3: ConditionalWrites(s3, RECEIPT)._delete("errors/probe"),
    ),
    "create a receipt": (
        "PutObject",
        lambda s3: S3ReceiptStore(s3, S3Uri("videos", f"errors/new{SUFFIX}")).write(new_claim(), None),
    ),
    "change a receipt": ("PutObject", lambda s3: change_receipt(s3, known=True)),
    "look up an object": ("HeadObject", lambda s3: head_object(s3, TARGET)),
    "look for a video": ("GetObject", lambda s3: storage.find_stored_video(s3, TARGET, "task_1")),
    "compare a video": ("HeadObject", lambda s3: storage.is_stored(s3, TARGET, new_claim())),
    "upload at once": ("PutObject", lambda s3: upload(s3, SMALL)),
    "begin an upload": ("CreateMultipartUpload", lambda s3: upload(s3, IN_PARTS)),
    "upload a part": ("UploadPart", lambda s3: upload(s3, IN_PARTS)),
    "complete an upload": ("CompleteMultipartUpload", lambda s3: upload(s3, IN_PARTS)),
    "look for leftovers": ("ListMultipartUploads", lambda s3: abort_stale_uploads(s3, TARGET)),
    "read an image": ("GetObject", lambda s3: open_image(str(IMAGE), None, s3=s3)),
    "read a sidecar": ("GetObject", lambda s3: prompts_of(None, ".txt", s3).of(ITEM)),
    "read metadata": ("HeadObject", lambda s3: prompts_of("$metadata_title", None, s3).of(ITEM)),
    "list an archive": (
        "ListObjectsV2",
        lambda s3: list(open_manifest("s3://images/errors/", "s3://videos/errors/", s3).items()),
    ),
    "list receipts": (
        "ListObjectsV2",
        lambda s3: list(iter_receipts(s3, "s3://videos/errors/", 0)),
    ),
    "add up receipts": (
        "GetObject",
        lambda s3: list(iter_receipts(s3, "s3://videos/errors/", 0)),
    ),
    "read when a run began": ("HeadObject", lambda s3: notes_of(s3).run_started_at(fresh=False)),
    "read a request": ("GetObject", lambda s3: get(s3, TARGET)),
    "list notes": ("ListObjectsV2", lambda s3: notes_of(s3).start_try()),
    "delete notes": ("DeleteObject", lambda s3: notes_of(s3).clear()),
    "write a note": ("PutObject", write_note),
    "write a summary": ("PutObject", lambda s3: write_summary([], s3, FOLDER)),
    "write progress": ("PutObject", lambda s3: write_progress(s3, FOLDER, {})),
}


OF_NO_ACCOUNT = (
    "discard what a store should not have",
    "look for leftovers",
    "delete notes",
    "write progress",
)
"""Housekeeping: it is left undone, with a warning."""


def fail(client, operation, error):
    """Let a client raise an error in place of sending a call."""

    def raise_it(**_):
        raise error

    client.meta.events.register_first(f"before-send.s3.{operation}", raise_it, unique_id="fail")


def clear(client, operation):
    client.meta.events.unregister(f"before-send.s3.{operation}", unique_id="fail")


@pytest.mark.parametrize("call", CALLS)
def test_no_error_of_botocore_comes_through(failing, call):
    """Each class that botocore has, raised at this call, becomes an error of ours, or is of no account."""
    operation, make = CALLS[call]
    came_through = []
    for error in ERRORS:
        fail(failing, operation, error)
        try:
            make(failing)
            if call not in OF_NO_ACCOUNT:
                came_through.append((error, "nothing was raised"))
        except VeoError as ours:
            if not ours.what or not ours.money or not ours.advice:
                came_through.append((error, ours))
        except Exception as theirs:  # noqa: BLE001 - each of them is a failure
            came_through.append((error, theirs))
        finally:
            clear(failing, operation)
    assert came_through == []


class Broken:
    """A body that breaks off while it is read."""

    def __init__(self, error):
        self._error = error

    def stream(self, **_):
        raise self._error

    def read(self, *_, **__):
        raise self._error

    def close(self):
        pass


BODY_ERRORS = [
    IncompleteRead(1, 2),
    ReadTimeoutError(None, "/", "late"),
    SSLError("broken"),
    ConnectionResetError("cut"),
]


@pytest.mark.parametrize("call", [name for name, (operation, _) in CALLS.items() if operation == "GetObject"])
@pytest.mark.parametrize("error", BODY_ERRORS, ids=lambda error: type(error).__name__)
def test_a_body_that_breaks_off_may_pass(failing, call, error):
    """Read to its first bytes and no further, an object is neither there nor missing: it is tried again."""

    def break_off(parsed, **_):
        parsed["Body"]._raw_stream = Broken(error)
        parsed["Metadata"] = {"veo_task_id": "task_1"}

    failing.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=b"x")
    failing.meta.events.register("after-call.s3.GetObject", break_off)
    with pytest.raises(VeoError) as caught:
        CALLS[call][1](failing)
    assert caught.value.retryable


def answer(request, status, code):
    """Return what S3 would answer to a request that it refuses."""
    body = b"" if request.method == "HEAD" else f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
    return AWSResponse(request.url, status, {"content-length": str(len(body))}, Body(body))


class Body:
    """The body of an answer that a test makes up."""

    def __init__(self, text):
        self._body = text.encode() if isinstance(text, str) else text

    def stream(self, **_):
        yield self._body


def refuse(client, operation, status, code):
    client.meta.events.register(
        f"before-send.s3.{operation}", lambda request, **_: answer(request, status, code)
    )


@pytest.mark.parametrize(
    ("call", "denied"),
    [
        ("read a receipt", VeoReceiptDeniedError),
        ("create a receipt", VeoReceiptDeniedError),
        ("add up receipts", VeoReceiptDeniedError),
        ("list receipts", VeoReceiptDeniedError),
        ("read an image", VeoImageError),
        ("read a sidecar", VeoRequestError),
        ("read metadata", VeoRequestError),
        ("list an archive", VeoRequestError),
        ("look up an object", VeoStorageDeniedError),
        ("compare a video", VeoStorageDeniedError),
        ("upload at once", VeoStorageDeniedError),
        ("begin an upload", VeoStorageDeniedError),
        ("write a note", VeoSummaryUnavailableError),
        ("write a summary", VeoSummaryUnavailableError),
    ],
)
@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_what_is_refused_for_good_is_not_tried_again(failing, call, denied, code):
    """Access that is denied, and a bucket that does not exist, end a task at once."""
    operation, make = CALLS[call]
    if operation == "HeadObject" and code == "NoSuchBucket":
        pytest.skip("the answer to a HEAD has no code")
    refuse(failing, operation, 403 if code == "AccessDenied" else 404, code)
    kind = VeoStorageMissingError if denied is VeoStorageDeniedError and code == "NoSuchBucket" else denied
    with pytest.raises(kind) as caught:
        make(failing)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("call", "away"),
    [
        ("read a receipt", VeoReceiptUnavailableError),
        ("change a receipt", VeoReceiptUnavailableError),
        ("read an image", VeoImageUnavailableError),
        ("look up an object", VeoStorageUnavailableError),
        ("upload a part", VeoStorageUnavailableError),
        ("write a summary", VeoSummaryUnavailableError),
    ],
)
def test_what_may_pass_is_tried_again(failing, call, away):
    """A store in trouble is one that a retry may find well."""
    operation, make = CALLS[call]
    refuse(failing, operation, 503, "SlowDown")
    with pytest.raises(away) as caught:
        make(failing)
    assert caught.value.retryable
