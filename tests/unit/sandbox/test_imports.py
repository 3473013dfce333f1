"""What the sandbox imports, and what can be imported from it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import veo_provider.sandbox
from veo_provider.sandbox import process
from veo_provider.sandbox.process import Sandbox, SandboxError


def loaded(code: str) -> str:
    """Run code in a new process and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_it_imports_neither_the_client_nor_airflow() -> None:
    """Neither side can copy the other's mistake, and a sandbox starts without Airflow."""
    code = (
        "import sys, veo_provider.sandbox.__main__, veo_provider.sandbox.process;"
        "print([name for name in sys.modules if name.split('.')[0] == 'airflow'"
        " or (name.startswith('veo_provider.') and not name.startswith('veo_provider.sandbox'))])"
    )
    assert loaded(code).strip() == "[]"


def test_the_process_can_be_imported_under_both_names() -> None:
    """The short name is the same class."""
    assert (Sandbox, SandboxError) == (process.Sandbox, process.SandboxError)


def test_the_short_name_needs_no_server() -> None:
    """A test that only starts a sandbox imports neither its HTTP server nor its renderer."""
    code = (
        "import sys; from veo_provider.sandbox import Sandbox;"
        "print([name for name in ('aiohttp', 'av', 'boto3', 'PIL') if name in sys.modules])"
    )
    assert loaded(code).strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy import does not invent names."""
    with pytest.raises(AttributeError, match="has no attribute 'Sandboxes'"):
        _ = veo_provider.sandbox.Sandboxes
