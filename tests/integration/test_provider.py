"""What Airflow sees of the provider."""

import importlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import airflow
import jsonschema
import pytest
import yaml
from airflow.providers.common.compat.sdk import DAG

import veo_provider

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "dags").glob("*.py"))


def run_airflow(*command):
    result = subprocess.run(
        [sys.executable, "-m", "airflow", *command], check=True, capture_output=True, text=True
    )
    return result.stdout


def test_airflow_lists_the_provider():
    """`airflow providers list` shows the distribution and its version."""
    (line,) = [
        line for line in run_airflow("providers", "list").splitlines() if "airflow-provider-veo" in line
    ]
    assert veo_provider.__version__ in line


def test_airflow_shows_the_provider():
    """`airflow providers get` knows the distribution and its version."""
    shown = json.loads(run_airflow("providers", "get", "airflow-provider-veo", "--output", "json"))
    assert shown == [{"Provider": "airflow-provider-veo", "Version": veo_provider.__version__}]


def test_the_provider_info_fits_the_schema_of_this_airflow():
    """Each version of Airflow brings a schema of what a provider tells about itself."""
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(veo_provider.get_provider_info(), schema)


def test_the_registrys_file_names_what_there_is():
    """Each class in .airflow-registry.yaml can be imported, and each module that Airflow knows is there."""
    registry = yaml.safe_load((ROOT / ".airflow-registry.yaml").read_text())
    info = veo_provider.get_provider_info()
    assert registry["package-name"] == info["package-name"]
    named = [
        one["module"].rpartition(".")
        for kind in ("operators", "sensors", "transfers", "hooks")
        for one in registry[kind]
    ]
    for module, _, name in named:
        assert hasattr(importlib.import_module(module), name)
    told = {
        module
        for kind in ("operators", "sensors", "hooks")
        for one in info[kind]
        for module in one["python-modules"]
    }
    told |= {one["python-module"] for one in info["transfers"]}
    assert {module for module, *_ in named} == told


def test_airflow_lists_the_hook():
    """`airflow providers hooks` shows the connection type and its class, imported without a failure."""
    (line,) = [line for line in run_airflow("providers", "hooks").splitlines() if "VeoHook" in line]
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
    widgets = manager.connection_form_widgets.items()
    widgets = {name.split("__")[-1]: one for name, one in widgets if "__veo__" in name}
    fields = {name: one.field.kwargs["description"] for name, one in widgets.items()}
else:
    (meta,) = (meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "veo")
    label = meta.standard_fields.password.title
    fields = {name: field["description"] for name, field in meta.extra_fields.items()}
print(json.dumps([label, fields]))
"""


def test_the_connection_form_has_its_fields():
    """In the UI the form labels the password as the API key, and has the extra's fields, each described."""
    done = subprocess.run([sys.executable, "-c", FORM], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "API key",
        {name: field["description"] for name, field in veo_provider.CONNECTION_FIELDS.items()},
    ]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.name)
def test_an_example_dag_loads_without_a_warning(file):
    """Each file under dags/ is a DAG of its own name, and warnings are errors here."""
    found = runpy.run_path(str(file))
    assert file.stem in {value.dag_id for value in found.values() if isinstance(value, DAG)}
