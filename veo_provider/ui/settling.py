"""Settling on the page: what a person has found out goes into the receipt, and into Airflow's audit log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.models.log import Log
from airflow.utils.session import create_session
from fastapi import HTTPException
from pydantic import BaseModel, Field

from veo_provider.exceptions import VeoError
from veo_provider.generation import settlement
from veo_provider.generation.fingerprint import connection_of
from veo_provider.generation.settlement import utc
from veo_provider.hooks.veo import VeoHook
from veo_provider.receipts.attempt import Person, task_instance_name
from veo_provider.receipts.s3_store import S3ReceiptStore
from veo_provider.s3.uri import S3Uri
from veo_provider.ui import media

if TYPE_CHECKING:
    from collections.abc import Mapping

    from veo_provider.receipts.store import VersionedReceipt

_FIELDS = ("dag_id", "task_id", "run_id", "map_index")


class Answer(BaseModel):
    """What a person has found in the service's task log: the id, or that there is none."""

    veo_task_id: str = Field(default="", max_length=200)
    never_happened: bool = False


def read(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a lost submission, and the version of its receipt.

    :param row: of the task instance.
    :raises HTTPException: 409: nothing is lost, or another task submitted it.
    """
    try:
        current = _open(row, None)
    except VeoError as error:
        raise HTTPException(409, str(error)) from None
    receipt = current.receipt
    claimed = receipt.claimed_at
    return {
        "etag": current.etag,
        "claimed_by": receipt.claimed_by,
        "claimed_at": utc(claimed) if claimed else "",
        "account": receipt.request.get("account"),
        "candidates": [_candidate(one) for one in receipt.candidates],
    }


def settle(row: Mapping[str, Any], answer: Answer, *, etag: str, user: Any) -> dict[str, Any]:
    """Write what a person has found out into the receipt, if it has not changed since they saw it.

    :param row: of the task instance.
    :param etag: of the version that the person has seen.
    :raises HTTPException: 409: it cannot be settled so; 422: no answer; 428: no version was named.
    """
    veo_task_id = answer.veo_task_id.strip()
    if bool(veo_task_id) == answer.never_happened:
        raise HTTPException(422, "Either name the task id, or say that it never happened.")
    if not etag:
        raise HTTPException(428, "The version of the receipt is missing: open the page again.")
    person = Person(f"a person ({user.get_name()}, on the page)")
    try:
        settled = _settle(row, veo_task_id, etag, person)
    except VeoError as error:
        raise HTTPException(409, str(error)) from None
    _log(row, veo_task_id, user.get_name())
    return {"state": settled.receipt.state.value, "veo_task_id": settled.receipt.veo_task_id}


def _settle(row: Mapping[str, Any], veo_task_id: str, etag: str, person: Person) -> VersionedReceipt:
    store, current = _store(row), _open(row, etag)
    account = str(current.receipt.request.get("account") or "")
    veo_conn_id = connection_of(account) or "veo_default"
    with VeoHook(veo_conn_id).get_conn() as client:
        if not veo_task_id:
            return settlement.never_happened(store, client, current, person, veo_conn_id=veo_conn_id)
        place = (media.client(), f"{store.uri.rpartition('/')[0]}/")
        return settlement.attach(
            store, client, current, veo_task_id, person, veo_conn_id=veo_conn_id, place=place
        )


def _open(row: Mapping[str, Any], etag: str | None) -> VersionedReceipt:
    """Return the receipt; it must be of this task: whoever may edit an XCom may have named another's."""
    claimant = task_instance_name(row["dag_id"], row["run_id"], row["task_id"], row["map_index"])
    return settlement.open_receipt(_store(row), etag=etag, claimant=claimant)


def _store(row: Mapping[str, Any]) -> S3ReceiptStore:
    return S3ReceiptStore(media.client(), S3Uri.parse(row["receipt"], "receipt"))


def _candidate(found: Mapping[str, Any]) -> dict[str, str]:
    """Return a generation that may be the lost one, for a person to read."""
    at = found.get("submitted_at")
    return {
        "veo_task_id": str(found["veo_task_id"]),
        "submitted_at": utc(at) if isinstance(at, (int, float)) else "",
        "status": str(found.get("status") or ""),
    }


def _log(row: Mapping[str, Any], veo_task_id: str, owner: str) -> None:
    """Write an entry into Airflow's audit log."""
    extra = json.dumps({"receipt": row["receipt"], "veo_task_id": veo_task_id or None})
    event = "veo attach" if veo_task_id else "veo never-happened"
    with create_session() as session:
        session.add(Log(event=event, owner=owner, extra=extra, **{name: row[name] for name in _FIELDS}))
