"""A poller's decisions over arbitrary sequences of polls, against what its patience says in words."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from veo_provider import exceptions
from veo_provider.api.video import Video, VideoStatus
from veo_provider.batch.engine.item.watch import IN_BATCH
from veo_provider.polling import poller as poller_module
from veo_provider.polling.poller import (
    ALONE,
    DEFAULT_INTERVAL,
    LATE_POLL_SECONDS,
    REFUSED_POLLS,
    REFUSED_SECONDS,
    Finished,
    PollAgain,
    Poller,
    Refused,
    TimedOut,
)
from veo_provider.polling.schedule import LONGEST_PAUSE, SHORTEST_PAUSE, schedule_of

NOW = 1_790_000_000.0
NOT_FOUND = exceptions.VeoTaskNotFoundError("no such task", status=404)
WRONG_KEY = exceptions.VeoAuthenticationError("wrong key", status=401)
EMPTY_ACCOUNT = exceptions.VeoQuotaError("no money", status=402)
WRONG_HOST = exceptions.VeoWrongHostError("not the API", status=404)
RETIRED = exceptions.VeoModelRetiredError("the model has ended", status=404)
NO_CONNECTION = exceptions.VeoRequestError("no such connection")
BAD_REQUEST = exceptions.VeoBadRequestError("blocked by a firewall", status=400)
NO_ANSWER = exceptions.VeoConnectionError("no answer")
GARBAGE = exceptions.VeoUnexpectedAnswerError("a proxy's page", status=200)
BAD_GATEWAY = exceptions.VeoServerError("trouble", status=502, retry_after=3.0)
THROTTLED = exceptions.VeoRateLimitError("too many", status=429, retry_after=600.0)

OUTAGES = [NO_ANSWER, GARBAGE, BAD_GATEWAY, THROTTLED]
REFUSALS = [NOT_FOUND, WRONG_KEY, EMPTY_ACCOUNT, WRONG_HOST, RETIRED, NO_CONNECTION, BAD_REQUEST]
REPEATED_IN_BATCH = [NOT_FOUND, WRONG_KEY, EMPTY_ACCOUNT, WRONG_HOST, RETIRED, NO_CONNECTION]
UNFINISHED = [VideoStatus.QUEUED, VideoStatus.IN_PROGRESS, VideoStatus.UNKNOWN]
FINISHED = [VideoStatus.COMPLETED, VideoStatus.FAILED]


@dataclass
class Clock:
    """A time that passes only when a poller's pause is slept."""

    now: float = NOW

    def time(self):
        return self.now

    def monotonic(self):
        return self.now


def video(status):
    return Video(id="task_x", status=status)


def decisions(polls, lateness=(), **parameters):
    """Let a poller decide on each poll until it ends; yield what was polled, when, and the decision.

    :param lateness: seconds by which each poll is later than the poller wanted it.
    """
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poller_module, "time", clock)
        schedule_of.cache_clear()
        poller = Poller(**parameters)
        for polled, late in zip(polls, [*lateness, *[0.0] * len(polls)], strict=False):
            is_error = isinstance(polled, exceptions.VeoError)
            decision = poller.on_error(polled) if is_error else poller.on_video(polled)
            yield polled, clock.now, decision
            if not isinstance(decision, PollAgain):
                return
            clock.now += decision.seconds + late


outages = st.sampled_from(OUTAGES)
errors = st.sampled_from([*OUTAGES, *REFUSALS])
unfinished = st.sampled_from([video(status) for status in UNFINISHED])
polls = st.lists(st.one_of(unfinished, errors), max_size=40)
lateness = st.lists(st.floats(min_value=0, max_value=200), max_size=40)
intervals = st.none() | st.floats(min_value=0.01, max_value=300)
patience = st.sampled_from([ALONE, IN_BATCH])
ages = st.none() | st.floats(min_value=-10, max_value=7200)


def submitted(age):
    return None if age is None else NOW - age


@given(polls, lateness, intervals, patience, ages, st.floats(min_value=0, max_value=3600))
def test_a_pause_is_within_its_bounds(polls, lateness, interval, patience, age, left):
    """Those of the schedule, the user's interval or the service's wish, and never beyond the deadline."""
    waits = decisions(
        polls,
        lateness,
        poll_interval=interval,
        patience=patience,
        submitted_at=submitted(age),
        deadline=NOW + left,
    )
    for polled, now, decision in waits:
        if isinstance(decision, PollAgain):
            to_deadline = NOW + left - now
            asked = getattr(polled, "retry_after", None) or 0.0
            if isinstance(polled, exceptions.VeoError):
                floor = ceiling = max(DEFAULT_INTERVAL if interval is None else interval, asked)
            else:
                floor = SHORTEST_PAUSE if interval is None else interval
                ceiling = LONGEST_PAUSE if interval is None else interval
            assert min(floor, to_deadline) <= decision.seconds <= min(ceiling, to_deadline)
            assert decision.seconds > 0


