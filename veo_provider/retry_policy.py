"""Which failures Airflow tries again, and when."""

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
    """End the task without a retry on every error that a retry cannot mend, or would pay for twice.

    A temporary error is left as it is, for the task's own ``retries``. Of either, the log's last line is the
    sentence that says what happened, what it cost and what to do: the chain of causes is at DEBUG level.
    """
    from airflow.providers.common.compat.sdk import AirflowFailException

    try:
        yield
    except VeoError as error:
        log.debug("The causes of what ends the task:", exc_info=error)
        if error.retryable:
            raise error from None
        error.__cause__ = error.__context__ = None
        raise AirflowFailException(str(error)) from error.with_traceback(None)


def with_retry_policy(operator: object, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments with this provider's retry policy, unless they name one, or None.

    Airflow has retry policies since 3.3; before, the arguments are returned as they are.

    :param operator: as it is while its constructor runs.
    """
    if not AIRFLOW_V_3_3_PLUS:
        return arguments
    # Airflow gives retry_policy=None to each task of a mapped operator, where nobody has asked for that.
    mapped = getattr(operator, "_BaseOperator__from_mapped", False)
    if "retry_policy" in arguments and not (mapped and arguments["retry_policy"] is None):
        return arguments
    return {**arguments, "retry_policy": VeoRetryPolicy()}


if AIRFLOW_V_3_3_PLUS:
    from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy

    class VeoRetryPolicy(RetryPolicy):
        """Retry when the service asked to, and not at all where no retry mends anything.

        The operators use it by default. The task's ``retries`` stay the upper limit, and whatever is not this
        provider's error is left to the task's own settings.
        """

        def evaluate(
            self,
            exception: BaseException,
            try_number: int,  # noqa: ARG002 - Airflow's signature
            max_tries: int,  # noqa: ARG002 - Airflow's signature
            context: Context | None = None,  # noqa: ARG002 - Airflow's signature
        ) -> RetryDecision:
            """Decide after a failure: ends on moderation, an empty account, a wrong key and bad input."""
            if not isinstance(exception, VeoError):
                return RetryDecision.default()
            if not exception.retryable:
                return RetryDecision.fail(str(exception))
            asked = getattr(exception, "retry_after", None)
            if asked:
                return RetryDecision.retry(
                    timedelta(seconds=asked), f"The service asked to wait {asked:.0f} s."
                )
            return RetryDecision.default()

        def serialize(self) -> dict[str, Any]:
            """Return the policy's parameters; it has none."""
            return {}

        @classmethod
        def deserialize(cls, data: dict[str, Any]) -> VeoRetryPolicy:  # noqa: ARG003 - Airflow's signature
            """Rebuild the policy."""
            return cls()
