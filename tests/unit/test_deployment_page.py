"""What docs/deployment.rst shows is what Airflow and the provider read."""

import json
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from statistics import median

import pytest
from airflow.configuration import conf
from airflow.models import connection as connections
from airflow.secrets.local_filesystem import LocalFilesystemBackend
from support.code_blocks import code_blocks

from veo_provider.airflow_config import has_page, makes_posters
from veo_provider.hooks.veo import VeoSettings
from veo_provider.s3.client import s3_client
from veo_provider.ui import settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deployment.rst"
BLOCKS = code_blocks(PAGE)
URI, JSON, COMMAND = [block for block in BLOCKS if block.language == "bash" and "sk-EXAMPLE" in block.text]
(SECRETS,) = [block for block in BLOCKS if block.language == "json" and "sk-EXAMPLE" in block.text]


def value_of(export):
    return shlex.split(export.text)[1].partition("=")[2]


def from_uri():
    return connections.Connection(conn_id="veo_default", uri=value_of(URI))


def from_json():
    return connections.Connection.from_json(value_of(JSON), conn_id="veo_default")


def from_command():
    words = shlex.split(COMMAND.text)
    given = dict(zip(words[4::2], words[5::2], strict=True))
    names = {"conn_type": "--conn-type", "host": "--conn-host", "password": "--conn-password"}
    fields = {name: given[flag] for name, flag in names.items()}
    return connections.Connection(conn_id=words[3], extra=given["--conn-extra"], **fields)


def from_secrets(folder):
    file = folder / "connections.json"
    file.write_text(SECRETS.text, encoding="utf-8")
    return LocalFilesystemBackend(connections_file_path=str(file)).get_connection("veo_default")


def test_each_form_of_the_connection_has_the_same_settings(tmp_path):
    """URI, JSON, command line and secrets backend lead to one and the same hook."""
    found = [from_uri(), from_json(), from_command(), from_secrets(tmp_path)]
    read = [VeoSettings.of(one, one.extra_dejson) for one in found]
    assert [one.api_key for one in read] == ["sk-EXAMPLE"] * 4
    assert [one.base_url for one in read] == ["https://api.apiyi.com/v1"] * 4
    assert [(one.timeout, one.polls_per_second) for one in read] == [(90.0, 50.0)] * 4
    assert read == [read[0]] * 4


@pytest.mark.usefixtures("airflow_db")
def test_the_pool_counts_deferred_tasks():
    """The command of the page, run as it is, makes the pool that limits generations."""
    (block,) = [block for block in BLOCKS if "airflow pools" in block.text]
    (words,) = block.commands()
    subprocess.run([sys.executable, "-m", *words], check=True, capture_output=True)
    listed = subprocess.run(
        [sys.executable, "-m", "airflow", "pools", "list", "--output", "json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (pool,) = [one for one in json.loads(listed.stdout) if one["pool"] == "veo"]
    assert (pool["slots"], pool["include_deferred"]) == ("10", "True")


def sections():
    found = ConfigParser()
    for block in BLOCKS:
        if block.language == "ini":
            found.read_string(block.text)
    return found


def test_the_settings_of_the_page_are_all_there_are(monkeypatch):
    """The section [veo] has each option that the code reads, with the default that it has."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "veo_provider").rglob("*.py"))
    shown = dict(sections()["veo"])
    assert set(re.findall(r'conf\.get\w*\("veo", "(\w+)"', source)) == set(shown)
    for name in shown:
        monkeypatch.delenv(f"AIRFLOW__VEO__{name.upper()}", raising=False)
    read = {
        "posters": str(makes_posters()),
        "ui": str(has_page()),
        "ui_tabs": str(settings.has_tabs()),
        "ui_media": settings.media(),
        "ui_aws_conn_id": settings.aws_conn_id(),
    }
    assert read == shown


def test_airflow_has_the_triggerers_option():
    """The triggerer's option exists, under the name of this Airflow or of the next one."""
    (name,) = sections()["triggerer"]
    assert conf.has_option("triggerer", name) or conf.has_option("triggerer", f"default_{name}")


def test_the_figures_are_those_that_were_measured():
    """Memory of a wait, time of a poll and polls of a video are as in docs/benchmarks/results.json."""
    results = json.loads((ROOT / "docs" / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    figures = {one["name"]: one for topic in results.values() for one in topic["figures"]}
    values = {name: median(one["series"][0]["values"]) for name, one in figures.items()}
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"a wait takes {values['memory-per-wait']:.1f} KiB" in text
    assert f"a poll {values['cpu-per-poll'] / 1000:.2f} ms" in text
    assert round(values["polls-720p"]) == 6
    assert "183, 190 MiB" in (ROOT / "docs" / "archives.rst").read_text(encoding="utf-8")


def test_the_provider_needs_what_the_page_says():
    """The requirement that older constraints may contradict is that of pyproject.toml."""
    needed = re.findall(r"``(apache-airflow-providers-[^`]*>=[^`]*)``", PAGE.read_text(encoding="utf-8"))
    assert len(needed) == 1
    assert f'"{needed[0]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_connection_to_s3_has_a_proxy_and_a_bundle_of_its_own(monkeypatch):
    """What the page says of the extra of the ``aws`` connection reaches boto3's client."""
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    extra = json.loads(re.findall(r'``(\{"config_kwargs": \{"proxies".*?\}\}\})``', text)[0])
    (store,) = [block for block in BLOCKS if '"endpoint_url"' in block.text]
    kwargs = {**json.loads(store.text)["config_kwargs"], **extra["config_kwargs"]}
    extra = {**json.loads(store.text), "config_kwargs": kwargs, "verify": "/etc/ssl/inner.pem"}
    connection = {"conn_type": "aws", "login": "a", "password": "b", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    client = s3_client("aws_default")
    assert client.meta.config.proxies == extra["config_kwargs"]["proxies"]
    assert client.meta.config.request_checksum_calculation == "when_required"
    assert client.meta.endpoint_url == extra["endpoint_url"]
    assert client._endpoint.http_session._verify == extra["verify"]
