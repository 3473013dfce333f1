"""The crash matrix: real processes, real SIGKILL, and after each the bill of a real service."""

import os
import signal

import pytest
from support.moments import until
from support.unasked import unasked

UNPAID = [
    "execute: before PutObject of the probe",
    "execute: after PutObject of the probe",
    "execute: before record claimed",
]
ATTACHED = [
    "execute: after record submitted",
    "execute: before defer",
    "execute: deferred",
    "wait: before poll",
    "wait: after poll",
    "resume: before resume",
    "resume: after GetObject",
    "resume: before CreateMultipartUpload",
    "resume: after CreateMultipartUpload",
    "resume: after UploadPart",
    "resume: before CompleteMultipartUpload",
    "resume: after CompleteMultipartUpload",
    "resume: before record stored",
    "resume: after record stored",
    "resume: returned",
]
NOT_ACCEPTED = [
    "execute: after record claimed",
    "execute: before submit",
    "execute: before first half of the image",
    "execute: before second half of the image",
]
ACCEPTED = [
    "execute: after submit",
    "execute: before record submitted",
]


@pytest.mark.parametrize("moment", [*UNPAID, *ATTACHED])
def test_one_video_whatever_is_killed(world, task, moment):
    """Outside of a submission, a kill costs time only: the next attempt ends with one video, paid once."""
    end = task.run(moment)
    world.require_one_video(end)
    assert task.tries == (1 if moment.startswith("wait") else 2)


@pytest.mark.parametrize("moment", ["resume: before PutObject", "resume: after PutObject"])
def test_a_video_of_one_part_is_stored_all_the_same(world, sandbox, task, moment):
    """A small video needs no parts; killed around its one upload, it is there whole in the end."""
    sandbox.clear_faults()
    world.require_one_video(task.run(moment))


@pytest.mark.parametrize("moment", NOT_ACCEPTED)
def test_a_submission_that_was_not_accepted_is_not_repeated_unasked(world, task, moment):
    """Nobody can know that it was not, so the task fails; told to resubmit, it ends with one video."""
    shorten_claims(task)
    world.require_unknown(task.run(moment), accepted=0)
    assert task.tries == 2
    world.require_one_video(task.run(on_unknown_submission="resubmit"))


@pytest.mark.parametrize("moment", ACCEPTED)
def test_a_submission_without_a_record_is_not_repeated(world, task, moment):
    """Its task fails and says what to check; given the id that the service's log shows, it stores it."""
    world.require_unknown(task.run(moment), accepted=1)
    assert task.tries == 2
    continue_with_id(world, task)


def test_a_submission_killed_while_it_waits_for_its_answer_is_not_repeated(world, sandbox, task):
    """Accepted, and the answer lost with the worker: the same."""
    sandbox.add_faults([{"call": "submit", "delay": 600}])
    task.tries = 1
    pid = task.start("execute")
    until(sandbox.tasks)
    os.kill(pid, signal.SIGKILL)
    assert task.finish("execute", pid)["outcome"] == "killed"
    world.require_unknown(task.run(), accepted=1)
    continue_with_id(world, task)


def test_a_submission_whose_connection_is_reset_is_not_repeated(world, sandbox, task):
    """Nobody is killed, the answer alone is lost: the same at once, and again at each later clear."""
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    end = task.run()
    assert task.tries == 1
    world.require_unknown(end, accepted=1)
    world.require_unknown(task.run(), accepted=1)
    continue_with_id(world, task)


@pytest.mark.parametrize("moment", ["before record refused", "after record refused"])
def test_a_refusal_is_no_submission(world, sandbox, task, moment):
    """What the service refused may be submitted again, as soon as the refusal is recorded."""
    shorten_claims(task)
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "status": 400}])
    end = task.run(f"execute: {moment}")
    if moment.startswith("before"):
        world.require_unknown(end, accepted=0)
        end = task.run(on_unknown_submission="resubmit")
    world.require_one_video(end)


def test_a_worker_killed_while_it_waits_for_its_turn_leaves_nothing_unclear(world, sandbox, task):
    """Told to come back later, it holds no claim meanwhile: the next attempt submits, without a person."""
    sandbox.add_faults(
        [{"call": "submit", "occurrence": 1, "status": 429, "headers": {"Retry-After": "200"}}]
    )
    world.require_one_video(task.run("execute: after record refused"))


