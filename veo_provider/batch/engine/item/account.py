"""What one item occupies in its segment: a phase, a slot, and money."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from veo_provider.batch.engine.state import Phase
from veo_provider.receipts.charges import Charges

if TYPE_CHECKING:
    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.receipts.store import VersionedReceipt


class ItemAccount:
    """Keeps the counts of the segment in step with one item.

    :param output: where the item's video goes.
    :param state: what the item shares with the others.
    """

    def __init__(self, output: str, state: SegmentState) -> None:
        self.phase = Phase.READY
        self.late = Charges()
        """What others were found to have submitted for the item since the segment started."""
        self._output = output
        self._state = state
        self._cost = Charges()
        self._reserved = 0.0
        self._has_slot = False

    # Phase

    def enter(self, phase: Phase) -> None:
        """Change the phase."""
        self._state.phases[self.phase] -= 1
        self._state.phases[phase] += 1
        self.phase = phase
        self._state.on_change()

    async def pause(self, phase: Phase, seconds: float) -> None:
        """Spend so many seconds in a phase, and be ready again; the end of the segment cancels this."""
        self.enter(phase)
        await self._state.waits.sleep(seconds)
        self.enter(Phase.READY)

    async def block(self) -> None:
        """Wait for the end of the segment, which cancels this."""
        await self.pause(Phase.BLOCKED, math.inf)

    # Slot

    async def wait_for_slot(self) -> None:
        """Wait for a slot for a new generation."""
        await self._state.limiter.acquire()
        self._has_slot = True

    def take_slot(self) -> None:
        """Take a slot for a generation that is in flight, even if none is free."""
        if not self._has_slot:
            self._has_slot = True
            self._state.limiter.acquire_nowait()

    def release_slot(self) -> None:
        """Release the slot, if there is one."""
        if self._has_slot:
            self._has_slot = False
            self._state.limiter.release()

    # Money

    async def reserve(self) -> None:
        """Reserve the price of one more submission, once the budget has it."""
        state, price = self._state, self._state.spec.price_usd
        if not state.budget.can_afford(price):
            self.enter(Phase.BLOCKED)
        with state.waits.cancel_at_end():
            await state.budget.reserve(price)
        self._reserved = price
        self.enter(Phase.READY)

    def release_reservation(self) -> None:
        """Return what was reserved to the budget."""
        self._state.budget.settle(self._reserved, 0.0)
        self._reserved = 0.0
        self._state.on_change()

    def count_found(self) -> None:
        """Start from the charges that the budget's reconciliation has counted for the item."""
        self._cost = self._state.ledger.found(self._output)

    def count_receipt(self, current: VersionedReceipt | None) -> None:
        """Count the charges in the item's receipt, in place of those counted before."""
        state, before = self._state, self.late
        self.count(state.ledger.charges(current.receipt) if current else Charges())
        self.late = state.ledger.late(current.receipt) if current else Charges()
        state.late += self.late - before

    def count_reservation(self) -> None:
        """Count the reservation as a possible charge: the submission may have been accepted."""
        self.count(self._cost + Charges(unknown=self._reserved))

    def count(self, cost: Charges) -> None:
        """Count what the item costs, in place of what this segment has counted for it before."""
        change, self._cost = cost - self._cost, cost
        self._state.budget.add(change.total)
        self._state.budget.add_unknown(change.unknown)
