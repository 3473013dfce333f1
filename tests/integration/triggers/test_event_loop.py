"""What the first trigger of a process imports, of which nothing may hold up the event loop."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from support.batches import Run

from veo_provider.triggers.veo import VeoTaskTrigger

LIGHT = {
    "veo_provider.triggers",
    "veo_provider.triggers.batch",
    "veo_provider.triggers.veo",
    "veo_provider.exceptions",
    "airflow.sdk.execution_time.cache",  # by Airflow's own look-up of a connection
}
"""What may be imported in the loop: the triggers themselves, which Airflow imports there."""

IN_LOOP = """
import asyncio, json, sys, threading
import airflow.jobs.triggerer_job_runner  # what a triggerer has imported before its first trigger
from importlib import import_module

found = []

class Watcher:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            found.append(name)

async def main(module, name, kwargs):
    sys.meta_path.insert(0, Watcher())
    triggers = import_module(module)
    triggers.FIRST_EVENT_SECONDS = 0.0
    (event,) = [each async for each in getattr(triggers, name)(**kwargs).run()]
    sys.meta_path.pop(0)
    return event.payload["status"]

module, name, kwargs = json.loads(sys.argv[1])
print(json.dumps([asyncio.run(main(module, name, kwargs)), found]))
"""


@pytest.fixture
def run(connections):
    """Runs a trigger in a process of its own; returns its event's status, and what its loop imported."""

    def run(trigger):
        path, kwargs = trigger.serialize()
        told = json.dumps([*path.rsplit(".", 1), kwargs])
        command = [sys.executable, "-c", IN_LOOP, told]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_a_wait_imports_nothing_in_the_event_loop(run, completed):
    """A thread imports what the wait needs, and the loop finds it imported."""
    status, found = run(VeoTaskTrigger(completed, "veo_default", 0.1, time.time() + 600))
    assert status == "finished"
    assert set(found) <= LIGHT


def test_a_batch_imports_nothing_in_the_event_loop(run, s3, photo):
    """The same of a segment with one image, which submits and polls."""
    s3.upload_file(str(photo), "images", "loop/rocket.jpg")
    images = {"images": "s3://images/loop/", "output_prefix": "s3://videos/loop/"}
    _, trigger = Run("loop", **images, deferrable=True).start()
    status, found = run(trigger)
    assert status == "leg"
    assert set(found) <= LIGHT
