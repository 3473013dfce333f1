"""The balance of the account: a batch stops submitting before the account is empty."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoError, VeoQuotaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.batch.engine.state import SegmentState

log = logging.getLogger(__name__)


class BalanceMonitor:
    """Checks the balance at the start of a segment, and then regularly.

    :param state: of the segment, which is stopped when the account cannot pay for one more video.
    :param read_balance: returns the account's balance in USD; blocks.
    """

    def __init__(self, state: SegmentState, read_balance: Callable[[], float]) -> None:
        self._state = state
        self._read_balance = read_balance

    async def run(self) -> None:
        """Check the balance until the segment ends."""
        with self._state.waits.cancel_at_end():
            while True:
                await asyncio.sleep(self._state.tuning.balance_interval)
                await self.check()

    async def check(self) -> None:
        """Stop submitting if the account cannot pay for one more video."""
        state, spec = self._state, self._state.spec
        try:
            balance = await state.executors.run_io(self._read_balance)
        except VeoError as error:
            log.warning("Could not read the account's balance: %s", error)
            return
        if balance < spec.price_usd and not state.all_started:
            state.gate.stop(VeoQuotaError(f"The account has ${balance:.2f}, too little for one more video."))
        elif spec.max_cost_usd is not None and balance < spec.max_cost_usd - state.budget.committed:
            log.warning("The account has $%.2f, less than what is left of max_cost_usd.", balance)
