"""VeoBatchOperator: a whole archive in one task, within a budget, paid for once whoever comes next."""

import asyncio
import json
import signal
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from support.archive import listed
from support.batches import Instance, Run, first_event, make, operator, receipts, rows
from support.moments import at_moment, holding

from veo_provider.exceptions import VeoBatchError, VeoBatchUnfinishedError
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.polling.session import PollingSession
from veo_provider.triggers import batch as trigger_module

pytestmark = [pytest.mark.usefixtures("connections"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tune):
    """Only the pauses of a batch are shortened."""
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
    tune(claim_pause=0.2)


@pytest.fixture(autouse=True)
def _empty(s3):
    for bucket, prefix in (("images", "lot/"), ("videos", "lot/")):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=found["Key"])


@pytest.fixture
def archive(s3):
    """Puts so many copies of a photograph below a prefix."""

    def put(count, *, first=0):
        for number in range(first, first + count):
            source = {"Bucket": "images", "Key": "rocket.jpg"}
            s3.copy_object(Bucket="images", Key=f"lot/{number:03}.jpg", CopySource=source)

    return put


def let_finish(sandbox, *numbers):
    """Let the generations with these numbers finish; of all others, the service says that they still run."""
    sandbox.clear_faults()
    others = [number for number in range(1, 100) if number not in numbers]
    sandbox.add_faults([{"call": "poll", "task": each, "task_status": "in_progress"} for each in others])


def test_an_archive_becomes_videos(sandbox, s3, archive):
    """Each image has its video, its receipt and its row; the bill is that of the receipts."""
    archive(12)
    run = Run()
    let_finish(sandbox)
    begun = run.start()
    sandbox.clear_faults()
    result = run.go_on(*begun)
    assert result["counts"] == {"stored": 12}
    assert result["cost_usd"] == sandbox.charges()["usd"] == 3.60
    assert {one["state"] for one in receipts(s3).values()} == {"stored"}
    assert min(task["fields"]["prompt"] for task in sandbox.tasks()) == "Picture 000 comes alive"
    assert [row["outcome"] for row in rows(s3, result)] == ["stored"] * 12
    assert run.deferrals == 1
    assert sandbox.api_key not in "".join(run.kwargs)


@pytest.mark.parametrize("again", [{"try_number": 2}, {"run_id": "tuesday"}], ids=["retry", "other run"])
def test_whoever_comes_next_finds_it_done(sandbox, archive, again):
    """A retry, a clear and another run submit nothing, and look at nothing."""
    archive(5)
    make()
    before = sandbox.summary()
    result = make(**again)
    assert sandbox.summary() == before
    assert result["counts"] == {"stored" if "try_number" in again else "skipped": 5}
    assert result["cost_usd"] == (1.50 if "try_number" in again else 0.0)


def test_a_worker_alone_does_it_too(sandbox, archive):
    """Without deferral, one call makes it all."""
    archive(5)
    assert make(deferrable=False)["counts"] == {"stored": 5}


def test_a_worker_is_launched_for_a_lot(sandbox, s3, archive, tune):
    """The trigger hands over when a lot is completed, and the worker hands back what still runs."""
    # A worker does not stay because a lot is to be expected soon.
    tune(store_batch_size=5, look_ahead_seconds=0.1)
    archive(23)
    run = Run(max_in_flight=3)
    let_finish(sandbox)
    _, trigger = run.start()
    sandbox.clear_faults()
    event = run.event_of(trigger)
    completed = [n for n, task in enumerate(sandbox.tasks(), 1) if task["status"] == "completed"]
    assert 5 <= len(completed) < 23
    let_finish(sandbox, *completed)
    _, trigger = run.resume(event)
    assert [one["state"] for one in receipts(s3).values()].count("stored") == len(completed)
    sandbox.clear_faults()
    assert run.go_on(None, trigger)["counts"] == {"stored": 23}
    assert sandbox.charges()["count"] == 23


def test_never_more_are_under_way_than_allowed(sandbox, archive):
    """What is in flight at the service stays within max_in_flight, over all segments."""
    sandbox.set_latency(0.5)
    archive(14)
    make(max_in_flight=3)
    times = [(task["created_at"], 1) for task in sandbox.tasks()]
    times += [(charge["completed_at"], -1) for charge in sandbox.charges()["tasks"]]
    under_way = most = 0
    for _, change in sorted(times):
        under_way += change
        most = max(most, under_way)
    assert most <= 3


