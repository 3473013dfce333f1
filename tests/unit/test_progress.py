"""What one leg of a batch tells the next."""

import json

from veo_provider.outcomes import Outcome
from veo_provider.progress import Progress


def test_it_survives_json():
    """All of it comes back, and thousands of keys are small."""
    progress = Progress(cursor="a/b", finished={f"images/2026/{n:06}.jpg" for n in range(5000)}, open=7)
    progress.count(Outcome.STORED)
    text = json.dumps(progress.to_dict())
    assert Progress.from_dict(json.loads(text)) == progress
    assert len(text) < 32_000


def test_what_an_earlier_release_wrote_is_read():
    """Fields that are missing have their defaults, and those that are gone are passed over."""
    assert Progress.from_dict({"cursor": "a", "gone": 1}) == Progress(cursor="a")
