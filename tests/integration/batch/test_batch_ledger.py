"""What a batch is asked for, what it has paid, and who counts it: segments, tries, crashes and clocks."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from support.archive import listed
from support.batches import Run, first_event, make, receipts, rows

from veo_provider.batch.checkpoint import Checkpoint
from veo_provider.batch.engine.monitors.progress import snapshot
from veo_provider.batch.engine.state import SegmentState
from veo_provider.batch.segment import run_segment, summary_rows
from veo_provider.batch.spec import BatchSpec, BatchTuning
from veo_provider.exceptions import VeoBatchUnfinishedError
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.receipts import receipt as receipts_module
from veo_provider.triggers import batch as trigger_module

pytestmark = [pytest.mark.usefixtures("connections"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tune):
    """Short pauses, and a worker for every two videos, so that there are many segments."""
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
    tune(claim_pause=0.2, store_batch_size=2, look_ahead_seconds=0.1)


@pytest.fixture(autouse=True)
def _empty(s3):
    for bucket, prefix in (("images", "lot/"), ("videos", "")):
        for key in listed(s3, bucket, prefix):
            s3.delete_object(Bucket=bucket, Key=key)


@pytest.fixture
def archive(s3):
    """Puts so many photographs below a prefix, and returns their URIs."""

    def put(count, *, first=0):
        keys = [f"lot/{number:03}.jpg" for number in range(first, first + count)]
        for key in keys:
            source = {"Bucket": "images", "Key": "rocket.jpg"}
            s3.copy_object(Bucket="images", Key=key, CopySource=source)
        return [f"s3://images/{key}" for key in keys]

    return put


def remove(s3, *images):
    for image in images:
        s3.delete_object(Bucket="images", Key=image.removeprefix("s3://images/"))


def outcomes(s3, result):
    return {row["image"].rpartition("/")[2]: (row["outcome"], row["cost_usd"]) for row in rows(s3, result)}


# What is asked for


def to_its_end(run, edit):
    """Run to the end, with an edit of the task's fields at each segment."""
    result, trigger = run.start()
    while trigger is not None:
        event = run.event_of(trigger)
        edit(run.fields)
        result, trigger = run.resume(event)
    return result


@pytest.mark.parametrize("edited", ["a row in front", "first rows removed", "no list any more"])
def test_a_list_that_changes_meanwhile_changes_nothing(sandbox, s3, archive, edited):
    """Within a try, the images are those that it began with, and each has its own row."""
    images = archive(8)
    lists = {"a row in front": [images[7], *images[:6]], "first rows removed": images[3:], "no list": None}
    run = Run(images=images[:6], max_in_flight=2)
    result = to_its_end(run, lambda fields: fields.update(images=lists.get(edited)))
    assert run.deferrals, "a trigger has had its segment"
    assert outcomes(s3, result) == {f"00{number}.jpg": ("stored", 0.30) for number in range(6)}
    assert result["cost_usd"] == sandbox.charges()["usd"] == 1.80


def test_templates_that_render_anew_pay_nothing_more(sandbox, s3, archive, caplog, capsys):
    """A time in a prefix, a prompt or a seed is that of the beginning; what differs is named once."""
    archive(6)
    numbers = iter(range(100))

    def anew(fields):
        number = next(numbers)
        fields.update(output_prefix=f"s3://videos/lot/{number}/", prompt=f"Number {number}", seed=number)

    run = Run(max_in_flight=2)
    anew(run.fields)
    result = to_its_end(run, anew)
    assert run.deferrals, "a trigger has had its segment"
    assert result["counts"] == {"stored": 6}
    assert {task["prompt"] for task in sandbox.tasks()} == {"Number 0"}
    assert len(sandbox.tasks()) == 6
    assert {key.split("/")[1] for key in listed(s3, "videos", "lot/")} == {"0"}
    told = caplog.text + capsys.readouterr().out
    assert told.count("differ from those that this try started with") == 1
    assert "fields, output_prefix, prompt" in told


def test_an_event_of_an_earlier_release_is_understood(sandbox, s3, archive):
    """It has positions for keys, a time to count from, and no job: nothing is skipped or paid twice."""
    images = archive(6)
    run = Run(images=images, max_in_flight=2, max_cost_usd=3.6)
    _, trigger = run.start()
    event = run.event_of(trigger)
    old = {name: value for name, value in event["progress"].items() if name not in ("legs", "leftovers")}
    old |= {"cursor": "000000002", "finished": "", "counts": {"stored": 3}, "at": time.time()}
    result, trigger = run.resume({"status": "leg", "progress": old})
    while trigger is not None:
        result, trigger = run.resume(run.event_of(trigger))
    assert outcomes(s3, result) == {f"00{number}.jpg": ("stored", 0.30) for number in range(6)}
    assert len(sandbox.tasks()) == 6


