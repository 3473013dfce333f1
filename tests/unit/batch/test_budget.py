"""The budget: nobody spends past the ceiling of a run."""

import asyncio

from veo_provider.batch.engine.budget import Budget


async def test_nobody_spends_past_the_ceiling():
    """Who finds too little left waits until others give something back."""
    budget = Budget(1.0, 0.3)
    await budget.reserve(0.3)
    await budget.reserve(0.3)
    waiting = asyncio.create_task(budget.reserve(0.3))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.settle(0.3, 0.0)
    await waiting
    assert not budget.can_afford(0.3)


async def test_a_hundred_prices_come_to_the_cent():
    """Ten thirty-cent videos fit into three dollars, whatever floating point makes of it."""
    budget = Budget(3.0)
    assert Budget(24 * 0.3, 6.9).can_afford(0.3)
    for _ in range(10):
        await budget.reserve(0.3)
        budget.settle(0.3, 0.3)
    assert budget.committed == 3.0
    assert not budget.can_afford(0.3)


async def test_without_a_ceiling_all_is_paid():
    """Then it only counts."""
    budget = Budget(None)
    await budget.reserve(1e9)
    budget.settle(1e9, 0.3)
    assert budget.committed == 0.3


async def test_who_gives_up_waiting_passes_the_turn_on():
    """Money that is given back reaches the next one who waits, even if the first one has left."""
    budget = Budget(0.3)
    await budget.reserve(0.3)
    first, second = (asyncio.create_task(budget.reserve(0.3)) for _ in range(2))
    await asyncio.sleep(0)
    budget.settle(0.3, 0.0)
    first.cancel()
    await asyncio.wait({first})
    await second
