"""The rate limiter: even spacing, and one throttled call that slows all of them down; in virtual time."""

import asyncio

import pytest
from support.moments import VirtualLoop

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


async def times_of_permits(limiter, clock, count, timeout=1e9):
    """Queue all at once, and return when each got its permit."""

    async def call():
        assert await limiter.acquire(timeout)
        return round(clock.now, 3)

    return await asyncio.gather(*(call() for _ in range(count)))


def test_permits_are_given_evenly_and_in_order(run, clock):
    """However many queue at once, they get their permits one after the other."""

    async def scene():
        return await times_of_permits(AdaptiveRateLimiter(10), clock, 5)

    assert run(scene()) == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_a_priority_call_goes_ahead_of_the_queue(run, clock):
    """A submission that waits for a thousand polls leaves a slot empty."""

    async def scene():
        limiter = AdaptiveRateLimiter(10)

        async def submission():
            await asyncio.sleep(0.05)
            await limiter.acquire(1e9, priority=True)
            return round(clock.now, 3)

        polls, submitted_at = await asyncio.gather(times_of_permits(limiter, clock, 4), submission())
        return polls, submitted_at

    assert run(scene()) == ([0.0, 0.2, 0.3, 0.4], 0.1)


@pytest.mark.parametrize(("asked", "first"), [(5.0, 5.05), (None, 0.05 + DEFAULT_PAUSE)])
def test_a_throttled_call_delays_the_queue(run, clock, asked, first):
    """No permit is given before the time that the service asked for; then they come at half the rate."""

    async def scene():
        limiter = AdaptiveRateLimiter(10)
        permits = asyncio.ensure_future(times_of_permits(limiter, clock, 4))
        await asyncio.sleep(0.05)
        limiter.on_throttled(0.0, asked)
        return await permits

    assert run(scene()) == pytest.approx([0.0, first, first + 0.2, first + 0.4], abs=0.002)


def test_throttled_calls_that_were_in_flight_together_count_once(run, clock):
    """Ten throttled calls of one burst halve the rate once, and a later one again."""

    async def scene():
        limiter = AdaptiveRateLimiter(80)
        await asyncio.sleep(1)
        for _ in range(10):
            limiter.on_throttled(0.5, 0)
        once = limiter._rate
        await asyncio.sleep(1)
        limiter.on_throttled(1.5, 0)
        return once, limiter._rate

    assert run(scene()) == (40, 20)


def test_the_rate_has_a_floor_and_grows_back_to_the_limit(run, clock):
    """Throttled calls never stop it altogether; successes raise it to the limit, and not beyond."""

    async def scene():
        limiter = AdaptiveRateLimiter(100)
        for second in range(20):
            await asyncio.sleep(1)
            limiter.on_throttled(second + 1, 0)
        lowest, rates = limiter._rate, []
        for _ in range(5000):
            limiter.on_success()
            rates.append(limiter._rate)
        return lowest, rates

    lowest, rates = run(scene())
    assert lowest == SLOWEST
    assert rates == sorted(rates)
    assert rates[-1] == 100


def test_a_low_limit_is_its_own_floor(run):
    """A throttled call does not raise a limit that is below the floor."""

    async def scene():
        limiter = AdaptiveRateLimiter(0.2)
        await asyncio.sleep(1)
        limiter.on_throttled(1.0, 0)
        return limiter._rate

    assert run(scene()) == 0.2


def test_a_timeout_ends_on_time(run, clock):
    """A call that cannot wait any longer gets none; without a timeout, only an available permit is taken."""

    async def scene():
        limiter = AdaptiveRateLimiter(0.1)
        assert await limiter.acquire(0)
        assert not await limiter.acquire(0)
        assert not await limiter.acquire(3.0)
        return clock.now

    assert run(scene()) == pytest.approx(3.0)


def test_a_call_that_gives_up_leaves_its_permit_to_the_next(run, clock):
    """Neither a cancelled call nor one that ran out of time delays the others."""

    async def scene():
        limiter = AdaptiveRateLimiter(1)
        assert await limiter.acquire(0)
        impatient = asyncio.ensure_future(limiter.acquire(0.5))
        cancelled = asyncio.ensure_future(limiter.acquire(100))
        last = asyncio.ensure_future(times_of_permits(limiter, clock, 1))
        await asyncio.sleep(0.2)
        cancelled.cancel()
        return await impatient, await last

    assert run(scene()) == (False, [1.0])


def test_a_stalled_loop_is_followed_by_no_burst(run, clock):
    """Permits that were missed while the loop was stalled are not given all at once."""

    async def scene():
        limiter = AdaptiveRateLimiter(10)
        permits = asyncio.ensure_future(times_of_permits(limiter, clock, 8))
        await asyncio.sleep(0.01)
        clock.now += 60
        return await permits

    times = run(scene())
    assert sum(60 < time < 60.05 for time in times) <= 2


def test_a_new_limit_keeps_the_share_that_throttling_left(run):
    """A limit that is changed while the rate is halved is halved as well."""

    async def scene():
        limiter = AdaptiveRateLimiter(100)
        await asyncio.sleep(1)
        limiter.on_throttled(1.0, 0)
        limiter.limit = 10
        return limiter._rate

    assert run(scene()) == 5