def test_one_bad_image_is_one_row(sandbox, s3, archive):
    """Images that are none, a refusal by moderation and a failed generation are rows; the rest goes on."""
    archive(4)
    s3.put_object(Bucket="images", Key="lot/empty.jpg", Body=b"")
    s3.put_object(Bucket="images", Key="lot/text.jpg", Body=b"no picture at all")
    unsafe = {"code": "PUBLIC_ERROR_UNSAFE", "message": "blocked"}
    sandbox.add_faults([{"call": "submit", "occurrence": 2, "fail": unsafe}])
    run = Run(max_in_flight=1)
    with pytest.raises(AirflowFailException, match=r"1 moderated.*2 rejected.*3 stored"):
        run.to_its_end()
    result = make("monday", 2, fail_on=0.5)
    assert result["counts"] == {"stored": 3, "moderated": 1, "rejected": 2}
    reasons = {row["outcome"]: row["reason"] for row in rows(s3, result)}
    assert "is not a JPEG, PNG or WebP" in reasons["rejected"]
    assert sandbox.charges()["count"] == 3


def test_a_retry_reads_no_receipt_again_of_what_it_stored(sandbox, s3, archive, monkeypatch):
    """After a crash of a run with ten thousand videos, that would take most of a minute."""
    archive(6)
    crash(monkeypatch)
    first, *_ = receipts(s3)
    s3.put_object(Bucket="videos", Key=first, Body=b"no longer a receipt")
    assert make("monday", 2)["counts"] == {"stored": 6}
    with pytest.raises(VeoBatchError, match=r"1 error, 5 stored"):
        make("monday", 3)  # after a try that came to its end, receipts tell
    assert sandbox.charges()["count"] == 6


@pytest.mark.parametrize("why", ["it is long ago", "another request"])
def test_what_a_crash_left_does_not_count_for_ever(s3, archive, monkeypatch, tune, why):
    """A person who clears the task, or changes it, may have changed the rest as well: receipts tell."""
    archive(3)
    crash(monkeypatch)
    first, *_ = receipts(s3)
    s3.put_object(Bucket="videos", Key=first, Body=b"no longer a receipt")
    if why == "it is long ago":
        tune(max_cache_age=0.0)
    fields = {"max_in_flight": 7} if why == "another request" else {}
    assert make("monday", 2, fail_on="never", **fields)["counts"] == {"error": 1, "stored": 2}


def crash(monkeypatch):
    """A first try that is killed when all is stored, and before the summary is written."""
    with monkeypatch.context() as patch:
        patch.setattr(VeoBatchOperator, "_finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make("monday")


def test_a_failed_generation_is_made_again(sandbox, archive):
    """As often as allowed, and it is paid once."""
    archive(3)
    sandbox.add_faults([{"call": "submit", "first": 2, "fail": {"code": "oops", "message": "broke"}}])
    assert make(max_in_flight=1)["counts"] == {"stored": 3}
    assert sandbox.charges()["count"] == 3


def test_a_lost_answer_is_one_row(sandbox, archive):
    """A submission of unknown fate is not repeated, and counts as charged."""
    archive(3)
    sandbox.add_faults([{"call": "submit", "occurrence": 2, "reset": "after"}])
    result = make(max_in_flight=1, fail_on="never")
    assert result["counts"] == {"stored": 2, "unknown": 1}
    assert (result["cost_usd"], result["unknown_usd"]) == (0.60, 0.30)
    assert len(sandbox.tasks()) == 3


def test_the_ceiling_holds(sandbox, s3, archive):
    """What money is left for is made, the rest is not started; with more money another try finishes it."""
    archive(8)
    with pytest.raises(AirflowFailException, match=r"5 not started.*3 stored.*max_cost_usd=1.0"):
        make(max_cost_usd=1.0)
    assert sandbox.charges()["usd"] == pytest.approx(0.90)
    result = make("monday", 2, max_cost_usd="2.4")
    assert result["counts"] == {"stored": 8}
    assert sandbox.charges()["usd"] == pytest.approx(2.40)


def test_the_ceiling_is_one_over_all_tries(sandbox, s3, archive):
    """Images that become usable between two tries do not get past what later ones have cost already."""
    s3.put_object(Bucket="images", Key="lot/000.jpg", Body=b"broken")
    s3.put_object(Bucket="images", Key="lot/001.jpg", Body=b"broken")
    archive(3, first=2)
    with pytest.raises(AirflowFailException):
        make(max_cost_usd=0.9)
    archive(2)
    with pytest.raises(AirflowFailException, match="2 not started, 3 stored"):
        make("monday", 2, max_cost_usd=0.9)
    assert sandbox.charges()["usd"] == pytest.approx(0.90)


def test_an_ambiguous_submission_counts_towards_the_ceiling(sandbox, archive):
    """It may be charged, so its money is not spent a second time."""
    archive(4)
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "reset": "after"}])
    result = make(max_cost_usd=0.6, max_in_flight=1, fail_on="never")
    assert result["counts"] == {"stored": 1, "unknown": 1, "not started": 2}
    assert (result["cost_usd"], result["unknown_usd"]) == (0.30, 0.30)


