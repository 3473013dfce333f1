"""A look at the account's balance now and then: a batch stops in order before the account is empty."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoError, VeoQuotaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.batch.engine.state import SegmentState

log = logging.getLogger(__name__)

BALANCE_EVERY = 180.0
"""Seconds between two looks at the balance."""


async def watch_balance(leg: SegmentState, ask: Callable[[], float]) -> None:
    """Check the balance again and again, till the end of the leg.

    :param ask: returns the account's balance in USD; blocks.
    """
    with leg.may_leave():
        while True:
            await asyncio.sleep(BALANCE_EVERY)
            await check_balance(leg, ask)


async def check_balance(leg: SegmentState, ask: Callable[[], float]) -> None:
    """Submit nothing more when the account cannot pay for it.

    :param ask: returns the account's balance in USD; blocks.
    """
    try:
        balance = await leg.threads.run_io(ask)
    except VeoError as error:
        log.warning("The balance is not to be had: %s", error)
        return
    ceiling = leg.terms.max_cost_usd
    if balance < leg.terms.price_usd and not leg.walked:
        leg.stop(VeoQuotaError(f"The account has ${balance:.2f}, too little for one more video."))
    elif ceiling is not None and balance < ceiling - leg.budget.committed:
        log.warning("The account has $%.2f, which is less than max_cost_usd would let be spent.", balance)
