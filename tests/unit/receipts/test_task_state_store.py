"""Receipts in Airflow's task state store."""

import pytest
from support.receipts import DAMAGED, ME, new_claim

from veo_provider.exceptions import (
    VeoReceiptError,
    VeoReceiptUnavailableError,
)
from veo_provider.receipts.receipt import ReceiptState
from veo_provider.receipts.task_state_store import TaskStateReceiptStore


def test_airflows_task_state_keeps_a_receipt():
    """The store of Airflow's task state reads what it wrote, and nothing else."""
    state = State()
    store = TaskStateReceiptStore(state)
    assert store.read() is None
    created = store.write(new_claim(), None)
    assert store.read() == created
    changed = store.write(
        created.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1"), created
    )
    assert TaskStateReceiptStore(state).read() == changed
    assert list(state) == ["veo_receipt"]
    assert isinstance(state["veo_receipt"], str)


def test_airflows_task_state_keeps_a_receipt_for_ever():
    """Airflow removes task state after a month, and a receipt is needed for as long as its task may run."""
    sdk = pytest.importorskip("airflow.sdk")
    never = getattr(sdk, "NEVER_EXPIRE", None)
    state = State()
    TaskStateReceiptStore(state).write(new_claim(), None)
    assert state.retention is never


def test_an_older_task_state_keeps_a_receipt_as_long_as_it_can():
    """A store that knows no retention is written all the same."""

    class Older(State):
        def set(self, key, value):
            self[key] = value

    store = TaskStateReceiptStore(Older())
    assert store.read() is None
    assert store.write(new_claim(), None) == store.read()


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_receipt_in_airflows_task_state_is_told(damage):
    """The same damage is the same error there."""
    state = State(veo_receipt=DAMAGED[damage].decode("utf-8", "replace"))
    with pytest.raises(VeoReceiptError):
        TaskStateReceiptStore(state).read()


def test_airflows_task_state_may_be_away():
    """Whatever Airflow raises is told as a store that cannot be reached, never as no receipt."""
    store = TaskStateReceiptStore(State(broken=True))
    with pytest.raises(VeoReceiptUnavailableError, match="cannot be read"):
        store.read()
    with pytest.raises(VeoReceiptUnavailableError, match="cannot be written"):
        store.write(new_claim(), None)


class State(dict):
    """Airflow's task state store, as far as it is used: ``get`` and ``set``."""

    def __init__(self, *, broken=False, **found):
        super().__init__(found)
        self._broken = broken

    def get(self, key):
        if self._broken:
            raise RuntimeError("The API server is away.")
        return super().get(key)

    def set(self, key, value, *, retention=None):
        self.retention = retention
        if self._broken:
            raise RuntimeError("The API server is away.")
        self[key] = value
