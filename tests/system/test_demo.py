"""The demo as a person meets it: a command that can be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.moments import PATIENCE, until

from demo.processes import carriers

ROOT = Path(__file__).parents[2]


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
        home = str(folder / "airflow")
        until(lambda: len(carriers("AIRFLOW_HOME", home)) >= 3 or demo.poll() is not None)
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == code, output
    if number == signal.SIGKILL:
        until(lambda: not carriers("BORN_OF", str(folder)))
    assert carriers("BORN_OF", str(folder)) == []
