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
    :param leg: what the item shares with the others.
    """

    def __init__(self, output: str, leg: SegmentState) -> None:
        self.phase = Phase.READY
        self.late = Charges()
        """What others were found to have submitted for the item since the leg began."""
        self._output = output
        self._leg = leg
        self._cost = Charges()
        self._reserved = 0.0
        self._has_slot = False

    # Phase and slot

    def enter(self, phase: Phase) -> None:
        """Change the phase."""
        self._leg.phases[self.phase] -= 1
        self._leg.phases[phase] += 1
        self.phase = phase
        self._leg.changed()

    async def wait_for_slot(self) -> None:
        """Wait for a slot for a new generation."""
        await self._leg.window.enter()
        self._has_slot = True

    def take_slot(self) -> None:
        """Take a slot for a generation that is in flight."""
        if not self._has_slot:
            self._has_slot = True
            self._leg.window.join()

    def leave_slot(self) -> None:
        """Give the slot back, if there is one."""
        if self._has_slot:
            self._has_slot = False
            self._leg.window.leave()

    # Money

    async def reserve(self) -> None:
        """Set the money aside for one more submission, once there is enough of it."""
        leg, price = self._leg, self._leg.terms.price_usd
        if not leg.budget.pays(price):
            self.enter(Phase.BLOCKED)
        with leg.may_leave():
            await leg.budget.reserve(price)
        self._reserved = price
        self.enter(Phase.READY)

    def give_back(self) -> None:
        """Give back what was set aside."""
        self._leg.budget.settle(self._reserved, 0.0)
        self._reserved = 0.0
        self._leg.changed()

    def count_found(self) -> None:
        """Start from what the recount has found for the item."""
        self._cost = self._leg.ledger.found(self._output)

    def recharge(self, held: VersionedReceipt | None) -> None:
        """Count what a receipt says now instead of what it said before, or what was feared."""
        leg, before = self._leg, self.late
        self.charge(leg.ledger.charges(held.receipt) if held else Charges())
        self.late = leg.ledger.late(held.receipt) if held else Charges()
        leg.late += self.late - before

    def charge_reserved(self) -> None:
        """Count what was set aside as charged, perhaps: the submission may have been accepted."""
        self.charge(self._cost + Charges(unknown=self._reserved))

    def charge(self, cost: Charges) -> None:
        """Count what the item costs in place of what was counted for it in this leg before."""
        change, self._cost = cost - self._cost, cost
        self._leg.budget.add(change.total)
        self._leg.budget.doubt(change.unknown)
