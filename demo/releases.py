"""What one release of Airflow names, needs and answers otherwise than another."""

from __future__ import annotations

import ast
import secrets
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["AIRFLOW_2", "AIRFLOW_3", "INSTALLED", "Release"]

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Release:
    """The components of a major release with their arguments, its settings, and its REST API."""

    server: str
    """The component that serves the UI and the REST API."""
    components: Mapping[str, Sequence[str]]
    settings: Mapping[str, str]
    address_settings: Mapping[str, str]
    """Where the settings want to read the server's address; ``{url}`` stands for it."""
    secret_settings: Sequence[str]
    """What every component must know and nobody else."""
    api: str
    health: str
    has_tokens: bool
    """Whether the API takes a token; otherwise everybody is an admin without one."""
    has_page: bool
    """Whether its UI has the page with the videos."""

    def environment(self, url: str) -> dict[str, str]:
        """Return the settings of an Airflow at this address, with new secrets."""
        return {
            **self.settings,
            **{name: address.format(url=url) for name, address in self.address_settings.items()},
            **{name: secrets.token_hex() for name in self.secret_settings},
        }

    def configure(self, home: Path) -> None:
        """Write what this release reads from files, into Airflow's home."""
        if not self.has_tokens:
            (home / "webserver_config.py").write_text('AUTH_ROLE_PUBLIC = "Admin"\n', "utf-8")

    def order(self, what: str) -> dict[str, str]:
        """Return by what the API is to sort a list."""
        # Airflow 2 sorts task instances by their map index, and refuses the id.
        return {} if what == "task_instances" and self is AIRFLOW_2 else {"order_by": "id"}

    def log_text(self, content: Any) -> str:
        """Write the API's answer to a request for a log as text, one event on a line."""
        if self is AIRFLOW_2:
            return "\n".join(text for _host, text in ast.literal_eval(content))
        return "\n".join(_log_line(event) for event in content)


def _log_line(event: dict[str, Any]) -> str:
    """Write one event of a structured log as a line, and below it each error of a chain as one more."""
    lines = [" ".join(str(event[key]) for key in ("timestamp", "level", "event") if event.get(key))]
    for error in event.get("error_detail") or []:
        place = "".join(f" ({frame['filename']}:{frame['lineno']})" for frame in error["frames"][-1:])
        lines.append(f"    {error['exc_type']}: {error['exc_value']}{place}")
    return "\n".join(lines)


# The log servers of scheduler and triggerer want fixed ports; here all logs lie in one folder.
_NO_LOG_SERVER = ("--skip-serve-logs",)

AIRFLOW_3 = Release(
    server="api-server",
    components={
        "api-server": ("--host", HOST, "--workers", "1"),
        "scheduler": _NO_LOG_SERVER,
        "dag-processor": (),
        "triggerer": _NO_LOG_SERVER,
    },
    settings={
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # A new DAG file is found at once instead of after five minutes.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    },
    address_settings={
        "AIRFLOW__API__BASE_URL": "{url}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "{url}/execution/",
    },
    secret_settings=("AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET"),
    api="api/v2/",
    health="monitor/health",
    has_tokens=True,
    has_page=True,
)

AIRFLOW_2 = Release(
    server="webserver",
    # With SQLite, the DAG processor is a part of the scheduler.
    components={
        "webserver": ("--hostname", HOST, "--workers", "1"),
        "scheduler": _NO_LOG_SERVER,
        "triggerer": _NO_LOG_SERVER,
    },
    settings={
        "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.default",
        "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "5",
    },
    address_settings={"AIRFLOW__WEBSERVER__BASE_URL": "{url}"},
    secret_settings=("AIRFLOW__WEBSERVER__SECRET_KEY",),
    api="api/v1/",
    health="health",
    has_tokens=False,
    has_page=False,
)

# Read without importing Airflow, which would write a configuration into its home.
INSTALLED = AIRFLOW_2 if version("apache-airflow").startswith("2.") else AIRFLOW_3
