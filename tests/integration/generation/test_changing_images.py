"""An image that is written while it is submitted: what the receipt says was sent is what was sent."""

import hashlib

import pytest
from support.gateways import SERVED
from support.generations import advance

from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoImageUnavailableError
from veo_provider.generation import fingerprint, submission
from veo_provider.generation.state_machine import GenerationPolicy
from veo_provider.media.image_source import open_image
from veo_provider.operators.veo import VeoSubmitOperator
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import ReceiptState
from veo_provider.receipts.s3_store import S3ReceiptStore
from veo_provider.s3.uri import S3Uri


@pytest.fixture
def store(s3):
    place = S3Uri("videos", "clips/changing.mp4.veo.json")
    s3.delete_object(Bucket=place.bucket, Key=place.key)
    return S3ReceiptStore(s3, place)


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path, s3, connections):
    """Where the image lies, and how to write there."""
    if request.param == "file":
        path = tmp_path / "photo.jpg"
        return str(path), path.write_bytes

    def write(data):
        s3.put_object(Bucket="images", Key="changing/photo.jpg", Body=data)

    return "s3://images/changing/photo.jpg", write


def submit(store, client, plan, try_number):
    by = Attempt("clips / monday / make", try_number)
    return advance(store, client, plan, by, GenerationPolicy(), is_stored=lambda _: False)


def test_an_image_that_changes_is_refused_and_the_next_attempt_sends_what_is_there(
    store, place, client, sandbox, photo
):
    """Nothing is charged for the first, and the second's receipt names the bytes that the service got."""
    uri, write = place
    whole = photo.read_bytes()
    before = sandbox.summary()["accepted"]

    def plan():
        held = store.read()
        return fingerprint.prepare(
            lambda: open_image(uri, "aws_default"),
            lambda image: VeoRequest(prompt="The rocket lifts off", seconds="4", image=image, gateway=SERVED),
            held.receipt if held else None,
            image=uri,
            account="veo_default",
        )

    write(whole)
    first = plan()
    write(whole[:-2] + b"\0\0")
    with pytest.raises(VeoImageUnavailableError, match="No money was spent"):
        submit(store, client, first, 1)
    assert store.read().receipt.state is ReceiptState.REFUSED
    assert sandbox.summary()["accepted"] == before

    write(whole)
    _, held = submit(store, client, plan(), 2)
    sent = sandbox.tasks()[-1]["files"][0]["sha256"]
    assert held.receipt.state is ReceiptState.SUBMITTED
    assert held.receipt.request["image_sha256"] == sent == hashlib.sha256(whole).hexdigest()


def test_the_plans_image_knows_its_digest(photo):
    """Read once for the plan, it is not read again for its digest."""
    plan = fingerprint.prepare(
        lambda: Image.from_path(photo),
        lambda image: VeoRequest(prompt="The rocket lifts off", image=image, gateway=SERVED),
        None,
        image=str(photo),
        account="veo_default",
    )
    assert plan.request.image.sha256 == plan.description["image_sha256"]


def test_without_a_receipt_what_changes_is_not_sent_either(place, client, sandbox, photo, monkeypatch):
    """The operator reads the image once for its digest, and sends these bytes or none."""
    uri, write = place
    whole = photo.read_bytes()
    write(whole)
    real = submission.submit

    def changed_meanwhile(client, request):
        write(whole[:-2] + b"\0\0")
        return real(client, request)

    monkeypatch.setattr(submission, "submit", changed_meanwhile)
    before = sandbox.summary()["accepted"]
    with pytest.raises(VeoImageUnavailableError, match="No money was spent"):
        VeoSubmitOperator(task_id="t", image=uri, prompt="p", seconds="4").execute({})
    assert sandbox.summary()["accepted"] == before
