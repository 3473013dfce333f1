"""Metrics ``veo.*``, if Airflow is configured to emit metrics."""

from __future__ import annotations

from datetime import timedelta


def count(name: str, number: int = 1) -> None:
    """Increase the counter ``veo.<name>``."""
    from airflow.providers.common.compat.sdk import Stats

    Stats.incr(f"veo.{name}", number)


def time_taken(name: str, seconds: float) -> None:
    """Record a duration in the timer ``veo.<name>``."""
    from airflow.providers.common.compat.sdk import Stats

    Stats.timing(f"veo.{name}", timedelta(seconds=seconds))
