"""The circuit breaker: when it opens, how it probes, when it gives up, and what the next process knows."""

import json
import math

import pytest

from veo_provider.concurrency.circuit_breaker import (
    LONGEST_PAUSE,
    MAX_FAILED_PROBES,
    PATIENCE,
    SHORTEST_PAUSE,
    THRESHOLD,
    CircuitBreaker,
)


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self):
        self.now = 1_790_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(clock=clock, jitter=lambda: 0.5)


def attempt(breaker, kind="trouble", *, may_pass=True):
    """Fail once, if an attempt is permitted; return whether it was."""
    if not breaker.try_acquire():
        return False
    breaker.on_failure(kind, retryable=may_pass)
    breaker.release()
    return True


def opened(breaker):
    """Open it."""
    while not breaker.is_open:
        assert attempt(breaker)
    return breaker


def succeed(breaker):
    assert breaker.try_acquire()
    breaker.on_success()
    breaker.release()


def test_a_few_failures_in_a_row_open_it(breaker):
    """From then on, no attempt is permitted for a while."""
    assert [attempt(breaker) for _ in range(THRESHOLD + 2)] == [True] * THRESHOLD + [False] * 2
    assert breaker.pause_left == breaker.next_change == SHORTEST_PAUSE


def test_a_success_between_them_keeps_it_closed(breaker):
    """Occasional failures are no outage."""
    for _ in range(10):
        attempt(breaker)
        attempt(breaker)
        succeed(breaker)
    assert not breaker.is_open


def test_before_the_first_success_only_a_few_run_at_once(breaker):
    """A service that is down from the start gets no more attempts than it takes to see that."""
    assert [breaker.try_acquire() for _ in range(THRESHOLD + 1)] == [True] * THRESHOLD + [False]
    assert breaker.next_change is None
    breaker.on_success()
    assert all(breaker.try_acquire() for _ in range(100))


def test_a_failure_leaves_room_for_as_many_as_would_open_it(breaker):
    """After the first failure, further attempts wait for the results of those in flight."""
    succeed(breaker)
    assert all(breaker.try_acquire() for _ in range(3))
    breaker.on_failure("trouble", retryable=True)
    breaker.release()
    assert not breaker.try_acquire(), "two are in flight, and two more failures would open it"
    breaker.release()
    assert breaker.try_acquire()


def test_after_the_pause_one_runs_as_a_probe(breaker, clock):
    """The others wait for its result; its success permits them all."""
    opened(breaker)
    clock.now += SHORTEST_PAUSE
    assert breaker.try_acquire()
    assert not breaker.try_acquire()
    breaker.on_success()
    breaker.release()
    assert not breaker.is_open
    assert all(breaker.try_acquire() for _ in range(100))


def test_a_probe_that_fails_makes_the_next_pause_longer(breaker, clock):
    """Each is twice the one before, up to the longest."""
    opened(breaker)
    pauses = []
    for _ in range(MAX_FAILED_PROBES - 1):
        pauses.append(breaker.pause_left)
        clock.now += breaker.pause_left
        assert attempt(breaker)
    pauses.append(breaker.pause_left)
    assert pauses == [min(SHORTEST_PAUSE * 2**n, LONGEST_PAUSE) for n in range(MAX_FAILED_PROBES)]
    assert not breaker.gave_up


def test_it_gives_up_after_so_many_probes(breaker, clock):
    """No attempt is permitted any more, however long one waits."""
    opened(breaker)
    for _ in range(MAX_FAILED_PROBES):
        clock.now += breaker.pause_left
        assert attempt(breaker)
    assert breaker.gave_up
    clock.now += 1e6
    assert not breaker.try_acquire()


def test_checks_that_fail_cost_no_probe_but_patience(breaker, clock):
    """It gives up after its patience at the next check, and not before."""
    opened(breaker)
    began = clock.now
    while not breaker.gave_up:
        clock.now += breaker.pause_left
        assert breaker.try_acquire()
        breaker.on_check_failed()
        breaker.release()
    assert PATIENCE <= clock.now - began <= PATIENCE + LONGEST_PAUSE


def test_late_failures_of_attempts_in_flight_are_no_probes(breaker, clock):
    """Ten that were sent together fail together, and the pause is that of one."""
    succeed(breaker)
    assert all(breaker.try_acquire() for _ in range(10))
    for _ in range(10):
        breaker.on_failure("trouble", retryable=True)
        breaker.release()
    assert breaker.pause_left == SHORTEST_PAUSE
    assert breaker.to_dict()["failed_probes"] == 0


def test_a_late_success_closes_it(breaker):
    """The success of an attempt that was in flight when it opened counts as much as a probe."""
    succeed(breaker)
    assert all(breaker.try_acquire() for _ in range(THRESHOLD + 1))
    for _ in range(THRESHOLD):
        breaker.on_failure("trouble", retryable=True)
        breaker.release()
    assert breaker.is_open
    breaker.on_success()
    breaker.release()
    assert breaker.try_acquire()


def test_a_probe_without_a_result_makes_room_for_the_next(breaker, clock):
    """An image that is refused for its own sake does not show how the service is."""
    opened(breaker)
    clock.now += SHORTEST_PAUSE
    assert breaker.try_acquire()
    breaker.release()
    assert breaker.is_open
    assert breaker.try_acquire()


def test_repeating_a_permanent_failure_makes_it_give_up(breaker):
    """It does not pause for them; failures of different kinds are not counted together."""
    for number in range(10):
        attempt(breaker, f"refusal {number}", may_pass=False)
    assert not breaker.gave_up
    for _ in range(THRESHOLD - 1):
        attempt(breaker, "refusal 3", may_pass=False)
    assert breaker.gave_up


def test_a_pause_is_longer_or_shorter_by_chance(clock):
    """So that batches which paused together do not resume together."""
    pauses = [opened(CircuitBreaker(clock=clock, jitter=lambda n=n: n)).pause_left for n in (0.0, 0.5, 1.0)]
    assert pauses == pytest.approx([0.8 * SHORTEST_PAUSE, SHORTEST_PAUSE, 1.2 * SHORTEST_PAUSE])


def test_the_next_process_continues_from_this_state(breaker, clock):
    """A deferral restarts neither the pause nor the count of probes."""
    opened(breaker)
    clock.now += SHORTEST_PAUSE
    attempt(breaker)
    clock.now += 5
    state = json.loads(json.dumps(breaker.to_dict()))
    following = CircuitBreaker(state, clock=clock, jitter=lambda: 0.5)
    assert following.to_dict() == breaker.to_dict()
    assert following.pause_left == 2 * SHORTEST_PAUSE - 5
    assert not following.try_acquire()
    for _ in range(MAX_FAILED_PROBES - 1):
        clock.now += following.pause_left
        assert attempt(following)
    assert following.gave_up


def test_a_clock_that_was_ahead_does_not_stop_it_for_hours(clock):
    """A pause is never longer than the longest, whatever the earlier process has written."""
    state = {"pauses": 1, "paused_until": clock.now + 1e6}
    assert CircuitBreaker(state, clock=clock).pause_left <= 1.2 * LONGEST_PAUSE


def test_an_empty_state_is_that_of_a_new_breaker(clock):
    """A batch that an earlier release deferred can continue."""
    assert CircuitBreaker({}, clock=clock).to_dict() == CircuitBreaker(clock=clock).to_dict()
    assert CircuitBreaker({}, clock=clock)._max_running < math.inf
