"""A limit on operations in flight, which adapts to what the service accepts."""

from __future__ import annotations

import asyncio
from collections import deque

SHORTEST_PAUSE = 1.0
"""Seconds without new operations after a throttled one whose response names no pause; doubled each time."""
LONGEST_PAUSE = 60.0


class AdaptiveConcurrencyLimiter:
    """Hands out slots in the order of the queue, and adapts their number to the service (AIMD).

    A throttled operation halves the number of slots; each accepted one adds a fraction of a slot again. A
    limiter belongs to the event loop in which it was created.

    :param limit: the maximum number of slots.
    :param size: the number of slots at the start; None for the maximum.
    :param shortest_pause: seconds of the pause after a throttled operation; doubled each time.
    :param longest_pause: seconds of the longest such pause.
    """

    def __init__(
        self,
        limit: int,
        size: float | None = None,
        *,
        shortest_pause: float = SHORTEST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self.used = 0
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._size = min(float(limit), max(1.0, size or limit))
        self._shortest_pause = self._pause = shortest_pause
        self._longest_pause = longest_pause
        self._paused_until = 0.0
        self._slowed_at = 0.0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def size(self) -> float:
        """The number of slots now; a fraction of a slot cannot be used."""
        return self._size

    @property
    def has_capacity(self) -> bool:
        """Whether a slot is free and no pause prevents its use."""
        return self.used < int(self._size) and self._loop.time() >= self._paused_until

    async def acquire(self) -> None:
        """Wait for a slot, and take it."""
        slot: asyncio.Future[None] = self._loop.create_future()
        self._queue.append(slot)
        self._give_slots()
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self.release()
            raise

    def acquire_nowait(self) -> None:
        """Take a slot at once, even if none is free: for an operation that is in flight already."""
        self.used += 1

    def release(self) -> None:
        """Return a slot."""
        self.used -= 1
        self._give_slots()

    def on_success(self) -> None:
        """Record an operation that the service accepted."""
        self._pause = self._shortest_pause
        self._size = min(float(self._limit), self._size + 1 / self._size)
        self._give_slots()

    def on_throttled(
        self, started_at: float, retry_after: float | None = None, *, overloaded: bool = True
    ) -> None:
        """Record an operation that the service did not take: start none for a while, then fewer at a time.

        :param started_at: the loop's time at which the operation started; the number of slots is halved once
            for all operations that were in flight together.
        :param retry_after: seconds that the service asked to wait; None if it named none.
        :param overloaded: whether there were too many operations; another failure leaves their number.
        """
        now = self._loop.time()
        if started_at >= self._slowed_at:
            self._slowed_at = now
            self._paused_until = max(self._paused_until, now + self._pause)
            self._pause = min(2 * self._pause, self._longest_pause)
            if overloaded:
                self._size = max(1.0, self._size / 2)
        self._paused_until = max(self._paused_until, now + (retry_after or 0.0))
        self._give_slots()

    def _give_slots(self) -> None:
        """Give the free slots to the queue; during a pause, set a timer for its end."""
        now = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self.has_capacity:
            slot = self._queue.popleft()
            if not slot.done():
                slot.set_result(None)
                self.used += 1
        if self._queue and now < self._paused_until:
            self._timer = self._loop.call_at(self._paused_until, self._give_slots)
