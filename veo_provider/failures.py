"""Which failures Airflow may retry, and which end the task at once."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from veo_provider.api.errors import VeoError

if TYPE_CHECKING:
    from collections.abc import Iterator


log = logging.getLogger(__name__)


@contextmanager
def airflow_failures() -> Iterator[None]:
    """End the task without a retry on every error that a retry cannot mend, or would pay for twice.

    A temporary error is left as it is, for the task's own ``retries``. Of either, the log's last line is the
    sentence that says what happened, what it cost and what to do: the chain of causes is at DEBUG level.
    """
    from airflow.providers.common.compat.sdk import AirflowFailException

    try:
        yield
    except VeoError as error:
        log.debug("The causes of what ends the task:", exc_info=error)
        if error.temporary:
            raise error from None
        error.__cause__ = error.__context__ = None
        raise AirflowFailException(str(error)) from error.with_traceback(None)
