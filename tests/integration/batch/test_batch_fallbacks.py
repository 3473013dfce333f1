"""A batch with two services and two bills: the second makes what the first provably refuses."""

import asyncio
import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from support.archive import fill
from support.batches import Run, rows
from support.moments import until
from support.refusals import EMPTY, LOST, MODERATED, NO_CHANNEL, RETIRED, SERVER_ERROR

from veo_provider.batch.checkpoint import Checkpoint
from veo_provider.batch.segment import run_segment
from veo_provider.batch.spec import BatchSpec
from veo_provider.exceptions import VeoBatchUnfinishedError
from veo_provider.receipts.charges import Charges, charges_of, iter_receipts
from veo_provider.triggers import batch as trigger_module

pytestmark = pytest.mark.usefixtures("connections", "impatient")

FAST, STANDARD = "veo-3.1-fast-generate-preview", "veo-3.1-generate-preview"
BACKUP = [("backup", STANDARD)]
RUN = "archive / monday / make"


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tune, backup):
    """Only pauses are shortened."""
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
    tune(
        breaker_shortest_pause=0.05,
        breaker_longest_pause=0.1,
        longest_retry_pause=0.01,
        limiter_shortest_pause=0.01,
        limiter_longest_pause=0.05,
    )


@pytest.fixture
def run(s3, request):
    """Makes runs over an archive of this test's own, of so many images."""
    place = request.node.name.translate(str.maketrans("[] ", "---"))

    def new(images=0, **fields):
        fill(s3, "images", f"{place}/", images)
        prefixes = {"images": f"s3://images/{place}/", "output_prefix": f"s3://videos/{place}/"}
        return Run(**{**prefixes, "max_in_flight": 5, "fallbacks": BACKUP, **fields})

    return new


def refuse(sandbox, answer, **when):
    sandbox.add_faults([{"call": "submit", **when, **answer}])


def accepted(*sandboxes):
    return [len(each.tasks()) for each in sandboxes]


def asked(sandbox):
    """How many submissions the rules of a sandbox have answered."""
    return sum(rule["matched"] for rule in sandbox.faults())


def receipts(s3, run):
    return list(iter_receipts(s3, run.fields["output_prefix"], 0.0))


def require_bills(s3, run, sandbox, backup, result=None):
    """The receipts, and the result, say what both bills say together."""
    billed = sandbox.charges()["usd"] + backup.charges()["usd"]
    paid = sum((charges_of(each, RUN) for each in receipts(s3, run)), Charges())
    assert paid.total == pytest.approx(billed)
    if result:
        assert result["cost_usd"] + result["unknown_usd"] == pytest.approx(billed)


ANSWERS = {"no channel": NO_CHANNEL, "retired": RETIRED, "empty": EMPTY}


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "worker"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_route_that_refuses_everything_is_asked_by_the_first_images_only(
    sandbox, backup, s3, run, answer, deferrable
):
    """Each video is made by the second service, and each receipt says why the first has not made it."""
    refuse(sandbox, answer)
    batch = run(8, deferrable=deferrable)
    result = batch.to_its_end()
    assert result["counts"] == {"stored": 8}
    assert accepted(sandbox, backup) == [0, 8]
    assert 1 <= asked(sandbox) <= 3, "as many as may be on their way before the first success"
    require_bills(s3, batch, sandbox, backup, result)
    for receipt in receipts(s3, batch):
        first = receipt.history[0]
        reason = receipt.history[1]["reason"] if "skipped" not in first else first["skipped"][0]["reason"]
        assert "The service answered" in reason
    assert sandbox.summary()["polls"] == 0
    assert run().to_its_end()["counts"] == {"stored": 8}, "the receipts are enough"
    assert accepted(sandbox, backup) == [0, 8]


def test_the_next_segment_does_not_ask_again_either(sandbox, backup, run):
    """What the triggerer has learned goes through the checkpoint to the worker, and back."""
    refuse(sandbox, NO_CHANNEL)
    batch = run(8, max_in_flight=2)
    _, trigger = batch.start()
    before = asked(sandbox)
    event = batch.event_of(trigger)
    assert event["progress"]["refused_routes"]["0"]["refusal"]["model"] == FAST
    assert batch.go_on(*batch.resume(event))["counts"] == {"stored": 8}
    assert asked(sandbox) == before <= 3


