"""Which failures Airflow retries, and when."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from veo_provider.exceptions import VeoError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


@contextmanager
def fail_on_permanent_errors() -> Iterator[None]:
    """Fail the task without a retry if a retry cannot help or would pay twice.

    A retryable error is raised unchanged, for the task's own ``retries``. In both cases the last lines of the
    log say what happened, what it cost and what to do, in a line each, before Airflow's own traceback; the
    chain of causes is logged at DEBUG level.
    """
    from airflow.providers.common.compat.sdk import AirflowFailException

    try:
        yield
    except VeoError as error:
        log.debug("The causes of the error that ends the task:", exc_info=error)
        log_failure(error)
        error.__cause__ = error.__context__ = None
        if error.retryable:
            raise error from None
        raise AirflowFailException(str(error)) from error.with_traceback(None)


def log_failure(error: VeoError) -> None:
    """Log what happened, whether money was spent and what to do, in a line each."""
    for name, text in (("Cause", error.what), ("Money", error.money), ("What to do", error.advice)):
        if text:
            log.error("%s: %s", name, text)


def with_retry_policy(operator: object, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments with this provider's retry policy, unless they set another one or None.

    Airflow has retry policies since 3.3; before that, the arguments are returned unchanged.

    :param operator: the operator, whose constructor is running.
    """
    if not AIRFLOW_V_3_3_PLUS:
        return arguments
    # Airflow passes retry_policy=None to each task of a mapped operator, although the user did not.
    mapped = getattr(operator, "_BaseOperator__from_mapped", False)
    if "retry_policy" in arguments and not (mapped and arguments["retry_policy"] is None):
        return arguments
    return {**arguments, "retry_policy": VeoRetryPolicy()}


if AIRFLOW_V_3_3_PLUS:
    from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy

    class VeoRetryPolicy(RetryPolicy):
        """Retry after the time that the service requested, and not at all if a retry cannot help.

        The operators use it by default. The task's ``retries`` remain the upper limit, and errors that
        are not this provider's are left to the task's own settings.
        """

        def evaluate(
            self,
            exception: BaseException,
            try_number: int,  # noqa: ARG002 - Airflow's signature
            max_tries: int,  # noqa: ARG002 - Airflow's signature
            context: Context | None = None,  # noqa: ARG002 - Airflow's signature
        ) -> RetryDecision:
            """Decide about a retry: none after moderation, an empty account, a wrong key or bad input."""
            if not isinstance(exception, VeoError):
                return RetryDecision.default()
            if not exception.retryable:
                return RetryDecision.fail(str(exception))
            seconds = getattr(exception, "retry_after", None)
            if seconds:
                return RetryDecision.retry(
                    timedelta(seconds=seconds), f"The service asked to wait {seconds:.0f} s."
                )
            return RetryDecision.default()

        def serialize(self) -> dict[str, Any]:
            """Return the policy's parameters; it has none."""
            return {}

        @classmethod
        def deserialize(cls, data: dict[str, Any]) -> VeoRetryPolicy:  # noqa: ARG003 - Airflow's signature
            """Rebuild the policy."""
            return cls()
