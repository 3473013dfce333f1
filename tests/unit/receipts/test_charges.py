"""What a run may be charged, by its receipts."""

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as some

from veo_provider.receipts import receipt as receipts
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.charges import Charges, Ledger, charges, charges_of, pays, unknown_charges
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, Receipt, ReceiptState

ME, OTHER = Attempt("dag / run / me", 2), Attempt("dag / run / mean", 1)
RUN = ME.task_instance


def receipt(*states, by=ME, price=0.30):
    """Return a receipt that went through these states."""
    found = receipts.claim("f", {}, price, by, seconds=10)
    for state in states:
        if state == "claimed":
            found = receipts.claim("f", {}, price, by, seconds=10, after=found)
        else:
            found = found.transition(ReceiptState(state), by)
    return found


def dated(found, times):
    """Return a receipt whose states were reached at these times."""
    history = tuple(
        {**step, "at": datetime.fromtimestamp(at, timezone.utc).isoformat()}
        for step, at in zip(found.history, times, strict=True)
    )
    return replace(found, history=history)


@pytest.mark.parametrize(
    ("states", "usd"),
    [
        ((), 0.30),
        (("submitted",), 0.30),
        (("unknown",), 0.30),
        (("submitted", "stored"), 0.30),
        (("refused",), 0.0),
        (("submitted", "failed"), 0.0),
        (("refused", "claimed", "submitted", "stored"), 0.30),
        (("submitted", "failed", "claimed", "submitted", "stored"), 0.30),
        (("submitted", "stored", "claimed", "submitted", "stored"), 0.60),
        (("unknown", "claimed", "submitted"), 0.60),
    ],
)
def test_what_may_be_charged_counts(states, usd):
    """A claim and an unknown fate count, a refusal and a failure do not, and a second video counts twice."""
    assert charges(receipt(*states), RUN) == pytest.approx(usd)


def test_what_others_pay_does_not_count():
    """Nor does that of a run whose name only begins like ours, nor an unknown price."""
    assert charges(receipt("submitted", by=OTHER), RUN) == 0
    assert charges(receipt("submitted", price=None), RUN) == 0
    assert charges(None, RUN) == 0


@pytest.mark.parametrize(
    ("states", "charged", "unknown"),
    [
        ((), 0, 0.30),
        (("unknown",), 0, 0.30),
        (("submitted",), 0.30, 0),
        (("submitted", "lost"), 0.30, 0),
        (("refused",), 0, 0),
        (("unknown", "claimed", "submitted", "stored"), 0.30, 0.30),
        (("claimed", "submitted", "failed"), 0, 0.30),
        (("unknown", "submitted"), 0.30, 0),
    ],
)
def test_what_nobody_knows_is_told_apart(states, charged, unknown):
    """A claim that came to nothing and a lost answer may be charged; what was accepted is."""
    found = charges_of(receipt(*states), RUN)
    assert (found.charged, found.unknown) == pytest.approx((charged, unknown))
    assert unknown_charges(receipt(*states), RUN) == pytest.approx(unknown)
    assert charges(receipt(*states), RUN) == pytest.approx(charged + unknown)


def test_an_id_that_a_person_has_found_is_charged():
    """Who writes no more than state and id into a receipt has said that it was accepted."""
    found = replace(receipt("unknown"), state=ReceiptState.SUBMITTED, veo_task_id="task_1")
    assert charges_of(found, RUN) == Charges(charged=0.30)


def test_each_submission_has_its_own_price():
    """One video made by the standard model and again by the fast one cost both prices; others pay theirs."""
    first = receipt("submitted", "stored", price=1.20)
    again = receipts.claim("g", {}, 0.30, ME, seconds=10, after=first).transition(ReceiptState.SUBMITTED, ME)
    assert charges(again, RUN) == pytest.approx(1.50)
    theirs = receipts.claim("h", {}, 0.60, OTHER, seconds=10, after=again).transition(
        ReceiptState.FAILED, OTHER
    )
    assert charges(theirs, RUN) == pytest.approx(1.50)
    assert charges(theirs, OTHER.task_instance) == 0
    free = receipts.claim("i", {}, None, ME, seconds=10, after=again)
    assert charges(free, RUN) == pytest.approx(1.50)


def test_each_claim_names_price_account_and_attempt():
    """Whoever audits the prefix needs no other source."""
    request = {"account": "veo_default at https://api.example.com/v1"}
    claimed = receipts.claim("f", request, 1.20, ME, seconds=10)
    (step,) = claimed.history
    assert (step["price_usd"], step["account"], step["claim"]) == (1.20, request["account"], ME.id)
    assert claimed.transition(ReceiptState.FAILED, OTHER).history[-1]["claim"] == OTHER.id


def test_a_receipt_of_an_earlier_release_is_valued_at_its_price():
    """Its steps have none of their own."""
    assert charges(old(receipt("submitted", "stored", "claimed", "submitted"), 5 * [0.0]), RUN) == 0.60


