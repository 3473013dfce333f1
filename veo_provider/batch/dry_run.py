"""The dry run: what a batch would do with each image, decided as for a submission, and nothing submitted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import assert_never

from veo_provider.batch.outcome import Outcome, outcome_of_error, outcome_of_receipt, outcome_of_video
from veo_provider.batch.report.row import SummaryRow
from veo_provider.concurrency.executors import map_ordered
from veo_provider.exceptions import VeoError
from veo_provider.generation.lifecycle import require_receipt
from veo_provider.generation.state_machine import (
    Attach,
    Done,
    NeedsImage,
    Refuse,
    Submit,
    Verify,
    WaitForClaim,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from veo_provider.batch.manifest import Manifest, ManifestItem
    from veo_provider.batch.requests import ItemJobs
    from veo_provider.generation.state_machine import Step
    from veo_provider.receipts.receipt import VersionedReceipt

_THREADS = 8
_AHEAD = 16
"""How many images are read before their rows are due."""


def estimate(manifest: Manifest, jobs: ItemJobs, price_usd: float) -> Iterator[SummaryRow]:
    """Yield a row for each image: done, in flight, rejected, or to make, and for how much money.

    :param price_usd: what one video costs.
    :raises VeoError: the manifest cannot be listed.
    """

    def row(item: ManifestItem) -> SummaryRow:
        found = _row(item, jobs)
        # What was paid before is no part of what it would cost now.
        cost = price_usd if found.outcome is Outcome.TO_MAKE else 0.0
        return replace(found, cost_usd=cost, unknown_usd=0.0, price_usd=cost or found.price_usd)

    return map_ordered(row, manifest.items(), threads=_THREADS, ahead=_AHEAD, name="survey")


def _row(item: ManifestItem, jobs: ItemJobs) -> SummaryRow:
    run = jobs.attempt.task_instance
    if item.outcome is not None:
        return SummaryRow.for_item(item, None, run)
    current = None
    try:
        job = jobs.job_for(item)
        current = job.read()
        step = job.decide(current)
        if isinstance(step, NeedsImage):
            job.prepare(current)
            step = job.decide(current)
        outcome, reason = _outcome_of(step, current, run)
    except VeoError as error:
        outcome, reason = outcome_of_error(error), str(error)
    return SummaryRow.for_item(
        item, current.receipt if current else None, run, outcome=outcome, reason=reason
    )


def _outcome_of(step: Step, current: VersionedReceipt | None, run: str) -> tuple[Outcome, str]:
    """Return what a step would make of an image, and the reason; the step is not done."""
    match step:
        case NeedsImage() | Submit():
            return Outcome.TO_MAKE, ""
        case Verify():
            return outcome_of_receipt(require_receipt(current).receipt, run)
        case WaitForClaim(by):
            return Outcome.UNDER_WAY, f"{by} is submitting it."
        case Attach():
            return Outcome.UNDER_WAY, "It was submitted before."
        case Done():
            return outcome_of_video(require_receipt(current).receipt, run), ""
        case Refuse(error):
            return outcome_of_error(error), str(error)
        case _:
            assert_never(step)
