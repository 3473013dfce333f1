"""The budget: what a run may be charged, by its receipts."""

import asyncio
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as some

from veo_provider import receipts
from veo_provider.budget import Budget, charges
from veo_provider.receipts import Attempt, ReceiptState

ME, OTHER = Attempt("dag / run / me", 2), Attempt("dag / run / mean", 1)
RUN = ME.task_instance


def receipt(*states, by=ME, price=0.30):
    """Return a receipt that went through these states."""
    found = receipts.claim("f", {}, price, by, seconds=10)
    for state in states:
        if state == "claimed":
            found = receipts.claim("f", {}, price, by, seconds=10, after=found)
        else:
            found = found.moved(ReceiptState(state), by)
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


def test_only_what_came_about_since_counts():
    """A charge of before is not counted again, and a failure since then gives its money back."""
    found = dated(receipt("submitted", "failed"), [1000.0, 1001.0, 2000.0])
    assert charges(found, RUN) == 0
    assert charges(found, RUN, since=1500.0) == pytest.approx(-0.30)
    assert charges(dated(receipt("submitted"), [1000.0, 1001.0]), RUN, since=1500.0) == 0
    assert charges(dated(receipt("submitted"), [1000.0, 1001.0]), RUN, since=500.0) == pytest.approx(0.30)


@given(some.lists(some.sampled_from(["claimed", "refused", "unknown", "submitted", "failed", "stored"])))
def test_parts_of_a_history_add_up(states):
    """However a history is cut, what came before and what came since are the whole."""
    found = receipt(*states)
    times = [1e9 + 10 * number for number in range(len(found.history))]
    whole = dated(found, times)
    for number, cut in enumerate(times):
        before = replace(whole, history=whole.history[:number])
        assert charges(before, RUN) + charges(whole, RUN, since=cut) == pytest.approx(charges(whole, RUN))
        assert charges(whole, RUN) >= 0


async def test_nobody_spends_past_the_ceiling():
    """Who finds too little left waits until others give something back."""
    budget = Budget(1.0, 0.3)
    await budget.reserve(0.3)
    await budget.reserve(0.3)
    waiting = asyncio.create_task(budget.reserve(0.3))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.settle(0.3, 0.0)
    await waiting
    assert not budget.pays(0.3)


async def test_a_hundred_prices_come_to_the_cent():
    """Ten thirty-cent videos fit into three dollars, whatever floating point makes of it."""
    budget = Budget(3.0)
    assert Budget(24 * 0.3, 6.9).pays(0.3)
    for _ in range(10):
        await budget.reserve(0.3)
        budget.settle(0.3, 0.3)
    assert budget.committed == 3.0
    assert not budget.pays(0.3)


async def test_without_a_ceiling_all_is_paid():
    """Then it only counts."""
    budget = Budget(None)
    await budget.reserve(1e9)
    budget.settle(1e9, 0.3)
    assert budget.committed == 0.3


async def test_who_gives_up_waiting_passes_the_turn_on():
    """Money that is given back reaches the next one who waits, even if the first one has left."""
    budget = Budget(0.3)
    await budget.reserve(0.3)
    first, second = (asyncio.create_task(budget.reserve(0.3)) for _ in range(2))
    await asyncio.sleep(0)
    budget.settle(0.3, 0.0)
    first.cancel()
    await asyncio.wait({first})
    await second