def old(found, times):
    """Return a receipt as an earlier release has written it, with its states at these times."""
    data = {**json.loads(dated(found, times).to_json()), "veo_task_id": "task_1"}
    for step in data["history"]:
        for name in ("price_usd", "account", "claim"):
            step.pop(name, None)
    return Receipt.from_json(json.dumps(data).encode(), "here")


def segment_of(attempt):
    return attempt.id[:12]


def test_what_a_segment_has_counted_is_not_counted_again():
    """It is known by its id, and a failure that another one records gives the money back."""
    worker, trigger = Attempt(RUN, 2), Attempt(RUN, 2)
    submitted = receipt("submitted", by=worker)
    failed = submitted.transition(ReceiptState.FAILED, trigger)
    assert charges(submitted, RUN, {segment_of(worker): None}) == 0
    assert charges(submitted, RUN, {segment_of(trigger): None}) == pytest.approx(0.30)
    assert charges(failed, RUN, {segment_of(worker): None}) == pytest.approx(-0.30)
    assert charges(failed, RUN, {segment_of(worker): None, segment_of(trigger): None}) == 0


@pytest.mark.parametrize("apart", [-299.0, -20.0, 0.0, 20.0, 299.0])
def test_clocks_do_not_decide_what_is_counted(apart):
    """A claim of a triggerer whose clock is behind that of the worker before it is new all the same."""
    worker, trigger = Attempt(RUN, 2), Attempt(RUN, 2)
    made = receipts.claim("f", {}, 0.30, worker, seconds=10).transition(ReceiptState.SUBMITTED, worker)
    made = made.transition(ReceiptState.STORED, worker)
    made = receipts.claim("f", {}, 0.30, trigger, seconds=10, after=made)
    found = dated(made, [1000.0, 1001.0, 1002.0, 1003.0 + apart])
    assert charges(found, RUN, {segment_of(worker): None}) == pytest.approx(0.30)


def test_steps_of_an_earlier_release_are_rather_counted_twice():
    """They name nobody, so that their time tells, with what clocks may differ by on the safe side."""
    counted = {"": 2000.0 - CLOCK_DIFFERENCE}  # by a segment that came to its end at 2000
    assert charges(old(receipt("submitted"), [1600.0, 1601.0]), RUN, counted) == 0
    assert charges(old(receipt("submitted"), [1800.0, 1801.0]), RUN, counted) == pytest.approx(0.30)
    assert charges(old(receipt("failed"), [1600.0, 2200.0]), RUN, counted) == 0
    assert charges(old(receipt("failed"), [1600.0, 2400.0]), RUN, counted) == pytest.approx(-0.30)


SEGMENTS = [Attempt(RUN, number) for number in range(3)]


@given(
    some.lists(
        some.tuples(
            some.sampled_from(["claimed", "refused", "unknown", "submitted", "failed", "stored"]),
            some.sampled_from(SEGMENTS),
        )
    ),
    some.lists(some.floats(0, 2e9), min_size=40, max_size=40),
)
def test_parts_of_a_history_add_up(steps, times):
    """Whoever was counted, and whatever the clocks say: the parts of all segments are the whole."""
    found = receipts.claim("f", {}, 0.30, SEGMENTS[0], seconds=10)
    for state, by in steps[:39]:
        if state == "claimed":
            found = receipts.claim("f", {}, 0.30, by, seconds=10, after=found)
        else:
            found = found.transition(ReceiptState(state), by)
    found = dated(found, times[: len(found.history)])
    everybody = {segment_of(segment): None for segment in SEGMENTS}
    parts = [
        charges_of(found, RUN, {name: None for name in everybody if name != segment_of(segment)})
        for segment in SEGMENTS
    ]
    whole = charges_of(found, RUN)
    assert sum(one.total for one in parts) == pytest.approx(whole.total)
    assert sum(one.unknown for one in parts) == pytest.approx(whole.unknown)
    assert whole.charged >= -1e-9
    assert whole.unknown >= -1e-9
    assert charges(found, RUN, everybody) == 0


def test_who_pays_is_known_without_a_price():
    """What was provably not accepted, or failed, is nobody's."""
    assert pays(receipt("submitted", price=None), RUN)
    assert pays(receipt("unknown"), RUN)
    assert pays(receipt("submitted", "stored", "claimed", "refused"), RUN)
    assert not pays(receipt("submitted", "failed"), RUN)
    assert not pays(receipt("submitted", by=OTHER), RUN)


def test_what_is_late_is_for_the_next_segment():
    """An attempt that was killed and comes back is counted once more, in this segment and by the next."""
    ledger = Ledger(RUN, ME.id, {})
    theirs = receipt("submitted", by=Attempt(RUN, 2))
    mine = receipt("submitted")
    assert ledger.late(theirs) == ledger.charges(theirs) == Charges(charged=0.30)
    assert ledger.late(mine) == Charges()
    assert ledger.charges(mine) == Charges(charged=0.30)
