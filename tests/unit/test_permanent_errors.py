"""Which failures Airflow may retry."""

import inspect

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider import exceptions
from veo_provider.retry_policy import fail_on_permanent_errors

CLASSES = [
    kind
    for _, kind in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(kind, exceptions.VeoError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_only_temporary_failures_are_left_to_retries(kind):
    """A temporary error reaches Airflow as it is; any other ends the task, with the same sentences."""
    with (
        pytest.raises(kind if kind.retryable else AirflowFailException) as caught,
        fail_on_permanent_errors(),
    ):
        raise kind("Something happened.")
    assert str(caught.value) == str(kind("Something happened."))


def test_other_exceptions_pass():
    """What is not ours is none of our business."""
    with pytest.raises(ZeroDivisionError), fail_on_permanent_errors():
        raise ZeroDivisionError
