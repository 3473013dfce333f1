"""Waiting: a fixed interval or the learned schedule, and what a wait may teach."""

import pytest

from veo_provider.api.video import Video, VideoStatus
from veo_provider.exceptions import VeoConnectionError, VeoServerError
from veo_provider.polling import poller as waiting_module
from veo_provider.polling.poller import DEFAULT_INTERVAL, Poller

NOW = 1_790_000_000.0


class Clock:
    """A time that stands still until it is moved."""

    now = NOW

    def time(self):
        return self.now


class Schedule:
    """Remembers what it is told."""

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
    monkeypatch.setattr(waiting_module, "time", clock)
    return clock


@pytest.fixture
def schedule(monkeypatch):
    schedule = Schedule()
    monkeypatch.setattr(waiting_module, "schedule_of", lambda model, resolution: schedule)
    return schedule


def look(waiting, clock, at, status):
    clock.now = NOW + at
    waiting.saw(Video(id="task_x", status=VideoStatus(status)))


def test_an_interval_that_was_given_is_kept(clock, schedule):
    """Who sets an interval gets it, and has nothing to do with the schedule."""
    waiting = Poller(9, submitted_at=NOW - 50)
    look(waiting, clock, 1, "queued")
    look(waiting, clock, 2, "completed")
    assert (waiting.pause(), waiting.pause_after(VeoConnectionError("x"))) == (9, 9)
    assert (schedule.asked, schedule.learned) == ([], [])


def test_the_schedule_counts_from_the_submission(clock, schedule):
    """Without an interval, the age of the generation says when to look next."""
    waiting = Poller(None, submitted_at=NOW - 50)
    clock.now += 10
    assert waiting.pause() == 7.0
    assert schedule.asked == [60.0]


def test_a_completion_between_two_looks_is_learned(clock, schedule):
    """It lies between the last look that found it unfinished and the one that found it completed."""
    waiting = Poller(None, submitted_at=NOW - 50)
    for at, status in ((1, "queued"), (9, "in_progress"), (15, "completed")):
        look(waiting, clock, at, status)
    assert schedule.learned == [(59.0, 65.0)]


def test_a_completion_at_the_first_look_is_learned(clock, schedule):
    """It lies anywhere before: without those, the schedule would never hear of the fast ones."""
    waiting = Poller(None, submitted_at=NOW - 50)
    look(waiting, clock, 1, "completed")
    assert schedule.learned == [(0.0, 51.0)]


@pytest.mark.parametrize("seen", [["failed"], ["queued", "failed"], ["queued"]])
def test_what_was_not_seen_to_complete_teaches_nothing(clock, schedule, seen):
    """How long a failure takes says nothing of a video."""
    waiting = Poller(None, submitted_at=NOW - 50)
    for at, status in enumerate(seen):
        look(waiting, clock, at, status)
    assert schedule.learned == []


@pytest.mark.parametrize("submitted_at", [None, 0])
def test_an_unknown_submission_has_no_schedule(clock, schedule, submitted_at):
    """Without its begin, an age is not known: the documented interval counts, and nothing is taught."""
    waiting = Poller(None, submitted_at=submitted_at)
    look(waiting, clock, 3, "queued")
    look(waiting, clock, 5, "completed")
    assert waiting.pause() == DEFAULT_INTERVAL
    assert (schedule.asked, schedule.learned) == ([], [])


def test_a_clock_that_is_ahead_is_not_believed(clock, schedule):
    """A submission in the future was made now at the latest."""
    waiting = Poller(None, submitted_at=NOW + 3600)
    clock.now += 4
    waiting.pause()
    assert schedule.asked == [4.0]


def test_an_error_is_no_look(clock, schedule):
    """After an error the documented interval counts, or what the service asked for; nothing is learned."""
    waiting = Poller(None, submitted_at=NOW)
    assert waiting.pause_after(VeoConnectionError("x")) == DEFAULT_INTERVAL
    assert waiting.pause_after(VeoServerError("x", status=503, retry_after=90)) == 90
    assert schedule.asked == []


def test_only_a_change_is_news():
    """The same status twice is one line in the log."""
    waiting = Poller(8)
    assert [waiting.is_news(said) for said in ("a", "a", "b", "a")] == [True, False, True, True]
