"""What a batch would do: each image looked at as for a submission, and none submitted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from veo_provider.batch.outcome import Outcome, outcome_of_error
from veo_provider.batch.report.row import SummaryRow
from veo_provider.batch.requests import Maker
from veo_provider.concurrency.executors import map_ordered
from veo_provider.exceptions import VeoError
from veo_provider.generation.state_machine import Attach, Done, Refuse, Submit, Verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from veo_provider.batch.manifest import Manifest, ManifestItem
    from veo_provider.batch.requests import Making

_THREADS = 8
_AHEAD = 16
"""How many images are looked at before their rows are due."""


def estimate(archive: Manifest, making: Making, price_usd: float) -> Iterator[SummaryRow]:
    """Yield a row for each image: what is done, under way, rejected, or to make, and for what money.

    :param price_usd: what one video costs.
    :raises VeoError: the archive cannot be listed.
    """

    def row(item: ManifestItem) -> SummaryRow:
        found = _row(item, making)
        # What was paid before is no part of what it would cost now.
        cost = price_usd if found.outcome is Outcome.TO_MAKE else 0.0
        return replace(found, cost_usd=cost, unknown_usd=0.0, price_usd=cost or found.price_usd)

    return map_ordered(row, archive.items(), threads=_THREADS, ahead=_AHEAD, name="survey")


def _row(item: ManifestItem, making: Making) -> SummaryRow:
    run = making.by.task_instance
    if item.outcome is not None:
        return SummaryRow.for_item(item, None, run)
    maker = Maker(item, making)
    held = None
    try:
        step, held = maker.look()
        if step is None:
            plan = maker.plan(held)
            step = maker.next_step(held, plan.fingerprint)
        receipt = held.receipt if held else None
        if isinstance(step, Submit):
            return SummaryRow.for_item(item, receipt, run, outcome=Outcome.TO_MAKE)
        if isinstance(step, Refuse):
            raise step.error
        if isinstance(step, Done):
            return SummaryRow.for_item(item, receipt, run)
        if isinstance(step, Verify):
            return SummaryRow.for_item(item, receipt, run)
        said = "It was submitted before." if isinstance(step, Attach) else f"{step.by} is submitting it."
        return SummaryRow.for_item(item, receipt, run, outcome=Outcome.UNDER_WAY, reason=said)
    except VeoError as error:
        receipt = held.receipt if held else None
        return SummaryRow.for_item(item, receipt, run, outcome=outcome_of_error(error), reason=str(error))
