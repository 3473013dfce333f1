"""How long is waited between attempts."""

import pytest
import tenacity

from veo_provider.exceptions import VeoContentNotReadyError, VeoContentServerError, VeoRateLimitError
from veo_provider.generation import retries


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
