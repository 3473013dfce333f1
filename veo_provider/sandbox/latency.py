"""How long generations take: each the same, or scattered like those of a busy service."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """
    Seconds from a submission to its completion, log-normal around a mean: never below zero, with a long tail.

    :param mean: seconds on average, from 0.
    :param sigma: standard deviation of their logarithm, from 0. 0 gives the mean each time; with 0.5 half of
        them take less than 0.88 of the mean, and one in a hundred more than 2.8 times the mean.
    :param seed: another one gives other times; the same one gives the Nth task the same time in each run.
    :raises ValueError: when one of them is no such number.
    """

    mean: float
    sigma: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("mean", "sigma"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"`{name}` is a number from 0, not {value!r}")
        if type(self.seed) is not int:
            raise ValueError(f"`seed` is an integer, not {self.seed!r}")

    def of(self, number: int) -> float:
        """
        Seconds that one task takes.

        :param number: which accepted submission it is, from 1.
        """
        if not self.sigma:
            return self.mean
        chance = random.Random(f"{self.seed}/{number}")  # noqa: S311 - repeatable on purpose
        # The mean of exp(N(-sigma^2 / 2, sigma)) is 1.
        return self.mean * chance.lognormvariate(-(self.sigma**2) / 2, self.sigma)
