"""A batch whose processes are killed: whatever dies, no image is paid twice, and none is forgotten."""

import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from veo_provider.batch.checkpoint import Checkpoint
from veo_provider.batch.spec import BatchSpec

pytestmark = [pytest.mark.usefixtures("connections"), pytest.mark.slow]

SEGMENT = Path(__file__).parents[2] / "support" / "batch_segment.py"
IMAGES = 24


@pytest.fixture
def state(s3, tmp_path):
    """The job and its progress, as Airflow keeps them in its database."""
    for number in range(IMAGES):
        source = {"Bucket": "images", "Key": "rocket.jpg"}
        s3.copy_object(Bucket="images", Key=f"killed/{number:03}.jpg", CopySource=source)
    job = BatchSpec(
        run="archive / monday / make",
        try_number=1,
        images="s3://images/killed/",
        output_prefix=f"s3://videos/killed/{tmp_path.name}/",
        prompt="Picture $stem",
        prompt_suffix=None,
        fields={"seconds": "4"},
        price_usd=0.30,
        max_in_flight=6,
        max_cost_usd=0.30 * IMAGES,
        poll_interval=0.2,
    )
    (tmp_path / "state.json").write_text(
        json.dumps({"job": job.to_dict(), "progress": Checkpoint().to_dict()})
    )
    return tmp_path


def segment(sandbox, folder, kind, calls=math.inf):
    """Run one segment, until it has called the service so often, and return whether it came to its end."""
    limit = calls_of(sandbox) + calls
    with subprocess.Popen([sys.executable, "-W", "ignore", str(SEGMENT), str(folder), kind]) as process:
        while process.poll() is None:
            if calls_of(sandbox) >= limit:
                process.kill()
            time.sleep(0.01)
    return process.returncode == 0


def calls_of(sandbox):
    """Return how often the service was called about videos, for which it was not refused."""
    seen = sandbox.summary()
    return seen["accepted"] + seen["polls"] + seen["content_requests"]


def test_killed_again_and_again_it_comes_to_the_same_end(sandbox, s3, state):
    """Each image was accepted once at most, and has its video, or a receipt that says it is not known."""
    sandbox.set_latency(1.0)
    chance = random.Random(7)  # noqa: S311 - repeatable on purpose
    kinds = ["worker", "trigger"]
    for _ in range(8):
        if segment(sandbox, state, kinds[0], calls=chance.randint(1, 40)):
            kinds.reverse()
    while not json.loads((state / "state.json").read_text())["progress"]["done"]:
        assert segment(sandbox, state, kinds[0])
        kinds.reverse()
    progress = json.loads((state / "state.json").read_text())["progress"]
    counts = progress["counts"]
    submitted = Counter(task["fields"]["prompt"] for task in sandbox.tasks())
    assert set(submitted.values()) == {1}
    assert counts["stored"] + counts.get("unknown", 0) == IMAGES, progress
    assert counts["stored"] <= sandbox.charges()["count"] <= IMAGES
