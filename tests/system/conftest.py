"""A whole Airflow beside a sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.airflow import LocalAirflow
from veo_provider.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LATENCY = 20.0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Run a sandbox whose generations take long enough to see them waited for."""
    with Sandbox(latency=LATENCY, data=tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[LocalAirflow]:
    """Run an Airflow with the example DAGs and connections to the sandbox."""
    connections = {
        "AIRFLOW_CONN_VEO_DEFAULT": sandbox.veo_conn(),
        "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
    }
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), ROOT / "dags", env=connections) as running:
        yield running
