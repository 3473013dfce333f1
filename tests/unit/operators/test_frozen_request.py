"""What a task asks for is fixed when it first runs, however its templates render later."""

import json

import pytest

from veo_provider.exceptions import VeoReceiptUnavailableError, VeoRequestError
from veo_provider.operators.frozen_request import KEY, freeze, plain, tries_of


class Task:
    """What is asked of a task: how often Airflow retries it."""

    def __init__(self, retries=2):
        self.retries = retries


class Instance:
    """A task instance as Airflow counts its tries: a clear adds the task's retries to those it had."""

    def __init__(self, try_number, max_tries=2):
        self.try_number, self.max_tries = try_number, max_tries


class State(dict):
    """Airflow's task state store, as far as it is used here."""

    def set(self, key, value):
        self[key] = value


def context(try_number, max_tries=2, state=None, retries=2):
    return {"ti": Instance(try_number, max_tries), "task": Task(retries), "task_state_store": state}


@pytest.mark.parametrize(
    ("try_number", "max_tries", "first"),
    [(1, 2, 1), (3, 2, 1), (4, 5, 4), (5, 5, 4), (2, 3, 2), (1, 1, None)],
)
def test_the_first_try_of_a_round_is_found(try_number, max_tries, first):
    """A clear begins a new round, which the retries after it belong to."""
    assert tries_of(context(try_number, max_tries)).first_try == first


def test_without_airflow_nobody_knows_the_first_try():
    """A call outside of Airflow, or a context without a task, tells nothing."""
    assert tries_of({}) is None
    assert tries_of({"ti": object(), "task": Task()}) is None
    assert tries_of(context(1, -1)) is None


def test_a_retry_gets_what_the_first_try_rendered(caplog):
    """The first rendering counts in its round, and the difference is told once, without the values."""
    state = State()
    assert freeze(context(1, state=state), {"prompt": "one", "seed": 1}) == {"prompt": "one", "seed": 1}
    assert freeze(context(2, state=state), {"prompt": "two", "seed": 1}) == {"prompt": "one", "seed": 1}
    assert "prompt rendered to something else" in caplog.text
    assert "two" not in caplog.text


def test_a_cleared_task_asks_anew():
    """After a clear the templates count as they render then, for its retries as well."""
    state = State()
    freeze(context(1, state=state), {"prompt": "one"})
    assert freeze(context(2, 3, state), {"prompt": "two"}) == {"prompt": "two"}
    assert freeze(context(3, 3, state), {"prompt": "three"}) == {"prompt": "two"}


@pytest.mark.parametrize("retries", [0, 1, 2, 9])
def test_a_change_of_retries_begins_no_new_round(retries):
    """Who edits the DAG between two tries gets what the first one asked for; a clear asks anew."""
    state = State()
    freeze(context(1, state=state), {"prompt": "one"})
    assert freeze(context(2, state=state, retries=retries), {"prompt": "two"}) == {"prompt": "one"}
    cleared = context(3, 2 + retries + 1, state, retries)
    assert freeze(cleared, {"prompt": "three"}) == {"prompt": "three"}


def test_what_an_earlier_release_kept_is_read():
    """Its note has the first try only, which the task's retries tell."""
    state = State({KEY: json.dumps({"first_try": 1, "fields": {"prompt": "one"}})})
    assert freeze(context(2, state=state), {"prompt": "two"}) == {"prompt": "one"}
    assert freeze(context(3, 4, state), {"prompt": "three"}) == {"prompt": "three"}


def test_what_json_cannot_carry_is_refused():
    """Native rendering may make a mapping with tuples for keys."""
    with pytest.raises(VeoRequestError, match="JSON cannot carry"):
        plain({"s3_extra_args": {(1, 2): 3}})


def test_a_resumed_task_gets_what_its_trigger_carries():
    """What came back from the trigger counts, and a field that a newer release has added is rendered."""
    resumed = freeze(context(1, state=State()), {"prompt": "now", "new": 1}, {"prompt": "then"})
    assert resumed == {"prompt": "then", "new": 1}


def test_without_a_store_the_rendering_counts():
    """Airflow before 3.3 has no task state: there, the receipt beside the output tells."""
    assert freeze(context(2), {"prompt": "two"}) == {"prompt": "two"}


def test_a_store_that_cannot_be_read_is_not_taken_for_empty():
    """Without the first rendering nothing is asked for: the task is left to its retries."""

    class Away(State):
        def get(self, key):
            raise ConnectionError("the API server is away")

    with pytest.raises(VeoReceiptUnavailableError, match="Retrying is safe"):
        freeze(context(2, state=Away()), {"prompt": "two"})


def test_what_is_kept_is_json():
    """Paths and the like become texts, so that two renderings can be compared."""
    state = State()
    freeze(context(1, state=state), {"image": State})
    assert json.loads(state[KEY])["fields"] == plain({"image": State})
