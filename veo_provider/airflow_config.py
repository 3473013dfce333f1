"""What Airflow's own configuration says about these operators."""

from __future__ import annotations

import os
from configparser import ConfigParser
from urllib.parse import urlsplit

from airflow.configuration import conf

PAGE_PREFIX = "/veo"
"""Where the page of videos is, below the base URL of Airflow."""
_DEFERRABLE = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"
_GENERATED = frozenset({"default_owner", "default_cpus", "default_ram", "default_disk", "default_gpus"})
"""Options that an ``airflow.cfg`` which Airflow has generated has beside ``default_deferrable``."""


def default_deferrable() -> bool:
    """Return whether operators defer by default: as Airflow is configured, else True.

    Airflow's own default is False, and the ``airflow.cfg`` that it generates repeats that, though nobody has
    chosen it. So False counts only if the environment variable says so, or a file that was not generated.
    """
    if conf.getboolean("operators", "default_deferrable", fallback=True):
        return True
    return not (_DEFERRABLE in os.environ or _is_in_written_file())


def _is_in_written_file() -> bool:
    """Return whether ``airflow.cfg`` has the option, without all those that Airflow generates beside it."""
    # What Airflow's parser itself holds is the file; its own methods add the defaults.
    if not ConfigParser.has_section(conf, "operators"):
        return False
    options = set(ConfigParser.options(conf, "operators"))
    return "default_deferrable" in options and not options >= _GENERATED


def has_page() -> bool:
    """Return whether Airflow's UI has the page of videos: ``[veo] ui``, by default it has."""
    return bool(conf.getboolean("veo", "ui", fallback=True))


def page_path() -> str:
    """Return the path of the page of videos, after the path of ``[api] base_url``."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return f"{base}{PAGE_PREFIX}"


def makes_posters() -> bool:
    """Return whether posters and contact sheets are made: ``[veo] posters``, by default not."""
    return bool(conf.getboolean("veo", "posters", fallback=False))
