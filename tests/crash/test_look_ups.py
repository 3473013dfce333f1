"""The submissions of the crash matrix once more, by a gateway that can be asked: no person is needed."""

import json
from datetime import datetime, timedelta

import pytest
from crash.conftest import BUCKET, RECEIPT
from crash.test_crashes import ACCEPTED, NOT_ACCEPTED, shorten_claims

from veo_provider.receipts.receipt import ReceiptState

NEIGHBOUR = f"s3://{BUCKET}/clips/neighbour.mp4"


@pytest.fixture
def veo_connection(sandbox):
    """A connection with the token by which lost responses can be looked up."""
    return sandbox.veo_conn()


@pytest.fixture
def neighbour(new_task, world):
    """Another video in the same folder, whose receipt the gateway's list is checked by."""
    return make(new_task, "before")


def make(new_task, run_id, **fields):
    end = new_task(run_id, prompt="Another flight", output=NEIGHBOUR, **fields).run()
    assert end["outcome"] == "success", end
    return end["value"]


def require_settled(world, end, others):
    """Assert that the task has one video, paid once, besides those of others."""
    assert end["outcome"] == "success", end
    receipt = world.receipt()
    assert receipt.state is ReceiptState.STORED
    ids = {receipt.veo_task_id, *(each["veo_task_id"] for each in others)}
    assert {task["task_id"] for task in world.submissions()} == ids
    assert world.bill() == len(ids) == 1 + len(others)


@pytest.mark.parametrize("moment", ACCEPTED)
def test_an_accepted_submission_is_found_after_a_kill(world, task, neighbour, moment):
    """The retry finds the generation that the killed worker did not record: one video, paid once."""
    require_settled(world, task.run(moment), [neighbour])
    assert task.tries == 2


@pytest.mark.parametrize("fault", [{"reset": "after"}, {"status": 504, "accept": True}], ids=["reset", "504"])
def test_an_accepted_submission_is_found_after_a_lost_response(world, sandbox, task, neighbour, fault):
    """Nobody is killed: the same try finds it."""
    sandbox.add_faults([{"call": "submit", "first": 1, **fault}])
    require_settled(world, task.run(), [neighbour])
    assert task.tries == 1


@pytest.mark.parametrize("moment", NOT_ACCEPTED)
def test_a_submission_that_was_not_accepted_is_repeated_once_that_is_proved(
    world, new_task, s3, neighbour, moment
):
    """For ten minutes nothing is proved, and nothing is sent; then the list shows that it was refused."""
    task = new_task(on_unknown_submission="look_up_or_resubmit")
    shorten_claims(task)
    end = task.run(moment)
    assert end["outcome"] == "up for retry", end
    assert "not accepted" not in end["message"]
    assert world.bill() == 1
    let_time_pass(s3)
    later = make(new_task, "later", on_changed_request="regenerate", seconds="6")
    require_settled(world, task.run(), [neighbour, later])


def let_time_pass(s3, minutes=30):
    """Move a receipt into the past, as if so many minutes had gone by."""
    receipt = json.loads(s3.get_object(Bucket=BUCKET, Key=RECEIPT)["Body"].read())
    receipt["claimed_until"] -= 60 * minutes
    for step in receipt["history"]:
        step["at"] = (datetime.fromisoformat(step["at"]) - timedelta(minutes=minutes)).isoformat()
    s3.put_object(Bucket=BUCKET, Key=RECEIPT, Body=json.dumps(receipt).encode())