@pytest.mark.parametrize("moment", ["before record failed", "after record failed"])
def test_a_failed_generation_is_replaced_once(world, sandbox, task, moment):
    """A generation that the service failed is not charged: another is submitted, whoever is killed then."""
    sandbox.add_faults([{"call": "submit", "occurrence": 1, "fail": True}])
    world.require_one_video(task.run(f"resume: {moment}"), submissions=2)


def test_three_kills_in_a_row(world, task):
    """Each attempt takes back what the one before left, until there is one video, paid once."""
    end = task.run(
        "resume: after UploadPart", "execute: after UploadPart", "execute: after CreateMultipartUpload"
    )
    world.require_one_video(end)
    assert task.tries == 4


def test_a_killed_cleanup_is_done_again(world, task):
    """An attempt that dies while it takes an upload back leaves the rest to the next one."""
    world.require_one_video(task.run("resume: after UploadPart", "execute: before AbortMultipartUpload"))


def test_another_run_finds_the_video_and_calls_nobody(world, task, new_task):
    """Another day's run with the same output, or a cleared task, neither pays nor asks the API anything."""
    world.require_one_video(task.run())
    before = world.calls()
    world.require_one_video(task.run())
    world.require_one_video(new_task("tuesday").run())
    assert world.calls() == before


def test_another_run_goes_on_with_what_a_killed_one_submitted(world, task, new_task):
    """A video that is paid for belongs to its output: another run stores it, if the first is gone."""
    task.tries = 1
    task.process("execute", moment="execute: after record submitted")
    world.require_one_video(new_task("tuesday").run())


def test_another_run_waits_for_a_dead_claim_and_then_refuses(world, task, new_task):
    """Another run cannot know that the claim's worker is dead: it waits until it must be, then fails."""
    task.tries = 1
    task.process("execute", moment="execute: before submit")
    other = new_task("tuesday")
    assert other.until_resume()["status"] == "claim"
    world.edit_receipt(claimed_until=0.0)  # as if as many minutes had passed
    world.require_unknown(other.run(), accepted=0)
    world.require_one_video(other.run(on_unknown_submission="resubmit"))


@pytest.mark.parametrize(
    "moment", ["before CreateMultipartUpload", "after UploadPart", "before CompleteMultipartUpload"]
)
def test_a_terminated_upload_leaves_nothing_behind(world, task, moment):
    """SIGTERM, as Airflow sends it to stop a task, takes the upload back; the next attempt stores it."""
    event = task.until_resume()
    end = task.process("resume", event=event, moment=f"resume: {moment}", signal=signal.SIGTERM)
    assert end["outcome"] == "up for retry"
    assert (world.objects(), world.uploads()) == ([world.receipt_key], [])
    world.require_one_video(task.run())


def test_a_completed_upload_is_not_taken_back(world, task):
    """SIGTERM after the video is in its place comes too late, and does no harm."""
    event = task.until_resume()
    moment = "resume: after CompleteMultipartUpload"
    world.require_one_video(task.process("resume", event=event, moment=moment, signal=signal.SIGTERM))


def test_a_worker_taken_for_dead_loses_the_claim(world, task, new_task):
    """Stopped just before its claim, it finds that another run has made the video, and pays nothing."""
    task.tries = 1
    stopped = task.process("execute", moment="execute: before record claimed", signal=signal.SIGSTOP)
    world.require_one_video(new_task("tuesday").run())
    os.kill(stopped["pid"], signal.SIGCONT)
    until(task.result)
    world.require_one_video(task.result())


def test_a_worker_taken_for_dead_submits_after_all(world, task):
    """Its next try, which cannot know, fails and pays nothing; a clear then stores the one video."""
    task.tries = 1
    stopped = task.process("execute", moment="execute: before submit", signal=signal.SIGSTOP)
    world.require_unknown(task.run(), accepted=0)
    os.kill(stopped["pid"], signal.SIGCONT)
    until(lambda: world.receipt().state.value == "submitted")
    world.require_one_video(task.run())


def test_a_worker_whose_claim_ran_out_submits_nothing(world, task, new_task):
    """Stopped before it sends, and woken after another run has submitted again: its request never leaves."""
    task.tries = 1
    shorten_claims(task)
    stopped = task.process("execute", moment="execute: before submit", signal=signal.SIGSTOP)
    other = new_task("tuesday", on_unknown_submission="resubmit")
    world.require_one_video(other.run())
    os.kill(stopped["pid"], signal.SIGCONT)
    until(task.result)
    world.require_one_video(task.result())


