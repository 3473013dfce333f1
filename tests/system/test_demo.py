"""The demo as a person meets it: a command that can be interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.processes import carriers

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C or SIGTERM in the middle of the start ends everything that the demo has started."""
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "demo", "--folder", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
        while len(carriers("AIRFLOW_HOME", str(folder / "airflow"))) < 3 and demo.poll() is None:
            time.sleep(0.1)
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number, output
    assert carriers("VEO_DEMO", str(folder)) == []
