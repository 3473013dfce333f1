"""What a batch would do: each image looked at as for a submission, and none submitted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from veo_provider.api.errors import VeoError
from veo_provider.generation import Attach, Done, Refuse, Submit, Verify
from veo_provider.maker import Maker
from veo_provider.outcomes import Outcome, outcome_of
from veo_provider.summary import Row
from veo_provider.threads import in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from veo_provider.archive import Archive, Item
    from veo_provider.maker import Making

_THREADS = 8
_AHEAD = 16
"""How many images are looked at before their rows are due."""


def rows_of(archive: Archive, making: Making, price_usd: float) -> Iterator[Row]:
    """Yield a row for each image: what is done, under way, rejected, or to make, and for what money.

    :param price_usd: what one video costs.
    :raises VeoError: the archive cannot be listed.
    """

    def row(item: Item) -> Row:
        found = _row(item, making)
        # What was paid before is no part of what it would cost now.
        cost = price_usd if found.outcome is Outcome.TO_MAKE else 0.0
        return replace(found, cost_usd=cost, unknown_usd=0.0, price_usd=cost or found.price_usd)

    return in_order(row, archive.items(), threads=_THREADS, ahead=_AHEAD, name="survey")


def _row(item: Item, making: Making) -> Row:
    run = making.by.task_instance
    if item.outcome is not None:
        return Row.of(item, None, run)
    maker = Maker(item, making)
    held = None
    try:
        step, held = maker.look()
        if step is None:
            plan = maker.plan(held)
            step = maker.next_step(held, plan.fingerprint)
        receipt = held.receipt if held else None
        if isinstance(step, Submit):
            return Row.of(item, receipt, run, outcome=Outcome.TO_MAKE)
        if isinstance(step, Refuse):
            raise step.error
        if isinstance(step, Done):
            return Row.of(item, receipt, run)
        if isinstance(step, Verify):
            return Row.of(item, receipt, run)
        said = "It was submitted before." if isinstance(step, Attach) else f"{step.by} is submitting it."
        return Row.of(item, receipt, run, outcome=Outcome.UNDER_WAY, reason=said)
    except VeoError as error:
        receipt = held.receipt if held else None
        return Row.of(item, receipt, run, outcome=outcome_of(error), reason=str(error))