def test_a_retry_asks_for_what_the_first_try_asked_for(sandbox, s3, archive):
    """A random seed or a new model counts when the task is cleared, and not when it is tried again."""
    archive(3)
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    again = {"retries": 2, "on_changed_request": "regenerate"}
    with pytest.raises(VeoBatchUnfinishedError, match="3 under way"):
        make("monday", 1, max_tries=2, timeout=1.0, seed="1", prompt="One", **again)
    sandbox.clear_faults()
    result = make("monday", 2, max_tries=2, seed="2", prompt="Two", **again)
    assert result["counts"] == {"stored": 3}
    assert len(sandbox.tasks()) == 3
    assert make("monday", 3, max_tries=4, seed="3", prompt="Three", **again)["cost_usd"] == 1.80, "cleared"
    assert [task["prompt"] for task in sandbox.tasks()] == ["One"] * 3 + ["Three"] * 3


def test_without_the_number_of_tries_each_try_asks_anew(sandbox, archive):
    """Then nobody knows whether a task was cleared."""
    archive(1)
    make("monday", 1, prompt="One")
    result = make("monday", 2, prompt="Two", fail_on="never")
    assert result["counts"] == {"changed": 1}
    assert len(sandbox.tasks()) == 1


# What has left the archive


def test_what_was_paid_is_told_though_the_images_are_gone(sandbox, s3, archive):
    """A run whose images were moved away between its tries says the whole sum."""
    images = archive(4)
    assert make(fail_on="never")["cost_usd"] == 1.20
    remove(s3, *images[:3])
    archive(1, first=9)
    result = make("monday", 2)
    assert outcomes(s3, result) == {
        "003.jpg": ("stored", 0.30),
        "009.jpg": ("stored", 0.30),
        **{f"00{number}.jpg": ("stored", 0.30) for number in range(3)},
    }
    assert result["cost_usd"] == sandbox.charges()["usd"] == 1.50
    assert make("tuesday")["cost_usd"] == 0, "another run tells of its own only"


@pytest.mark.parametrize("listed_as", ["prefix", "list"])
def test_a_paid_video_is_fetched_though_its_image_is_gone(sandbox, s3, archive, listed_as):
    """What the try before has submitted is stored by the next one, whatever became of image and prompt."""
    images = archive(4)
    chosen = {"images": images} if listed_as == "list" else {}
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    with pytest.raises(VeoBatchUnfinishedError, match="4 under way"):
        make(timeout=1.0, **chosen)
    sandbox.clear_faults()
    remove(s3, *images[1:])
    chosen = {"images": images[:1]} if listed_as == "list" else {}
    result = make("monday", 2, prompt={"000.jpg": "Picture 000 comes alive"}, **chosen)
    assert outcomes(s3, result) == {f"00{number}.jpg": ("stored", 0.30) for number in range(4)}
    assert len([key for key in listed(s3, "videos", "lot/") if key.endswith(".mp4")]) == 4
    assert len(sandbox.tasks()) == 4


def test_an_image_that_is_gone_before_its_segment_is_over_is_fetched_too(sandbox, s3, archive):
    """The worker looks for it when it has taken up all others, and waits for it in the triggerer."""
    images = archive(3)
    sandbox.set_latency(1.0)
    try:
        run = Run(max_in_flight=3)
        _, trigger = run.start()
        remove(s3, *images[1:])
        result, trigger = run.resume(run.event_of(trigger))
        while trigger is not None:
            result, trigger = run.resume(run.event_of(trigger))
    finally:
        sandbox.set_latency(0.2)
    assert outcomes(s3, result) == {f"00{number}.jpg": ("stored", 0.30) for number in range(3)}
    assert result["cost_usd"] == sandbox.charges()["usd"] == 0.90


def test_nothing_is_submitted_for_an_image_that_is_gone(sandbox, s3, archive):
    """Its generation fails: with the image in its place there would be another one."""
    images = archive(2)
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    with pytest.raises(VeoBatchUnfinishedError, match="2 under way"):
        make(timeout=1.0)
    sandbox.clear_faults()
    ids = {task["prompt"]: task["task_id"] for task in sandbox.tasks()}
    failed = {"status": "failed", "error": {"code": "oops", "message": "broke"}}
    sandbox.add_faults([{"call": "poll", "task": ids["Picture 001 comes alive"], "set": failed}])
    remove(s3, images[1])
    result = make("monday", 2, fail_on="never", max_cost_usd=9.0)
    assert outcomes(s3, result) == {"000.jpg": ("stored", 0.30)}, "what failed is not paid"
    assert len(sandbox.tasks()) == 2
    assert {one["state"] for one in receipts(s3).values()} == {"stored", "failed"}


