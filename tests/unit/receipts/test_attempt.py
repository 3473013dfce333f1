"""Which tries of a task belong together."""

from veo_provider.receipts.attempt import Attempt


def test_a_retry_continues_and_a_cleared_task_does_not():
    """Airflow's highest possible try tells it: only a clear raises it."""
    retry = Attempt("dag / run / me", 3, first_try=1, most_tries=4)
    assert retry.continues(first_try=1, most_tries=4)
    assert not retry.continues(first_try=1, most_tries=3)


def test_without_the_highest_try_the_first_one_decides():
    """As in a receipt of an earlier release, or after a change of the task's retries."""
    retry = Attempt("dag / run / me", 5, first_try=4)
    assert retry.continues(first_try=4, most_tries=None)
    assert not retry.continues(first_try=3, most_tries=7)
    assert not Attempt("dag / run / me", 5).continues(first_try=1, most_tries=None)


def test_each_attempt_has_an_id_of_its_own_and_a_name_to_read():
    """Two processes of one try are two attempts."""
    first, second = (Attempt("dag / run / me", 2) for _ in range(2))
    assert first.id != second.id
    assert str(first) == str(second) == "dag / run / me try 2"
