"""How long is waited between attempts, and what a receipt keeps of them."""

import pytest
import tenacity

from veo_provider.exceptions import VeoContentNotReadyError, VeoContentServerError, VeoRateLimitError
from veo_provider.generation import retries
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import ReceiptState, claim

ME, OTHER = Attempt("dag / run / me"), Attempt("dag / run / other")


def pauses(retries, error, monkeypatch):
    """The pauses of an attempt that fails each time with the same error."""
    slept = []
    monkeypatch.setattr(tenacity.nap.time, "sleep", slept.append)

    def fail():
        raise error

    with pytest.raises(type(error)):
        retries.copy(stop=tenacity.stop_after_attempt(6))(fail)
    return slept


@pytest.mark.parametrize("asked", [None, 0.0, 0.5])
def test_no_answer_makes_us_send_the_same_again_at_once(monkeypatch, asked):
    """A zero, or a date in the past by our clock, is waited as if nothing had been asked."""
    slept = pauses(retries.submit_retries(), VeoRateLimitError("Slow down.", retry_after=asked), monkeypatch)
    assert all(pause >= 2**number for number, pause in enumerate(slept))


def test_what_the_service_asks_for_is_kept(monkeypatch):
    """A longer pause than ours is kept to."""
    slept = pauses(retries.submit_retries(), VeoRateLimitError("Slow down.", retry_after=90.0), monkeypatch)
    assert slept == [90.0] * 5


@pytest.mark.parametrize("kind", [VeoContentServerError, VeoContentNotReadyError])
def test_attempts_to_download_are_not_used_up_in_a_moment(monkeypatch, kind):
    """Whatever the header says, the documented patience is kept."""
    assert sum(pauses(retries.store_retries(), kind("Busy.", retry_after=0.0), monkeypatch)) >= 5 * 4.0


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
