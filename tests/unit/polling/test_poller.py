"""The poller: a fixed interval or the learned schedule, and what the schedule learns."""

import pytest

from veo_provider.api.video import Video, VideoStatus
from veo_provider.exceptions import VeoConnectionError, VeoServerError
from veo_provider.polling import poller as poller_module
from veo_provider.polling.poller import DEFAULT_INTERVAL, Poller

NOW = 1_790_000_000.0


class Clock:
    """A time that stands still until it is moved."""

    now = NOW

    def time(self):
        return self.now

    def monotonic(self):
        return self.now


class Schedule:
    """Records its calls."""

    def __init__(self):
        self.asked, self.learned = [], []

    def pause(self, elapsed):
        self.asked.append(elapsed)
        return 7.0

    def learn(self, earliest, latest):
        self.learned.append((earliest, latest))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(poller_module, "time", clock)
    return clock


@pytest.fixture
def schedule(monkeypatch):
    schedule = Schedule()
    monkeypatch.setattr(poller_module, "schedule_of", lambda model, resolution: schedule)
    return schedule


def poll(poller, clock, at, status):
    clock.now = NOW + at
    return poller.on_video(Video(id="task_x", status=VideoStatus(status)))


def test_an_interval_that_was_given_is_kept(clock, schedule):
    """The schedule neither changes an interval that is set nor learns from it."""
    poller = Poller(9, submitted_at=NOW - 50)
    poll(poller, clock, 1, "queued")
    poll(poller, clock, 2, "completed")
    assert (poller.next_delay(), poller.on_error(VeoConnectionError("x")).seconds) == (9, 9)
    assert (schedule.asked, schedule.learned) == ([], [])


def test_the_schedule_counts_from_the_submission(clock, schedule):
    """Without an interval, the age of the generation decides when to poll next."""
    poller = Poller(None, submitted_at=NOW - 50)
    clock.now += 10
    assert poller.next_delay() == 7.0
    assert schedule.asked == [60.0]


def test_a_completion_between_two_polls_is_learned(clock, schedule):
    """It was between the last poll that found it unfinished and the one that found it completed."""
    poller = Poller(None, submitted_at=NOW - 50)
    for at, status in ((1, "queued"), (9, "in_progress"), (15, "completed")):
        poll(poller, clock, at, status)
    assert schedule.learned == [(59.0, 65.0)]


def test_a_completion_at_the_first_poll_is_learned(clock, schedule):
    """It was at any time before: without these, the schedule would never learn of the fast ones."""
    poller = Poller(None, submitted_at=NOW - 50)
    poll(poller, clock, 1, "completed")
    assert schedule.learned == [(0.0, 51.0)]


@pytest.mark.parametrize("seen", [["failed"], ["queued", "failed"], ["queued"]])
def test_what_was_not_seen_to_complete_teaches_nothing(clock, schedule, seen):
    """The duration of a failure is not that of a video."""
    poller = Poller(None, submitted_at=NOW - 50)
    for at, status in enumerate(seen):
        poll(poller, clock, at, status)
    assert schedule.learned == []


@pytest.mark.parametrize("submitted_at", [None, 0])
def test_an_unknown_submission_has_no_schedule(clock, schedule, submitted_at):
    """Without its start, the age is unknown: the documented interval is used, and nothing is learned."""
    poller = Poller(None, submitted_at=submitted_at)
    poll(poller, clock, 3, "queued")
    poll(poller, clock, 5, "completed")
    assert poller.next_delay() == DEFAULT_INTERVAL
    assert (schedule.asked, schedule.learned) == ([], [])


def test_a_clock_that_is_ahead_is_not_believed(clock, schedule):
    """A submission in the future counts as one of now."""
    poller = Poller(None, submitted_at=NOW + 3600)
    clock.now += 4
    poller.next_delay()
    assert schedule.asked == [4.0]


def test_an_error_teaches_nothing(clock, schedule):
    """After an error the documented interval is used, or what the service asked for."""
    poller = Poller(None, submitted_at=NOW)
    assert poller.on_error(VeoConnectionError("x")).seconds == DEFAULT_INTERVAL
    assert poller.on_error(VeoServerError("x", status=503, retry_after=90)).seconds == 90
    assert schedule.asked == []


def test_only_a_change_is_news(clock):
    """The same status twice is one line in the log."""
    poller = Poller(8)
    news = []
    for at, status in enumerate(["queued", "queued", "in_progress", "queued"]):
        poll(poller, clock, at, status)
        news.append(poller.has_news)
    assert news == [True, False, True, True]
