"""One sandbox for the whole run, one Airflow home, and connections to both."""

import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import pytest

# Before Airflow is imported for the first time, which reads its configuration then.
_HOME = tempfile.TemporaryDirectory(prefix="veo-tests-")
os.environ.update(
    {
        "AIRFLOW_HOME": _HOME.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME.name}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{_HOME.name}/logs",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
)

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_2_PLUS  # noqa: E402 - as above
from support.unasked import unasked  # noqa: E402 - as above

from veo_provider.sandbox.process import Sandbox  # noqa: E402 - as above

if not AIRFLOW_V_3_2_PLUS:
    # Connections are read by a mapped class, which needs the others; a worker has them all.
    import_module("airflow.models.dag")

PHOTOS = Path(__file__).parents[1] / "veo_provider" / "sandbox" / "photos"


def pytest_collection_modifyitems(items):
    """Run slow files first: one that started last would be waited for by all other processes."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def photo():
    """A real photograph."""
    return PHOTOS / "rocket.jpg"


@pytest.fixture(scope="session")
def _sandbox():
    with Sandbox(latency=0.2) as running:
        yield running


@pytest.fixture
def sandbox(_sandbox):
    """The API and S3, with no tasks, no faults and an empty bill."""
    _sandbox.reset()
    _sandbox.clear_faults()
    return _sandbox


@pytest.fixture
def connections(sandbox, monkeypatch):
    """Airflow's default connections, to the sandbox, whose lost responses stay lost."""
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", unasked(sandbox))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", sandbox.aws_conn())
    return sandbox


@pytest.fixture(scope="session")
def _backup():
    with Sandbox(latency=0.2, film="small", s3=False) as running:
        yield running


@pytest.fixture
def backup(_backup, connections, monkeypatch):
    """A second service with a bill of its own, and the connection ``backup`` to it."""
    _backup.reset()
    _backup.clear_faults()
    monkeypatch.setenv("AIRFLOW_CONN_BACKUP", unasked(_backup))
    return _backup


@pytest.fixture(scope="session")
def s3(_sandbox):
    """boto3's client for the sandbox's S3."""
    from support.buckets import s3_client_of

    client = s3_client_of(_sandbox)
    yield client
    client.close()


@pytest.fixture(scope="session")
def airflow_db():
    """Airflow's database, for tests that run a DAG."""
    airflow = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(airflow, check=True, capture_output=True, text=True)
