"""The concurrency limiter: how many operations are in flight at once; in virtual time."""

import asyncio

import pytest
from support.moments import in_virtual_time

from veo_provider.concurrency.concurrency_limiter import SHORTEST_PAUSE, AdaptiveConcurrencyLimiter


async def settled():
    """Let all tasks go as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


@in_virtual_time
async def test_no_more_slots_are_given_than_there_are():
    """Later operations wait, and get a slot in order when one is released."""
    limiter, started = AdaptiveConcurrencyLimiter(2), []

    async def start(name):
        await limiter.acquire()
        started.append(name)

    tasks = [asyncio.create_task(start(name)) for name in "abcd"]
    await settled()
    assert started == ["a", "b"]
    limiter.release()
    await settled()
    assert started == ["a", "b", "c"]
    limiter.release()
    await asyncio.gather(*tasks)


@in_virtual_time
async def test_an_operation_in_flight_needs_no_free_slot_but_takes_one():
    """What is in flight already counts, even beyond the limit."""
    limiter = AdaptiveConcurrencyLimiter(1)
    limiter.acquire_nowait()
    limiter.acquire_nowait()
    assert not limiter.has_capacity
    waiting = asyncio.create_task(limiter.acquire())
    await settled()
    limiter.release()
    await settled()
    assert not waiting.done()
    limiter.release()
    await waiting


@in_virtual_time
async def test_throttling_halves_it_once_for_all_that_were_in_flight():
    """Ten throttled operations of one moment count once, and a later one counts again."""
    limiter, began = AdaptiveConcurrencyLimiter(16), asyncio.get_running_loop().time()
    await asyncio.sleep(1)
    for _ in range(10):
        limiter.on_throttled(began)
    assert limiter.size == 8
    limiter.on_throttled(asyncio.get_running_loop().time())
    assert limiter.size == 4


@in_virtual_time
async def test_it_never_closes_for_good():
    """However often it is halved, one slot remains."""
    limiter = AdaptiveConcurrencyLimiter(4)
    for _ in range(10):
        limiter.on_throttled(asyncio.get_running_loop().time())
    assert limiter.size == 1


@in_virtual_time
async def test_successes_raise_it_to_the_limit_and_not_beyond():
    """As many successes as there are slots add one slot."""
    limiter = AdaptiveConcurrencyLimiter(8, size=4.0)
    for _ in range(5):
        limiter.on_success()
    assert 5 < limiter.size < 6
    for _ in range(1000):
        limiter.on_success()
    assert limiter.size == 8


@in_virtual_time
async def test_no_slot_is_given_during_the_pause_that_was_asked_for():
    """After it, the next operation gets one without any release."""
    limiter, loop = AdaptiveConcurrencyLimiter(4), asyncio.get_running_loop()
    began = loop.time()
    limiter.on_throttled(began, 90.0)
    waiting = asyncio.create_task(limiter.acquire())
    await settled()
    assert not waiting.done()
    await waiting
    assert loop.time() == pytest.approx(began + 90.0)


@in_virtual_time
async def test_another_failure_pauses_and_keeps_the_size():
    """A connection that was refused does not mean that there were too many."""
    limiter = AdaptiveConcurrencyLimiter(4)
    limiter.on_throttled(asyncio.get_running_loop().time(), overloaded=False)
    assert limiter.size == 4
    assert not limiter.has_capacity
    assert SHORTEST_PAUSE > 0


@in_virtual_time
async def test_an_operation_that_gives_up_keeps_no_slot():
    """Whether it is cancelled while it waits or at the very moment of getting the slot."""
    limiter = AdaptiveConcurrencyLimiter(1)
    await limiter.acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await settled()
    limiter.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert limiter.used == 0
