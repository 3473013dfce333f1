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


@pytest.mark.parametrize("kind", [exceptions.VeoUnknownReceiptError, exceptions.VeoServerError])
def test_the_log_ends_with_cause_money_and_advice_in_a_line_each(kind, caplog):
    """Airflow shows the exception as one line above its frames; these lines can be read without scrolling."""
    with pytest.raises(Exception, match="Something happened"), fail_on_permanent_errors():
        raise kind("Something happened.") from ValueError("the cause")
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert lines == ["Cause: Something happened.", f"Money: {kind.money}", f"What to do: {kind.advice}"]


def test_the_exception_that_ends_a_task_has_no_long_chain():
    """At most the error itself is behind Airflow's exception, with none of the frames that led to it."""

    def deep(frames):
        if frames:
            deep(frames - 1)
        raise exceptions.VeoUnknownReceiptError("Something happened.") from ValueError("the cause")

    with pytest.raises(Exception, match="Something happened") as caught, fail_on_permanent_errors():
        deep(20)
    error, frames = caught.value, 0
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            frames, trace = frames + 1, trace.tb_next
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert frames < 6
