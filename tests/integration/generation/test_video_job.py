"""VideoJob: what the steps of one video read, ask and remember, whichever driver calls them."""

import time
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from support.gateways import SERVED

from veo_provider.api.gateways.apiyi import FAST_MODEL
from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.api.video import Video, VideoStatus
from veo_provider.batch.jobs import ItemJobs
from veo_provider.batch.manifest import ManifestItem
from veo_provider.batch.prompts import prompts_of
from veo_provider.batch.report import orphans
from veo_provider.exceptions import VeoRequestError
from veo_provider.generation import fingerprint
from veo_provider.generation.fallbacks import Route
from veo_provider.generation.lifecycle import VideoJob
from veo_provider.generation.state_machine import Attach, Done, GenerationPolicy, NeedsImage, Refuse, Submit
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import ReceiptState
from veo_provider.s3.uri import S3Uri

TARGET = S3Uri("videos", "jobs/rocket.mp4")
ROUTE = partial(Route, "veo_default", FAST_MODEL)
TRY_1 = Attempt("clips / monday / make", 1, alone=False)
TRY_2, OTHER = replace(TRY_1, try_number=2, id="2"), Attempt("clips / tuesday / make", id="3")


@pytest.fixture(autouse=True)
def _empty(s3):
    for name in (TARGET.key, f"{TARGET.key}.veo.json"):
        s3.delete_object(Bucket="videos", Key=name)


@pytest.fixture
def calls(s3):
    """How often each operation of S3 was called."""
    counted = Counter()

    def count(model, **_):
        counted[model.name] += 1

    s3.meta.events.register("before-call.s3", count)
    yield counted
    s3.meta.events.unregister("before-call.s3", count)


@pytest.fixture
def new_job(s3, client, photo):
    """Makes jobs of the same video, and counts how often they read its image."""

    def make(attempt=TRY_1, **fields):
        def image():
            make.images += 1
            return Image.from_path(photo)

        def prepare(receipt):
            request = VeoRequest(prompt="The rocket lifts off", seconds="4", gateway=SERVED)
            return fingerprint.prepare(
                image,
                lambda found: replace(request, image=found),
                receipt,
                image=str(photo),
                account=ROUTE(client).account,
            )

        return VideoJob(s3, TARGET, client, attempt, GenerationPolicy(), prepare=prepare, **fields)

    make.images = 0
    return make


def submitted(job):
    held = job.read()
    job.prepare(held)
    return job.submit_once()


def finished(client, held):
    while not (video := client.get(held.receipt.veo_task_id)).finished:
        time.sleep(0.05)
    return video


def test_what_was_just_stored_is_not_looked_for_again(new_job, client, calls):
    """The job remembers what it has stored, so that the next decision takes no call to S3."""
    job = new_job()
    held = submitted(job)
    held = job.store(held, finished(client, held))
    calls.clear()
    assert job.decide(held) == Done()
    assert not calls
    assert new_job().decide(held) == NeedsImage()


def test_what_was_just_submitted_is_not_looked_for_in_s3(new_job, client, calls):
    """The job that has submitted a generation stores its video at once; any other looks for it first."""
    first, second = new_job(), new_job(TRY_2)
    held = submitted(first)
    video = finished(client, held)
    calls.clear()
    held = first.store(held, video)
    assert calls["GetObject"] == 1  # the receipt
    calls.clear()
    second.store(held, video)
    assert calls["GetObject"] == 2  # the receipt and the video


def test_a_trusted_receipt_is_attached_to_without_its_image_and_never_submitted(new_job, client):
    """Trust saves reading the image of what is paid for; to pay, it is read all the same."""
    held = submitted(new_job())
    images = new_job.images
    job = new_job(TRY_2, trust=lambda receipt: True)
    assert job.decide(held) == Attach(held.receipt.veo_task_id)
    assert new_job.images == images
    for state in (ReceiptState.REFUSED, ReceiptState.FAILED):
        unpaid = replace(held, receipt=replace(held.receipt, state=state))
        assert job.decide(unpaid) == NeedsImage()


def test_nothing_is_submitted_before_the_image_was_read(new_job, sandbox):
    """A driver that submits without preparing gets the receipt back, and nothing is paid."""
    job = new_job(trust=lambda receipt: True)
    assert job.submit_once() is None
    assert sandbox.tasks() == []


