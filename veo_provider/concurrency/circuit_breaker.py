"""A circuit breaker: after some failures in a row nothing is attempted for a while, then one at a time."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

THRESHOLD = 3
"""Failures of one kind without a success between them that open the breaker."""
SHORTEST_PAUSE = 15.0
"""Seconds without attempts after it has opened; doubled after each probe that fails."""
LONGEST_PAUSE = 120.0
JITTER = 0.2
"""The part of a pause by which it is longer or shorter at random, so that not all come back at once."""
MOST_PROBES = 5
"""Probes that fail before it gives up."""
PATIENCE = 900.0
"""Seconds from the first failure after which it gives up, however few probes there were."""


class CircuitBreaker:
    """Counts how attempts end, and says whether another one may begin.

    Closed, it lets everybody in; but before the first success and after a failure, no more at once than it
    takes failures to open it. Open, it lets nobody in during a pause, and then one attempt as a probe: a
    success closes it, a failure makes the next pause longer. It gives up after too many probes, or too long.

    :param state: what :meth:`to_dict` of a breaker returned, in another process perhaps.
    :param shortest_pause: seconds of the first pause.
    :param longest_pause: seconds of the longest pause.
    :param patience: seconds from the first failure after which it gives up.
    :param clock: returns Unix seconds.
    :param jitter: returns a number from 0 to 1.
    """

    def __init__(
        self,
        state: Mapping[str, Any] | None = None,
        *,
        shortest_pause: float = SHORTEST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        state = state or {}
        self._clock = clock
        self._jitter = jitter
        self._shortest_pause = shortest_pause
        self._longest_pause = longest_pause
        self._patience = patience
        self._failures: dict[str, int] = dict(state.get("failures", {}))
        self._failing_since: float | None = state.get("failing_since")
        self._pauses = int(state.get("pauses", 0))
        self._failed_probes = int(state.get("failed_probes", 0))
        # The clock of the process before may be ahead of ours.
        longest = clock() + longest_pause * (1 + JITTER)
        self._paused_until = min(float(state.get("paused_until", 0.0)), longest)
        self._has_succeeded = False
        self._running = 0
        self._probing = False
        self.gave_up = False
        """Whether attempts are over for good."""

    def to_dict(self) -> dict[str, Any]:
        """Return what the next process has to know, in a form that JSON can carry."""
        return {
            "failures": dict(self._failures),
            "failing_since": self._failing_since,
            "pauses": self._pauses,
            "failed_probes": self._failed_probes,
            "paused_until": self._paused_until,
        }

    @property
    def is_open(self) -> bool:
        """Whether it is open: nothing is attempted now but a probe."""
        return self._pauses > 0

    @property
    def is_pausing(self) -> bool:
        """Whether it is open and not even a probe may begin yet."""
        return self.pause_left > 0

    @property
    def pause_left(self) -> float:
        """Seconds until a probe may begin; 0 where no pause keeps it."""
        return max(0.0, self._paused_until - self._clock()) if self.is_open else 0.0

    @property
    def next_change(self) -> float | None:
        """Seconds until who was not let in may be; None if that depends on those who are in."""
        return None if self._running else self.pause_left

    @property
    def failing_for(self) -> float:
        """Seconds since the first failure after the last success."""
        return 0.0 if self._failing_since is None else self._clock() - self._failing_since

    def enter(self) -> bool:
        """Begin an attempt, if one may begin now. Follow it with :meth:`leave`, however it ends."""
        if self.gave_up or self._running >= self._most_at_once or self.is_pausing:
            return False
        self._running += 1
        self._probing = self.is_open
        return True

    def leave(self) -> None:
        """End an attempt; one that neither succeeded nor failed says nothing."""
        self._running -= 1
        self._probing = False

    def succeeded(self) -> None:
        """Note that an attempt has succeeded: everybody may go on."""
        self._has_succeeded = True
        self._failures.clear()
        self._failing_since = None
        self._pauses = self._failed_probes = 0

    def failed(self, kind: str, *, may_pass: bool) -> bool:
        """Note that an attempt has failed; return whether that made it open, or stay open for longer.

        :param kind: what failures are the same by.
        :param may_pass: whether such a failure may pass with time: else it is not waited for, and
            :data:`THRESHOLD` of them are the end.
        """
        self._failures[kind] = self._failures.get(kind, 0) + 1
        if self._failing_since is None:
            self._failing_since = self._clock()
        often = self._failures[kind] >= THRESHOLD
        if often and not may_pass:
            self.gave_up = True
        elif self._probing:
            self._failed_probes += 1
            return self._pause()
        elif often and not self.is_open:
            return self._pause()
        return False

    def check_failed(self) -> bool:
        """Note that a check before a probe has failed; return whether it stays open, for longer."""
        return self._pause()

    @property
    def _most_at_once(self) -> float:
        if self.is_open:
            return 1
        if self._has_succeeded and not self._failures:
            return math.inf
        return max(1, THRESHOLD - max(self._failures.values(), default=0))

    def _pause(self) -> bool:
        """Begin the next pause, unless it is time to give up."""
        too_long = self.is_open and self.failing_for >= self._patience
        self.gave_up = self.gave_up or too_long or self._failed_probes >= MOST_PROBES
        pause = min(self._shortest_pause * 2.0**self._pauses, self._longest_pause)
        self._paused_until = self._clock() + pause * (1 + JITTER * (2 * self._jitter() - 1))
        self._pauses += 1
        return not self.gave_up
