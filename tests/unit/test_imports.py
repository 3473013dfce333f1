"""What each parse of a DAG file pays for, and what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = [
    "veo_provider.hooks.veo",
    "veo_provider.operators.batch",
    "veo_provider.operators.veo",
    "veo_provider.sensors.veo",
    "veo_provider.transfers.veo_to_s3",
    "veo_provider.triggers.batch",
    "veo_provider.triggers.veo",
    "veo_provider.ui.plugin",
]
HEAVY = ["aiohttp", "airflow.providers.amazon", "boto3", "botocore", "requests", "tenacity", "urllib3"]
IMPORTED = """
import sys
from airflow.providers.common.compat import sdk
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator, XCom
before = set(sys.modules)
import {module}
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_brings_in_nothing_heavy(module: str) -> None:
    """Clients of HTTP and S3 are imported where they are used, not where a DAG is parsed."""
    command = [sys.executable, "-c", IMPORTED.format(module=module)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    imported = done.stdout.splitlines()[-1].split()
    assert module in imported
    assert [name for name in imported if name.startswith(tuple(HEAVY))] == []
