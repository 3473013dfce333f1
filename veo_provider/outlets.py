"""The events of a task's outlets, which carry its result to whoever is triggered by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow.providers.common.compat.sdk import Context


def report_to_outlets(context: Context, outlets: Iterable[Any], result: Mapping[str, Any]) -> None:
    """Give the result to the events of a task's assets, as their extra.

    Outlets may be something else, such as entities of lineage, which have no events.
    """
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = dict(result)
