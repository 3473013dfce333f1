"""How fast all waits on one connection call together."""

from __future__ import annotations

import asyncio
from collections import deque

SLOWEST = 1.0
"""Calls a second that are left after however many refusals, where the limit itself is not lower."""
UNASKED_PAUSE = 1.0
"""Seconds without calls after a refusal that names none."""
RECOVERY_SECONDS = 60.0
"""Seconds of successes that lead from a standstill back to the limit."""


class AdaptiveRateLimiter:
    """Spaces calls evenly, and slows all of them down when the service refuses one.

    Belongs to the event loop that it is made in. Who queues is let through in turn, by one timer.

    :param limit: calls a second.
    """

    def __init__(self, limit: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = self._rate = limit
        self._next = 0.0
        self._slowed = 0.0
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> float:
        """Calls a second, while the service refuses none."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._rate *= limit / self._limit
        self._limit = limit

    async def turn(self, patience: float, *, first: bool = False) -> bool:
        """Wait for one's turn to call; False if it does not come in time.

        :param patience: seconds to queue; a turn that is free at once is taken even with none.
        :param first: go before all who queue.
        """
        now = self._loop.time()
        if not self._queue and now >= self._next:
            self._next = now + 1 / self._rate
            return True
        if patience <= 0:
            return False
        mine: asyncio.Future[bool] = self._loop.create_future()
        (self._queue.appendleft if first else self._queue.append)(mine)
        self._wind_up()
        giving_up = self._loop.call_later(patience, _settle, mine, False)
        try:
            return await mine
        finally:
            giving_up.cancel()

    def succeeded(self) -> None:
        """Note a call that the service answered: after a refusal, the rate grows again."""
        if self._rate < self._limit:
            # Each call adds the less the more of them there are: it grows evenly with time.
            self._rate = min(self._limit, self._rate + self._limit / (RECOVERY_SECONDS * self._rate))

    def refused(self, called_at: float, pause: float | None) -> None:
        """Note a call that was one too many: nobody calls during the pause, and then at half the rate.

        :param called_at: the loop's time of the call; the rate is halved once for all that were on their way.
        :param pause: seconds that the service asked for, where it did.
        """
        now = self._loop.time()
        self._next = max(self._next, now + (UNASKED_PAUSE if pause is None else pause))
        if called_at >= self._slowed:
            self._slowed = now
            self._rate = max(self._rate / 2, min(self._limit, SLOWEST))

    def _wind_up(self) -> None:
        """Set the timer for the next turn, if there is anybody to take it."""
        if self._timer is None and self._queue:
            self._timer = self._loop.call_at(self._next, self._admit)

    def _admit(self) -> None:
        """Let through whose turn has come; the pace may have become slower since the timer was set."""
        self._timer = None
        now = self._loop.time()
        while self._queue and now >= self._next:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(True)
                # What a late timer lost is made up for by one call at most: no stampede after a stall.
                self._next = max(self._next + 1 / self._rate, now)
        self._wind_up()


def _settle(turn: asyncio.Future[bool], came: bool) -> None:
    if not turn.done():
        turn.set_result(came)
