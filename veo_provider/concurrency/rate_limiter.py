"""A limit on calls per second, shared by everything that calls one service."""

from __future__ import annotations

import asyncio
from collections import deque

SLOWEST = 1.0
"""Calls per second that remain after any number of throttled calls, unless the limit itself is lower."""
DEFAULT_PAUSE = 1.0
"""Seconds without calls after a throttled call whose response names no pause."""
RECOVERY_SECONDS = 60.0
"""Seconds of successful calls that raise the rate from zero to the limit."""


class AdaptiveRateLimiter:
    """Spaces calls evenly, and slows all of them down when the service throttles one (AIMD).

    Permits are given in the order of the queue, by one timer. A limiter belongs to the event loop in which it
    was created.

    :param limit: calls per second.
    """

    def __init__(self, limit: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = self._rate = limit
        self._next_at = 0.0
        self._slowed_at = 0.0
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> float:
        """Calls per second while the service throttles none."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._rate *= limit / self._limit
        self._limit = limit

    async def acquire(self, timeout: float, *, priority: bool = False) -> bool:
        """Wait for the permit to make one call; False if there is none in time.

        :param timeout: seconds to queue; a permit that is available at once is taken even with 0.
        :param priority: whether to go ahead of the whole queue.
        """
        now = self._loop.time()
        if not self._queue and now >= self._next_at:
            self._next_at = now + 1 / self._rate
            return True
        if timeout <= 0:
            return False
        permit: asyncio.Future[bool] = self._loop.create_future()
        (self._queue.appendleft if priority else self._queue.append)(permit)
        self._set_timer()
        expiry = self._loop.call_later(timeout, _settle, permit, False)
        try:
            return await permit
        finally:
            expiry.cancel()

    def on_success(self) -> None:
        """Record a call that the service accepted: after a throttled one, the rate grows again."""
        if self._rate < self._limit:
            # The faster the calls, the less each one adds: the rate grows linearly with time.
            self._rate = min(self._limit, self._rate + self._limit / (RECOVERY_SECONDS * self._rate))

    def on_throttled(self, started_at: float, retry_after: float | None) -> None:
        """Record a call that the service throttled: pause all calls, then continue at half the rate.

        :param started_at: the loop's time at which the call started; the rate is halved once for all calls
            that were in flight together.
        :param retry_after: seconds that the service asked to wait; None if it named none.
        """
        now = self._loop.time()
        self._next_at = max(self._next_at, now + (DEFAULT_PAUSE if retry_after is None else retry_after))
        if started_at >= self._slowed_at:
            self._slowed_at = now
            self._rate = max(self._rate / 2, min(self._limit, SLOWEST))

    def _set_timer(self) -> None:
        """Set the timer for the next permit, if anything is queued."""
        if self._timer is None and self._queue:
            self._timer = self._loop.call_at(self._next_at, self._give_permits)

    def _give_permits(self) -> None:
        """Give the permits that are due; the rate may have dropped since the timer was set."""
        self._timer = None
        now = self._loop.time()
        while self._queue and now >= self._next_at:
            permit = self._queue.popleft()
            if not permit.done():
                permit.set_result(True)
                # After a late timer, at most one extra call makes up for it: no burst after a stalled loop.
                self._next_at = max(self._next_at + 1 / self._rate, now)
        self._set_timer()


def _settle(permit: asyncio.Future[bool], given: bool) -> None:
    if not permit.done():
        permit.set_result(given)
