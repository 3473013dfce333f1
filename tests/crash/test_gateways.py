"""A few moments of the crash matrix against each gateway; all of them with ``GATEWAY_MOMENTS=all``."""

import os

import pytest
from crash.test_crashes import ACCEPTED, ATTACHED, NOT_ACCEPTED, shorten_claims
from support.faces import FACES, MODELS

from veo_provider.sandbox.process import Sandbox

ALL = os.environ.get("GATEWAY_MOMENTS") == "all"
SAFE = ATTACHED if ALL else ["execute: after record submitted"]
LOST = [*NOT_ACCEPTED, *ACCEPTED] if ALL else ["execute: after submit"]


@pytest.fixture(scope="module", params=FACES)
def _face(request):
    with Sandbox(gateway=request.param, latency=0.2, s3=False) as running:
        yield running


@pytest.fixture
def sandbox(_face, _sandbox):
    """The gateway, with the S3 of the sandbox that all tests share."""
    _face.reset()
    names = ("aws_conn", "s3", "aws_access_key_id", "aws_secret_access_key")
    for name in names:
        setattr(_face, name, getattr(_sandbox, name))
    return _face


@pytest.fixture
def task(new_task, sandbox):
    """A task that asks for a model of this gateway."""
    return new_task(model=MODELS[sandbox.gateway])


@pytest.mark.parametrize("moment", SAFE)
def test_one_video_whatever_is_killed(world, task, sandbox, moment):
    """With the task id recorded, the next attempt ends with one video, paid once."""
    world.require_one_video(task.run(moment))
    assert world.receipt().gateway == sandbox.gateway


@pytest.mark.parametrize("moment", LOST)
def test_a_lost_submission_is_not_paid_twice(world, task, moment):
    """Without a record, the next attempt either finds the one video, or leaves it to a person."""
    shorten_claims(task)
    end = task.run(moment)
    accepted = len(world.submissions())
    assert accepted == world.bill() <= 1
    if end["outcome"] == "success":
        world.require_one_video(end)
    else:
        world.require_unknown(end, accepted=accepted, hints=("veo_task_id", "resubmit"), may_retry=True)


@pytest.mark.skipif(not ALL, reason="the batch with faults has it too; make gateways-chaos runs it")
def test_a_reset_submission_is_not_paid_twice(world, sandbox, task):
    """Nobody is killed, the answer alone is lost: the same."""
    sandbox.add_faults([{"call": "submit", "first": 1, "reset": "after"}])
    end = task.run()
    assert len(world.submissions()) == world.bill() == 1
    if end["outcome"] != "success":
        world.require_unknown(end, accepted=1, hints=("veo_task_id", "resubmit"), may_retry=True)
