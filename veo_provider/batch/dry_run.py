"""The dry run: decides what a batch would do with each image, and does nothing of it."""

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
    LookUp,
    NeedsImage,
    Refuse,
    Submit,
    Verify,
    WaitForClaim,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from veo_provider.batch.jobs import ItemJobs
    from veo_provider.batch.manifest import Manifest, ManifestItem
    from veo_provider.generation.state_machine import Step
    from veo_provider.receipts.store import VersionedReceipt

_THREADS = 8
_LOOK_AHEAD = 16
"""Number of images that are read before their rows are due."""


def estimate(manifest: Manifest, jobs: ItemJobs, price_usd: float) -> Iterator[SummaryRow]:
    """Yield a row for each image: done, in flight, rejected, or to make and at what cost. Spends nothing.

    :param price_usd: the price of one video.
    :raises VeoError: the manifest cannot be listed.
    """

    def row(item: ManifestItem) -> SummaryRow:
        found = _row(item, jobs)
        # What was paid before does not count: the estimate is what a run would cost now.
        cost = price_usd if found.outcome is Outcome.TO_MAKE else 0.0
        return replace(found, cost_usd=cost, unknown_usd=0.0, price_usd=cost or found.price_usd)

    return map_ordered(row, manifest.items(), threads=_THREADS, ahead=_LOOK_AHEAD, name="dry-run")


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
        if isinstance(step, Submit):
            job.require_submittable()
        outcome, reason = _outcome_of(step, current, run)
    except VeoError as error:
        outcome, reason = outcome_of_error(error), str(error)
    return SummaryRow.for_item(
        item, current.receipt if current else None, run, outcome=outcome, reason=reason
    )


def _outcome_of(step: Step, current: VersionedReceipt | None, run: str) -> tuple[Outcome, str]:
    """Return the outcome that a step would lead to, and the reason; the step is not carried out."""
    match step:
        case NeedsImage() | Submit():
            return Outcome.TO_MAKE, ""
        case Verify() | LookUp():
            return outcome_of_receipt(require_receipt(current).receipt, run)
        case WaitForClaim(holder):
            return Outcome.UNDER_WAY, f"{holder} is submitting it."
        case Attach():
            return Outcome.UNDER_WAY, "It has already been submitted."
        case Done():
            return outcome_of_video(require_receipt(current).receipt, run), ""
        case Refuse(error):
            return outcome_of_error(error), str(error)
        case _:
            assert_never(step)
