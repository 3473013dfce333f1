"""What earlier releases have left behind is understood as it was meant: ``tests/golden`` holds it."""

import importlib
import json
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout

from veo_provider.api.request import VeoRequest
from veo_provider.api.video import Video, VideoStatus
from veo_provider.batch.checkpoint import Checkpoint
from veo_provider.batch.engine.monitors.progress import snapshot
from veo_provider.batch.engine.state import SegmentState
from veo_provider.batch.outcome import Outcome
from veo_provider.batch.report.row import SummaryRow
from veo_provider.batch.spec import BatchSpec, BatchTuning
from veo_provider.exceptions import VeoBatchUnfinishedError, VeoGenerationFailed, VeoSubmissionUnknown
from veo_provider.generation.fingerprint import PreparedRequest
from veo_provider.generation.state_machine import (
    Attach,
    Done,
    GenerationPolicy,
    Refuse,
    Submit,
    WaitForClaim,
    next_step,
)
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.charges import charges
from veo_provider.receipts.receipt import Receipt, ReceiptState
from veo_provider.sensors.veo import VeoTaskSensor

GOLDEN = Path(__file__).parents[1] / "golden"
RELEASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and path.name[0].isdigit())
RUN = "clips / monday / make"
"""The task instance that has left all of it."""
RETRY, OTHER = Attempt(RUN, 2), Attempt("clips / tuesday / make")

pytestmark = pytest.mark.parametrize("release", RELEASES)


def body(release, name):
    return (GOLDEN / release / name).read_bytes()


def read(release, name):
    return json.loads(body(release, name))


def lines(release, name):
    return [json.loads(line) for line in body(release, name).decode().splitlines()]


def receipt(release, name):
    return Receipt.from_json(body(release, f"receipts/{name}.json"), name)


def decision(found, by, *, alive=False, stored=True):
    """Return the kind of what an attempt that asks for the same does next, or of its error."""
    now = found.claimed_until - 1 if alive else found.claimed_until + 1
    step = next_step(found, found.fingerprint, by, GenerationPolicy(), now=now, stored=stored)
    return type(step.error) if isinstance(step, Refuse) else type(step)


def is_kept(old, new):
    """Whether all that a release wrote is still there; a later one may add to it."""
    return {name: new[name] for name in old} == old


MEANINGS = {
    # receipt: its state, what its run may be charged in USD, and what the next one does
    "claimed": (ReceiptState.CLAIMED, 0.30, VeoSubmissionUnknown),
    "refused": (ReceiptState.REFUSED, 0.0, Submit),
    "unknown": (ReceiptState.UNKNOWN, 0.30, VeoSubmissionUnknown),
    "submitted": (ReceiptState.SUBMITTED, 0.30, Attach),
    "in-airflows-task-state": (ReceiptState.SUBMITTED, 0.30, Attach),
    "failed": (ReceiptState.FAILED, 0.0, Submit),
    "moderated": (ReceiptState.FAILED, 0.0, VeoGenerationFailed),
    "stored": (ReceiptState.STORED, 0.30, Done),
    "stored-by-the-second-generation": (ReceiptState.STORED, 0.30, Done),
    "regenerated": (ReceiptState.STORED, 0.30, Done),
}


def test_no_receipt_is_left_out(release):
    """Each one that was recorded has its meaning here."""
    found = {path.stem for path in (GOLDEN / release / "receipts").iterdir()}
    assert found == set(MEANINGS)


@pytest.mark.parametrize("name", MEANINGS)
def test_a_receipt_keeps_its_meaning(release, name):
    """State, charge and decision are those for which it was written, for a retry and for another run."""
    state, usd, step = MEANINGS[name]
    found = receipt(release, name)
    assert found.state is state
    assert charges(found, RUN) == pytest.approx(usd)
    for by in (RETRY, OTHER):
        assert issubclass(decision(found, by), step)


@pytest.mark.parametrize("name", MEANINGS)
def test_a_receipt_that_is_written_again_loses_nothing(release, name):
    """A later state is added to what stands there already."""
    found = receipt(release, name)
    old, new = read(release, f"receipts/{name}.json"), json.loads(found.to_json())
    # The version may rise: who reads it is asked for a newer release then.
    assert old.pop("schema_version") <= new["schema_version"]
    assert is_kept(old, new)
    moved = json.loads(found.transition(ReceiptState.STORED, RETRY, video={"bytes": 1}).to_json())
    assert moved["history"][:-1] == old["history"]


def test_a_claim_that_is_alive_is_waited_for(release):
    """By another run; a retry of its own task takes it for a dead attempt's."""
    claimed = receipt(release, "claimed")
    assert decision(claimed, OTHER, alive=True) is WaitForClaim
    assert issubclass(decision(claimed, RETRY, alive=True), VeoSubmissionUnknown)


def test_a_stored_video_that_is_gone_is_fetched_again(release):
    """It was paid: its receipt still names the generation."""
    stored = receipt(release, "stored")
    assert decision(stored, OTHER, stored=False) is Attach
    assert stored.video == read(release, "receipts/stored.json")["video"]


def test_a_regenerated_video_was_paid_by_both_runs(release):
    """One receipt holds the history of two requests."""
    found = receipt(release, "regenerated")
    assert charges(found, "clips / tuesday / make") == pytest.approx(0.30)
    assert found.claimant == "clips / tuesday / make"


@pytest.mark.parametrize("name", ["submitted", "stored"])
def test_the_same_request_is_recognised(release, name):
    """What is asked for today has the fingerprint that it had then, so that nothing is paid anew."""
    found = receipt(release, name)
    request = VeoRequest(prompt="The rocket lifts off", seconds="4")
    plan = PreparedRequest.of(
        request,
        image=found.request["image"],
        image_sha256=found.request["image_sha256"],
        account=found.request["account"],
    )
    assert plan.fingerprint == found.fingerprint