@pytest.mark.parametrize("moment", ["after UploadPart", "before record stored"])
def test_a_worker_taken_for_dead_stores_after_all(world, task, moment):
    """Two attempts at one video leave it whole, and the late one finds it in its place."""
    event = task.until_resume()
    stopped = task.process("resume", event=event, moment=f"resume: {moment}", signal=signal.SIGSTOP)
    late = task.newest
    world.require_one_video(task.run())
    os.kill(stopped["pid"], signal.SIGCONT)
    until(lambda: task.result(late))
    world.require_one_video(task.run())
    assert task.result(late)["outcome"] == "success"


def test_a_stored_video_is_not_fetched_again(world, sandbox, task):
    """Killed between video and record, two days ago: the video stands there, the service's is gone."""
    task.process("resume", event=task.until_resume(), moment="resume: after CompleteMultipartUpload")
    sandbox.add_faults([{"call": "content", "gone": True}])
    world.require_one_video(task.run())


def test_a_paid_video_needs_no_image(world, new_task, photo, tmp_path):
    """Once it is submitted, the image may go: the next attempt stores the video all the same."""
    image = tmp_path / "image.jpg"
    image.write_bytes(photo.read_bytes())
    task = new_task("wednesday", image=str(image))
    task.process("resume", event=task.until_resume(), moment="resume: after GetObject")
    image.unlink()
    world.require_one_video(task.run())


def test_an_outage_at_the_resume_is_waited_out(world, sandbox, task):
    """One failed look at the status does not fail a task whose video is finished."""
    event = task.until_resume()
    sandbox.add_faults([{"call": "poll", "occurrence": 1, "status": 503}])
    end = task.process("resume", event=event)
    world.require_one_video(end)


def test_a_receipt_that_is_gone_is_no_reason_to_pay_again(world, s3, task):
    """Resumed with a finished video and without its receipt, the task submits nothing."""
    event = task.until_resume()
    s3.delete_object(Bucket="videos", Key=world.receipt_key)
    task.process("resume", event=event)
    assert len(world.submissions()) == 1


def continue_with_id(world, task):
    """Do what the error says, with the id that the service's log shows."""
    (accepted,) = world.submissions()
    world.edit_receipt(state="submitted", veo_task_id=accepted["task_id"])
    world.require_one_video(task.run())


def shorten_claims(task):
    """Let a claim run out after seconds instead of minutes, for those who wait until it has."""
    task.settings["veo_provider.generation.submission:CLAIM_SECONDS"] = 4
    task.settings["veo_provider.generation.submission:RECORD_SECONDS"] = 1


BACKUP = [["backup", "veo-3.1-generate-preview"]]
NO_CHANNEL = {"call": "submit", "no_channel": 503}


@pytest.fixture
def task_with_fallback(new_task, sandbox, backup):
    """A task whose first service has no channel, and whose second one makes the video."""
    task = new_task(fallbacks=BACKUP)
    task.add_connection("BACKUP", unasked(backup))
    sandbox.add_faults([NO_CHANNEL])
    return task


@pytest.mark.parametrize(
    "moment",
    [
        "execute: after record refused",
        "execute: after record submitted",
        "execute: deferred",
        "wait: before poll",
        "resume: before record stored",
    ],
)
def test_a_fallback_makes_one_video_whatever_is_killed(world, sandbox, backup, task_with_fallback, moment):
    """After the refusal, all is asked again; after the second submission, only the second service is."""
    end = task_with_fallback.run(moment)
    assert end["outcome"] == "success", end
    assert (len(sandbox.tasks()), len(backup.tasks())) == (0, 1)
    assert (sandbox.charges()["count"], backup.charges()["usd"]) == (0, pytest.approx(1.2))
    receipt = world.receipt()
    assert (receipt.state.value, receipt.price_usd, receipt.veo_task_id) == (
        "stored",
        1.2,
        backup.tasks()[0]["task_id"],
    )


def test_a_fallback_without_a_record_is_not_repeated_by_any_route(world, sandbox, backup, task_with_fallback):
    """The second service has accepted and the worker died: the first is well again, and is not asked."""
    pid = task_with_fallback.start("execute", moment="execute: before record submitted")
    assert task_with_fallback.finish("execute", pid)["outcome"] == "killed"
    task_with_fallback.tries = 1
    sandbox.clear_faults()
    end = task_with_fallback.run()
    assert end["outcome"] == "failed", end
    assert any("Unknown" in name for name in end["error"])
    assert (len(sandbox.tasks()), len(backup.tasks())) == (0, 1)
    assert world.receipt().request["account"].startswith("backup at ")
