"""Decides what an error means for an item: whether it is tried again, and whether it may have cost money.

Pure. An error is also a result: if a retry would not help, one bad image is one row of the summary, and never
the end of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from veo_provider.batch.outcome import RETRYABLE, ItemResult, Outcome, outcome_of_error
from veo_provider.exceptions import (
    VeoError,
    VeoLookUpPendingError,
    VeoNotFetchedError,
    VeoReceiptChangedError,
    VeoReceiptError,
    VeoReceiptUnavailableError,
    VeoVideoLostError,
    VeoWaitTimeoutError,
)

if TYPE_CHECKING:
    from veo_provider.batch.spec import BatchTuning

_MAYBE_CHARGED = (Outcome.UNKNOWN, Outcome.UNDER_WAY)
_RECEIPT_ERRORS = (VeoReceiptUnavailableError, VeoReceiptChangedError)
"""After these, it is not known whether a submission was accepted and recorded."""


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """How often an item was tried in this segment.

    :param made: attempts so far, with the one that has just failed.
    :param outage: whether nothing else succeeds either, so that the error is not the item's own.
    :param all_started: whether no other item is left to start.
    """

    made: int
    outage: bool = False
    all_started: bool = False

    def are_left(self, tuning: BatchTuning) -> bool:
        """Whether the item may be tried again; during an outage, while others wait to be started, always."""
        if not self.outage:
            return self.made < tuning.max_attempts
        return self.made < tuning.max_attempts_when_alone or not self.all_started


def retry_or_end(
    error: Exception,
    attempts: Attempts,
    tuning: BatchTuning,
    *,
    accepted: str = "",
    storing: bool = False,
) -> ItemResult | None:
    """Return how an error ends the item; None if the item is tried again.

    :param accepted: the task id of its generation; empty if none was accepted.
    :param storing: whether its video was being stored.
    """
    if accepted:
        result, retryable = _result_of_accepted(error, accepted, storing=storing)
    else:
        result, retryable = _result_of_submission(error)
    return None if retryable and attempts.are_left(tuning) else result


def _result_of_accepted(error: Exception, accepted: str, *, storing: bool) -> tuple[ItemResult, bool]:
    """Return how an item ends whose generation was accepted, and whether to retry: it is never free."""
    if isinstance(error, VeoReceiptError):
        return ItemResult(Outcome.ERROR, str(error)), False
    if isinstance(error, VeoVideoLostError):
        return ItemResult(Outcome.LOST, str(error)), False
    if isinstance(error, (VeoWaitTimeoutError, VeoNotFetchedError)) and not storing:
        return ItemResult(Outcome.UNDER_WAY, str(error)), False
    cause = error.what if isinstance(error, VeoError) else repr(error)
    what = f"The generation {accepted} was accepted, but its video was not fetched: {cause}"
    return ItemResult(Outcome.UNDER_WAY, str(VeoNotFetchedError(what))), True


def _result_of_submission(error: Exception) -> tuple[ItemResult, bool]:
    """Return how an item ends whose submission was not accepted, and whether to retry."""
    if not isinstance(error, VeoError):
        return ItemResult(Outcome.ERROR, str(error) or repr(error)), True
    outcome = outcome_of_error(error)
    may_change = outcome in RETRYABLE or isinstance(error, VeoLookUpPendingError)
    return ItemResult(outcome, str(error) or repr(error)), error.retryable and may_change


def may_be_charged(error: Exception) -> bool:
    """Whether a submission that ended with an error may have been accepted, and so is charged."""
    if not isinstance(error, VeoError):
        return True
    return outcome_of_error(error) in _MAYBE_CHARGED or isinstance(error, _RECEIPT_ERRORS)