TRIGGERS = ["task", "task-of-a-sensor", "claim", "batch", "batch-with-finished-keys"]


def test_no_trigger_is_left_out(release):
    """Each one that was recorded is read here."""
    assert {path.stem for path in (GOLDEN / release / "triggers").iterdir()} == set(TRIGGERS)


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_in_flight_is_rebuilt(release, name):
    """Its class is where it was, it takes the kwargs that it had, and says them again."""
    old = read(release, f"triggers/{name}.json")
    module, _, kind = old["classpath"].rpartition(".")
    trigger = getattr(importlib.import_module(module), kind)(**old["kwargs"])
    classpath, kwargs = trigger.serialize()
    assert classpath == old["classpath"]
    assert is_kept(old["kwargs"], kwargs)


@pytest.mark.parametrize("name", ["batch", "batch-with-finished-keys"])
def test_a_job_is_read(release, name):
    """All that the batch was asked for is in it."""
    old = read(release, f"triggers/{name}.json")["kwargs"]["job"]
    job = BatchSpec.from_dict(old)
    assert {field: getattr(job, field) for field in old} == old
    assert is_kept(old, job.to_dict())


def test_progress_is_read(release):
    """Everything that was finished counts as finished, in a form that was packed."""
    old = read(release, "triggers/batch-with-finished-keys.json")["kwargs"]["progress"]
    progress = Checkpoint.from_dict(old)
    lot = read(release, "lots/batch-with-finished-keys.json")
    stored = {key.removesuffix(".mp4.veo.json") for key, one in lot.items() if one["state"] == "stored"}
    assert progress.finished == stored
    assert len(stored) == 4
    assert (progress.cursor, progress.open, progress.total) == (None, 2, 4)
    assert (progress.committed_usd, progress.at, progress.began) == (1.8, old["at"], old["began"])
    assert (progress.images, progress.window, progress.mean_seconds) == (6, old["window"], None)
    assert (progress.stopped, progress.done) == ("", False)
    assert Checkpoint.from_dict(progress.to_dict()) == progress


def test_a_legs_event_is_read(release):
    """What a leg in the triggerer has come to is where the next one goes on."""
    event = read(release, "events/batch-leg.json")
    assert event["status"] == "leg"
    progress = Checkpoint.from_dict(event["progress"])
    assert (progress.total, progress.open, progress.done) == (0, 6, False)
    assert progress.committed_usd == pytest.approx(1.80)


def test_an_error_of_a_batch_is_told(release):
    """One that may pass is left to the task's retries, another one ends the task."""
    operator = VeoBatchOperator(
        task_id="make", images="s3://images/lot/", output_prefix="s3://videos/lot/", prompt="p"
    )
    for name, kind in (("error", AirflowFailException), ("temporary-error", VeoBatchUnfinishedError)):
        event = read(release, f"events/batch-{name}.json")
        with pytest.raises(kind) as caught:
            operator.execute_complete({}, event)
        assert event["message"] in str(caught.value)


def test_a_sensor_takes_every_event(release):
    """Finished, too late, or an error: as the release that sent it meant it."""
    sensor = VeoTaskSensor(task_id="wait", veo_task_id="task_x")
    finished = read(release, "events/task-finished.json")
    result = sensor.execute_complete({}, finished)
    assert result["veo_task_id"] == finished["video"]["id"]
    assert set(read(release, "xcoms/sensor.json")) <= set(result)
    with pytest.raises(AirflowSensorTimeout):
        sensor.execute_complete({}, read(release, "events/task-timeout.json"))
    with pytest.raises(AirflowFailException, match="Pay-per-request"):
        sensor.execute_complete({}, read(release, "events/task-error.json"))


@pytest.mark.parametrize("status", VideoStatus)
def test_a_video_is_read(release, status):
    """In each status, from the form that XComs and events carry."""
    old = read(release, f"videos/{status.value}.json")
    video = Video.from_dict(old)
    assert video.status is status
    assert video.finished == (status in (VideoStatus.COMPLETED, VideoStatus.FAILED))
    assert is_kept(old, video.to_dict())
    if status is VideoStatus.FAILED:
        assert video.failure_reason == "upstream_error: The upstream broke"


@pytest.mark.parametrize("name", ["summary", "dry-run"])
def test_rows_are_read(release, name):
    """A row of a summary is the same row to those who read it back."""
    for old in lines(release, f"summaries/{name}.jsonl"):
        assert is_kept(old, SummaryRow.from_dict(old).to_dict())


def test_every_outcome_is_known(release):
    """No word that a summary has used for what became of an image has lost its meaning."""
    rows = lines(release, "summaries/summary.jsonl") + lines(release, "summaries/dry-run.jsonl")
    said = {row["outcome"] for row in rows}
    assert len(said) == 11
    assert said <= {outcome.value for outcome in Outcome}


async def test_a_progress_file_keeps_its_figures(release):
    """Who watches a batch by its progress.json finds in it what was there before."""
    old = read(release, "summaries/progress.json")
    job = BatchSpec.from_dict(read(release, "triggers/batch.json")["kwargs"]["job"])
    outcomes = {outcome.value for outcome in Outcome}
    counts = {name: count for name, count in old.items() if name in outcomes}
    checkpoint = Checkpoint(counts=counts, began=1.0)
    state = SegmentState.start(job, checkpoint, "an id", None, BatchTuning(), store_videos=True)
    assert set(old) <= set(snapshot(state))
    state.executors.close()
