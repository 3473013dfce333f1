"""What Airflow sees of the provider."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG

import veo_provider

EXAMPLES = sorted((Path(__file__).parents[2] / "dags").glob("*.py"))


def airflow(*command):
    result = subprocess.run(
        [sys.executable, "-m", "airflow", *command], check=True, capture_output=True, text=True
    )
    return result.stdout


def test_airflow_lists_the_provider():
    """`airflow providers list` shows the distribution and its version."""
    (line,) = [line for line in airflow("providers", "list").splitlines() if "airflow-provider-veo" in line]
    assert veo_provider.__version__ in line


def test_airflow_lists_the_hook():
    """`airflow providers hooks` shows the connection type and its class, imported without a failure."""
    (line,) = [line for line in airflow("providers", "hooks").splitlines() if "VeoHook" in line]
    assert "veo_conn_id" in line
    assert line.split()[0] == "veo"


FORM = """
import json

try:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
except ImportError:  # Airflow 2 builds the form out of the provider manager
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    label = manager.field_behaviours["veo"]["relabeling"]["password"]
    fields = [name.split("__")[-1] for name in manager.connection_form_widgets if "__veo__" in name]
else:
    (meta,) = (meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "veo")
    label = meta.standard_fields.password.title
    fields = list(meta.extra_fields)
print(json.dumps([label, sorted(fields)]))
"""


def test_the_connection_form_has_its_fields():
    """In the UI the form labels the password as the API key, and has the fields of the extra."""
    done = subprocess.run([sys.executable, "-c", FORM], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "API key",
        ["account_token", "gateway", "polls_per_second", "timeout"],
    ]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.name)
def test_an_example_dag_loads_without_a_warning(file):
    """Each file under dags/ is a DAG of its own name, and warnings are errors here."""
    found = runpy.run_path(str(file))
    assert file.stem in {value.dag_id for value in found.values() if isinstance(value, DAG)}