def test_a_lost_answer_is_told_though_its_image_is_gone(sandbox, s3, archive):
    """It may be charged: it has its row and counts apart."""
    images = archive(2)
    sandbox.add_faults([{"call": "submit", "occurrence": 2, "reset": "after"}])
    make(max_in_flight=1, fail_on="never")
    remove(s3, images[1])
    result = make("monday", 2, fail_on="never")
    assert result["counts"] == {"stored": 1, "unknown": 1}
    assert (result["cost_usd"], result["unknown_usd"]) == (0.30, 0.30)


# What was paid, and when


def test_a_video_that_is_made_again_costs_both_prices(sandbox, s3, archive):
    """A try that was cleared with another model knows what the first one has cost, under its ceiling too."""
    archive(3)
    assert make(model="veo-3.1-generate-preview")["cost_usd"] == 3.60
    result = make("monday", 2, on_changed_request="regenerate", max_cost_usd=4.20, fail_on="never")
    assert [row["price_usd"] for row in rows(s3, result)] == [0.30, 0.30, 1.20]
    assert result["cost_usd"] == sandbox.charges()["usd"] == 4.20


@contextmanager
def clock(seconds):
    """A machine whose clock is so far ahead, or behind."""
    with pytest.MonkeyPatch.context() as patch:
        now, now_ns = time.time, time.time_ns

        def stamp():
            return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat(
                timespec="milliseconds"
            )

        patch.setattr(time, "time", lambda: now() + seconds)
        patch.setattr(time, "time_ns", lambda: now_ns() + int(seconds * 1e9))
        patch.setattr(receipts_module, "_timestamp", stamp)
        yield


@pytest.mark.parametrize("apart", [-299.0, -20.0, 20.0, 299.0])
def test_clocks_that_differ_do_not_pass_the_ceiling(sandbox, archive, apart):
    """Worker and triggerer take turns: what both submit counts once, and never comes to more than agreed."""
    archive(16)
    run = Run(max_in_flight=2, max_cost_usd=3.0, fail_on="never")
    result, trigger = run.start()
    while trigger is not None:
        with clock(apart):
            event = run.event_of(trigger)
        result, trigger = run.resume(event)
    assert run.deferrals, "a trigger has had its segment"
    assert result["counts"] == {"stored": 10, "not started": 6}
    assert result["cost_usd"] == sandbox.charges()["usd"] == 3.0
    assert len(sandbox.tasks()) == 10


@pytest.mark.parametrize("apart", [-299.0, 299.0])
def test_a_triggerer_that_dies_is_counted_once_by_any_clock(sandbox, archive, apart):
    """The ceiling pays for all images exactly, so that neither too much nor too little may be counted."""
    archive(10)
    run = Run(max_in_flight=4, max_cost_usd=3.0)
    sandbox.set_latency(0.5)
    try:
        _, trigger = run.start()
        for _ in range(2):
            with clock(apart):
                asyncio.run(killed(trigger.serialize()[1]))
            result, trigger = run.resume(run.event_of(trigger))
            if trigger is None:
                break
        while trigger is not None:
            result, trigger = run.resume(run.event_of(trigger))
    finally:
        sandbox.set_latency(0.2)
    assert result["counts"] == {"stored": 10}
    assert result["cost_usd"] == sandbox.charges()["usd"] == 3.0


async def killed(kwargs):
    """Run a trigger that dies in the middle, and leaves nothing but its receipts."""
    task = asyncio.create_task(first_event(kwargs))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize("apart", [-310.0, 601.0])
def test_rows_by_a_clock_that_is_too_far_off_are_not_believed(sandbox, s3, archive, monkeypatch, apart):
    """They may be older than they look, or were written by nobody's clock: receipts tell."""
    archive(2)
    with clock(-apart), monkeypatch.context() as patch:
        patch.setattr(VeoBatchOperator, "_finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make("monday")
    first, *_ = receipts(s3)
    s3.put_object(Bucket="videos", Key=first, Body=b"no longer a receipt")
    assert BatchTuning().max_cache_age == 900.0
    assert make("monday", 2, fail_on="never")["counts"] == {"error": 1, "stored": 1}


def test_a_try_that_goes_over_its_money_is_told_what_is_unknown(sandbox, archive):
    """A submission of unknown fate holds its money back, and the next try knows that, too."""
    archive(3)
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "reset": "after"}])
    with pytest.raises(AirflowFailException, match="1 not started, 1 stored, 1 unknown"):
        make(max_cost_usd=0.6, max_in_flight=1)
    result = make("monday", 2, max_cost_usd=0.6, fail_on="never")
    assert result["counts"] == {"stored": 1, "unknown": 1, "not started": 1}
    assert (result["cost_usd"], result["unknown_usd"]) == (0.30, 0.30)
    assert len(sandbox.tasks()) == 2


