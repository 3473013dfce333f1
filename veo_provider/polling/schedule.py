"""When to look at a video again: often at the ages at which videos finish, seldom before and after."""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate, pairwise
from threading import Lock
from typing import NamedTuple

MEAN_DELAY = 3.9
"""Seconds from a completion to the look that sees it, on average.

The API's documentation recommends a look every 8 s, which makes 4 s; a little less, as what is learned errs.
"""
QUICK = 90.0
"""Seconds that videos take on average, below which they are seen sooner: their delay counts for more."""
SHORTEST_PAUSE = 0.5
"""Seconds; a look sooner than that is worth less to its user than it costs the service."""
LONGEST_PAUSE = 120.0
"""Seconds; however wrong the expectation is, no completion stays unseen for longer."""
DECAY_VIDEOS = 200
"""Videos that have to pass an age until what was known about it counts for a third only."""
PRIOR_WEIGHT = 2
"""Videos that the documented figures count for, for ever: what is never tried is not learned."""
MOST_LOOKS_UNTIL_REFIT = 64
"""Looks after which the timetable is computed anew; sooner as long as little is known."""
NEGLIGIBLE = 1e-4
"""Share of videos that is not worth computing with."""

# Ages up to an hour, in bins of 5 % and at least 2 s: 4k varies by a tenth, and 2 s matter to nobody.
_EDGES: tuple[float, ...] = (*range(0, 40, 2), *(40 * 1.05**step for step in range(94)))
_WIDTHS = tuple(end - start for start, end in pairwise(_EDGES))
_MIDDLES = tuple((start + end) / 2 for start, end in pairwise(_EDGES))


