"""How long generations take: all the same time, or a log-normal distribution."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Distribution of the seconds from submission to completion: log-normal, with a long tail.

    :param mean: average in seconds, from 0.
    :param sigma: standard deviation of the logarithm, from 0. 0 gives every task the mean; with 0.5, half of
        the tasks take less than 0.88 of the mean, and one in a hundred more than 2.8 times the mean.
    :param seed: with the same seed, the Nth task takes the same time in each run.
    :raises ValueError: if a parameter is not such a number.
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

    def for_task(self, number: int) -> float:
        """Return the seconds that one task takes.

        :param number: the task's number in the order of acceptance, from 1.
        """
        if not self.sigma:
            return self.mean
        chance = random.Random(f"{self.seed}/{number}")  # noqa: S311 - repeatable on purpose
        # The mean of exp(N(-sigma^2 / 2, sigma)) is 1.
        return self.mean * chance.lognormvariate(-(self.sigma**2) / 2, self.sigma)