def test_a_job_that_has_let_go_of_its_image_still_knows_its_request(new_job):
    """The fingerprint is kept, to wait by; the image is read again for another submission."""
    job = new_job()
    held = submitted(job)
    job.release_image()
    assert job.decide(held) == Attach(held.receipt.veo_task_id)
    failed = job.record_failure(held, Video(held.receipt.veo_task_id, VideoStatus.FAILED))
    assert job.decide(failed) == NeedsImage()
    job.prepare(failed)
    assert job.decide(failed) == Submit()


def test_an_object_without_a_receipt_is_left_alone_before_its_image_is_read(new_job, s3, sandbox):
    """Nobody knows what it is: it is overwritten only where that is wanted."""
    s3.put_object(Bucket=TARGET.bucket, Key=TARGET.key, Body=b"somebody's")
    with pytest.raises(VeoRequestError, match="has no receipt"):
        submitted(new_job())
    assert new_job.images == 0
    assert submitted(new_job(replace=True)).receipt.state is ReceiptState.SUBMITTED


def test_a_cancelled_job_stores_nothing(new_job, client, s3):
    """A signal that comes before the upload keeps it from starting; a retry finds the receipt as it was."""
    job = new_job()
    held = submitted(job)
    video = finished(client, held)
    job.cancel()
    with pytest.raises(InterruptedError):
        job.store(held, video)
    assert new_job().read() == held
    assert s3.list_objects_v2(Bucket=TARGET.bucket, Prefix=TARGET.key)["KeyCount"] == 1  # the receipt


@pytest.fixture
def item_job(s3, client):
    """Makes the job of a batch's item, whose image is gone."""

    def make(attempt, prompt="The rocket lifts off", **fields):
        jobs = ItemJobs(
            routes=[ROUTE(client)],
            s3=s3,
            prompts=prompts_of(prompt, None, s3),
            attempt=attempt,
            policy=GenerationPolicy(),
            fields=[{"seconds": "4", **fields}],
            aws_conn_id=None,
        )
        item = ManifestItem("gone.jpg", "s3://images/gone.jpg", "gone.jpg", str(TARGET))
        return jobs.job_for(item), jobs.fetch_only(item, orphans.refusal)

    return make


def test_a_batch_trusts_what_its_own_task_has_asked_for_before(new_job, item_job):
    """A later try waits for it without the image; another request, or another task, takes a look at that."""
    held = submitted(new_job())
    attach = Attach(held.receipt.veo_task_id)
    for attempt, fields, step in (
        (TRY_2, {}, attach),
        (TRY_1, {"prompt": "Another"}, attach),
        (TRY_2, {"prompt": "Another"}, NeedsImage()),
        (TRY_2, {"seconds": "6"}, NeedsImage()),
        (OTHER, {}, NeedsImage()),
    ):
        assert item_job(attempt, **fields)[0].decide(held) == step


def test_a_batch_fetches_what_it_has_paid_for_without_its_prompt(new_job, item_job):
    """A prompt that is gone when the next try begins is needed to submit, and not to store what is paid."""
    held = submitted(new_job())
    job, _ = item_job(TRY_2, prompt={"another.jpg": "Another"})
    assert job.decide(held) == Attach(held.receipt.veo_task_id)
    failed = replace(held, receipt=replace(held.receipt, state=ReceiptState.FAILED))
    assert job.decide(failed) == NeedsImage()
    with pytest.raises(VeoRequestError, match="no prompt"):
        job.prepare(failed)


def test_an_orphan_is_fetched_whatever_was_asked_for_and_never_submitted(new_job, item_job):
    """What is paid is stored; where nothing is, the reason says that nobody asks for it any more."""
    _, job = item_job(TRY_2, prompt="Another")
    held = submitted(new_job())
    assert job.decide(held) == Attach(held.receipt.veo_task_id)
    for unpaid in (None, replace(held, receipt=replace(held.receipt, state=ReceiptState.FAILED))):
        step = job.decide(unpaid)
        assert isinstance(step, Refuse)
        assert "nothing is submitted for it" in str(step.error)
