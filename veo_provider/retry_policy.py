"""When Airflow tries a task again, where it asks (3.3 and later). Import this module there only."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy

from veo_provider.api.errors import VeoError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


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
        if not exception.temporary:
            return RetryDecision.fail(str(exception))
        asked = getattr(exception, "retry_after", None)
        if asked:
            return RetryDecision.retry(timedelta(seconds=asked), f"The service asked to wait {asked:.0f} s.")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Return the policy's parameters; it has none."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> VeoRetryPolicy:  # noqa: ARG003 - Airflow's signature
        """Rebuild the policy."""
        return cls()
