"""Which failures Airflow may retry, and which end the task at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from veo_provider.api.errors import VeoError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def airflow_failures() -> Iterator[None]:
    """End the task without a retry on every error that a retry cannot mend, or would pay for twice.

    A temporary error is left as it is, for the task's own ``retries``.
    """
    from airflow.providers.common.compat.sdk import AirflowFailException

    try:
        yield
    except VeoError as error:
        if error.temporary:
            raise
        raise AirflowFailException(str(error)) from error
