"""Who may see what: each question is put to Airflow's auth manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from fastapi import HTTPException

if TYPE_CHECKING:
    from collections.abc import Iterable


def may_read(user: Any, dag_id: str) -> bool:
    """Return whether a user may read the XComs of a DAG."""
    return _may(user, dag_id, "GET", DagAccessEntity.XCOM)


def may_settle(user: Any, dag_id: str) -> bool:
    """Return whether a user may change, and so clear, the task instances of a DAG."""
    return _may(user, dag_id, "PUT", DagAccessEntity.TASK_INSTANCE)


def require_reader(user: Any, dag_id: str) -> None:
    """Check that a user may read the XComs of a DAG.

    :raises HTTPException: 403.
    """
    if not may_read(user, dag_id):
        raise HTTPException(403, "You may not read the XComs of this DAG.")


def require_settler(user: Any, dag_id: str) -> None:
    """Check that a user may change the task instances of a DAG.

    :raises HTTPException: 403.
    """
    require_reader(user, dag_id)
    if not may_settle(user, dag_id):
        raise HTTPException(403, "You may not change the tasks of this DAG.")


def readable_dags(user: Any) -> set[str]:
    """Return the DAGs whose XComs a user may read."""
    listed = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    return {dag_id for dag_id in listed if may_read(user, dag_id)}


def settleable_dags(user: Any, dag_ids: Iterable[str]) -> set[str]:
    """Return the DAGs of some whose videos a user may settle."""
    return {dag_id for dag_id in dag_ids if may_settle(user, dag_id)}


def serialized(user: Any) -> dict[str, Any]:
    """Return a user as a link can carry it."""
    fields: dict[str, Any] = get_auth_manager().serialize_user(user)
    return fields


def user_of(fields: dict[str, Any]) -> Any:
    """Return the user that a link carries."""
    return get_auth_manager().deserialize_user(fields)


def _may(user: Any, dag_id: str, method: Any, entity: DagAccessEntity) -> bool:
    return get_auth_manager().is_authorized_dag(
        method=method, access_entity=entity, details=DagDetails(id=dag_id), user=user
    )
