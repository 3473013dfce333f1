"""Claim, submit, record: what the receipt says however that ends."""

import time
from dataclasses import replace

import pytest
from support.generations import ME, OTHER, RESUBMIT, Interrupted, Memory, Service, submitted_by

from veo_provider import exceptions
from veo_provider.api.video import Video, VideoStatus
from veo_provider.exceptions import VeoReceiptUnavailableError
from veo_provider.generation import submission
from veo_provider.receipts.receipt import ReceiptState


def test_a_refusal_is_recorded_and_may_be_repeated():
    """After a refusal the receipt says why, and the next attempt submits."""
    store = Memory()
    with pytest.raises(exceptions.VeoQuotaError):
        submitted_by(store, ME, service=Service(exceptions.VeoQuotaError("The account is empty.")))
    assert store.world.receipt.state is ReceiptState.REFUSED
    assert "empty" in store.world.receipt.reason
    assert submitted_by(store, ME).receipt.veo_task_id == "task_1"


def test_a_lost_answer_is_recorded_and_stops_the_next_attempt():
    """After a lost answer the receipt says so, and the next attempt submits nothing."""
    store, service = Memory(), Service(exceptions.VeoSubmissionUnknown("The answer was lost."))
    for _ in range(2):
        with pytest.raises(exceptions.VeoSubmissionUnknown):
            submitted_by(store, ME, service=service)
    assert service.submitted == 1
    assert store.world.receipt.state is ReceiptState.UNKNOWN


def test_a_timeout_while_the_id_is_recorded_does_not_lose_it():
    """Airflow's timeout or a signal in that very write ends the task, and the receipt has the id."""
    store = Memory()
    write, writes = store.write, []

    def interrupted(receipt, after):
        writes.append(receipt.state)
        if len(writes) == 2:
            raise Interrupted
        return write(receipt, after)

    store.write = interrupted
    with pytest.raises(Interrupted):
        submitted_by(store, ME)
    assert store.world.receipt.veo_task_id == "task_1"
    assert store.world.receipt.state is ReceiptState.SUBMITTED


def test_an_id_that_cannot_be_recorded_is_told(clock):
    """When the store stays away after the acceptance, the error names the id and how to go on with it."""
    store = Memory()
    write, writes = store.write, []

    def once(receipt, after):
        writes.append(receipt.state)
        if len(writes) > 1:
            raise VeoReceiptUnavailableError("The store is away.")
        return write(receipt, after)

    store.write = once
    with pytest.raises(exceptions.VeoRecordLostError, match=r"task_1.*will be charged.*settle attach"):
        submitted_by(store, ME)
    assert len(writes) > 3


