"""Clients that others wrote, unchanged but for base URL and key, against what the sandbox plays."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from gateways.proxy import COMMAND
from support.faces import MODELS, USD
from support.moments import PATIENCE

from veo_provider.sandbox.process import Sandbox

PROGRAMS = Path(__file__).parent / "programs"
NODE = shutil.which("node")
PYTHON = COMMAND.parent / "python"


def run(face, *command, photo):
    """Run a client to its end, and return what it printed."""
    arguments = [face.api, face.api_key, MODELS[face.gateway], photo]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "command",
    [(PYTHON, PROGRAMS / "openai_client.py"), (NODE, PROGRAMS / "openai_client.mjs")],
    ids=["Python", "JavaScript"],
)
def test_openais_sdks(upstream, photo, command):
    """They submit the image, wait, download the video and find it in the list; it is charged once."""
    result = run(upstream, *command, photo=photo)
    (task,) = upstream.tasks()
    assert (task["mode"], task["status"]) == ("image-to-video", "completed")
    assert (result["id"], result["status"], result["listed"]) == (
        task["task_id"],
        "completed",
        [task["task_id"]],
    )
    assert result["bytes"] > 10_000
    assert upstream.charges()["usd"] == USD


def test_the_ai_sdk_with_openrouters_provider(photo):
    """It sends the image as a data URL, waits, reads the cost and downloads the video."""
    with Sandbox(gateway="openrouter", latency=0.2, film="small", s3=False) as face:
        result = run(face, NODE, PROGRAMS / "openrouter_client.mjs", photo=photo)
        (task,) = face.tasks()
        assert (task["mode"], task["status"]) == ("image-to-video", "completed")
        assert result["bytes"] > 10_000
        assert result["metadata"]["openrouter"]["cost"] == face.charges()["usd"] == USD
