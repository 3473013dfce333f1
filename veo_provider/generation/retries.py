"""Retries within one attempt of a task: which errors, how often, and after which pause."""

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
"""Seconds for which a submission that was not accepted is retried; Airflow's retries follow."""
STORE_ATTEMPTS = 6
"""A first download and five retries: as documented for the 400 after a completion."""
FILTERED_ATTEMPTS = 3
"""Downloads after which "the filter withheld the video" is believed. A plain 404 may mean that the file does
not exist yet, and is retried as often as other errors."""
CONTENT_NOT_READY_WAIT = 4.0
"""Seconds between two downloads of a video that is not ready yet, as documented."""

_backoff = tenacity.wait_exponential(multiplier=1, max=60) + tenacity.wait_random(0, 1)


def submit_retries() -> tenacity.Retrying:
    """Return the retries of a submission: only if it certainly was not accepted, as each one spends money."""
    return _retrying(
        tenacity.retry_if_exception_type((VeoNotSentError, VeoRateLimitError)),
        tenacity.stop_before_delay(SUBMIT_PATIENCE),
    )


def store_retries() -> tenacity.Retrying:
    """Return the retries of a download or an upload: after any temporary error, as they are free."""
    return _retrying(_RetryStoring(), tenacity.stop_after_attempt(STORE_ATTEMPTS))


class _RetryStoring(tenacity.retry_base):
    """Whether a download or an upload is retried; one response that there is no video is not believed."""

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, VeoContentFilteredError):
            return state.attempt_number < FILTERED_ATTEMPTS
        return isinstance(error, VeoContentGoneError) or (error is not None and is_retryable(error))


def is_retryable(error: BaseException) -> bool:
    """Whether the same step may succeed later, unchanged and without paying twice."""
    return isinstance(error, VeoError) and error.retryable


def _retrying(retry: tenacity.retry_base, stop: tenacity.stop.stop_base) -> tenacity.Retrying:
    return tenacity.Retrying(retry=retry, stop=stop, wait=_wait, before_sleep=_log_retry, reraise=True)


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next attempt: a growing pause, or the service's ``Retry-After`` if longer.

    A ``Retry-After`` of zero, or a date in the past, does not shorten the pause.
    """
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None) or 0.0
    ours = CONTENT_NOT_READY_WAIT if isinstance(error, VeoContentNotReadyError) else _backoff(state)
    return max(float(asked), ours)


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0
    log.warning("Attempt %d: %s Retrying in %.1f s.", state.attempt_number, error, pause)
