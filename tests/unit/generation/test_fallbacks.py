"""After which errors the next route is asked, and which route a receipt's submission took."""

import inspect
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.generations import receipt

from veo_provider import exceptions
from veo_provider.api.client import VeoClient
from veo_provider.exceptions import VeoModelRetiredError, VeoModerationError, VeoNoChannelError, VeoQuotaError
from veo_provider.generation.fallbacks import Refusal, Route, all_refused, index_of, permits_fallback

CLASSES = {kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, Exception)}
ALWAYS = {VeoNoChannelError, VeoModelRetiredError, VeoQuotaError}


@pytest.mark.parametrize("on_moderation", [False, True])
def test_only_a_refusal_of_the_closed_list_permits_the_next_route(on_moderation):
    """Of all exceptions that there are, these three and no other; and moderation, if the user wishes it."""
    permitted = {kind for kind in CLASSES if permits_fallback(kind("It ended."), on_moderation=on_moderation)}
    assert permitted == ALWAYS | ({VeoModerationError} if on_moderation else set())


@given(st.sampled_from(sorted(CLASSES, key=lambda kind: kind.__name__)), st.booleans())
def test_a_class_that_is_derived_from_one_permits_nothing_by_that(kind, on_moderation):
    """A class that somebody adds later is not in the list until somebody puts it there."""
    derived = type("New", (kind,), {})
    assert not permits_fallback(derived("It ended."), on_moderation=on_moderation)


@pytest.mark.parametrize(
    "error", [OSError("reset"), TimeoutError("30 s"), KeyboardInterrupt(), MemoryError(), ValueError("?")]
)
def test_what_is_no_error_of_ours_permits_nothing(error):
    """Whatever else ends a submission leaves its fate open."""
    assert not permits_fallback(error, on_moderation=True)


def test_what_permits_the_next_route_leaves_nothing_unknown():
    """None of these is, or is derived from, an error after which a generation may run or be charged."""
    open_ones = (
        exceptions.VeoSubmissionUnknown,
        exceptions.VeoNotFetchedError,
        exceptions.VeoVideoLostError,
        exceptions.VeoGenerationFailed,
        exceptions.VeoRecordLostError,
        exceptions.VeoServerError,
    )
    for kind in ALWAYS | {VeoModerationError}:
        assert not issubclass(kind, open_ones)
        assert "Nothing was charged" in kind("It ended.").money


@pytest.fixture
def routes():
    """Three routes: two models of one account, and one of another account."""
    with VeoClient("key", "https://one.example/v1") as one, VeoClient("key", "https://two.example/v1") as two:
        yield [Route("one", "fast", one), Route("one", "slow", one), Route("two", "slow", two)]


@pytest.mark.parametrize(
    ("account", "model", "number"),
    [
        ("one at https://one.example/v1", "fast", 0),
        ("one at https://one.example/v1", "slow", 1),
        ("two at https://two.example/v1", "slow", 2),
        ("two at https://two.example/v1", "another", 2),
        ("one at https://one.example/v1", "another", 0),
        ("two at https://moved.example/v1", "slow", 1),
        ("two at https://moved.example/v1", "fast", 0),
        (None, None, 0),
    ],
)
def test_a_receipt_names_the_route_of_its_submission(routes, account, model, number):
    """By account and model; else by the account, which can poll it; else by the model, after a move."""
    request = {"account": account, "model": model}
    assert index_of(routes, replace(receipt("submitted"), request=request)) == number


def refusal(*, retryable):
    return Refusal(account="one", model="fast", reason="No.", retryable=retryable, asked=True)


def test_a_video_that_all_refuse_may_be_retried_if_one_of_them_may_change_its_mind():
    """A channel may come back; an empty account and a model that has ended do not by themselves."""
    found = all_refused(VeoQuotaError("Empty."), [refusal(retryable=True)])
    assert found.retryable
    assert "Empty. No other route makes the video either. fast with the connection one: No." in str(found)
    found = all_refused(VeoQuotaError("Empty."), [refusal(retryable=False)])
    assert type(found) is VeoQuotaError
    assert "fast with the connection one: No." in str(found)


def test_the_error_of_a_single_route_is_left_as_it_is():
    """Without fallbacks, nothing changes."""
    error = VeoQuotaError("Empty.")
    assert str(all_refused(error, [])) == str(VeoQuotaError("Empty."))
