"""What one item has of its segment: its phase, its slot, and the money that is counted for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veo_provider.batch.engine.state import Phase
from veo_provider.receipts.charges import Charges

if TYPE_CHECKING:
    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.receipts.receipt import VersionedReceipt


class ItemAccount:
    """Keeps the counts of the segment in step with one item.

    :param output: where the item's video goes.
    :param state: what the item shares with the others.
    """

    def __init__(self, output: str, state: SegmentState) -> None:
        self.phase = Phase.READY
        self.late = Charges()
        """What others were found to have submitted for the item since the segment began."""
        self._output = output
        self._state = state
        self._cost = Charges()
        self._reserved = 0.0
        self._has_slot = False

    # Phase and slot

    def enter(self, phase: Phase) -> None:
        """Change the phase."""
        self._state.phases[self.phase] -= 1
        self._state.phases[phase] += 1
        self.phase = phase
        self._state.on_change()

    async def wait_for_slot(self) -> None:
        """Wait for a slot for a new generation."""
        await self._state.limiter.acquire()
        self._has_slot = True

    def take_slot(self) -> None:
        """Take a slot for a generation that is in flight."""
        if not self._has_slot:
            self._has_slot = True
            self._state.limiter.acquire_nowait()

    def leave_slot(self) -> None:
        """Give the slot back, if there is one."""
        if self._has_slot:
            self._has_slot = False
            self._state.limiter.release()

    # Money

    async def reserve(self) -> None:
        """Set the money aside for one more submission, once there is enough of it."""
        state, price = self._state, self._state.spec.price_usd
        if not state.budget.can_afford(price):
            self.enter(Phase.BLOCKED)
        with state.waits.cancel_at_end():
            await state.budget.reserve(price)
        self._reserved = price
        self.enter(Phase.READY)

    def give_back(self) -> None:
        """Give back what was set aside."""
        self._state.budget.settle(self._reserved, 0.0)
        self._reserved = 0.0
        self._state.on_change()

    def count_found(self) -> None:
        """Start from what the recount has found for the item."""
        self._cost = self._state.ledger.found(self._output)

    def recharge(self, current: VersionedReceipt | None) -> None:
        """Count what a receipt says now instead of what it said before, or what was feared."""
        state, before = self._state, self.late
        self.charge(state.ledger.charges(current.receipt) if current else Charges())
        self.late = state.ledger.late(current.receipt) if current else Charges()
        state.late += self.late - before

    def charge_reserved(self) -> None:
        """Count what was set aside as charged, perhaps: the submission may have been accepted."""
        self.charge(self._cost + Charges(unknown=self._reserved))

    def charge(self, cost: Charges) -> None:
        """Count what the item costs in place of what was counted for it in this segment before."""
        change, self._cost = cost - self._cost, cost
        self._state.budget.add(change.total)
        self._state.budget.add_unknown(change.unknown)
