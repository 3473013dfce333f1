"""What an error means for an item of a batch."""

import pytest

from veo_provider import exceptions
from veo_provider.batch.engine.item.errors import Attempts, may_be_charged, retry_or_end
from veo_provider.batch.outcome import Outcome
from veo_provider.batch.spec import BatchTuning

TUNING = BatchTuning(max_attempts=3, max_attempts_when_alone=6)
RETRY = None
SERVER = exceptions.VeoServerError("The service answered 502.")
STORE = exceptions.VeoStorageError("S3 answered 503.")
NOT_FETCHED = exceptions.VeoNotFetchedError("The polls failed.")
NOT_IN_TIME = exceptions.VeoWaitTimeoutError("It was not finished in time.")
BUG = RuntimeError("a bug")

BEFORE_ACCEPTANCE = [
    # error -> outcome after the first attempt, and after the last one
    (SERVER, RETRY, Outcome.ERROR),
    (BUG, RETRY, Outcome.ERROR),
    (exceptions.VeoReceiptUnavailableError("The store is unavailable."), RETRY, Outcome.ERROR),
    (exceptions.VeoReceiptChangedError("Another attempt was first."), RETRY, Outcome.ERROR),
    (exceptions.VeoImageUnavailableError("S3 answered 503."), RETRY, Outcome.ERROR),
    (exceptions.VeoReceiptError("It is damaged."), Outcome.ERROR, Outcome.ERROR),
    (exceptions.VeoRequestError("The prompt is empty."), Outcome.REJECTED, Outcome.REJECTED),
    (exceptions.VeoBadRequestError("The service answered 400."), Outcome.REJECTED, Outcome.REJECTED),
    (exceptions.VeoModerationError("The prompt is not allowed."), Outcome.MODERATED, Outcome.MODERATED),
    (exceptions.VeoGenerationFailed("It failed twice."), Outcome.FAILED, Outcome.FAILED),
    (exceptions.VeoRequestChangedError("Another request."), Outcome.CHANGED, Outcome.CHANGED),
    (exceptions.VeoSubmissionUnknown("The response was lost."), Outcome.UNKNOWN, Outcome.UNKNOWN),
    (exceptions.VeoRecordLostError("Accepted, not recorded."), Outcome.UNKNOWN, Outcome.UNKNOWN),
]


@pytest.mark.parametrize(("error", "first", "last"), BEFORE_ACCEPTANCE)
def test_an_item_that_was_not_accepted_is_retried_only_if_that_may_help(error, first, last):
    """What may pass is tried again for as long as attempts are left; the rest is the item's result."""
    for made, expected in ((1, first), (TUNING.max_attempts, last)):
        result = retry_or_end(error, Attempts(made=made), TUNING)
        assert (result and result.outcome) is expected
        assert result is None or str(error) in result.reason


AFTER_ACCEPTANCE = [
    # error, whether the video was being stored -> outcome after the first attempt, and after the last one
    (SERVER, False, RETRY, Outcome.UNDER_WAY),
    (BUG, False, RETRY, Outcome.UNDER_WAY),
    (exceptions.VeoRequestError("There is no such connection."), False, RETRY, Outcome.UNDER_WAY),
    (exceptions.VeoModerationError("Not allowed."), False, RETRY, Outcome.UNDER_WAY),
    (STORE, True, RETRY, Outcome.UNDER_WAY),
    (NOT_FETCHED, True, RETRY, Outcome.UNDER_WAY),
    (NOT_FETCHED, False, Outcome.UNDER_WAY, Outcome.UNDER_WAY),
    (NOT_IN_TIME, False, Outcome.UNDER_WAY, Outcome.UNDER_WAY),
    (exceptions.VeoReceiptError("It is gone."), False, Outcome.ERROR, Outcome.ERROR),
    (exceptions.VeoVideoLostError("It is gone."), True, Outcome.LOST, Outcome.LOST),
    (exceptions.VeoChargeOpenError("It was cancelled."), False, Outcome.LOST, Outcome.LOST),
]


@pytest.mark.parametrize(("error", "storing", "first", "last"), AFTER_ACCEPTANCE)
def test_an_item_that_was_accepted_never_ends_as_free(error, storing, first, last):
    """Whatever the error is, the generation is paid for: it is in flight, lost, or has no receipt."""
    for made, expected in ((1, first), (TUNING.max_attempts, last)):
        result = retry_or_end(error, Attempts(made=made), TUNING, accepted="task_1", storing=storing)
        assert (result and result.outcome) is expected


def test_the_last_error_of_an_accepted_item_names_its_generation():
    """The reason in the summary says which generation is paid for and why its video is missing."""
    result = retry_or_end(SERVER, Attempts(made=3), TUNING, accepted="task_1")
    assert "task_1" in result.reason
    assert "502" in result.reason
    assert "paid for once" in result.reason


@pytest.mark.parametrize(
    ("made", "outage", "all_started", "left"),
    [
        (2, False, False, True),
        (3, False, False, False),
        (3, False, True, False),
        (3, True, True, True),
        (5, True, True, True),
        (6, True, True, False),
        (6, True, False, True),
        (99, True, False, True),
    ],
)
def test_an_outage_is_not_blamed_on_an_item(made, outage, all_started, left):
    """While nothing else succeeds either, an item has more attempts, and all it needs until others start."""
    assert Attempts(made=made, outage=outage, all_started=all_started).are_left(TUNING) is left


@pytest.mark.parametrize(
    ("error", "charged"),
    [
        (SERVER, False),
        (exceptions.VeoRateLimitError("Slow down."), False),
        (exceptions.VeoNotSentError("The service could not be reached."), False),
        (exceptions.VeoBadRequestError("The service answered 400."), False),
        (exceptions.VeoReceiptError("It is damaged."), False),
        (BUG, True),
        (NOT_FETCHED, True),
        (exceptions.VeoSubmissionUnknown("The response was lost."), True),
        (exceptions.VeoRecordLostError("Accepted, not recorded."), True),
        (exceptions.VeoReceiptUnavailableError("The store is unavailable."), True),
        (exceptions.VeoReceiptChangedError("Another attempt was first."), True),
    ],
)
def test_a_failed_submission_counts_as_charged_unless_it_certainly_is_not(error, charged):
    """The budget counts a submission whose result is not known."""
    assert may_be_charged(error) is charged
