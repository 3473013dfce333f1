"""When to poll a video again: often at the ages at which videos finish, rarely before and after."""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate, pairwise
from threading import Lock
from typing import NamedTuple

MEAN_DELAY = 3.9
"""Mean seconds from a completion to the poll that sees it.

The API's documentation recommends a poll every 8 s, which means 4 s; this is a little less, as estimates err.
"""
QUICK = 90.0
"""Mean duration in seconds below which completions are seen sooner, as a delay matters more then."""
SHORTEST_PAUSE = 0.5
"""Seconds; an earlier poll would cost the service more than it is worth to the user."""
LONGEST_PAUSE = 120.0
"""Seconds; no completion stays unseen for longer, however wrong the expectation is."""
DECAY_VIDEOS = 200
"""Number of videos passing an age after which earlier knowledge of that age has a third of its weight."""
PRIOR_WEIGHT = 2
"""Weight of the documented latency prior, in videos. Never decays, so that every age keeps being sampled."""
MAX_POLLS_UNTIL_REFIT = 64
"""Polls after which the timetable is recomputed; sooner as long as little is known."""
NEGLIGIBLE = 1e-4
"""Share of videos that is too small to matter."""

# Ages up to an hour, in bins of 5 % and at least 2 s: 4k varies by a tenth, and 2 s make no difference.
_EDGES: tuple[float, ...] = (*range(0, 40, 2), *(40 * 1.05**step for step in range(94)))
_WIDTHS = tuple(end - start for start, end in pairwise(_EDGES))
_MIDDLES = tuple((start + end) / 2 for start, end in pairwise(_EDGES))


class LogNormalPrior(NamedTuple):
    """A log-normal expectation of the duration of a generation.

    :param median: seconds.
    :param sigma: standard deviation of the logarithm.
    """

    median: float
    sigma: float

    def unfinished(self, age: float) -> float:
        """Return the share of videos that are not finished at an age in seconds."""
        return 0.5 * math.erfc(math.log(age / self.median) / (self.sigma * math.sqrt(2))) if age > 0 else 1.0


# Documented: 60-120 s, with an image 10-30 % more; 4k 5-6 minutes.
_DOCUMENTED = {
    "720p": LogNormalPrior(95, 0.3),
    "1080p": LogNormalPrior(95, 0.3),
    "4k": LogNormalPrior(340, 0.2),
}
_UNKNOWN = LogNormalPrior(110, 0.6)
# Upstream: 11 s to 6 minutes at peak. Polls that come late for quick videos do not show how quick they are.
_ANY = LogNormalPrior(20, 1.0)
_SHARE_OF_ANY = 0.3
_SPREAD = 0.4
"""Standard deviation of the logarithm, for another process's observations of which only the mean is known."""


