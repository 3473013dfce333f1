"""The sandbox stands alone."""

from __future__ import annotations

import subprocess
import sys


def test_it_imports_neither_the_client_nor_airflow() -> None:
    """Neither side can copy the other's mistake, and a sandbox starts without Airflow."""
    code = (
        "import sys, veo_provider.sandbox.__main__, veo_provider.sandbox.process;"
        "print([name for name in sys.modules if name.split('.')[0] == 'airflow'"
        " or (name.startswith('veo_provider.') and not name.startswith('veo_provider.sandbox'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