@pytest.mark.parametrize("end", [Interrupted(), KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_signal_after_the_answer_is_not_taken_for_a_refusal(end):
    """What the client does not vouch for, such as a signal after its answer, lets nobody pay again."""
    store, service = Memory(), Service(end)
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        submitted_by(store, ME, service=service)
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        submitted_by(store, ME, service=service)
    assert service.submitted == 1


def test_a_signal_between_two_attempts_to_submit_is_a_refusal(clock, monkeypatch):
    """While it waits to submit again nothing is on its way, so that the next attempt may submit."""

    def interrupt(seconds):
        raise Interrupted

    monkeypatch.setattr(clock, "sleep", interrupt)
    store = Memory()
    with pytest.raises(Interrupted):
        submitted_by(store, ME, service=Service(exceptions.VeoRateLimitError("Slow down.")))
    assert store.world.receipt.state is ReceiptState.REFUSED
    assert submitted_by(store, ME).receipt.veo_task_id == "task_1"


def test_a_rival_may_submit_while_one_waits_for_its_next_turn(clock, monkeypatch):
    """Whoever was told to come back later holds no claim meanwhile, and finds what a rival submitted."""
    store, busy, rival = Memory(), Service(exceptions.VeoRateLimitError("Slow down.")), Service()
    monkeypatch.setattr(clock, "sleep", lambda _: submitted_by(store, OTHER, service=rival))
    assert submitted_by(store, ME, service=busy).receipt.claim_id == OTHER.id
    assert (busy.submitted, rival.submitted) == (1, 1)


def test_a_claim_that_was_not_taken_back_is_no_riddle_to_its_own_attempt(clock):
    """If the record of a refusal is lost, the attempt itself still knows that nothing was accepted."""
    store, service = Memory(), Service(exceptions.VeoRateLimitError("Slow down."))
    write = store.write

    def lose_refusals(receipt, after):
        if receipt.state is ReceiptState.REFUSED:
            service.ends = None
            raise VeoReceiptUnavailableError("The store is away.")
        return write(receipt, after)

    store.write = lose_refusals
    assert submitted_by(store, ME, service=service).receipt.veo_task_id == "task_1"
    assert service.submitted == 2


def test_a_reason_that_is_no_unicode_hides_nothing():
    """Half a character in the service's words, or in a file name, keeps no outcome from its record."""
    store = Memory()
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        submitted_by(store, ME, service=Service(exceptions.VeoSubmissionUnknown("It said \ud800.")))
    assert store.world.receipt.state is ReceiptState.UNKNOWN


def test_a_claim_whose_answer_was_lost_does_not_need_a_person(clock):
    """A store that is away for a moment while the output is claimed costs nothing, not even a retry."""
    store = Memory()
    write, writes = store.write, []

    def flaky(receipt, after):
        writes.append(receipt.state)
        current = write(receipt, after)
        if len(writes) == 1:
            raise VeoReceiptUnavailableError("The answer was lost.")
        return current

    store.write = flaky
    service = Service()
    for _ in range(2):
        try:
            current = submitted_by(store, ME, service=service)
        except VeoReceiptUnavailableError:
            continue
    assert current.receipt.veo_task_id == "task_1"
    assert service.submitted == 1


def named(veo_task_id):
    return Service(exceptions.VeoSubmissionUnknown("The answer broke off.", veo_task_id=veo_task_id))


def test_an_id_that_arrived_in_a_broken_answer_is_used():
    """One free look settles what the lost answer left open, and the generation is waited for."""
    store, service = Memory(), named("task_1")
    service.get = lambda veo_task_id: Video(veo_task_id, VideoStatus.IN_PROGRESS)
    current = submitted_by(store, ME, service=service)
    assert (current.receipt.state, current.receipt.veo_task_id) == (ReceiptState.SUBMITTED, "task_1")
    assert current.receipt.candidate_task_id is None
    assert current.receipt.generations == 1


def test_an_id_that_the_service_does_not_know_leaves_the_submission_unknown():
    """What looked like an id and is none is looked for again each time, and nothing is submitted."""
    store, service, asked = Memory(), named("req_1"), []

    def get(veo_task_id):
        asked.append(veo_task_id)
        raise exceptions.VeoTaskNotFoundError("There is no such task.")

    service.get = get
    for by in (ME, OTHER):
        with pytest.raises(exceptions.VeoSubmissionUnknown):
            submitted_by(store, by, service=service)
    assert (service.submitted, asked) == (1, ["req_1", "req_1"])
    assert store.world.receipt.state is ReceiptState.UNKNOWN


def test_an_id_may_be_too_new_to_be_known(clock):
    """Who may submit again does so only once the service has had the time to know the id that was read."""
    store, service = Memory(), named("task_1")
    service.get = unknown_task
    clock.now = time.time()
    for by in (ME, replace(ME, try_number=3, id="3")):
        with pytest.raises(exceptions.VeoSubmissionUnknown, match="task_1"):
            submitted_by(store, by, RESUBMIT, service)
    assert service.submitted == 1
    clock.now += submission.NOT_KNOWN_YET_SECONDS + 1
    service.ends = None
    current = submitted_by(store, replace(ME, try_number=4, id="4"), RESUBMIT, service)
    assert current.receipt.state is ReceiptState.SUBMITTED
    assert [step.get("candidate_task_id") for step in current.receipt.history][1] == "task_1"


def unknown_task(veo_task_id):
    raise exceptions.VeoTaskNotFoundError("There is no such task.")


def test_an_id_that_cannot_be_verified_now_waits_for_a_retry():
    """While the service cannot tell, the task is left to its retries, and the receipt keeps the id."""
    store, service = Memory(), named("task_1")

    def get(veo_task_id):
        raise exceptions.VeoServerError("The service answered 503.")

    service.get = get
    with pytest.raises(exceptions.VeoNotFetchedError, match="task_1"):
        submitted_by(store, ME, service=service)
    assert store.world.receipt.candidate_task_id == "task_1"
    service.get = lambda veo_task_id: Video(veo_task_id, VideoStatus.QUEUED)
    assert submitted_by(store, OTHER, service=service).receipt.veo_task_id == "task_1"
    assert service.submitted == 1


def test_an_id_that_is_none_is_asked_for_once_before_another_submission(clock):
    """An attempt that may submit again does so after one free status call, and makes no second one."""
    store, service, asked = Memory(), named("req_1"), []

    def get(veo_task_id):
        asked.append(veo_task_id)
        raise exceptions.VeoTaskNotFoundError("There is no such task.")

    service.get = get
    clock.now = time.time()
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        submitted_by(store, ME, RESUBMIT, service)
    clock.now += submission.NOT_KNOWN_YET_SECONDS + 1
    service.ends = None
    asked.clear()
    current = submitted_by(store, replace(ME, try_number=3, id="3"), RESUBMIT, service)
    assert (current.receipt.state, asked) == (ReceiptState.SUBMITTED, ["req_1"])