class PollSchedule:
    """The ages at which to poll videos of one kind, learned from the polls themselves.

    It keeps a life table: for each age, the number of videos that finished at it, and the seconds that videos
    spent unfinished at it. Their quotient is the hazard: the share of unfinished videos that finish within a
    second. Unlike a mean of latencies, it is unbiased even while slow videos are still in flight. For a given
    mean delay, gaps proportional to ``1 / sqrt(hazard)`` need the fewest polls.

    Thread-safe.

    :param expected: the expectation before anything is known.
    """

    def __init__(self, expected: LogNormalPrior) -> None:
        self._finished = [0.0] * len(_WIDTHS)
        self._seconds = [0.0] * len(_WIDTHS)
        self._known = 0
        self._refit_at = 0.0
        self._lock = Lock()
        self._reset(expected)

    def expect(self, mean: float) -> None:
        """Start from another process's observations, unless this one has made its own.

        :param mean: mean duration there, in seconds.
        """
        with self._lock:
            if not self._known:
                self._reset(LogNormalPrior(mean, _SPREAD))

    def _reset(self, expected: LogNormalPrior) -> None:
        shares = [
            (1 - _SHARE_OF_ANY) * expected.unfinished(age) + _SHARE_OF_ANY * _ANY.unfinished(age)
            for age in _EDGES
        ]
        self._expected = [
            math.log(before / after) / width
            for (before, after), width in zip(pairwise(shares), _WIDTHS, strict=True)
        ]
        self._scale = 1.0
        for _ in range(5):
            self._refit()

    def pause(self, elapsed: float) -> float:
        """Return the seconds until the next poll. Call it once for each poll that finds a video unfinished.

        :param elapsed: seconds since the submission.
        """
        age = _within_table(elapsed)
        with self._lock:
            polls = self._polls_until(age)
            self._record_unfinished(self._age_at(max(polls - 1, 0.0)), age)
            self._refit_if_due()
            pause = self._age_at(self._polls_until(age) + 1) - age
        return min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE)

    def learn(self, earliest: float, latest: float) -> None:
        """Record that a video was completed between two polls.

        :param earliest: seconds from the submission to the last poll that found it unfinished; 0 without one.
        :param latest: seconds from the submission to the poll that found it completed.
        """
        start = _within_table(earliest)
        end = max(_within_table(latest), start)
        with self._lock:
            self._record_finished(start, end)
            self._refit_if_due()

    def _record_unfinished(self, start: float, end: float) -> None:
        """Record that a video was unfinished from one age to another."""
        for bin_, seconds in _split(start, end):
            self._add(bin_, seconds, 0.0)

    def _record_finished(self, start: float, end: float) -> None:
        """Record one completion, distributed over its possible ages by their likelihood."""
        unfinished, shares = 1.0, []
        for bin_, seconds in _split(start, end):
            after = unfinished * math.exp(-self._hazards[bin_] * seconds)
            shares.append((bin_, seconds, unfinished - after))
            unfinished = after
        total = sum(share for _, _, share in shares) or 1.0
        unfinished = 1.0
        for bin_, seconds, share in shares:
            finished = share / total
            self._add(bin_, seconds * (unfinished - finished / 2), finished)
            unfinished -= finished

    def _add(self, bin_: int, seconds: float, finished: float) -> None:
        """Add to an age and decay what was known about it; ages that no video reaches do not decay."""
        keep = 1 - seconds / (DECAY_VIDEOS * _WIDTHS[bin_])
        self._seconds[bin_] = self._seconds[bin_] * keep + seconds
        self._finished[bin_] = self._finished[bin_] * keep + finished

    def _refit_if_due(self) -> None:
        """Recompute the timetable if the number of observations has grown by an eighth."""
        self._known += 1
        if self._known >= self._refit_at:
            self._refit_at = self._known + min(self._known / 8, MAX_POLLS_UNTIL_REFIT)
            self._refit()

    def _refit(self) -> None:
        """Compute hazards and timetable from the life table."""
        finished = _smooth(
            [
                count + PRIOR_WEIGHT * width * expected
                for count, width, expected in zip(self._finished, _WIDTHS, self._expected, strict=True)
            ]
        )
        seconds = _smooth(
            [spent + PRIOR_WEIGHT * width for spent, width in zip(self._seconds, _WIDTHS, strict=True)]
        )
        self._hazards = [count / spent for count, spent in zip(finished, seconds, strict=True)]
        self._set_timetable()
        delay, age = self._means()
        # The delay is nearly proportional to the scale, so one or two steps reach the target and keep it.
        wanted = max(MEAN_DELAY * min(age / QUICK, 1.0) ** 1.5, SHORTEST_PAUSE / 2)
        self._scale *= min(max(wanted / delay, 0.5), 2.0)
        self._set_timetable()

    def _set_timetable(self) -> None:
        """Set the gap between polls at each age, and the number of polls until then."""
        self._gaps = [
            min(max(self._scale / math.sqrt(hazard), SHORTEST_PAUSE), LONGEST_PAUSE)
            for hazard in self._hazards
        ]
        self._counts = list(
            accumulate((width / gap for width, gap in zip(_WIDTHS, self._gaps, strict=True)), initial=0.0)
        )

    def _means(self) -> tuple[float, float]:
        """Return two means in seconds: from completion to the next poll, from submission to completion."""
        delay, age, unfinished = 0.0, 0.0, 1.0
        for hazard, width, middle in zip(self._hazards, _WIDTHS, _MIDDLES, strict=True):
            after = unfinished * math.exp(-hazard * width)
            if unfinished - after > NEGLIGIBLE:
                # On average, a completion is half a gap away from the next poll.
                delay += (unfinished - after) * (self._age_at(self._polls_until(middle) + 0.5) - middle)
                age += (unfinished - after) * middle
            unfinished = after
        return delay, age

    def _polls_until(self, age: float) -> float:
        """Return the number of polls in the timetable until an age."""
        bin_ = _bin(age)
        return self._counts[bin_] + (age - _EDGES[bin_]) / self._gaps[bin_]

    def _age_at(self, polls: float) -> float:
        """Return the age at which the timetable reaches a number of polls."""
        bin_ = min(bisect_right(self._counts, polls), len(_WIDTHS)) - 1
        return _EDGES[bin_] + (polls - self._counts[bin_]) * self._gaps[bin_]


def _within_table(age: float) -> float:
    return min(max(age, 0.0), _EDGES[-1])


def _bin(age: float) -> int:
    return min(bisect_right(_EDGES, age), len(_WIDTHS)) - 1


def _split(start: float, end: float) -> list[tuple[int, float]]:
    """Return the bins that a span of ages overlaps, each with the seconds in it."""
    return [
        (bin_, min(end, _EDGES[bin_ + 1]) - max(start, _EDGES[bin_]))
        for bin_ in range(_bin(start), _bin(end) + 1)
    ]


def _smooth(values: list[float]) -> list[float]:
    """Return weighted sums with both neighbours, since a single bin holds few videos."""
    padded = [values[0], *values, values[-1]]
    return [
        before + 2 * here + after for before, here, after in zip(padded, padded[1:], padded[2:], strict=False)
    ]


@lru_cache(maxsize=64)
def schedule_of(model: str, resolution: str) -> PollSchedule:  # noqa: ARG001  # the cache tells models apart
    """Return the schedule that all waits of this process for one kind of video share.

    :param model: the API's model id.
    :param resolution: ``720p``, ``1080p`` or ``4k``; anything else if it is unknown.
    """
    return PollSchedule(_DOCUMENTED.get(resolution, _UNKNOWN))
