"""What errors say."""

import inspect
import pickle

import pytest

from veo_provider import exceptions

CLASSES = [
    kind
    for _, kind in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(kind, exceptions.VeoError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_what_happened_and_what_it_cost(kind):
    """Each message begins with what happened and goes on with the money."""
    text = str(kind("Something happened."))
    assert text.startswith(f"Something happened. {kind.money}")
    assert any(word in kind.money for word in ("spent", "charged", "costs", "paid", "submitted"))


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_a_process_boundary(kind):
    """Airflow pickles exceptions between processes."""
    error = kind("Something happened.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_stands_in_the_tree(kind):
    """The drawing at the top of the module is complete."""
    assert kind.__name__ in exceptions.__doc__


def test_what_may_have_been_paid_is_never_temporary():
    """No retry, by us or by Airflow, follows a submission of unknown fate."""
    assert not exceptions.VeoSubmissionUnknown.retryable
    assert not exceptions.VeoGenerationFailed.retryable


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("It failed: no such model..", "It failed: no such model."),
        ("It failed: no such model.. Try another.", "It failed: no such model. Try another."),
        ("It failed: and so on...", "It failed: and so on..."),
        ("s3://bucket/a..b/../c is gone.", "s3://bucket/a..b/../c is gone."),
    ],
)
def test_a_sentence_that_ends_with_another_ones_has_one_full_stop(what, shown):
    """The services' own messages end with a full stop, or do not."""
    assert exceptions.VeoError(what).what == shown