class LogNormalPrior(NamedTuple):
    """A log-normal expectation of how long videos take.

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
# Upstream: 11 s to 6 minutes at peak. Looking too late at quick videos teaches nothing of how quick they are.
_ANY = LogNormalPrior(20, 1.0)
_SHARE_OF_ANY = 0.3
_SPREAD = 0.4
"""Of what another process has seen, of which only the mean is known."""


class PollSchedule:
    """The ages at which to look at videos of one kind, learned from which were finished when, and which not.

    It keeps a life table: for each age, how many videos finished at it, and how many seconds videos spent
    unfinished at it. One divided by the other is the hazard: the share of the unfinished that finishes in a
    second. Unlike an average of latencies, it is right also while the slow ones of many are on their way.
    The fewest looks for a given mean delay are those with gaps proportional to ``1 / sqrt(hazard)``.

    May be used by several threads.

    :param expected: what to expect as long as nothing is known.
    """

    def __init__(self, expected: LogNormalPrior) -> None:
        self._finished = [0.0] * len(_WIDTHS)
        self._seconds = [0.0] * len(_WIDTHS)
        self._known = 0
        self._refit_at = 0.0
        self._lock = Lock()
        self._begin(expected)

    def expect(self, mean: float) -> None:
        """Begin with what another process has seen, unless this one has seen something itself.

        :param mean: seconds that videos took there on average.
        """
        with self._lock:
            if not self._known:
                self._begin(LogNormalPrior(mean, _SPREAD))

    def _begin(self, expected: LogNormalPrior) -> None:
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
        """Return the seconds until the next look. Call it once for each look that finds a video unfinished.

        :param elapsed: seconds since the submission.
        """
        age = _within_table(elapsed)
        with self._lock:
            looks = self._looks(age)
            self._count(self._age(max(looks - 1, 0.0)), age)
            self._change()
            pause = self._age(self._looks(age) + 1) - age
        return min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE)

    def learn(self, earliest: float, latest: float) -> None:
        """Note that a video was completed between two looks.

        :param earliest: seconds from the submission to the last look that found it unfinished; 0 without one.
        :param latest: seconds from the submission to the look that found it completed.
        """
        start = _within_table(earliest)
        end = max(_within_table(latest), start)
        with self._lock:
            self._count_finished(start, end)
            self._change()

    def _count(self, start: float, end: float) -> None:
        """Count that a video was unfinished from one age to another."""
        for bin_, seconds in _split(start, end):
            self._add(bin_, seconds, 0.0)

    def _count_finished(self, start: float, end: float) -> None:
        """Count one completion, shared among the ages at which it may have been by how likely each is."""
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
        """Add to an age, and forget as much of what was there: ages that no video reaches forget nothing."""
        keep = 1 - seconds / (DECAY_VIDEOS * _WIDTHS[bin_])
        self._seconds[bin_] = self._seconds[bin_] * keep + seconds
        self._finished[bin_] = self._finished[bin_] * keep + finished

    def _change(self) -> None:
        """Compute the timetable anew if what is known has grown by an eighth."""
        self._known += 1
        if self._known >= self._refit_at:
            self._refit_at = self._known + min(self._known / 8, MOST_LOOKS_UNTIL_REFIT)
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
        self._lay_out()
        delay, age = self._means()
        # The delay grows with the scale nearly in proportion, so a step or two lead there and keep it there.
        wanted = max(MEAN_DELAY * min(age / QUICK, 1.0) ** 1.5, SHORTEST_PAUSE / 2)
        self._scale *= min(max(wanted / delay, 0.5), 2.0)
        self._lay_out()

    def _lay_out(self) -> None:
        """Set the gap between looks at each age, and how many looks there are until then."""
        self._gaps = [
            min(max(self._scale / math.sqrt(hazard), SHORTEST_PAUSE), LONGEST_PAUSE)
            for hazard in self._hazards
        ]
        self._counts = list(
            accumulate((width / gap for width, gap in zip(_WIDTHS, self._gaps, strict=True)), initial=0.0)
        )

    def _means(self) -> tuple[float, float]:
        """Return two means: seconds from completion to the next look by this timetable, and to completion."""
        delay, age, unfinished = 0.0, 0.0, 1.0
        for hazard, width, middle in zip(self._hazards, _WIDTHS, _MIDDLES, strict=True):
            after = unfinished * math.exp(-hazard * width)
            if unfinished - after > NEGLIGIBLE:
                # On average, a completion is half a look away from the next one.
                delay += (unfinished - after) * (self._age(self._looks(middle) + 0.5) - middle)
                age += (unfinished - after) * middle
            unfinished = after
        return delay, age

    def _looks(self, age: float) -> float:
        """Return how many looks the timetable has until an age."""
        bin_ = _bin(age)
        return self._counts[bin_] + (age - _EDGES[bin_]) / self._gaps[bin_]

    def _age(self, looks: float) -> float:
        """Return the age at which the timetable has had that many looks."""
        bin_ = min(bisect_right(self._counts, looks), len(_WIDTHS)) - 1
        return _EDGES[bin_] + (looks - self._counts[bin_]) * self._gaps[bin_]


def _within_table(age: float) -> float:
    return min(max(age, 0.0), _EDGES[-1])


def _bin(age: float) -> int:
    return min(bisect_right(_EDGES, age), len(_WIDTHS)) - 1


def _split(start: float, end: float) -> list[tuple[int, float]]:
    """Return the bins that a span of ages touches, each with the seconds in it."""
    return [
        (bin_, min(end, _EDGES[bin_ + 1]) - max(start, _EDGES[bin_]))
        for bin_ in range(_bin(start), _bin(end) + 1)
    ]


def _smooth(values: list[float]) -> list[float]:
    """Return weighted sums with both neighbours, as a single bin has few videos."""
    padded = [values[0], *values, values[-1]]
    return [
        before + 2 * here + after for before, here, after in zip(padded, padded[1:], padded[2:], strict=False)
    ]


@lru_cache(maxsize=64)
def schedule_of(model: str, resolution: str) -> PollSchedule:  # noqa: ARG001  # the cache tells models apart
    """Return the schedule that all waits for one kind of video in this process share.

    :param model: the API's model id.
    :param resolution: ``720p``, ``1080p`` or ``4k``; anything else where it is not known.
    """
    return PollSchedule(_DOCUMENTED.get(resolution, _UNKNOWN))
