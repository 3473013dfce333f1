"""Which lost responses a person may settle, and by which generations."""

import pytest
from support.generations import NOW, receipt

from veo_provider.api.video import Video, VideoStatus
from veo_provider.exceptions import VeoSettlementError
from veo_provider.generation.settlement import require_account, require_lost, require_possible
from veo_provider.receipts.attempt import Attempt, Person, task_instance_name
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, ReceiptState, claim

OPEN = claim(
    "f" * 64, {"account": "veo_default at https://one/v1"}, 0.3, Attempt("dag / run / me"), seconds=60
)
LOST = OPEN.transition(ReceiptState.UNKNOWN, Attempt("dag / run / me"))


@pytest.mark.parametrize(
    ("state", "alive", "says"),
    [
        ("unknown", True, None),
        ("claimed", False, None),
        ("claimed", True, "may be submitting now: wait until 2027-01-15"),
        ("refused", True, "the next run submits again"),
        ("submitted", True, "task_1 is in flight"),
        ("failed", True, "task_1 has failed"),
        ("stored", True, "task_1 is stored"),
        ("lost", True, "on_lost_video"),
    ],
)
def test_only_a_lost_response_is_settled(state, alive, says):
    """Unknown, or a claim whose attempt is dead: everything else has a result, and the error says which."""
    found = receipt(state, alive=alive)
    if says is None:
        require_lost(found, "s3://videos/a.mp4.veo.json", NOW)
        return
    with pytest.raises(VeoSettlementError, match=says):
        require_lost(found, "s3://videos/a.mp4.veo.json", NOW)


@pytest.mark.parametrize(
    ("seconds", "possible"), [(60, True), (-CLOCK_DIFFERENCE + 5, True), (-CLOCK_DIFFERENCE - 5, False)]
)
def test_a_generation_older_than_the_claim_is_refused(seconds, possible):
    """Clocks may differ by five minutes; what is older than that cannot be of this claim."""
    video = Video("task_9", VideoStatus.QUEUED, created_at=int(LOST.claimed_at + seconds))
    if possible:
        require_possible(LOST, video)
    else:
        with pytest.raises(VeoSettlementError, match="older than the submission"):
            require_possible(LOST, video)


def test_a_gateway_that_tells_no_age_rules_nothing_out():
    """Without created_at, any generation may be the one."""
    require_possible(LOST, Video("task_9", VideoStatus.QUEUED))


def test_an_earlier_generation_of_the_same_receipt_is_refused():
    """An id that the history has already is not that of the lost response."""
    with_id = LOST.transition(ReceiptState.SUBMITTED, Attempt("dag / run / me"), veo_task_id="task_9")
    again = claim("f" * 64, {}, 0.3, Attempt("dag / run / me"), seconds=60, after=with_id)
    with pytest.raises(VeoSettlementError, match="earlier generation"):
        require_possible(again, Video("task_9", VideoStatus.QUEUED))


def test_another_account_is_not_asked():
    """An id means nothing at another host; a receipt that names no account is settled by any."""
    require_account(LOST, "veo_default at https://one/v1")
    require_account(receipt("unknown"), "veo_default at https://two/v1")
    with pytest.raises(VeoSettlementError, match="https://one"):
        require_account(LOST, "veo_default at https://two/v1")


def test_a_person_is_named_in_the_history():
    """The history says who settled, and not which try of a task."""
    step = LOST.transition(ReceiptState.REFUSED, Person("a person (ada)"), reason="looked").history[-1]
    assert step["by"] == "a person (ada)"
    assert step["reason"] == "looked"


@pytest.mark.parametrize(
    ("map_index", "name"), [(None, "a / b / c"), (-1, "a / b / c"), (0, "a / b / c [0]")]
)
def test_a_task_instance_is_named_as_in_receipts(map_index, name):
    """DAG, run, task, and the index of a mapped task."""
    assert task_instance_name("a", "b", "c", map_index) == name
