"""How often and how patiently a step is tried again within one attempt of a task."""

from __future__ import annotations

import logging

import tenacity

from veo_provider.exceptions import (
    VeoContentFilteredError,
    VeoContentGoneError,
    VeoContentNotReadyError,
    VeoError,
    VeoNotSentError,
    VeoRateLimitError,
)

log = logging.getLogger(__name__)

SUBMIT_PATIENCE = 300.0
"""Seconds that a submission is tried for while it is provably not accepted; Airflow's retries follow."""
STORE_ATTEMPTS = 6
"""A first download and five more: the documented patience with the 400 after completion."""
FILTERED_ATTEMPTS = 3
"""So often must the service say that its filter held the video back before that is believed. A mere 404 may
be that of a file which is not there yet, and is asked for as often as anything else."""
CONTENT_NOT_READY_WAIT = 4.0
"""Seconds between two attempts at a video that is not there yet, as documented."""

_backoff = tenacity.wait_exponential(multiplier=1, max=60) + tenacity.wait_random(0, 1)


def submit_retries() -> tenacity.Retrying:
    """Try again only what provably was not accepted: this is the domain that spends money."""
    return _retrying(
        tenacity.retry_if_exception_type((VeoNotSentError, VeoRateLimitError)),
        tenacity.stop_before_delay(SUBMIT_PATIENCE),
    )


def store_retries() -> tenacity.Retrying:
    """Try again whatever may pass: this is free, and never leads back to a submission."""
    return _retrying(_MayPass(), tenacity.stop_after_attempt(STORE_ATTEMPTS))


class _MayPass(tenacity.retry_base):
    """Whether a step of storing is tried again; that there is no video is believed when it is said again."""

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, VeoContentFilteredError):
            return state.attempt_number < FILTERED_ATTEMPTS
        return isinstance(error, VeoContentGoneError) or (error is not None and is_retryable(error))


def is_retryable(error: BaseException) -> bool:
    """Whether the same step may succeed later, unchanged and without paying twice."""
    return isinstance(error, VeoError) and error.retryable


def _retrying(retry: tenacity.retry_base, stop: tenacity.stop.stop_base) -> tenacity.Retrying:
    return tenacity.Retrying(retry=retry, stop=stop, wait=_wait, before_sleep=_say_why, reraise=True)


def _wait(state: tenacity.RetryCallState) -> float:
    """Return seconds until the next attempt: a growing pause, or what the service asked for, if longer.

    A zero, or a date that is past by our clock, is no reason to send the same again at once.
    """
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None) or 0.0
    ours = CONTENT_NOT_READY_WAIT if isinstance(error, VeoContentNotReadyError) else _backoff(state)
    return max(float(asked), ours)


def _say_why(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0
    log.warning("Attempt %d: %s Trying again in %.1f s.", state.attempt_number, error, pause)
