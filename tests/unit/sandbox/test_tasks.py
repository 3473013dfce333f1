"""Tasks and money, with the clock in hand."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from veo_provider.sandbox.action import Action
from veo_provider.sandbox.body_parser import ParsedBody
from veo_provider.sandbox.errors import ApiError
from veo_provider.sandbox.submission import validate
from veo_provider.sandbox.tasks import Ledger, Task, outcome, price

REASON = {"code": "a", "message": "b"}
FAST, STANDARD = "veo-3.1-fast-generate-preview", "veo-3.1-generate-preview"


def rendered() -> Future[Path]:
    """A film that is done."""
    future: Future[Path] = Future()
    future.set_result(Path("film.mp4"))
    return future


def task(model: str = FAST, **changes: Any) -> Task:
    """A task submitted at 1000, which takes 8 seconds."""
    submission = validate(ParsedBody(is_json=True, fields={"model": model, "prompt": "x"}))
    return Task(
        **{"number": 1, "submission": submission, "created": 1000.0, "latency": 8.0}
        | {"cents": price(model)}
        | {"rendering": rendered(), "rendered": 1001.0}
        | changes
    )


@pytest.mark.parametrize(
    ("model", "cents"),
    [
        (FAST, 30),
        (STANDARD, 120),
        (f"{FAST}-fl", 15),
        (f"{STANDARD}-fl", 25),
        ("veo-4-fast", 30),
        ("veo-4", 120),
    ],
)
def test_the_price_is_per_video(model: str, cents: int) -> None:
    """Fast and standard have their prices, and models that nobody knows yet go by their names."""
    assert price(model) == cents


@pytest.mark.parametrize(
    ("now", "status", "progress"),
    [
        (1000, "queued", 0),
        (1001.9, "queued", 0),
        (1002, "in_progress", 50),
        (1007.9, "in_progress", 50),
        (1008, "completed", 100),
    ],
)
def test_progress_is_0_50_or_100(now: float, status: str, progress: int) -> None:
    """A task is queued for a quarter of its latency, then in progress, then completed."""
    answer = task().api_object(now)
    assert (answer["status"], answer["progress"]) == (status, progress)
    assert ("completed_at" in answer) is (status == "completed")


def test_the_answer_has_two_names_for_one_id() -> None:
    """``id`` and ``task_id`` are the same 32 characters after ``task_``."""
    answer = task().api_object(1000)
    assert answer["id"] == answer["task_id"]
    assert answer["id"].startswith("task_")
    assert answer["id"][5:].isalnum()
    assert len(answer["id"]) == 37
    assert answer["object"] == "video"
    assert answer["created_at"] == 1000


def test_a_video_is_not_completed_before_it_is_filmed() -> None:
    """Latency is the least that it takes: the film decides."""
    assert task(rendering=Future(), rendered=None).status(2000) == "in_progress"
    late = task(rendered=1020.0)
    assert (late.status(1019), late.status(1020)) == ("in_progress", "completed")
    assert late.api_object(1030)["completed_at"] == 1020


def test_a_failed_task_says_why_or_does_not() -> None:
    """A failure may come without an error."""
    blocked = {"code": "PUBLIC_ERROR_UNSAFE", "message": "blocked"}
    told = task(rendering=None, rendered=None, fail=blocked).api_object(1008)
    silent = task(rendering=None, rendered=None, fail={}).api_object(1008)
    assert (told["status"], told["error"]) == ("failed", blocked)
    assert silent["status"] == "failed"
    assert "error" not in silent


def test_a_completed_task_may_speak_of_an_error_and_is_charged() -> None:
    """From completion on, not before; only the content can tell that there is no video."""
    ledger, odd = Ledger(100), task(rendering=None, completed_error=REASON, filtered=404)
    ledger.add(odd)
    assert "error" not in odd.api_object(1004)
    answer = odd.api_object(1008)
    assert (answer["status"], answer["error"], answer["completed_at"]) == ("completed", REASON, 1008)
    assert ledger.charges(1008)["count"] == ledger.summary(1008)["count"] == 1


def test_another_task_is_the_one_that_could_do_most_harm() -> None:
    """One that failed, else one that is completed, else any; never the task itself."""
    ledger, mine = Ledger(100), task()
    ledger.add(mine)
    assert ledger.other_than(mine, 1008) is None
    running, completed, failed = task(created=1100.0), task(), task(rendering=None, fail={})
    for other in (running, completed, failed):
        ledger.add(other)
        assert ledger.other_than(mine, 1008) is other


def test_a_film_that_fails_is_a_failed_task() -> None:
    """Trouble in the studio is not charged either."""
    broken: Future[Path] = Future()
    broken.set_exception(OSError("disk full"))
    answer = task(rendering=broken).api_object(1008)
    assert answer["error"]["code"] == "INTERNAL"
    assert "disk full" in answer["error"]["message"]


def test_only_completed_videos_are_on_the_bill() -> None:
    """A failed one never is, an unfinished one not yet; sums are exact to the cent."""
    ledger = Ledger(100)
    for each in (task(), task(), task(), task(STANDARD), task(rendering=None, fail={}), task(created=1100.0)):
        ledger.add(each)
    assert ledger.charges(1007)["count"] == 0
    bill = ledger.charges(1008)
    assert (bill["count"], bill["usd"], len(bill["tasks"])) == (4, 2.1, 4)
    assert bill["tasks"][0]["usd"] == 0.3
    assert bill["tasks"][0]["completed_at"] == 1008


def test_quota_is_taken_at_submission_and_given_back_on_failure() -> None:
    """A balance read in between is low."""
    ledger = Ledger(10)
    assert ledger.quota(999) == 5_000_000
    ledger.add(task(rendering=None, fail={}))
    assert ledger.quota(1007) == 4_850_000
    assert ledger.quota(1008) == 5_000_000


def test_an_empty_account_is_refused() -> None:
    """Money that is held for unfinished tasks is not there for others."""
    ledger = Ledger(0.5)
    ledger.check_funds(price(FAST), 1000)
    ledger.add(task())
    with pytest.raises(ApiError) as caught:
        ledger.check_funds(price(FAST), 1000)
    assert (caught.value.status, caught.value.body["code"]) == (403, "insufficient_user_quota")


@pytest.mark.parametrize(
    ("action", "ending"),
    [
        (Action(), {}),
        (Action(fail=True), {"fail": {}}),
        (Action(fail=REASON), {"fail": REASON}),
        (Action(filtered=True), {"filtered": 502}),
        (Action(filtered=404), {"filtered": 404}),
        (Action(completed_error=REASON), {"completed_error": REASON, "filtered": 404}),
        (Action(completed_error=REASON, filtered=400), {"completed_error": REASON, "filtered": 400}),
    ],
)
def test_a_rule_decides_how_a_task_ends(action: Action, ending: dict[str, Any]) -> None:
    """Failed with or without a reason, or completed without content."""
    assert outcome(action) == {"fail": None, "filtered": None, "completed_error": None, **ending}


def test_a_booked_task_stays_booked() -> None:
    """Looking again costs nothing more and gives nothing back twice, and a reset empties the books."""
    ledger = Ledger(10)
    for each in (task(), task(rendering=None, fail={}), task(created=1100.0)):
        ledger.add(each)
    assert [ledger.quota(now) for now in (1007, 1008, 1050, 1108, 1108)] == [
        4_550_000, 4_700_000, 4_700_000, 4_700_000, 4_700_000
    ]  # fmt: skip
    assert [ledger.used_quota(now) for now in (1108, 1108)] == [300_000, 300_000]
    ledger.clear()
    assert (ledger.quota(1108), ledger.used_quota(1108)) == (5_000_000, 0)


def test_a_summary_counts_what_the_bill_counts() -> None:
    """At each moment both know the same number and sum."""
    ledger = Ledger(100)
    for each in (task(), task(STANDARD), task(rendering=None, fail={}), task(created=1100.0)):
        ledger.add(each)
    for now, statuses in [
        (1000, {"queued": 4}),
        (1004, {"in_progress": 3, "queued": 1}),
        (1008, {"completed": 2, "failed": 1, "queued": 1}),
    ]:
        summary, bill = ledger.summary(now), ledger.charges(now)
        assert summary["statuses"] == statuses
        assert (summary["count"], summary["usd"]) == (bill["count"], bill["usd"])
        assert summary["accepted"] == 4


def test_a_page_of_the_record() -> None:
    """The first ones left out, and no more than asked."""
    ledger = Ledger(100)
    tasks = [task() for _ in range(4)]
    for each in tasks:
        ledger.add(each)
    assert [record["task_id"] for record in ledger.record(1000, 1, 2)] == [each.id for each in tasks[1:3]]
    assert len(ledger.record(1000)) == 4
