"""Pace: even spacing, and one refusal that slows everybody down; in a time of its own."""

import asyncio

import pytest
from moments import VirtualLoop

from veo_provider.concurrency.rate_limiter import DEFAULT_PAUSE, SLOWEST, AdaptiveRateLimiter


@pytest.fixture
def loop():
    """A loop whose clock jumps from timer to timer."""
    made = VirtualLoop()
    yield made
    made.close()


@pytest.fixture
def clock(loop):
    return loop.clock


@pytest.fixture
def run(loop):
    """Runs a coroutine in that loop."""
    return loop.run_until_complete


async def times_of_turns(pace, clock, count, patience=1e9):
    """Queue all at once, and return when each had its turn."""

    async def turn():
        assert await pace.acquire(patience)
        return round(clock.now, 3)

    return await asyncio.gather(*(turn() for _ in range(count)))


def test_turns_come_evenly_and_in_order(run, clock):
    """However many come at once, they are let through one after the other."""

    async def scene():
        return await times_of_turns(AdaptiveRateLimiter(10), clock, 5)

    assert run(scene()) == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_who_is_first_goes_before_all_who_queue(run, clock):
    """A submission that waits for a thousand looks leaves a slot empty."""

    async def scene():
        pace = AdaptiveRateLimiter(10)

        async def submission():
            await asyncio.sleep(0.05)
            await pace.acquire(1e9, priority=True)
            return round(clock.now, 3)

        looks, submitted_at = await asyncio.gather(times_of_turns(pace, clock, 4), submission())
        return looks, submitted_at

    assert run(scene()) == ([0.0, 0.2, 0.3, 0.4], 0.1)


@pytest.mark.parametrize(("asked", "first"), [(5.0, 5.05), (None, 0.05 + DEFAULT_PAUSE)])
def test_a_refusal_holds_back_those_who_queue_already(run, clock, asked, first):
    """Nobody calls before the time that the service asked for, and then at half the rate."""

    async def scene():
        pace = AdaptiveRateLimiter(10)
        turns = asyncio.ensure_future(times_of_turns(pace, clock, 4))
        await asyncio.sleep(0.05)
        pace.on_throttled(0.0, asked)
        return await turns

    assert run(scene()) == pytest.approx([0.0, first, first + 0.2, first + 0.4], abs=0.002)


def test_refusals_of_calls_that_were_on_their_way_together_count_once(run, clock):
    """Ten refusals of one burst halve the rate once, and a later one again."""

    async def scene():
        pace = AdaptiveRateLimiter(80)
        await asyncio.sleep(1)
        for _ in range(10):
            pace.on_throttled(0.5, 0)
        once = pace._rate
        await asyncio.sleep(1)
        pace.on_throttled(1.5, 0)
        return once, pace._rate

    assert run(scene()) == (40, 20)


def test_the_rate_has_a_floor_and_grows_back_to_the_limit(run, clock):
    """Refusals never stop it altogether; successes lead back, and not beyond."""

    async def scene():
        pace = AdaptiveRateLimiter(100)
        for second in range(20):
            await asyncio.sleep(1)
            pace.on_throttled(second + 1, 0)
        lowest, rates = pace._rate, []
        for _ in range(5000):
            pace.on_success()
            rates.append(pace._rate)
        return lowest, rates

    lowest, rates = run(scene())
    assert lowest == SLOWEST
    assert rates == sorted(rates)
    assert rates[-1] == 100


def test_a_low_limit_is_its_own_floor(run):
    """A limit below the floor is not raised by a refusal."""

    async def scene():
        pace = AdaptiveRateLimiter(0.2)
        await asyncio.sleep(1)
        pace.on_throttled(1.0, 0)
        return pace._rate

    assert run(scene()) == 0.2


def test_patience_ends_on_time(run, clock):
    """Who cannot wait any longer is told so at that moment; without patience, only a free turn is taken."""

    async def scene():
        pace = AdaptiveRateLimiter(0.1)
        assert await pace.acquire(0)
        assert not await pace.acquire(0)
        assert not await pace.acquire(3.0)
        return clock.now

    assert run(scene()) == pytest.approx(3.0)


def test_who_gives_up_leaves_the_turn_to_the_next(run, clock):
    """A cancelled wait and one without patience hold up nobody."""

    async def scene():
        pace = AdaptiveRateLimiter(1)
        assert await pace.acquire(0)
        impatient = asyncio.ensure_future(pace.acquire(0.5))
        cancelled = asyncio.ensure_future(pace.acquire(100))
        last = asyncio.ensure_future(times_of_turns(pace, clock, 1))
        await asyncio.sleep(0.2)
        cancelled.cancel()
        return await impatient, await last

    assert run(scene()) == (False, [1.0])


def test_a_stalled_loop_is_followed_by_no_stampede(run, clock):
    """What was missed while the loop stood still is not made up for at once."""

    async def scene():
        pace = AdaptiveRateLimiter(10)
        turns = asyncio.ensure_future(times_of_turns(pace, clock, 8))
        await asyncio.sleep(0.01)
        clock.now += 60
        return await turns

    times = run(scene())
    assert sum(60 < time < 60.05 for time in times) <= 2


def test_a_new_limit_keeps_the_share_that_refusals_left(run):
    """A limit that is changed while the rate is halved is halved as well."""

    async def scene():
        pace = AdaptiveRateLimiter(100)
        await asyncio.sleep(1)
        pace.on_throttled(1.0, 0)
        pace.limit = 10
        return pace._rate

    assert run(scene()) == 5
