"""Keeps a receipt in Airflow's task state store (Airflow 3.3 and later)."""

from __future__ import annotations

from inspect import signature
from typing import Any

from veo_provider.exceptions import VeoReceiptUnavailableError
from veo_provider.receipts.receipt import Receipt
from veo_provider.receipts.store import VersionedReceipt


class TaskStateReceiptStore:
    """Keeps a receipt in Airflow's task state store, which belongs to one task instance of one run.

    The receipt survives retries and deferral. Nobody else writes there, so writes need no condition.

    :param state: ``context["task_state_store"]`` of Airflow 3.3 and later.
    """

    uri = "Airflow's task state store"
    _KEY = "veo_receipt"

    def __init__(self, state: Any) -> None:
        self._state = state

    def read(self) -> VersionedReceipt | None:
        """Return the receipt, or None if there is none; see :class:`ReceiptStore` for the errors."""
        try:
            found = self._state.get(self._KEY)
        except Exception as error:
            raise VeoReceiptUnavailableError(f"The receipt in {self.uri} cannot be read: {error}.") from error
        if found is None:
            return None
        return VersionedReceipt(Receipt.from_json(str(found).encode(), self.uri), "")

    def write(self, receipt: Receipt, after: VersionedReceipt | None) -> VersionedReceipt:  # noqa: ARG002 - there are no rivals
        """Write the receipt; see :class:`ReceiptStore` for the errors."""
        try:
            self._state.set(self._KEY, receipt.to_json().decode(), **self._retention())
        except Exception as error:
            raise VeoReceiptUnavailableError(
                f"The receipt in {self.uri} cannot be written: {error}."
            ) from error
        return VersionedReceipt(receipt, "")

    def _retention(self) -> dict[str, Any]:
        """Return the argument that keeps the receipt; by default, Airflow deletes it after 30 days."""
        try:
            # Public since Airflow 3.3, and missing from its type stub.
            from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]
        except ImportError:
            return {}
        return {"retention": NEVER_EXPIRE} if "retention" in signature(self._state.set).parameters else {}