def test_money_given_back_is_spent(sandbox, archive):
    """A failed generation is not charged, so another image gets its money."""
    archive(2)
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "fail": {"code": "oops", "message": "broke"}}])
    result = make(max_cost_usd=0.3, max_generations=1, fail_on="never", max_in_flight=1)
    assert result["counts"] == {"failed": 1, "stored": 1}
    assert result["cost_usd"] == 0.30


def test_an_empty_account_stops_the_batch(sandbox, archive):
    """What was paid is stored, the rest is not started, and the error says why."""
    archive(4)
    broke = {"error": {"message": "insufficient_user_quota", "code": "insufficient_user_quota"}}
    sandbox.add_faults([{"call": "submit", "occurrence": 3, "status": 403, "body": broke}])
    with pytest.raises(AirflowFailException, match=r"2 not started, 2 stored.*account"):
        make(max_in_flight=1)
    sandbox.clear_faults()
    assert make("monday", 2)["counts"] == {"stored": 4}


@pytest.mark.usefixtures("impatient")
def test_the_last_image_does_not_keep_a_batch_from_its_end(sandbox, archive, tune):
    """A video that cannot be fetched is a row that says so, though nothing else succeeds."""
    archive(1)
    tune(longest_retry_pause=0.01, recent_success=0.0)
    sandbox.add_faults([{"call": "content", "status": 503}])
    assert make(fail_on="never")["counts"] == {"under way": 1}
    sandbox.clear_faults()
    assert make("monday", 2)["counts"] == {"stored": 1}
    assert sandbox.charges()["count"] == 1


@pytest.mark.usefixtures("impatient")
def test_a_paid_video_that_is_not_stored_is_tried_for_again(sandbox, archive, tune):
    """However many images may stay without a video: the service keeps it for two days only."""
    tune(longest_retry_pause=0.01, recent_success=0.0)
    archive(1)
    assert make()["counts"] == {"stored": 1}
    archive(2)
    sandbox.add_faults([{"call": "content", "status": 503}])
    with pytest.raises(VeoBatchUnfinishedError, match="1 stored, 1 under way"):
        make("monday", 2, fail_on=0.6)
    sandbox.clear_faults()
    assert make("monday", 3, fail_on=0.6)["counts"] == {"stored": 2}


@pytest.mark.usefixtures("impatient")
def test_what_is_paid_is_stored_at_the_second_attempt_too(sandbox, archive):
    """Trouble with a download does not leave a video behind, though the batch has stopped meanwhile."""
    archive(3)
    broke = {"error": {"message": "insufficient_user_quota", "code": "insufficient_user_quota"}}
    sandbox.add_faults(
        [
            {"call": "submit", "occurrence": 2, "status": 403, "body": broke},
            {"call": "content", "first": 7, "status": 503},
        ]
    )
    assert make(max_in_flight=1, fail_on="never")["counts"] == {"stored": 1, "not started": 2}


def test_a_run_says_from_the_beginning_where_it_keeps_its_books(sandbox, s3, archive):
    """The XCom is there while the run lasts, and the summary is in that folder."""
    archive(1)
    run = Run()
    result = run.to_its_end()
    folder = run.context["ti"].xcoms["folder"]
    assert result["summary_uri"] == f"{folder}summary.jsonl"


@pytest.mark.parametrize("why", ["the account is empty", "the ceiling is reached"])
def test_what_is_paid_is_stored_though_nothing_more_can_be_paid(sandbox, s3, archive, why):
    """What an earlier try has submitted is fetched, wherever in the archive it stands."""
    archive(30, first=40)
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    with pytest.raises(VeoBatchUnfinishedError, match="30 under way"):
        make(timeout=1.0, max_in_flight=30)
    sandbox.clear_faults()
    archive(40)
    if why == "the account is empty":
        broke = {"error": {"message": "insufficient_user_quota", "code": "insufficient_user_quota"}}
        sandbox.add_faults([{"call": "submit", "status": 403, "body": broke}])
    result = make("monday", 2, fail_on="never", max_cost_usd=9.0 if "ceiling" in why else None)
    assert result["counts"] == {"stored": 30, "not started": 40}
    assert sandbox.charges()["usd"] == pytest.approx(9.0)