def test_once_its_pause_is_over_a_route_is_asked_again(sandbox, backup, s3, run, tune):
    """The first service is well again, so it makes the rest."""
    tune(route_pause=0.0)
    refuse(sandbox, NO_CHANNEL, first=1)
    batch = run(6, max_in_flight=1)
    result = batch.to_its_end()
    assert result["counts"] == {"stored": 6}
    assert accepted(sandbox, backup) == [5, 1]
    require_bills(s3, batch, sandbox, backup, result)


@pytest.mark.parametrize("answer", [SERVER_ERROR, LOST], ids=["500", "a lost answer"])
def test_what_is_unknown_is_not_asked_of_another_service(sandbox, backup, s3, run, answer):
    """The image is set aside, and the next try leaves it so."""
    refuse(sandbox, answer, occurrence=2)
    batch = run(4, max_in_flight=1, fail_on="never")
    for attempt in (batch, run(try_number=2, fail_on="never")):
        assert attempt.to_its_end()["counts"] == {"stored": 3, "unknown": 1}
    assert accepted(sandbox, backup) == [4, 0]
    require_bills(s3, batch, sandbox, backup)


def test_what_is_unknown_at_the_second_service_stays_there(sandbox, backup, s3, run):
    """Not even a first service that is well again is asked for it."""
    refuse(sandbox, NO_CHANNEL)
    refuse(backup, LOST, occurrence=2)
    batch = run(4, max_in_flight=1, fail_on="never")
    assert batch.to_its_end()["counts"] == {"stored": 3, "unknown": 1}
    sandbox.clear_faults()
    assert run(try_number=2, fail_on="never").to_its_end()["counts"] == {"stored": 3, "unknown": 1}
    assert accepted(sandbox, backup) == [0, 4]
    require_bills(s3, batch, sandbox, backup)


def test_moderation_of_one_image_changes_nothing_for_the_others(sandbox, backup, s3, run):
    """Only that image goes on, and only as the user wishes."""
    refuse(sandbox, MODERATED, occurrence=2)
    batch = run(4, max_in_flight=1, fail_on="never")
    assert batch.to_its_end()["counts"] == {"stored": 3, "moderated": 1}
    assert accepted(sandbox, backup) == [3, 0]
    again = run(try_number=2, fallback_on_moderation=True)
    refuse(sandbox, MODERATED)
    assert again.to_its_end()["counts"] == {"stored": 4}
    assert accepted(sandbox, backup) == [3, 1]
    require_bills(s3, batch, sandbox, backup)


def test_two_empty_accounts_stop_a_batch(sandbox, backup, s3, run):
    """The second one's refusal concerns every image, as that of a single one does."""
    refuse(sandbox, EMPTY)
    refuse(backup, EMPTY, after=2)
    batch = run(12, max_in_flight=1)
    with pytest.raises(AirflowFailException, match=r"2 stored.*No other route makes the video either"):
        batch.to_its_end()
    assert accepted(sandbox, backup) == [0, 2]
    require_bills(s3, batch, sandbox, backup)


def test_a_channel_that_may_come_back_leaves_the_rest_to_the_next_try(sandbox, backup, s3, run):
    """The second account is empty, but the first only has no channel now."""
    refuse(sandbox, NO_CHANNEL)
    refuse(backup, EMPTY)
    batch = run(6)
    with pytest.raises(VeoBatchUnfinishedError, match="6 not started"):
        batch.to_its_end()
    sandbox.clear_faults()
    assert run(try_number=2).to_its_end()["counts"] == {"stored": 6}
    assert accepted(sandbox, backup) == [6, 0]
    require_bills(s3, batch, sandbox, backup)


def test_the_ceiling_counts_the_most_expensive_route(sandbox, backup, s3, run):
    """A video of the second costs $1.20: with $3, two are made there, and no third is begun."""
    refuse(sandbox, NO_CHANNEL)
    batch = run(5, max_cost_usd=3.0, fail_on="never")
    result = batch.to_its_end()
    assert result["counts"] == {"stored": 2, "not started": 3}
    assert accepted(sandbox, backup) == [0, 2]
    require_bills(s3, batch, sandbox, backup, result)


