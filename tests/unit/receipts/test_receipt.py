"""What a receipt keeps of its attempts."""

from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import Receipt, ReceiptState, claim

ME, OTHER = Attempt("dag / run / me"), Attempt("dag / run / other")


def refused(times, by=ME):
    receipt = claim("f", {}, 0.30, by, seconds=10)
    for _ in range(times - 1):
        refusal = receipt.transition(ReceiptState.REFUSED, by, reason="429")
        receipt = claim("f", {}, 0.30, by, seconds=10, after=refusal)
    return receipt


def test_a_receipt_stays_small_however_often_it_is_refused():
    """Repeated steps are counted, not listed; what is charged stays the same."""
    often, once = refused(1000), refused(3)
    assert len(often.to_json()) < len(once.to_json()) + 100
    assert [step["state"] for step in often.history] == ["claimed", "refused", "claimed"]
    assert often.history[-1]["repeated"] == 999
    assert often.chargeable_submissions == once.chargeable_submissions == refused(1).chargeable_submissions


def test_steps_of_others_are_not_counted_together():
    """Who was refused is kept, so that each task's share can be told."""
    receipt = refused(4).transition(ReceiptState.REFUSED, ME, reason="429")
    receipt = claim("f", {}, 0.30, OTHER, seconds=10, after=receipt)
    assert [step["by"] for step in receipt.history] == [str(ME)] * 4 + [str(OTHER)]


def test_the_candidates_are_those_of_the_last_look_up():
    """What an earlier claim may have been is nobody's candidate any more, and an earlier release reads it."""
    one, two = ({"veo_task_id": name, "submitted_at": 1.0, "status": None} for name in ("task_1", "task_2"))
    lost = claim("f", {}, 0.30, ME, seconds=10)
    assert lost.candidates == []
    for found in (one, two):
        lost = lost.transition(ReceiptState.UNKNOWN, ME, candidates=[found])
    lost = Receipt.from_json(lost.transition(ReceiptState.UNKNOWN, ME).to_json(), "here")
    assert lost.candidates == [two]
    assert claim("f", {}, 0.30, OTHER, seconds=10, after=lost).candidates == []
    named = lost.transition(ReceiptState.UNKNOWN, ME, candidate_task_id="task_3")
    assert [each["veo_task_id"] for each in named.candidates] == ["task_3"]