@given(polls, lateness, intervals, ages)
@example([NOT_FOUND] * 12, [], None, None)
@example([NOT_FOUND] * 4 + [NO_ANSWER] + [NOT_FOUND] * 6, [20.0] * 11, None, None)
def test_alone_only_what_is_listed_ends_a_wait_early(polls, lateness, interval, age):
    """A permanent error at once, an unknown id after five polls and a minute, and nothing else."""
    in_a_row = []
    for polled, now, decision in decisions(
        polls, lateness, poll_interval=interval, submitted_at=submitted(age)
    ):
        in_a_row = [*in_a_row, now] if polled is NOT_FOUND else []
        if polled is NOT_FOUND:
            ends = len(in_a_row) >= REFUSED_POLLS and now - in_a_row[0] >= REFUSED_SECONDS
        else:
            ends = polled in REFUSALS
        assert isinstance(decision, Refused if ends else PollAgain)


@given(polls, lateness, intervals, ages)
@example(REPEATED_IN_BATCH * 2, [10.0] * 12, None, None)
@example([BAD_REQUEST] * 30, [10.0] * 30, None, None)
def test_in_a_batch_only_repeated_refusals_end_a_wait_early(polls, lateness, interval, age):
    """No single error does: the generation is paid for when it completes."""
    in_a_row = []
    for polled, now, decision in decisions(
        polls, lateness, poll_interval=interval, submitted_at=submitted(age), patience=IN_BATCH
    ):
        in_a_row = [*in_a_row, now] if polled in REPEATED_IN_BATCH else []
        ends = len(in_a_row) >= REFUSED_POLLS and now - in_a_row[0] >= REFUSED_SECONDS
        assert isinstance(decision, Refused if ends else PollAgain)


@given(st.lists(st.one_of(unfinished, outages), max_size=40), lateness, intervals, ages, ages)
def test_outages_end_a_wait_at_its_deadline_and_never_before(polls, lateness, interval, age, left):
    """However long they last; and a deadline is kept by the first poll at or after it."""
    deadline = math.inf if left is None else NOW + left
    for polled, now, decision in decisions(
        polls, lateness, poll_interval=interval, submitted_at=submitted(age), deadline=deadline
    ):
        assert isinstance(decision, TimedOut if now >= deadline else PollAgain)
        if isinstance(decision, TimedOut):
            assert decision.trouble == (polled.what if polled in OUTAGES else "")


@given(st.lists(st.one_of(unfinished, outages), max_size=40), lateness, intervals, ages)
def test_all_waits_decide_alike_where_their_lists_do_not_differ(polls, lateness, interval, age):
    """Sensor, trigger and operator wait alone, a batch in company: their pauses are the same."""
    parameters = {"poll_interval": interval, "submitted_at": submitted(age), "deadline": NOW + 3600}
    alone, in_batch = (
        list(decisions(polls, lateness, patience=patience, **parameters)) for patience in (ALONE, IN_BATCH)
    )
    assert alone == in_batch


@given(polls, st.sampled_from(FINISHED), patience, ages)
def test_a_finished_video_ends_every_wait(polls, status, patience, age):
    """Whatever came before, and even after the deadline."""
    before = [polled for polled in polls if polled not in REFUSALS]
    video_at_last = video(status)
    *_, (_, _, decision) = decisions(
        [*before, video_at_last], poll_interval=None, patience=patience, submitted_at=submitted(age)
    )
    assert decision == Finished(video_at_last)
    *_, (_, _, late) = decisions([video_at_last], poll_interval=8.0, patience=patience, deadline=NOW - 1)
    assert late == Finished(video_at_last)


@given(st.integers(min_value=-7200, max_value=7200))
def test_the_last_poll_may_queue_for_its_permit(left):
    """Until the deadline; and for a moment if that passed while nobody was there to keep it."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poller_module, "time", clock)
        poller = Poller(8.0, deadline=NOW + left)
        assert poller.permit_deadline == (NOW + left if left > 0 else NOW + LATE_POLL_SECONDS)
        assert poller.on_video(None) == TimedOut("")
        poller.on_error(NO_ANSWER)
        assert poller.on_video(None) == TimedOut("no answer")
