"""What became of a generation, as its receipt says."""

import time

import pytest
from support.generations import ME, OTHER, Memory, submitted_by

from veo_provider import exceptions
from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.video import Video, VideoStatus
from veo_provider.generation import recording
from veo_provider.generation.state_machine import GenerationPolicy
from veo_provider.receipts import receipt as receipts
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import ReceiptState

FREE = APIYI.charging
"""A failed generation is not charged."""


def test_two_attempts_may_record_the_same_video():
    """Of two attempts that wait for one generation, the second to store it finds it recorded."""
    store = Memory()
    first = second = submitted_by(store, ME)
    recording.record_video(store, first, {"bytes": 1}, ME)
    current = recording.record_video(store, second, {"bytes": 1}, Attempt("other"))
    assert current.receipt.state is ReceiptState.STORED


def test_two_attempts_may_record_the_same_failure():
    """Of two attempts that wait for one generation, the second to see it fail just goes on."""
    store = Memory()
    first = second = submitted_by(store, ME)
    failed = Video("task_1", VideoStatus.FAILED)
    recording.record_failure(store, first, failed, ME, FREE)
    recording.record_failure(store, second, failed, Attempt("other"), FREE)
    assert store.world.receipt.state is ReceiptState.FAILED


def test_what_was_completed_once_is_not_free_because_it_is_called_failed_later():
    """A video that could not be fetched was charged: a status that turns to failed pays for no other one."""
    store = Memory()
    current = submitted_by(store, ME)
    recording.record_storing_error(store, current, AWAY, PLAIN, ME)
    current = store.read()
    assert (current.receipt.state, current.receipt.was_completed) == (ReceiptState.SUBMITTED, True)
    for _ in range(2):
        with pytest.raises(exceptions.VeoChargeOpenError, match="completed before"):
            recording.record_failure(store, current, Video("task_1", VideoStatus.FAILED), OTHER, FREE)
        current = store.read()
        assert current.receipt.state is ReceiptState.LOST


def test_a_new_submission_knows_nothing_of_the_completion_before():
    """What is made anew after a loss may fail, and is then not charged."""
    store = Memory()
    current = submitted_by(store, ME)
    recording.record_storing_error(store, current, AWAY, PLAIN, ME)
    current = recording.record_loss(store, store.read(), "gone", ME)
    current = submitted_by(store, OTHER, GenerationPolicy(on_lost_video="regenerate"))
    assert recording.record_failure(store, current, Video("task_1", VideoStatus.FAILED), OTHER, FREE)


def test_a_receipt_that_is_deleted_under_way_ends_the_task_without_a_retry():
    """A retry would find none, and pay again: the error says to put it back first."""
    for record in (
        lambda store, current: recording.record_video(store, current, {"bytes": 1}, ME),
        lambda store, current: recording.record_storing_error(store, current, AWAY, PLAIN, ME),
    ):
        store = Memory()
        current = submitted_by(store, ME)
        store.world.body = None
        with pytest.raises(
            receipts.VeoReceiptError, match=r"is gone.*task_1.*put the receipt back"
        ) as caught:
            record(store, current)
        assert not caught.value.retryable


GONE = exceptions.VeoContentGoneError("The service answered 404.")
NOT_READY = exceptions.VeoContentNotReadyError("The service answered 400.")
AWAY = exceptions.VeoConnectionError("The call failed.")
BUSY = exceptions.VeoContentServerError("The service answered 502.")
PLAIN = Video("task_1", VideoStatus.COMPLETED)
EXPLAINED = Video("task_1", VideoStatus.COMPLETED, error_code="filtered", error_message="held back")


@pytest.mark.parametrize(
    ("error", "video", "days", "lost"),
    [
        (GONE, PLAIN, 0, True),
        (NOT_READY, PLAIN, 0, False),
        (BUSY, PLAIN, 0, False),
        (BUSY, None, 0, False),
        (AWAY, EXPLAINED, 0, False),
        (BUSY, EXPLAINED, 0, True),
        (NOT_READY, EXPLAINED, 0, True),
        (BUSY, PLAIN, 3, True),
        (AWAY, PLAIN, 3, False),
        (exceptions.VeoAuthenticationError("The service answered 401."), EXPLAINED, 3, False),
    ],
)
def test_a_video_is_lost_only_where_that_is_certain(clock, error, video, days, lost):
    """The service says that it is gone, has said why there is none, or keeps no video for so long."""
    store = Memory()
    current = submitted_by(store, ME)
    clock.now = time.time() + days * 24 * 60 * 60
    told = recording.record_storing_error(store, current, error, video, ME)
    assert isinstance(told, exceptions.VeoVideoLostError if lost else exceptions.VeoNotFetchedError)
    assert "task_1" in str(told)
    assert told.retryable is not lost
    assert store.world.receipt.state is (ReceiptState.LOST if lost else ReceiptState.SUBMITTED)
