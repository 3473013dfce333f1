"""The window of a batch: how many are under way at once."""

import asyncio

import pytest
from moments import in_virtual_time

from veo_provider.concurrency.concurrency_limiter import SHORTEST_PAUSE, AdaptiveConcurrencyLimiter


async def settled():
    """Let all tasks go as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


@in_virtual_time
async def test_no_more_enter_than_there_are_slots():
    """Who comes later waits, and enters in turn when somebody leaves."""
    window, entered = AdaptiveConcurrencyLimiter(2), []

    async def enter(name):
        await window.acquire()
        entered.append(name)

    tasks = [asyncio.create_task(enter(name)) for name in "abcd"]
    await settled()
    assert entered == ["a", "b"]
    window.release()
    await settled()
    assert entered == ["a", "b", "c"]
    window.release()
    await asyncio.gather(*tasks)


@in_virtual_time
async def test_who_joins_needs_no_slot_but_takes_one():
    """What is under way already counts, even beyond the window."""
    window = AdaptiveConcurrencyLimiter(1)
    window.acquire_nowait()
    window.acquire_nowait()
    assert not window.has_capacity
    waiting = asyncio.create_task(window.acquire())
    await settled()
    window.release()
    await settled()
    assert not waiting.done()
    window.release()
    await waiting


@in_virtual_time
async def test_a_refusal_halves_it_once_for_all_that_were_on_their_way():
    """Ten refusals of one moment are one sign, and a later one is another."""
    window, began = AdaptiveConcurrencyLimiter(16), asyncio.get_running_loop().time()
    await asyncio.sleep(1)
    for _ in range(10):
        window.on_throttled(began)
    assert window.size == 8
    window.on_throttled(asyncio.get_running_loop().time())
    assert window.size == 4


@in_virtual_time
async def test_it_never_closes_for_good():
    """However often it is halved, one slot remains."""
    window = AdaptiveConcurrencyLimiter(4)
    for _ in range(10):
        window.on_throttled(asyncio.get_running_loop().time())
    assert window.size == 1


@in_virtual_time
async def test_acceptances_open_it_again_and_never_too_far():
    """A window's worth of acceptances adds one slot, up to the most that there may be."""
    window = AdaptiveConcurrencyLimiter(8, size=4.0)
    for _ in range(5):
        window.on_success()
    assert 5 < window.size < 6
    for _ in range(1000):
        window.on_success()
    assert window.size == 8


@in_virtual_time
async def test_nobody_enters_during_the_pause_that_was_asked_for():
    """Then, the next one does, without anybody leaving."""
    window, loop = AdaptiveConcurrencyLimiter(4), asyncio.get_running_loop()
    began = loop.time()
    window.on_throttled(began, 90.0)
    waiting = asyncio.create_task(window.acquire())
    await settled()
    assert not waiting.done()
    await waiting
    assert loop.time() == pytest.approx(began + 90.0)


@in_virtual_time
async def test_another_trouble_makes_a_pause_and_leaves_the_size():
    """A connection that was refused is no sign of too many."""
    window = AdaptiveConcurrencyLimiter(4)
    window.on_throttled(asyncio.get_running_loop().time(), overloaded=False)
    assert window.size == 4
    assert not window.has_capacity
    assert SHORTEST_PAUSE > 0


@in_virtual_time
async def test_who_gives_up_leaves_no_slot_behind():
    """Cancelled while waiting, or in the very moment of entering, nobody keeps a slot."""
    window = AdaptiveConcurrencyLimiter(1)
    await window.acquire()
    waiting = asyncio.create_task(window.acquire())
    await settled()
    window.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert window.used == 0