def test_a_dry_run_counts_the_most_expensive_route(sandbox, backup, run):
    """It asks nobody, so that any of the routes may be the one."""
    result = run(3, dry_run=True).to_its_end()
    assert result["counts"] == {"to make": 3}
    assert result["cost_usd"] == pytest.approx(3.6)
    assert accepted(sandbox, backup) == [0, 0]


def served_until(sandbox, monkeypatch, day, conn_id="VEO_DEFAULT", model=FAST):
    connection = json.loads(sandbox.veo_conn())
    ended = {"ends": day.isoformat(), "usd_per_video": 0.3}
    connection["extra"]["models"] = {**connection["extra"]["models"], model: ended}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection))


def test_a_model_past_its_end_is_left_out(sandbox, backup, s3, run, monkeypatch):
    """The dry run knows it, and the batch sends nothing to the first service."""
    served_until(sandbox, monkeypatch, datetime.now(timezone.utc).date() - timedelta(days=1))
    assert run(3, dry_run=True).to_its_end()["counts"] == {"to make": 3}
    batch = run()
    result = batch.to_its_end()
    assert result["counts"] == {"stored": 3}
    assert accepted(sandbox, backup) == [0, 3]
    skipped = [receipt.history[0]["skipped"][0]["reason"] for receipt in receipts(s3, batch)]
    assert all("ended on" in reason for reason in skipped)
    require_bills(s3, batch, sandbox, backup, result)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fallbacks": [("backup", "nobody-knows")]}, "The price of nobody-knows is not known"),
        ({"fallbacks": [("veo_default", FAST)]}, r"fallbacks\[0\] is the connection veo_default"),
        (
            {"seconds": "6", "fallbacks": [("backup", "short")]},
            r"fallbacks\[0\] cannot make these videos: sec",
        ),
    ],
    ids=["no price", "the first route", "its limits"],
)
def test_a_route_that_cannot_be_used_is_told_before_anything_is_sent(
    sandbox, backup, run, monkeypatch, fields, said
):
    """A batch does not find out in the middle."""
    connection = json.loads(backup.veo_conn())
    connection["extra"]["models"] = {"short": {"seconds": [4], "usd_per_video": 0.1}}
    monkeypatch.setenv("AIRFLOW_CONN_BACKUP", json.dumps(connection))
    with pytest.raises(AirflowFailException, match=said):
        run(1, max_cost_usd=10.0, **fields).to_its_end()
    assert accepted(sandbox, backup) == [0, 0]


def test_a_segment_that_dies_leaves_its_videos_to_the_route_that_made_them(sandbox, backup, s3, run):
    """The next one starts from the old checkpoint, with both services well, and submits nothing again."""
    refuse(sandbox, NO_CHANNEL)
    backup.set_latency(30.0)
    batch = run(4, max_in_flight=4)
    _, trigger = batch.start()
    _, kwargs = trigger.serialize()
    spec, checkpoint = BatchSpec.from_dict(kwargs["job"]), Checkpoint.from_dict(kwargs["progress"])

    async def die():
        segment = asyncio.create_task(run_segment(spec, checkpoint, store_videos=False))
        await asyncio.to_thread(until, lambda: len(backup.tasks()) == 4)
        segment.cancel()
        with suppress(asyncio.CancelledError):
            await segment

    asyncio.run(die())
    sandbox.clear_faults()
    backup.add_faults([{"call": "poll", "task_status": "completed"}])
    made = accepted(sandbox, backup)
    event = batch.event_of(trigger)
    assert accepted(sandbox, backup) == made == [0, 4]
    assert event["status"] == "leg"


def test_a_change_of_the_order_keeps_the_videos(sandbox, backup, s3, run):
    """Another run, for which the second is the first, finds them stored."""
    refuse(sandbox, NO_CHANNEL)
    run(3).to_its_end()
    sandbox.clear_faults()
    turned = {"veo_conn_id": "backup", "model": STANDARD, "fallbacks": [("veo_default", FAST)]}
    result = run(run_id="tuesday", **turned).to_its_end()
    assert result["counts"] == {"skipped": 3}
    assert {row["price_usd"] for row in rows(s3, result)} == {1.2}
    assert accepted(sandbox, backup) == [0, 3]
