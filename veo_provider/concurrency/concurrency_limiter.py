"""How many generations a batch has under way at once: fewer when the service refuses one, then more again."""

from __future__ import annotations

import asyncio
from collections import deque

SHORTEST_PAUSE = 1.0
"""Seconds without submissions after a refusal that names none; doubled by each that follows it."""
LONGEST_PAUSE = 60.0


class AdaptiveConcurrencyLimiter:
    """Hands out slots in turn. One refusal halves their number, each acceptance adds a part of one again.

    Belongs to the event loop that it is made in.

    :param most: how many slots there are at most.
    :param size: how many there are at first; None for all.
    :param shortest_pause: seconds without submissions after a refusal; doubled by each that follows it.
    :param longest_pause: seconds of the longest such pause.
    """

    def __init__(
        self,
        most: int,
        size: float | None = None,
        *,
        shortest_pause: float = SHORTEST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self.used = 0
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._size = min(float(most), max(1.0, size or most))
        self._shortest_pause = self._pause = shortest_pause
        self._longest_pause = longest_pause
        self._closed_until = 0.0
        self._halved_at = 0.0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def size(self) -> float:
        """How many slots there are now; a part of one counts when it has become whole."""
        return self._size

    @property
    def is_open(self) -> bool:
        """Whether there is a slot to be had now."""
        return self.used < int(self._size) and self._loop.time() >= self._closed_until

    async def enter(self) -> None:
        """Wait for a slot in one's turn, and take it."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._queue.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def join(self) -> None:
        """Take a slot at once, for a generation that is under way already."""
        self.used += 1

    def leave(self) -> None:
        """Give a slot back."""
        self.used -= 1
        self._admit()

    def accepted(self) -> None:
        """Note that the service took a submission."""
        self._pause = self._shortest_pause
        self._size = min(float(self._most), self._size + 1 / self._size)
        self._admit()

    def refused(self, began: float, asked: float | None = None, *, too_many: bool = True) -> None:
        """Note that the service did not take a submission: for a while there are none, then fewer at once.

        :param began: the loop's time at which it was begun; for all that were on their way together, the
            window is halved once.
        :param asked: seconds that the service asked to wait, where it did.
        :param too_many: whether there were too many of them, and not another trouble.
        """
        now = self._loop.time()
        if began >= self._halved_at:
            self._halved_at = now
            self._closed_until = max(self._closed_until, now + self._pause)
            self._pause = min(2 * self._pause, self._longest_pause)
            if too_many:
                self._size = max(1.0, self._size / 2)
        self._closed_until = max(self._closed_until, now + (asked or 0.0))
        self._admit()

    def _admit(self) -> None:
        """Let in whose turn has come, and come back when the pause is over."""
        now = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self.is_open:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                self.used += 1
        if self._queue and now < self._closed_until:
            self._timer = self._loop.call_at(self._closed_until, self._admit)
