"""Airflow's metrics, where it has any: ``veo.…``."""

from __future__ import annotations

from datetime import timedelta


def count(name: str, number: int = 1) -> None:
    """Add to one of Airflow's metrics, where it has any: ``veo.…``."""
    from airflow.providers.common.compat.sdk import Stats

    Stats.incr(f"veo.{name}", number)


def time_taken(name: str, seconds: float) -> None:
    """Tell one of Airflow's metrics how long something took."""
    from airflow.providers.common.compat.sdk import Stats

    Stats.timing(f"veo.{name}", timedelta(seconds=seconds))
