"""What LiteLLM's proxy makes of polls and of the content."""

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider.exceptions import VeoError, VeoTaskNotFoundError
from veo_provider.operators.veo import VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor

FAILS = (AirflowFailException, VeoError)


@pytest.mark.parametrize(
    "fault",
    [
        {"call": "poll", "first": 2, "status": 503},
        {"call": "poll", "first": 2, "reset": "before"},
        {"call": "poll", "first": 2, "garbage": True},
        {"call": "content", "first": 2, "status": 502},
        {"call": "content", "first": 2, "truncate": 0.5},
        {"call": "content", "first": 2, "garbage": "html"},
        {"call": "content", "first": 2, "garbage": "json"},
        {"call": "content", "first": 1, "status": 404},
        {"call": "content", "ranges": False, "etag": "none"},
    ],
    ids=str,
)
def test_a_fault_after_acceptance_costs_nothing(relayed, make_one, receipt, fault):
    """Without ranges and ETags, and with pages labelled as a video: fetched again, paid for once."""
    relayed.add_faults([fault])
    make_one()
    assert receipt().state.value == "stored"
    assert relayed.charges()["count"] == 1


def test_an_upstreams_failure_is_told(relayed, make_one, receipt):
    """Its code and its text arrive; whether it was charged, nobody says, so nothing is submitted again."""
    relayed.add_faults([{"call": "submit", "fail": {"code": "PUBLIC_ERROR_UNSAFE", "message": "Blocked"}}])
    for _ in range(2):
        with pytest.raises(FAILS, match="PUBLIC_ERROR_UNSAFE: Blocked"):
            make_one()
    assert receipt().state.value == "lost"
    assert len(relayed.tasks()) == 1


def test_a_filtered_video_is_not_generated_again(relayed, make_one, receipt):
    """Completed, and no file: however often the task is retried, it is one charge."""
    relayed.add_faults([{"call": "submit", "filtered": True}])
    for _ in range(2):
        with pytest.raises(FAILS, match="filter has probably withheld"):
            make_one()
    assert receipt().state.value == "submitted"
    assert len(relayed.tasks()) == 1


def test_a_video_that_the_upstream_does_not_know_ends_the_wait(relayed):
    """Its "task_not_exist" is inside the proxy's error."""
    asked = {"image": "s3://images/rocket.jpg", "prompt": "Up", "model": "veo"}
    veo_task_id = VeoSubmitOperator(task_id="submit", **asked).execute({})
    relayed.reset()
    sensor = VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id, deferrable=False, poke_interval=0.1)
    with pytest.raises((AirflowFailException, VeoTaskNotFoundError), match="not found"):
        sensor.execute({})


def test_a_link_is_lost_in_the_proxy(relayed, make_one, receipt):
    """The proxy calls the JSON with the link a video: it is not stored, and nothing is paid again."""
    relayed.add_faults([{"call": "content", "json_url": True}])
    for _ in range(2):
        with pytest.raises(FAILS, match="is still to be fetched"):
            make_one()
    assert receipt().state.value == "submitted"
    assert len(relayed.tasks()) == 1


def test_a_failed_job_with_an_error_status_is_lost_in_the_proxy(relayed, make_one, receipt):
    """vLLM-Omni answers so: the proxy hides the object in a text, and the wait ends at its deadline."""
    failed = {"id": "video_of_vllm", "status": "failed", "error": {"code": "x", "message": "out of memory"}}
    relayed.add_faults([{"call": "poll", "status": 500, "body": failed}])
    with pytest.raises(FAILS):
        make_one(timeout=3)
    assert receipt().state.value == "submitted"
    assert len(relayed.tasks()) == 1
