"""
How often a video is looked at until it is done, and how late its completion is seen, by simulation.

Every contestant waits for the same videos, whose latencies are drawn anew for each round. The first look is
6 s after the submission at the soonest, as the trigger's; one that an operator takes right after it is not
counted. Ours learns only from what it looks at. Longer pauses and a backoff show what fewer looks cost else.
"""

import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, Protocol

from benchmarks.figures import Figure, Series, show
from veo_provider.polling.schedule import PollSchedule, schedule_of

ROUNDS = 5
FIRST_LOOK = 6.0
OURS = "learned schedule"
FIXED = "fixed 8 s interval"

Latencies = Callable[[random.Random], float]


class Policy(Protocol):
    """What says when to look next, and may learn from what was seen."""

    def pause(self, elapsed: float) -> float:
        """Give the seconds to the next look."""

    def learn(self, earliest: float, latest: float) -> None:
        """Take note of a completion between two looks."""


class Fixed(NamedTuple):
    """A pause of always the same seconds."""

    seconds: float

    def pause(self, elapsed: float) -> float:  # noqa: ARG002  as Policy has it
        """Give the seconds to the next look."""
        return self.seconds

    def learn(self, earliest: float, latest: float) -> None:
        """Learn nothing."""


class Backoff(Fixed):
    """Pauses that grow by half, up to a minute."""

    def pause(self, elapsed: float) -> float:
        """Give the seconds to the next look."""
        return min(max(elapsed / 2, self.seconds), 60.0)


class Seen(NamedTuple):
    """What one video took: the looks at it, and the seconds from its completion to the last of them."""

    looks: int
    delay: float


def simulate(policy: Policy, latencies: list[float], in_flight: int) -> list[Seen]:
    """Wait for videos in simulated time, and submit the next one whenever one is done."""
    seen = [Seen(0, math.nan)] * len(latencies)
    coming = iter(range(len(latencies)))
    # Each wait: its next look, its video, when that was submitted, its age at the last look, its looks.
    waits: list[tuple[float, int, float, float, int]] = []

    def submit(now: float) -> None:
        for video in coming:
            heapq.heappush(waits, (now + max(FIRST_LOOK, policy.pause(0.0)), video, now, 0.0, 1))
            return

    for _ in range(in_flight):
        submit(0.0)
    while waits:
        now, video, submitted, earliest, looks = heapq.heappop(waits)
        age = now - submitted
        if age >= latencies[video]:
            policy.learn(earliest, age)
            seen[video] = Seen(looks, age - latencies[video])
            submit(now)
        else:
            heapq.heappush(waits, (now + policy.pause(age), video, submitted, age, looks + 1))
    return seen


def lognormal(median: float, sigma: float) -> Latencies:
    """Give latencies with that median in seconds and that standard deviation of their logarithm."""
    return lambda chance: median * math.exp(chance.gauss(0, sigma))


@dataclass(frozen=True)
class Case:
    """
    One kind of videos to wait for.

    :param processes: fresh processes per round, each of which starts knowing nothing.
    :param videos: for each of them.
    :param in_flight: how many of these are waited for at once.
    :param warm_up: videos before these, 10 at once, which do not count.
    """

    name: str
    title: str
    resolution: str
    latencies: Latencies
    goal: float
    processes: int
    videos: int
    in_flight: int = 10
    warm_up: int = 0

    def rounds(self, policy: Callable[[], Policy]) -> Iterator[tuple[float, float]]:
        """Give each round's looks per video and mean delay; the same videos for every policy."""
        for seed in range(ROUNDS):
            chance = random.Random(f"{self.name} {seed}")  # noqa: S311  it has to repeat itself
            seen: list[Seen] = []
            for _ in range(self.processes):
                latencies = [self.latencies(chance) for _ in range(self.warm_up + self.videos)]
                process = policy()
                simulate(process, latencies[: self.warm_up], in_flight=10)
                seen += simulate(process, latencies[self.warm_up :], self.in_flight)
            yield fmean(one.looks for one in seen), fmean(one.delay for one in seen)


HD = lognormal(90, 0.25)
UHD = lognormal(330, 0.12)
CASES = (
    Case("720p", "720p, after 300 videos", "720p", HD, 0.6, processes=1, videos=3000, warm_up=300),
    Case("720p-cold", "720p, a process's first 100 videos", "720p", HD, 0.75, processes=20, videos=100),
    Case(
        "720p-burst",
        "720p, 3000 videos at once after 300",
        "720p",
        HD,
        0.75,
        processes=1,
        videos=3000,
        in_flight=3000,
        warm_up=300,
    ),
    Case("4k", "4k, after 300 videos", "4k", UHD, 0.3, processes=1, videos=2000, warm_up=300),
    Case("4k-cold", "4k, a process's first 100 videos", "4k", UHD, 0.4, processes=20, videos=100),
)


def fresh(resolution: str) -> PollSchedule:
    """Give a schedule as a new process has it."""
    schedule_of.cache_clear()
    return schedule_of("", resolution)


def measure() -> list[Figure]:
    """Simulate each case with each contestant."""
    return [figure for case in CASES for figure in _figures(case)]


def _figures(case: Case) -> tuple[Figure, Figure]:
    contestants: dict[str, Callable[[], Policy]] = {
        OURS: lambda: fresh(case.resolution),
        FIXED: lambda: Fixed(8.0),
        "fixed 15 s interval": lambda: Fixed(15.0),
        "backoff by half, 8 to 60 s": lambda: Backoff(8.0),
    }
    rounds = {who: list(case.rounds(policy)) for who, policy in contestants.items()}
    note = f"{case.processes * case.videos} videos a round, {case.in_flight} at a time."
    looks, delay = (
        tuple(Series(who, tuple(one[column] for one in values)) for who, values in rounds.items())
        for column in (0, 1)
    )
    return (
        Figure(
            f"polls-{case.name}",
            f"Looks per video: {case.title}",
            "looks",
            OURS,
            FIXED,
            case.goal,
            looks,
            note,
        ),
        Figure(f"delay-{case.name}", f"Seen late by: {case.title}", "s", OURS, FIXED, 1.0, delay, note),
    )


if __name__ == "__main__":
    show(measure())
