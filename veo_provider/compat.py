"""What differs between Airflow versions, beyond what the common.compat provider knows."""

from __future__ import annotations

import os
from configparser import ConfigParser
from datetime import timedelta
from typing import Any

from airflow.configuration import conf
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

_DEFERRABLE = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"
_BESIDE = frozenset({"default_owner", "default_cpus", "default_ram", "default_disk", "default_gpus"})
"""Options that stand beside ``default_deferrable`` in an ``airflow.cfg`` which Airflow has generated."""


def default_deferrable() -> bool:
    """Return whether operators defer unless they are told: as Airflow's configuration says, else True.

    Airflow's own default is False, and the ``airflow.cfg`` that it generates repeats that, though nobody has
    chosen it. So False counts where the environment variable says it, or a file that a person or a chart has
    written.
    """
    if conf.getboolean("operators", "default_deferrable", fallback=True):
        return True
    return not (_DEFERRABLE in os.environ or _is_in_written_file())


def _is_in_written_file() -> bool:
    """Whether ``airflow.cfg`` has the option, without all those that Airflow generates beside it."""
    # What Airflow's parser itself holds is the file; its own methods add the defaults.
    if not ConfigParser.has_section(conf, "operators"):
        return False
    options = set(ConfigParser.options(conf, "operators"))
    return "default_deferrable" in options and not options >= _BESIDE


def default_retry_policy() -> dict[str, Any]:
    """Return the argument that gives an operator this provider's retry policy, where Airflow has policies."""
    if not AIRFLOW_V_3_3_PLUS:
        return {}
    from veo_provider.retry_policy import VeoRetryPolicy

    return {"retry_policy": VeoRetryPolicy()}


def with_retry_policy(operator: object, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments with this provider's retry policy, unless they name one, or None.

    :param operator: as it is while its constructor runs.
    """
    # Airflow gives retry_policy=None to each task of a mapped operator, where nobody has asked for that.
    mapped = getattr(operator, "_BaseOperator__from_mapped", False)
    if "retry_policy" in arguments and not (mapped and arguments["retry_policy"] is None):
        return arguments
    return {**arguments, **default_retry_policy()}


def count(name: str, number: int = 1) -> None:
    """Add to one of Airflow's metrics, where it has any: ``veo.…``."""
    from airflow.providers.common.compat.sdk import Stats

    Stats.incr(f"veo.{name}", number)


def time_taken(name: str, seconds: float) -> None:
    """Tell one of Airflow's metrics how long something took."""
    from airflow.providers.common.compat.sdk import Stats

    Stats.timing(f"veo.{name}", timedelta(seconds=seconds))
