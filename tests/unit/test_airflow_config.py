"""What Airflow's `[operators] default_deferrable` says counts, where somebody has said it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.configuration import conf

import veo_provider
from veo_provider.airflow_config import default_deferrable
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.sensors.veo import VeoTaskSensor

VARIABLE = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"
OPERATORS = {
    VeoImageToVideoOperator: {"image": "a", "prompt": "p", "output": "s3://b/k"},
    VeoBatchOperator: {"images": "s3://b/", "prompt": "p", "output_prefix": "s3://b/"},
    VeoTaskSensor: {"veo_task_id": "task_1"},
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("said", "deferrable"), [(None, True), ("True", True), ("False", False)])
def test_every_operator_heeds_it(monkeypatch, operator, said, deferrable):
    """Without a word from anybody, they defer; a parameter wins over the configuration."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if said is not None:
        monkeypatch.setenv(VARIABLE, said)
    assert operator(task_id="a", **OPERATORS[operator]).deferrable is deferrable
    for told in (True, False):
        assert operator(task_id="b", deferrable=told, **OPERATORS[operator]).deferrable is told


GENERATE = """
from airflow.configuration import conf, write_default_airflow_configuration_if_needed as write
conf.has_section("operators")
write()
"""
TELL = """
from veo_provider.airflow_config import default_deferrable
print(default_deferrable())
"""


@pytest.mark.parametrize(
    ("written", "deferrable"),
    [
        (None, "True"),
        ("[operators]\ndefault_deferrable = False\n", "False"),
        ("[operators]\ndefault_owner = me\n", "True"),
        ("[core]\nload_examples = False\n", "True"),
    ],
)
def test_a_generated_file_is_nobodys_word(tmp_path, monkeypatch, written, deferrable):
    """Airflow generates a file of all its defaults; one that a person or a chart wrote is their word."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    if written is None:
        subprocess.run([sys.executable, "-c", GENERATE], check=True, capture_output=True)
        assert "\ndefault_deferrable = false\n" in (tmp_path / "airflow.cfg").read_text()
    else:
        (tmp_path / "airflow.cfg").write_text(written)
    done = subprocess.run([sys.executable, "-c", TELL], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == deferrable


def test_a_value_set_at_run_time_counts(monkeypatch):
    """As a test of a user's own sets it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    conf.add_section("operators") if not conf.has_section("operators") else None
    try:
        conf.set("operators", "default_deferrable", "False")
        assert default_deferrable() is False
    finally:
        conf.remove_option("operators", "default_deferrable")
    assert default_deferrable() is True


def test_the_provider_declares_each_option_that_it_reads():
    """`airflow config list` shows an option with its default only if the provider declares it."""
    package = Path(veo_provider.__file__).parent
    calls = re.compile(r'conf\.get(?:boolean)?\(\s*"veo", "(\w+)", fallback=("?)(\w+)\2')
    read = {
        name: default
        for path in package.rglob("*.py")
        for name, _, default in calls.findall(path.read_text("utf-8"))
    }
    declared = veo_provider.get_provider_info()["config"]["veo"]["options"]
    assert {name: option["default"] for name, option in declared.items()} == read