async def test_the_bulletin_tells_apart_what_nobody_knows():
    """What is charged, and what may be charged besides."""
    spec = BatchSpec(
        run="a / b / c",
        try_number=1,
        images="s3://images/lot/",
        output_prefix="s3://videos/lot/",
        prompt="It comes alive",
        prompt_suffix=None,
        fields={},
        price_usd=0.30,
    )
    checkpoint = Checkpoint(committed_usd=0.90, unknown_usd=0.30)
    figures = snapshot(SegmentState.start(spec, checkpoint, "an id", None, BatchTuning(), store_videos=False))
    assert (figures["cost_usd"], figures["unknown_usd"]) == (0.60, 0.30)
    assert json.loads(json.dumps(figures)) == figures


# An id that was read in a broken answer


def test_an_id_that_cannot_be_verified_yet_counts_against_the_ceiling(sandbox, s3, archive):
    """A generation that an answer named before it broke off may be charged, so money is kept for it."""
    archive(3)
    sandbox.add_faults([{"call": "submit", "framing": "cut"}, {"call": "poll", "first": 4, "status": 503}])
    result = make(max_in_flight=1, max_cost_usd=0.30, fail_on=0.9)
    assert result["counts"] == {"stored": 1, "not started": 2}
    assert result["cost_usd"] == sandbox.charges()["usd"] == 0.30
    assert len(sandbox.tasks()) == 1


def test_an_id_that_is_verified_is_no_longer_of_unknown_fate(sandbox, s3, archive):
    """What the next segment is told of the money is what the receipts tell by then."""
    archive(1)
    sandbox.add_faults(
        [
            {"call": "submit", "framing": "cut"},
            {"call": "poll", "first": 1, "status": 503},
            {"call": "poll", "task_status": "in_progress"},
        ]
    )
    _, trigger = Run(max_in_flight=1, max_cost_usd=0.30).start()
    assert (trigger.progress["committed_usd"], trigger.progress["unknown_usd"]) == (0.30, 0.0)


def test_a_late_video_does_not_take_the_place_of_a_later_one(sandbox, s3, archive):
    """What another run has paid for and stored meanwhile stays: receipt and object name the same video."""
    archive(1)
    sandbox.add_faults([{"call": "poll", "task": 1, "task_status": "in_progress"}])
    first, replaced = Run("monday", fail_on="never"), {}
    _, trigger = first.start()

    def replace():
        time.sleep(0.5)
        while not sandbox.tasks()[0]["polls"]:
            time.sleep(0.1)
        replaced.update(make("tuesday", prompt="Another", on_changed_request="regenerate", deferrable=False))
        sandbox.clear_faults()

    other = threading.Thread(target=replace)
    other.start()
    _, kwargs = trigger.serialize()
    job, progress = BatchSpec.from_dict(kwargs["job"]), Checkpoint.from_dict(kwargs["progress"])
    asyncio.run(run_segment(job, progress, store_videos=True, may_defer=False))
    other.join()
    (receipt,) = receipts(s3).values()
    stored = s3.head_object(Bucket="videos", Key="lot/000.jpg.mp4")
    assert replaced["counts"] == {"stored": 1}
    assert stored["Metadata"]["veo_task_id"] == receipt["veo_task_id"] == sandbox.tasks()[1]["task_id"]


def test_notes_of_a_newer_release_are_read_as_far_as_they_are_understood(sandbox, s3, archive):
    """After a downgrade between two segments, a longer entry and an unknown outcome harm nobody."""
    archive(3)
    for key in ("lot/a.jpg", "lot/b.jpg"):
        s3.put_object(Bucket="images", Key=key, Body=b"no picture")
    run = Run(max_in_flight=2, fail_on="never")
    _, trigger = run.start()
    event = run.event_of(trigger)
    folder = "lot/_veo/archive/monday/make/notes/"
    note = ["lot/a.jpg", "postponed", "A new word.", "and more"]
    name = f"{folder}try-1/{time.time_ns()}-newer.jsonl"
    s3.put_object(Bucket="videos", Key=name, Body=json.dumps(note).encode())
    result = run.go_on(*run.resume(event))
    assert result["counts"] == {"stored": 3, "error": 1, "rejected": 1}
    assert result["cost_usd"] == sandbox.charges()["usd"] == 0.90


def test_an_image_that_leaves_while_the_summary_is_made_is_told_once(sandbox, s3, archive):
    """Its row is written, and so it is not a leftover, too."""
    images = archive(3)
    run = Run()
    result, trigger = run.start()
    run.go_on(result, trigger)
    job = BatchSpec.from_dict(json.loads(run.kwargs[0])["job"])
    told = summary_rows(job, s3, "")
    first = next(told)
    remove(s3, *images)
    assert [first.cost_usd, *(row.cost_usd for row in told)] == [0.30] * 3
