"""When a segment of a batch ends, by its figures alone."""

import pytest

from veo_provider.batch.engine.runner import SegmentStats, should_end

TRIGGER = {"store_videos": False, "store_batch_size": 5}
WORKER = {"store_videos": True, "store_batch_size": 5}
STAYING = {**WORKER, "may_defer": False}


@pytest.mark.parametrize(
    ("place", "figures", "ends"),
    [
        # Nothing is left to do, or only what the next segment does.
        (TRIGGER, {}, True),
        (TRIGGER, {"feeding": True}, False),
        (TRIGGER, {"running": 3}, False),
        (TRIGGER, {"running": 3, "completed": 2, "blocked": 1}, True),
        (TRIGGER, {"running": 3, "completed": 2, "blocked": 1, "feeding": True}, False),
        (WORKER, {}, True),
        (WORKER, {"running": 2, "blocked": 2}, True),
        (STAYING, {"running": 2, "blocked": 2}, True),
        (STAYING, {"running": 2, "completed": 2, "busy": 2}, False),
        # A trigger ends for a batch of videos to store, whatever else there is to do.
        (TRIGGER, {"running": 9, "completed": 4}, False),
        (TRIGGER, {"running": 9, "completed": 5}, True),
        (TRIGGER, {"running": 9, "completed": 5, "feeding": True, "submitting": True}, True),
        # A worker ends when only polling is left, unless many videos are about to complete.
        (WORKER, {"running": 9}, True),
        (WORKER, {"running": 9, "feeding": True}, False),
        (WORKER, {"running": 9, "submitting": True}, False),
        (WORKER, {"running": 9, "busy": 1}, False),
        (WORKER, {"running": 9, "expected_completions": 4.9}, True),
        (WORKER, {"running": 9, "expected_completions": 5.0}, False),
        (STAYING, {"running": 9}, False),
        # A task that is killed ends at once.
        (TRIGGER, {"running": 9, "feeding": True, "cancelled": True}, True),
        (STAYING, {"running": 9, "busy": 9, "cancelled": True}, True),
    ],
)
def test_a_segment_ends_when_another_process_is_needed_or_nothing_is_left(place, figures, ends):
    """By where it runs, and by what its items are waiting for."""
    assert should_end(SegmentStats(**place, **figures)) is ends
