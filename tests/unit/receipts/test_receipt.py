"""What a receipt keeps of its attempts."""

from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import ReceiptState, claim

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
