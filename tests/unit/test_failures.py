"""Which failures Airflow may retry."""

import inspect

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider.api import errors
from veo_provider.failures import airflow_failures

CLASSES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.VeoError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_only_temporary_failures_are_left_to_retries(kind):
    """A temporary error reaches Airflow as it is; any other ends the task, with the same sentences."""
    with pytest.raises(kind if kind.temporary else AirflowFailException) as caught, airflow_failures():
        raise kind("Something happened.")
    assert str(caught.value) == str(kind("Something happened."))


def test_other_exceptions_pass():
    """What is not ours is none of our business."""
    with pytest.raises(ZeroDivisionError), airflow_failures():
        raise ZeroDivisionError
