"""What one segment of a batch hands to the next."""

import json

from veo_provider.batch.checkpoint import Checkpoint
from veo_provider.batch.outcome import Outcome
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE


def test_it_survives_json():
    """All of it comes back, and thousands of keys are small."""
    progress = Checkpoint(cursor="a/b", finished={f"images/2026/{n:06}.jpg" for n in range(5000)}, open=7)
    progress.count(Outcome.STORED)
    progress.legs = {"0123456789ab": None, "ba9876543210": 1.5}
    progress.leftovers = {"s3://videos/cat.jpg.mp4": "s3://images/cat.jpg"}
    text = json.dumps(progress.to_dict())
    assert Checkpoint.from_dict(json.loads(text)) == progress
    assert len(text) < 32_000


def test_what_an_earlier_release_wrote_is_read():
    """Fields that are missing have their defaults, and those that are gone are passed over."""
    assert Checkpoint.from_dict({"cursor": "a", "gone": 1}) == Checkpoint(cursor="a")


def test_what_an_earlier_release_has_counted_by_time_is_kept_on_the_safe_side():
    """Its receipts name nobody: what was written just before the end of its segment may count twice."""
    progress = Checkpoint.from_dict({"cursor": "a", "committed_usd": 3.0, "at": 5000.0})
    assert progress.legs == {"": 5000.0 - CLOCK_DIFFERENCE}
    assert Checkpoint.from_dict({"cursor": None, "at": 0.0}).legs == {}


def test_who_starts_over_keeps_the_money():
    """All items are met again, those under way first of all; what they have cost is not forgotten."""
    progress = Checkpoint(
        cursor="000000007", finished={"000000009"}, open=3, committed_usd=2.7, legs={"0123456789ab": None}
    )
    for _ in range(9):
        progress.count(Outcome.STORED)
    restarted = progress.restarted()
    assert restarted == Checkpoint(open=12, committed_usd=2.7, legs={"0123456789ab": None})
    assert progress.total == 9
