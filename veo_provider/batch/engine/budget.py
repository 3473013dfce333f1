"""The budget of a run: what it may be charged by now, and what is left for one more submission."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """Counts what a run may be charged, and reserves money for each submission under the ceiling.

    Belongs to one event loop, so no method needs a lock.

    :param ceiling: USD that the run may be charged at most; None for no ceiling.
    :param committed: USD that it may be charged already.
    :param unknown: the part of it for submissions whose fate is unknown.
    """

    def __init__(self, ceiling: float | None, committed: float = 0.0, unknown: float = 0.0) -> None:
        self._ceiling = ceiling
        self._committed = committed
        self._unknown = unknown
        self._reserved = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def committed(self) -> float:
        """USD that the run may be charged by now, to the cent."""
        return round(self._committed, 2)

    @property
    def unknown(self) -> float:
        """The part of :attr:`committed` for submissions whose fate is unknown, to the cent."""
        return round(self._unknown, 2)

    def add(self, usd: float) -> None:
        """Count what may be charged; a negative amount will not be charged after all."""
        self._committed += usd
        for permit in self._waiting:
            if not permit.done():
                permit.set_result(None)

    def add_unknown(self, usd: float) -> None:
        """Count a part of what may be charged as unknown; it stays committed."""
        self._unknown += usd

    async def reserve(self, usd: float) -> None:
        """Reserve money for one submission; wait for others to release theirs while too little is left.

        Call :meth:`settle` afterwards.
        """
        while not self.can_afford(usd):
            permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(permit)
            try:
                await permit
            finally:
                self._waiting.remove(permit)
        self._reserved += usd

    def settle(self, reserved: float, charged: float) -> None:
        """Release a reservation, and count what may be charged instead."""
        self._reserved -= reserved
        self.add(charged)

    def can_afford(self, usd: float) -> bool:
        """Whether enough is left for one more submission."""
        if self._ceiling is None:
            return True
        # Sums of prices are not exact, and neither is a ceiling that was computed.
        return round(self._committed + self._reserved + usd - self._ceiling, 4) <= 0
