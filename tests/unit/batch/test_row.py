"""The rows of a summary, by what receipts tell."""

import time

import pytest

from veo_provider.batch.manifest import ManifestItem
from veo_provider.batch.outcome import Outcome
from veo_provider.batch.report.row import SummaryRow
from veo_provider.batch.report.run_folder import run_folder
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import ReceiptState, claim

RUN = "archive / manual / make"
ITEM = ManifestItem("cat.jpg", "s3://images/cat.jpg", "cat.jpg", "s3://videos/cat.jpg.mp4")
VIDEO = {
    "uri": ITEM.output,
    "bytes": 9,
    "sha256": "ab",
    "duration_seconds": 8.0,
    "width": 1280,
    "height": 720,
}


def receipt(state, run=RUN, seconds=10_000, price=0.30, **changes):
    """Return the receipt of a run in a state."""
    by = Attempt(run, 2)
    claimed = claim("f", {}, price, by, seconds=seconds)
    return claimed if state is ReceiptState.CLAIMED else claimed.transition(state, by, **changes)


@pytest.mark.parametrize(
    ("found", "outcome", "cost"),
    [
        (None, Outcome.NOT_STARTED, 0),
        (receipt(ReceiptState.LOST, veo_task_id="t", reason="filtered"), Outcome.LOST, 0.30),
        (receipt(ReceiptState.CLAIMED), Outcome.UNDER_WAY, 0.30),
        (receipt(ReceiptState.CLAIMED, seconds=-1), Outcome.UNKNOWN, 0.30),
        (receipt(ReceiptState.REFUSED, reason="503"), Outcome.NOT_STARTED, 0),
        (receipt(ReceiptState.UNKNOWN, reason="reset"), Outcome.UNKNOWN, 0.30),
        (receipt(ReceiptState.SUBMITTED, veo_task_id="t"), Outcome.UNDER_WAY, 0.30),
        (receipt(ReceiptState.FAILED, veo_task_id="t", reason="x"), Outcome.FAILED, 0),
        (receipt(ReceiptState.FAILED, veo_task_id="t", reason="x", moderated=True), Outcome.MODERATED, 0),
        (receipt(ReceiptState.STORED, veo_task_id="t", video=VIDEO), Outcome.STORED, 0.30),
        (receipt(ReceiptState.STORED, run="other", veo_task_id="t", video=VIDEO), Outcome.SKIPPED, 0),
        (receipt(ReceiptState.STORED, price=None, veo_task_id="t", video=VIDEO), Outcome.STORED, 0),
    ],
)
def test_a_receipt_tells_outcome_and_cost(found, outcome, cost):
    """What may yet be charged counts; what failed, was refused, or is another run's costs nothing."""
    row = SummaryRow.for_item(ITEM, found, RUN)
    unknown = found is not None and found.state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN)
    assert (row.outcome, row.unknown_usd if unknown else row.cost_usd) == (outcome, cost)
    assert not (row.cost_usd if unknown else row.unknown_usd)
    assert bool(row.reason) == (found is not None and outcome not in (Outcome.STORED, Outcome.SKIPPED))
    assert (row.price_usd, row.paid_by) == ((found.price_usd, found.claimant) if found else (None, ""))


def test_a_row_of_a_video_describes_it():
    """What the receipt says of the file, and when it was changed last."""
    found = receipt(ReceiptState.STORED, veo_task_id="task_1", generations=2, video=VIDEO)
    row = SummaryRow.for_item(ITEM, found, RUN)
    assert row == SummaryRow(
        key="cat.jpg",
        image="s3://images/cat.jpg",
        output="s3://videos/cat.jpg.mp4",
        outcome=Outcome.STORED,
        cost_usd=0.30,
        price_usd=0.30,
        gateway="apiyi",
        paid_by=RUN,
        veo_task_id="task_1",
        generations=2,
        changed_at=found.history[-1]["at"],
        **{name: value for name, value in VIDEO.items() if name != "uri"},
    )


def test_a_row_of_an_earlier_release_is_read():
    """It did not tell apart what nobody knows."""
    row = SummaryRow.for_item(ITEM, receipt(ReceiptState.STORED, veo_task_id="t", video=VIDEO), RUN)
    written = {name: value for name, value in row.to_dict().items() if name != "unknown_usd"}
    assert SummaryRow.from_dict(written) == row


def test_what_the_receipt_does_not_tell_goes_first():
    """A video that could not be stored was paid for all the same."""
    found = receipt(ReceiptState.SUBMITTED, veo_task_id="t")
    row = SummaryRow.for_item(ITEM, found, RUN, outcome=Outcome.ERROR, reason="gone")
    assert (row.outcome, row.reason, row.cost_usd, row.paid_by) == (Outcome.ERROR, "gone", 0.30, RUN)


def test_an_item_that_is_nothing_by_its_name_says_so():
    """Its reason is the archive's."""
    row = SummaryRow.for_item(ManifestItem("1", "a", "a", "b", Outcome.REJECTED, "too long"), None, RUN)
    assert (row.outcome, row.reason, row.cost_usd) == (Outcome.REJECTED, "too long", 0)


@pytest.mark.parametrize(
    ("run", "folder"),
    [
        ("archive / manual / make", "archive/manual/make"),
        ("archive / manual / make [12]", "archive/manual/make-12"),
        (
            "a.b-c / scheduled__2026-01-01T00:00:00+00:00 / g.make",
            "a.b-c/scheduled__2026-01-01T00-00-00-00-00/g.make",
        ),
        ("d / mänüäl/../x / make", "d/m-n-l-..-x/make"),
    ],
)
def test_each_task_instance_has_a_folder(run, folder):
    """Two tasks, or two runs, that have the same output prefix do not write over each other."""
    assert run_folder("s3://videos/out/", run) == f"s3://videos/out/_veo/{folder}/"


def test_a_claim_that_ran_out_is_of_unknown_fate():
    """Its attempt is dead, and may have submitted."""
    found = receipt(ReceiptState.CLAIMED, seconds=0)
    assert found.claimed_until <= time.time()
    assert SummaryRow.for_item(ITEM, found, RUN).outcome is Outcome.UNKNOWN
