"""The demo as a person meets it: a command that can be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.processes import carriers

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_an_interrupted_demo_leaves_no_process_behind(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """Ctrl-C, SIGTERM or SIGKILL in the middle of the start ends everything that the demo has started."""
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "demo", "--folder", str(folder)]
    env = {**os.environ, "BORN_OF": str(folder)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as demo:
        while len(carriers("AIRFLOW_HOME", str(folder / "airflow"))) < 3 and demo.poll() is None:
            time.sleep(0.1)
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == code, output
    deadline = time.monotonic() + (15 if number == signal.SIGKILL else 0)
    while (left := carriers("BORN_OF", str(folder))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
