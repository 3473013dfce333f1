"""The gate before submissions: which errors are about one image, and which about all."""

import asyncio

import pytest

from veo_provider import exceptions
from veo_provider.batch.engine.state import SegmentWaits
from veo_provider.batch.engine.submission_gate import Fault, StoppedError, SubmissionGate, fault_of, is_denied
from veo_provider.concurrency.circuit_breaker import CircuitBreaker
from veo_provider.exceptions import (
    VeoReceiptDeniedError,
    VeoReceiptUnavailableError,
    VeoRecordLostError,
    VeoStorageDeniedError,
    VeoUnknownReceiptError,
)


def refusal(message):
    return exceptions.VeoBadRequestError(f"The service answered 400: {message}.", status=400)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.VeoImageError("x.jpg is empty."),
        exceptions.VeoImageUnavailableError("x.jpg cannot be read now."),
        exceptions.VeoModerationError("The service answered 400: PUBLIC_ERROR_UNSAFE.", status=400),
        exceptions.VeoRateLimitError("The service answered 429.", status=429),
        exceptions.VeoBadRequestError("The service answered 413: too much.", status=413),
        refusal("INVALID_ARGUMENT: input_reference is not a picture that can be decoded"),
        refusal("Could not process the image"),
        refusal("the prompt is longer than 2000 characters"),
    ],
    ids=str,
)
def test_what_is_about_one_image_says_nothing_about_the_next(error):
    """However many of them come in a row, a batch goes on."""
    assert fault_of(error) is None


@pytest.mark.parametrize(
    "error",
    [
        exceptions.VeoSubmissionUnknown("The answer was lost."),
        VeoUnknownReceiptError("The answer was lost."),
        VeoRecordLostError("It was accepted, and not recorded."),
        exceptions.VeoNoChannelError("The service answered 503: model_not_found.", status=503),
        exceptions.VeoNotSentError("No connection."),
        exceptions.VeoServerError("The service answered 502.", status=502),
        VeoReceiptUnavailableError("The receipt cannot be written: no."),
        RuntimeError("whatever"),
    ],
    ids=repr,
)
def test_whatever_may_pass_is_of_one_kind(error):
    """In an outage, one answer is seldom like the other."""
    assert fault_of(error) == Fault("trouble", may_pass=True)


def test_refusals_are_the_same_but_for_ids_and_numbers():
    """What differs from one request to the next does not make another cause."""
    one, other = refusal("no such size (request id: 2026AB1)"), refusal("no such size (request id: 2026CD2)")
    assert fault_of(one) == fault_of(other)
    assert not fault_of(one).may_pass
    assert fault_of(one) != fault_of(refusal("no such seed (request id: 2026AB1)"))


def test_a_word_in_the_name_of_a_mode_is_no_image():
    """The model's refusal of image-to-video is about all images."""
    assert fault_of(refusal("this model does not do image-to-video")) is not None


@pytest.mark.parametrize("kind", [VeoReceiptDeniedError, VeoStorageDeniedError])
def test_a_store_that_denies_access_is_not_waited_for(kind):
    """A missing permission does not pass by itself; a store that is away does."""
    assert is_denied(kind("Access Denied"))
    assert not fault_of(kind("Access Denied")).may_pass
    assert not is_denied(VeoReceiptUnavailableError("The store is away."))
    assert fault_of(VeoReceiptUnavailableError("The store is away.")).may_pass


async def test_a_change_that_comes_while_a_wait_begins_is_not_missed():
    """Without that, the last item of a batch would wait for the breaker until the batch gives up."""
    gate = SubmissionGate(CircuitBreaker(), SegmentWaits(), check_patience=1.0)
    async with gate.submission(None), gate.submission(None), gate.submission(None):
        waiting = asyncio.create_task(gate._enter(None))
        await asyncio.sleep(0)
        gate.stop(exceptions.VeoQuotaError("The account is empty."))
        with pytest.raises(StoppedError):
            await asyncio.wait_for(waiting, 10.0)