def test_refusals_slow_it_down_and_nothing_is_lost(sandbox, archive):
    """A 429 halves what is in flight; every image has its video in the end, paid once."""
    archive(10)
    sandbox.add_faults([{"call": "submit", "first": 6, "status": 429, "headers": {"Retry-After": "0"}}])
    assert make()["counts"] == {"stored": 10}
    assert sandbox.charges()["count"] == 10


def test_submissions_keep_to_the_pace_of_the_connection(sandbox, archive, monkeypatch):
    """Each takes its turn, refused ones included, among all that call the service."""
    taken = []

    async def acquire(self, until):
        taken.append(until)
        return await really_acquire(self, until)

    really_acquire = PollingSession.acquire
    monkeypatch.setattr(PollingSession, "acquire", acquire)
    archive(3)
    sandbox.add_faults([{"call": "submit", "first": 1, "status": 429, "headers": {"Retry-After": "0"}}])
    assert make(max_in_flight=1)["counts"] == {"stored": 3}
    assert len(taken) == 4


def test_an_outage_is_waited_out(sandbox, archive):
    """Resets and 5xx while polling and downloading lead to no second submission."""
    archive(6)
    sandbox.add_faults(
        [{"call": "poll", "first": 5, "reset": "before"}, {"call": "content", "first": 2, "status": 503}]
    )
    assert make()["counts"] == {"stored": 6}
    assert sandbox.charges()["count"] == 6


def test_a_claim_of_another_run_is_waited_for(sandbox, s3, archive):
    """The video that another run is submitting is not paid again, and the rest is not held up."""
    archive(3)
    make("sunday")
    key = "lot/001.jpg.mp4.veo.json"
    found = receipts(s3)[key]
    claim = {"state": "claimed", "claimant": "another", "claimed_until": time.time() + 2}
    s3.put_object(Bucket="videos", Key=key, Body=json.dumps({**found, **claim}).encode())
    result = make(fail_on="never")
    assert result["counts"] == {"skipped": 2, "unknown": 1}
    assert sandbox.charges()["count"] == 3


def test_another_request_is_not_overwritten(sandbox, archive):
    """Outputs that belong to another prompt are kept, and are rows."""
    archive(2)
    make()
    result = make("tuesday", prompt="Another", fail_on="never")
    assert result["counts"] == {"changed": 2}
    assert sandbox.charges()["count"] == 2


def test_an_empty_archive_is_no_failure_but_told(sandbox, caplog, capsys):
    """A prefix that was mistyped does not pass in silence."""
    assert make()["counts"] == {}
    assert "There are no images in s3://images/lot/" in caplog.text + capsys.readouterr().out


def test_a_dry_run_submits_nothing(sandbox, s3, archive):
    """It tells what would be made, what is done, what is rejected, and the price."""
    archive(2)
    make("sunday")
    archive(3, first=2)
    s3.put_object(Bucket="images", Key="lot/text.jpg", Body=b"no picture at all")
    before = sandbox.summary()
    result = make("monday", dry_run=True)
    assert result["counts"] == {"skipped": 2, "to make": 3, "rejected": 1}
    assert result["cost_usd"] == 0.90
    assert sandbox.summary() == before


def test_a_dry_run_does_not_count_what_the_run_has_paid_before(sandbox, archive):
    """Cleared as a dry run, a task tells what it would cost to go on."""
    archive(3)
    make("monday", max_cost_usd=0.60, fail_on="never")
    result = make("monday", 2, dry_run=True)
    assert result["counts"] == {"stored": 2, "to make": 1}
    assert result["cost_usd"] == 0.30


def test_a_triggerer_that_dies_is_replaced(sandbox, archive, monkeypatch):
    """The trigger is cancelled in the middle, while threads submit, and started anew from the same kwargs."""
    archive(12)
    run = Run(max_in_flight=4)
    let_finish(sandbox)
    _, trigger = run.start()
    _, kwargs = trigger.serialize()
    polls = sandbox.summary()["polls"]
    kill_when(lambda: sandbox.summary()["polls"] > polls, kwargs)
    # One that is held keeps the segment from its end, so that the cancellation always comes before that.
    let_finish(sandbox, *range(1, 5))
    for accepted in (5, 8):
        kill_when(lambda: sandbox.summary()["accepted"] >= accepted, kwargs)  # noqa: B023 - done at once
    let_finish(sandbox, *range(1, 9))
    kill_when(lambda: sandbox.summary()["accepted"] > 8, kwargs)
    sandbox.clear_faults()
    result = run.go_on(None, trigger)
    assert result["counts"] == {"stored": 12}
    assert sandbox.charges()["count"] == 12


