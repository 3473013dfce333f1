"""A batch against each gateway while everything goes wrong; ``GATEWAY_VIDEOS`` says how many videos."""

import os
from collections import Counter

import pytest
from support.batches import make, receipts
from support.faces import MODELS, USD
from support.moments import until

from veo_provider.exceptions import VeoBatchUnfinishedError
from veo_provider.triggers import batch as batch_trigger

VIDEOS = int(os.environ.get("GATEWAY_VIDEOS", "8"))
TRIES = 8
FAULTS = [
    {"seed": seed, **rule}
    for seed, rule in enumerate(
        [
            {"call": "submit", "probability": 0.10, "status": 429, "headers": {"Retry-After": "0"}},
            {"call": "submit", "probability": 0.05, "reset": "before"},
            {"call": "submit", "probability": 0.06, "reset": "after"},
            {"call": "submit", "probability": 0.05, "status": 502, "accept": True},
            {"call": "submit", "probability": 0.05, "garbage": "json", "accept": True},
            {"call": "submit", "probability": 0.05, "framing": "chunk"},
            {"call": "submit", "probability": 0.05, "fail": {"code": "x", "message": "upstream broke"}},
            {"call": "submit", "probability": 0.03, "filtered": 404},
            {"call": "submit", "probability": 0.05, "early": [102, 103]},
            {"call": "poll", "probability": 0.10, "status": 503},
            {"call": "poll", "probability": 0.05, "reset": "before"},
            {"call": "poll", "probability": 0.05, "garbage": True},
            {"call": "poll", "probability": 0.05, "other_task": True},
            {"call": "poll", "probability": 0.05, "task_status": "unknown"},
            {"call": "content", "probability": 0.10, "truncate": 0.6},
            {"call": "content", "probability": 0.05, "status": 502},
            {"call": "file", "probability": 0.10, "truncate": 0.6},
            {"call": "file", "probability": 0.05, "status": 403},
        ]
    )
]


@pytest.mark.timeout(3000)
@pytest.mark.usefixtures("impatient")
def test_no_image_is_charged_more_often_than_its_receipt_says(connected, s3, put_images, monkeypatch, tune):
    """Try after try, until the batch ends: each charge has its receipt, and none was made twice unasked."""
    monkeypatch.setattr(batch_trigger, "FIRST_EVENT_SECONDS", 0.0)
    tune(claim_pause=0.2)
    connected.add_faults(FAULTS)
    put_images(VIDEOS)
    result = to_the_end(connected)
    until(lambda: set(connected.summary()["statuses"]) <= {"completed", "failed"})
    charged = Counter(
        task["prompt"]
        for task in connected.tasks()
        if task["charged_usd"] and task["task_id"] in bill(connected)
    )
    assert max(charged.values()) == 1
    assert connected.charges()["usd"] <= result["cost_usd"] + result["unknown_usd"] + 1e-6
    found = receipts(s3)
    assert len(found) == VIDEOS
    stored = [one for one in found.values() if one["state"] == "stored"]
    assert {one["veo_task_id"] for one in stored} <= bill(connected)
    assert sum(result["counts"].values()) == VIDEOS
    print(
        f"{connected.gateway}: {result['counts']}, bill ${connected.charges()['usd']:.2f} of {VIDEOS * USD}"
    )


def to_the_end(face):
    """Run try after try of one task, as Airflow's retries do, and return the last one's result."""
    for number in range(1, TRIES + 1):
        try:
            return make(try_number=number, model=MODELS[face.gateway], fail_on="never", max_in_flight=8)
        except VeoBatchUnfinishedError:
            continue
    raise AssertionError(f"the batch has not ended after {TRIES} tries")


def bill(face):
    """The ids of what was charged."""
    return {task["task_id"] for task in face.charges()["tasks"]}
