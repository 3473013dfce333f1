"""A circuit breaker: repeated failures pause all attempts; then single probes decide whether to resume."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

THRESHOLD = 3
"""Failures of one kind, without a success between them, that open the breaker."""
SHORTEST_PAUSE = 15.0
"""Seconds without attempts after the breaker has opened; doubled after each failed probe."""
LONGEST_PAUSE = 120.0
JITTER = 0.2
"""Fraction by which a pause is randomly longer or shorter, so that clients do not all resume at once."""
MAX_FAILED_PROBES = 5
"""Failed probes after which the breaker gives up."""
PATIENCE = 900.0
"""Seconds since the first failure after which it gives up, however few probes there were."""


class CircuitBreaker:
    """Records how attempts end, and decides whether another one may start.

    Closed, it permits all attempts; but before the first success and after a failure, no more at a time than
    the number of failures that would open it. Open, it permits none during a pause, and then one as a probe:
    a success closes the breaker, a failure makes the next pause longer. It gives up after too many probes or
    too long a time.

    :param state: what :meth:`to_dict` of an earlier breaker returned, possibly in another process.
    :param shortest_pause: seconds of the first pause.
    :param longest_pause: seconds of the longest pause.
    :param patience: seconds since the first failure after which it gives up.
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
        # The earlier process's clock may have been ahead of ours.
        longest = clock() + longest_pause * (1 + JITTER)
        self._paused_until = min(float(state.get("paused_until", 0.0)), longest)
        self._has_succeeded = False
        self._running = 0
        self._probing = False
        self.gave_up = False
        """Whether no attempt will ever be permitted again."""

    def to_dict(self) -> dict[str, Any]:
        """Return the state for the next process, in a form that JSON can carry."""
        return {
            "failures": dict(self._failures),
            "failing_since": self._failing_since,
            "pauses": self._pauses,
            "failed_probes": self._failed_probes,
            "paused_until": self._paused_until,
        }

    @property
    def is_open(self) -> bool:
        """Whether only probes are permitted."""
        return self._pauses > 0

    @property
    def is_pausing(self) -> bool:
        """Whether the breaker is open and not even a probe is permitted yet."""
        return self.pause_left > 0

    @property
    def pause_left(self) -> float:
        """Seconds until a probe is permitted; 0 outside of a pause."""
        return max(0.0, self._paused_until - self._clock()) if self.is_open else 0.0

    @property
    def next_change(self) -> float | None:
        """Seconds until an attempt that was not permitted may be; None if that depends on running ones."""
        return None if self._running else self.pause_left

    @property
    def failing_for(self) -> float:
        """Seconds since the first failure after the last success."""
        return 0.0 if self._failing_since is None else self._clock() - self._failing_since

    def try_acquire(self) -> bool:
        """Start an attempt if one is permitted now. Then call :meth:`release`, however it ends."""
        if self.gave_up or self._running >= self._max_running or self.is_pausing:
            return False
        self._running += 1
        self._probing = self.is_open
        return True

    def release(self) -> None:
        """End an attempt; one that was recorded neither as a success nor as a failure changes nothing."""
        self._running -= 1
        self._probing = False

    def on_success(self) -> None:
        """Record that an attempt has succeeded, which closes the breaker."""
        self._has_succeeded = True
        self._failures.clear()
        self._failing_since = None
        self._pauses = self._failed_probes = 0

    def on_failure(self, kind: str, *, retryable: bool) -> bool:
        """Record that an attempt has failed; return whether that opened the breaker or extended its pause.

        :param kind: identifies failures with the same cause.
        :param retryable: whether such a failure may pass with time; if not, :data:`THRESHOLD` of them make
            the breaker give up at once.
        """
        self._failures[kind] = self._failures.get(kind, 0) + 1
        if self._failing_since is None:
            self._failing_since = self._clock()
        often = self._failures[kind] >= THRESHOLD
        if often and not retryable:
            self.gave_up = True
        elif self._probing:
            self._failed_probes += 1
            return self._pause()
        elif often and not self.is_open:
            return self._pause()
        return False

    def on_check_failed(self) -> bool:
        """Record that a check before a probe has failed; return whether that extended the pause."""
        return self._pause()

    @property
    def _max_running(self) -> float:
        if self.is_open:
            return 1
        if self._has_succeeded and not self._failures:
            return math.inf
        return max(1, THRESHOLD - max(self._failures.values(), default=0))

    def _pause(self) -> bool:
        """Start the next pause, unless it is time to give up."""
        too_long = self.is_open and self.failing_for >= self._patience
        self.gave_up = self.gave_up or too_long or self._failed_probes >= MAX_FAILED_PROBES
        pause = min(self._shortest_pause * 2.0**self._pauses, self._longest_pause)
        self._paused_until = self._clock() + pause * (1 + JITTER * (2 * self._jitter() - 1))
        self._pauses += 1
        return not self.gave_up
