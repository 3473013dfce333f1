"""The outcomes of an image in a batch, and when they make the task fail."""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING, NamedTuple

from veo_provider.exceptions import (
    VeoBadRequestError,
    VeoError,
    VeoGenerationFailed,
    VeoModerationError,
    VeoNotFetchedError,
    VeoRecordLostError,
    VeoRequestChangedError,
    VeoRequestError,
    VeoSubmissionUnknown,
    VeoVideoLostError,
    VeoWaitTimeoutError,
)
from veo_provider.receipts.receipt import ReceiptState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from veo_provider.receipts.receipt import Receipt


class Outcome(str, enum.Enum):
    """The outcome of an image."""

    STORED = "stored"
    """Its video is stored, and this run paid for it."""
    SKIPPED = "skipped"
    """Its video is stored, and another run paid for it; or it is in the list twice."""
    REJECTED = "rejected"
    """No video can be made of it, or the service refused the request. Not charged."""
    MODERATED = "moderated"
    """The service's safety filter refused the image or the prompt. Not charged."""
    FAILED = "failed"
    """The generation failed as often as it may be tried. Not charged."""
    LOST = "lost"
    """It was charged, or may have been, and the service has no video: filtered, cancelled, or deleted."""
    UNKNOWN = "unknown"
    """It was submitted, and the response was lost: it may be charged."""
    CHANGED = "changed"
    """Its output belongs to another request and is kept."""
    UNDER_WAY = "under way"
    """It was submitted, and its video is not stored yet. It is charged when it completes."""
    ERROR = "error"
    """Another error; the reason says which, and whether it was paid for."""
    NOT_STARTED = "not started"
    """The run stopped before it: no money was left, or the task ended."""
    TO_MAKE = "to make"
    """Without the dry run, its video would be made."""

    @classmethod
    def _missing_(cls, value: object) -> Outcome:  # noqa: ARG003 - whatever it is
        """Read an outcome of a newer release as an error."""
        return cls.ERROR


WITH_VIDEO = (Outcome.STORED, Outcome.SKIPPED)
RETRYABLE = (Outcome.ERROR, Outcome.UNDER_WAY)
"""The next try may change these."""


class ItemResult(NamedTuple):
    """What became of one image of a batch.

    :param reason: why there is no video.
    :param receipt: of the video, where there is one.
    """

    outcome: Outcome
    reason: str = ""
    receipt: Receipt | None = None


def outcome_of_error(error: VeoError) -> Outcome:
    """Return the outcome of an image after an error."""
    if isinstance(error, VeoGenerationFailed) and error.moderated:
        return Outcome.MODERATED
    outcomes: tuple[tuple[type[VeoError], Outcome], ...] = (
        (VeoSubmissionUnknown, Outcome.UNKNOWN),
        (VeoRecordLostError, Outcome.UNKNOWN),
        (VeoWaitTimeoutError, Outcome.UNDER_WAY),
        (VeoVideoLostError, Outcome.LOST),
        (VeoNotFetchedError, Outcome.UNDER_WAY),
        (VeoModerationError, Outcome.MODERATED),
        (VeoGenerationFailed, Outcome.FAILED),
        (VeoRequestChangedError, Outcome.CHANGED),
        (VeoRequestError, Outcome.REJECTED),
        (VeoBadRequestError, Outcome.REJECTED),
    )
    return next((outcome for kind, outcome in outcomes if isinstance(error, kind)), Outcome.ERROR)


def outcome_of_video(receipt: Receipt, run: str) -> Outcome:
    """Return what a stored video makes of an image: stored, or skipped if another run has paid for it."""
    return Outcome.STORED if receipt.claimant == run else Outcome.SKIPPED


def outcome_of_receipt(receipt: Receipt, run: str) -> tuple[Outcome, str]:
    """Return what a receipt says about an image, and the reason.

    :param run: the task instance that asks.
    """
    by, alive = receipt.claimed_by, receipt.is_claim_alive(time.time())
    found = {
        ReceiptState.STORED: (outcome_of_video(receipt, run), ""),
        ReceiptState.SUBMITTED: (Outcome.UNDER_WAY, f"Submitted by {by}, not stored yet."),
        ReceiptState.CLAIMED: (
            (Outcome.UNDER_WAY, f"Being submitted by {by}.")
            if alive
            else (Outcome.UNKNOWN, f"{by} ended without recording what came of it.")
        ),
        ReceiptState.LOST: (Outcome.LOST, receipt.reason),
        ReceiptState.UNKNOWN: (Outcome.UNKNOWN, receipt.reason),
        ReceiptState.FAILED: (Outcome.MODERATED if receipt.moderated else Outcome.FAILED, receipt.reason),
        ReceiptState.REFUSED: (Outcome.NOT_STARTED, receipt.reason),
    }
    return found[receipt.state]


def parse_fail_on(fail_on: object) -> str | float:
    """Return when a task fails: ``any``, ``all``, ``never``, or a number from 0 to 1.

    :raises VeoRequestError: it is none of these.
    """
    if fail_on in ("any", "all", "never"):
        return str(fail_on)
    try:
        fraction = float(str(fail_on))
    except ValueError:
        fraction = -1.0
    if 0 <= fraction <= 1:
        return fraction
    raise VeoRequestError(
        f'fail_on must be "any", "all", "never", or a fraction from 0 to 1; got {fail_on!r}.'
    )


def is_failure(counts: Mapping[str, int], fail_on: str | float) -> bool:
    """Whether a task fails with these outcomes; one without images never does.

    :param counts: number of images by :class:`Outcome`.
    :param fail_on: ``any``: one image has no video; ``all``: no image has one; a number: more than this
        fraction has none; ``never``.
    """
    total = sum(counts.values())
    without = total - sum(counts.get(outcome.value, 0) for outcome in WITH_VIDEO)
    if fail_on == "never" or not without:
        return False
    if fail_on == "all":
        return without == total
    return fail_on == "any" or without / total > float(fail_on)