def test_the_ceiling_holds_when_a_triggerer_dies(sandbox, archive):
    """A trigger that is repeated from old kwargs counts what it has submitted before it died."""
    archive(10)
    run = Run(max_in_flight=2, max_cost_usd=1.2)
    let_finish(sandbox)
    _, trigger = run.start()
    _, kwargs = trigger.serialize()
    let_finish(sandbox, 1, 2)
    kill_when(lambda: len(sandbox.tasks()) == 4, kwargs)
    for _ in range(2):
        polls = sandbox.tasks()[3]["polls"]
        kill_when(lambda: sandbox.tasks()[3]["polls"] > polls, kwargs)  # noqa: B023 - done at once
    sandbox.clear_faults()
    with pytest.raises(AirflowFailException, match="6 not started, 4 stored"):
        run.resume(run.event_of(trigger))
    assert sandbox.charges()["usd"] == pytest.approx(1.20)


def kill_when(condition, kwargs):
    """Run a trigger until something has happened, which is before its end, and cancel it then."""

    async def run():
        task = asyncio.create_task(first_event(kwargs))
        # The service has no event to wait for.
        while not task.done() and not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_timeout_is_for_the_next_try(sandbox, archive):
    """A video that is not finished in time is under way; the next try waits on for it."""
    archive(2)
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    with pytest.raises(VeoBatchUnfinishedError, match="2 under way"):
        make(timeout=0.5)
    sandbox.clear_faults()
    assert make("monday", 2)["counts"] == {"stored": 2}
    assert len(sandbox.tasks()) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"max_cost_usd": "much"},
        {"max_cost_usd": 5, "model": "somebody-elses"},
        {"max_in_flight": 0},
        {"fail_on": "sometimes"},
        {"seconds": "5"},
        {"on_unknown_submission": "maybe"},
        {"prompt": None},
        {"prompt": "$nonsense"},
        {"images": "s3://images"},
        {"output_prefix": "s3://videos"},
    ],
    ids=", ".join,
)
def test_a_wrong_parameter_is_told_before_anything_is_sent(sandbox, archive, fields):
    """What is not possible ends the task at once, and costs nothing."""
    archive(1)
    with pytest.raises(AirflowFailException):
        make(**fields)
    assert sandbox.tasks() == []


def test_a_task_that_is_killed_takes_back_what_it_uploads(sandbox, s3, archive):
    """It ends soon, leaves no part of a video behind, and the next try goes on with what was submitted."""
    archive(6)
    task = operator(deferrable=False)
    with holding() as elsewhere:
        sandbox.add_faults([{"call": "content", "status": 302, "headers": {"Location": elsewhere.url}}])

        def kill(*_):
            task.on_kill()
            sandbox.clear_faults()  # the next attempt gets bytes, and finds that nobody wants them
            elsewhere.let_go.set()

        before = signal.signal(signal.SIGUSR1, kill)
        killer = at_moment(elsewhere.reached.is_set, lambda: signal.raise_signal(signal.SIGUSR1))
        try:
            with pytest.raises(VeoBatchUnfinishedError, match="killed"):
                task.execute({"ti": Instance()})
        finally:
            killer.join()
            signal.signal(signal.SIGUSR1, before)
    assert not s3.list_multipart_uploads(Bucket="videos").get("Uploads")
    assert [key for key in listed(s3, "videos", "lot/") if key.endswith(".mp4")] == [], (
        "none of those in line"
    )
    sandbox.clear_faults()
    assert make("monday", 2)["counts"] == {"stored": 6}
    assert sandbox.charges()["count"] == 6


def test_a_receipt_that_is_deleted_while_its_video_is_waited_for_is_not_paid_past(sandbox, s3, archive):
    """Without its receipt a paid generation would be forgotten: the row says so, and nothing is submitted."""
    archive(1)
    sandbox.add_faults([{"call": "content", "status": 503}])
    key = "lot/000.jpg.mp4.veo.json"

    def delete():
        s3.delete_object(Bucket="videos", Key=key)

    deleting = at_moment(lambda: sandbox.summary()["content_requests"] > 0, delete)
    result = make(deferrable=False, fail_on="never")
    deleting.join()
    assert result["counts"] in ({"error": 1}, {"under way": 1})
    assert len(sandbox.tasks()) == 1
