"""When a gateway charges, and what it tells about that, as the receipt and the sums have it."""

import logging

import pytest
from support.generations import ME, OTHER, Memory, Service, submitted_by

from veo_provider import exceptions
from veo_provider.api.gateways.gateway import Charging
from veo_provider.api.video import Video, VideoStatus
from veo_provider.generation import recording
from veo_provider.receipts.charges import charges_of, told_charges
from veo_provider.receipts.receipt import Receipt, ReceiptState

TOLD = Video("task_1", VideoStatus.QUEUED, cost_usd=0.8, call_id="call-7", extra_generations=2)


class Telling(Service):
    """A gateway that submits twice more by itself, and says so."""

    def submit(self, request, deadline, idempotency_key=""):
        super().submit(request, deadline, idempotency_key)
        return TOLD


def test_what_a_gateway_submits_by_itself_is_counted_and_logged(caplog):
    """In the receipt's generations and in the run's charges; what it says of the cost stands beside that."""
    with caplog.at_level(logging.ERROR):
        held = submitted_by(Memory(), ME, service=Telling()).receipt
    held = Receipt.from_json(held.to_json(), "memory")
    assert (held.generations, held.told_usd, held.call_id) == (3, 0.8, "call-7")
    assert (held.gateway, held.price_form) == ("apiyi", "per video")
    assert charges_of(held, ME.task_instance).charged == pytest.approx(3 * 0.30)
    assert told_charges(held, ME.task_instance) == 0.8
    assert told_charges(held, OTHER.task_instance) is None
    assert "2 more times by itself" in caplog.text


def test_a_lost_response_counts_what_its_gateway_has_submitted_besides():
    """An error after the gateway's own retries: each of them may be charged."""
    store = Memory()
    lost = exceptions.VeoSubmissionUnknown("The gateway answered 500.", extra_generations=1)
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        submitted_by(store, ME, service=Service(lost))
    assert charges_of(store.world.receipt, ME.task_instance).unknown == pytest.approx(0.60)


@pytest.mark.parametrize(
    ("charging", "moderated", "error", "state"),
    [
        (Charging(at="completion", failed=False, moderated=False), True, None, "failed"),
        (Charging(at="submission", failed=False), False, None, "failed"),
        (Charging(at="never"), False, None, "failed"),
        (Charging(at="completion", failed=False, moderated=True), True, exceptions.VeoVideoLostError, "lost"),
        (Charging(at="completion", failed=False), True, exceptions.VeoChargeOpenError, "lost"),
        (Charging(), False, exceptions.VeoChargeOpenError, "lost"),
    ],
)
def test_a_failure_is_free_only_where_the_gateway_says_so(charging, moderated, error, state):
    """Where it charges failures, or nobody knows, no other generation is paid for without a person's word."""
    store = Memory()
    current = submitted_by(store, ME)
    code = "PUBLIC_ERROR_UNSAFE" if moderated else "upstream_error"
    failed = Video("task_1", VideoStatus.FAILED, error_code=code, cost_usd=0.05)
    assert failed.moderated is moderated
    if error is None:
        recording.record_failure(store, current, failed, ME, charging)
    else:
        with pytest.raises(error) as raised:
            recording.record_failure(store, current, failed, ME, charging)
        assert type(raised.value) is error
    found = store.world.receipt
    assert found.state is ReceiptState(state)
    assert found.told_usd == 0.05
    assert (charges_of(found, ME.task_instance).total > 0) is (error is not None)
