"""What the items of a batch share."""

import asyncio

import pytest

from veo_provider.batch.engine.state import happens


async def test_a_cancellation_that_comes_with_the_event_is_not_lost():
    """A trigger that is given to another triggerer at that very moment ends all the same."""
    event = asyncio.Event()
    waiting = asyncio.create_task(happens(event, 60.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_event_and_the_end_of_the_time_end_the_wait():
    """Whichever comes first."""
    event = asyncio.Event()
    await happens(event, 0.01)
    event.set()
    await happens(event, None)
