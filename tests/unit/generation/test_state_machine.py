"""The decision what to do next, from the receipt alone."""

from dataclasses import replace

import pytest
from support.generations import (
    FAIL,
    KEEP,
    KEEP_RESUBMIT,
    ME,
    NOW,
    OURS,
    REGENERATE,
    RESUBMIT,
    THEIRS,
    TRY_1,
    TRY_2,
    TUESDAY,
    history,
    paid,
    receipt,
)

from veo_provider import exceptions
from veo_provider.generation.state_machine import (
    Attach,
    Done,
    GenerationPolicy,
    NeedsImage,
    Refuse,
    Submit,
    Verify,
    WaitForClaim,
    is_retry_of,
    next_step,
)
from veo_provider.receipts.attempt import Attempt

POLICIES = [FAIL, RESUBMIT, REGENERATE, KEEP, KEEP_RESUBMIT]
CHANGED = exceptions.VeoRequestChangedError


def decide(found, policy, *, stored=True, by=ME):
    return next_step(found, OURS, by, policy, now=NOW, stored=stored)


def kind(step):
    """Return what a step is, and for a refusal which error it is."""
    return type(step.error) if isinstance(step, Refuse) else type(step)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_nobody_has_asked_for_is_submitted(policy):
    """Without a receipt there is nothing to be careful of."""
    assert decide(None, policy) == Submit()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fingerprint", [OURS, THEIRS])
def test_a_live_claim_of_another_is_waited_for(policy, fingerprint):
    """Whatever is asked for, nobody pays while another task instance may be submitting."""
    found = receipt("claimed", fingerprint=fingerprint, veo_task_id=None)
    assert decide(found, policy) == WaitForClaim("dag / run / other try 1", NOW + 1)


@pytest.mark.parametrize("claimant", ["dag / run / other", ME.task_instance])
@pytest.mark.parametrize("state", ["claimed", "unknown"])
@pytest.mark.parametrize("policy", [FAIL, REGENERATE, KEEP])
def test_a_submission_of_unknown_fate_is_left_to_people(policy, state, claimant):
    """A dead attempt's claim, or a lost answer, is refused with what to check."""
    found = receipt(state, claimant=claimant, alive=claimant == ME.task_instance, veo_task_id=None)
    step = decide(found, policy)
    assert issubclass(kind(step), exceptions.VeoSubmissionUnknown)
    assert "resubmit" in str(step.error)
    assert "settle attach" in str(step.error)


@pytest.mark.parametrize("claimant", ["dag / run / other", ME.task_instance])
@pytest.mark.parametrize("state", ["claimed", "unknown"])
@pytest.mark.parametrize("policy", [RESUBMIT, KEEP_RESUBMIT])
def test_a_submission_of_unknown_fate_is_repeated_if_wanted(policy, state, claimant):
    """on_unknown_submission="resubmit" goes on, at the risk of paying twice."""
    assert decide(receipt(state, claimant=claimant, alive=False, veo_task_id=None), policy) == Submit()


@pytest.mark.parametrize("policy", [RESUBMIT, KEEP_RESUBMIT])
def test_whoever_means_to_submit_again_waits_for_a_live_claim(policy):
    """An earlier try of the same task may have lost Airflow only, and submit this very moment."""
    found = receipt("claimed", claimant=ME.task_instance, veo_task_id=None)
    assert kind(decide(found, policy)) is WaitForClaim


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("policy", POLICIES)
def test_an_attempt_knows_its_own_claim(policy, alive):
    """Back with its own claim, an attempt knows that nothing was accepted, and submits."""
    found = replace(receipt("claimed", alive=alive, veo_task_id=None), claim_id=ME.id)
    assert decide(found, policy) == Submit()


@pytest.mark.parametrize("alive", [True, False])
def test_a_lost_answer_is_not_waited_for(alive):
    """After its attempt has recorded that the answer is lost, there is nobody to wait for."""
    assert issubclass(kind(decide(receipt("unknown", alive=alive), FAIL)), exceptions.VeoSubmissionUnknown)


TABLE = [
    # state, policy, same or changed request, whether the video is there -> what to do
    ("refused", FAIL, OURS, False, Submit),
    ("refused", FAIL, THEIRS, False, Submit),
    ("refused", REGENERATE, THEIRS, False, Submit),
    ("refused", KEEP, OURS, False, Submit),
    ("refused", KEEP, THEIRS, False, Submit),
    ("submitted", FAIL, OURS, False, Attach),
    ("submitted", RESUBMIT, OURS, False, Attach),
    ("submitted", REGENERATE, OURS, False, Attach),
    ("submitted", KEEP, OURS, False, Attach),
    ("submitted", FAIL, THEIRS, False, CHANGED),
    ("submitted", RESUBMIT, THEIRS, False, CHANGED),
    ("submitted", REGENERATE, THEIRS, False, Submit),
    ("submitted", KEEP, THEIRS, False, Attach),
    ("failed", FAIL, OURS, False, Submit),
    ("failed", FAIL, THEIRS, False, Submit),
    ("failed", REGENERATE, THEIRS, False, Submit),
    ("failed", KEEP, OURS, False, Submit),
    ("failed", KEEP, THEIRS, False, Submit),
    ("stored", FAIL, OURS, True, Done),
    ("stored", FAIL, OURS, False, Attach),
    ("stored", RESUBMIT, OURS, False, Attach),
    ("stored", REGENERATE, OURS, True, Done),
    ("stored", REGENERATE, OURS, False, Attach),
    ("stored", KEEP, OURS, True, Done),
    ("stored", FAIL, THEIRS, True, CHANGED),
    ("stored", FAIL, THEIRS, False, CHANGED),
    ("stored", REGENERATE, THEIRS, True, Submit),
    ("stored", REGENERATE, THEIRS, False, Submit),
    ("stored", KEEP, THEIRS, True, Done),
    ("stored", KEEP, THEIRS, False, Attach),
]


@pytest.mark.parametrize("alive", [True, False], ids=["live claim", "dead claim"])
@pytest.mark.parametrize("claimant", ["dag / run / other", ME.task_instance], ids=["other", "own"])
@pytest.mark.parametrize(("state", "policy", "fingerprint", "stored", "expected"), TABLE)
def test_an_outcome_decides_alone(state, policy, fingerprint, stored, expected, claimant, alive):
    """Once an outcome is recorded, the claim's age and owner do not matter any more."""
    found = receipt(state, fingerprint=fingerprint, claimant=claimant, alive=alive)
    step = decide(found, policy, stored=stored)
    assert kind(step) is expected
    if expected is Attach:
        assert step == Attach("task_1")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_failure_is_repeated_so_often_and_no_more(policy):
    """After max_generations accepted submissions, the service's reason is the answer."""
    assert kind(decide(receipt("failed", generations=1), policy)) is Submit
    step = decide(receipt("failed", generations=2), policy)
    assert kind(step) is exceptions.VeoGenerationFailed
    assert "2 times" in str(step.error)
    assert "upstream broke" in str(step.error)


@pytest.mark.parametrize("policy", POLICIES)
def test_moderation_is_not_repeated(policy):
    """What moderation refused once, it refuses again."""
    step = decide(receipt("failed", moderated=True), policy)
    assert kind(step) is exceptions.VeoGenerationFailed
    assert step.error.moderated


@pytest.mark.parametrize("policy", POLICIES)
def test_another_request_is_not_held_to_what_moderation_refused(policy):
    """With another image or prompt a failed output begins anew, whatever the policy: nothing was paid."""
    for changes in ({"moderated": True}, {"generations": 9}):
        assert decide(receipt("failed", fingerprint=THEIRS, **changes), policy) == Submit()


PAID = [
    # who has paid, who comes next -> whether it may pay again for another request
    (paid(TRY_1), TRY_2, True),
    (paid(TRY_1), TRY_1, False),
    (paid(TRY_1), TUESDAY, True),
    (paid(TRY_1, *paid(TUESDAY)), TRY_1, False),
    (paid(TRY_1, *paid(TUESDAY)), TRY_2, False),
    (paid(TRY_1, *paid(TUESDAY)), TUESDAY, False),
    (paid(TRY_1, *paid(TUESDAY), *paid(TRY_2)), TUESDAY, False),
    (paid(TRY_1, ("failed", TRY_1)), TRY_1, True),
    (paid(TRY_1, *paid(TUESDAY, ("failed", TUESDAY))), TRY_2, True),
    (paid(TRY_1, ("claimed", TUESDAY), ("refused", TUESDAY)), TRY_2, True),
    ((("claimed", TRY_1), ("unknown", TRY_1), *paid(TUESDAY)), TRY_2, False),
]


@pytest.mark.parametrize(("steps", "by", "may_pay"), PAID)
def test_one_try_pays_once_and_two_tasks_do_not_take_turns(steps, by, may_pay):
    """Whoever regenerates an output pays for it once, and not after another task has replaced it."""
    found = receipt("stored", fingerprint=THEIRS, history=history(*steps))
    step = decide(found, REGENERATE, by=by)
    assert kind(step) is (Submit if may_pay else exceptions.VeoAlreadyPaidError)


@pytest.mark.parametrize(
    ("other", "template"),
    [
        ("dag / tuesday / me", "{{ run_id }}"),
        ("dag / monday / you", "{{ task.task_id }}"),
        ("other / monday / me", "{{ dag.dag_id }}"),
        ("dag / monday / me [3]", "{{ ti.map_index }}"),
    ],
)
def test_two_tasks_that_share_an_output_are_named_with_the_template_that_is_missing(other, template):
    """The error names both tasks, and what would tell their outputs apart."""
    rival = Attempt(other)
    step = decide(
        receipt("stored", fingerprint=THEIRS, history=history(*paid(TRY_1, *paid(rival)))),
        REGENERATE,
        by=TRY_2,
    )
    assert str(TRY_1) in str(step.error)
    assert str(rival) in str(step.error)
    assert template in str(step.error)


def test_resubmit_is_no_licence_to_pay_in_the_same_try():
    """A try whose own answer was lost leaves the second payment to the next one."""
    found = receipt("unknown", veo_task_id=None, history=history(("claimed", TRY_1), ("unknown", TRY_1)))
    assert issubclass(kind(decide(found, RESUBMIT, by=TRY_1)), exceptions.VeoSubmissionUnknown)
    assert decide(found, RESUBMIT, by=TRY_2) == Submit()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fingerprint", [OURS, THEIRS])
def test_an_id_from_a_lost_answer_is_verified_before_anything_else(policy, fingerprint):
    """Whatever the policy, a free look comes before a refusal and before a second payment."""
    found = receipt("unknown", fingerprint=fingerprint, veo_task_id=None, candidate_task_id="task_7")
    assert decide(found, policy) == Verify("task_7")


def test_a_lost_video_is_looked_for_again_and_made_anew_only_if_wanted():
    """The look is free; a second payment takes a policy, and another try than the one that was charged."""
    found = receipt("lost", history=history(*paid(TRY_1, ("lost", TRY_1))))
    anew = GenerationPolicy(on_lost_video="regenerate")
    assert decide(found, FAIL, by=TRY_2, stored=False) == Attach("task_1")
    assert decide(found, anew, by=TRY_2, stored=False) == Submit()
    assert decide(found, anew, by=TRY_2, stored=True) == Done()
    assert kind(decide(found, anew, by=TRY_1, stored=False)) is exceptions.VeoAlreadyPaidError
    changed = receipt("lost", fingerprint=THEIRS, history=history(*paid(TRY_1)))
    assert kind(decide(changed, FAIL, by=TRY_2, stored=False)) is CHANGED


@pytest.mark.parametrize(
    "field", ["on_unknown_submission", "on_changed_request", "on_lost_video", "max_generations"]
)
def test_a_policy_that_does_not_exist_is_refused(field):
    """A misspelt policy is told before anything is read or paid."""
    with pytest.raises(exceptions.VeoRequestError, match=field):
        GenerationPolicy(**{field: 0 if field == "max_generations" else "retry"})


def test_a_retry_asks_for_what_its_task_has_asked_for_first():
    """Only a later try of the same round counts as a retry; a clear asks anew."""
    found = receipt("submitted", claimant=TRY_1.task_instance, history=history(*paid(TRY_1)))
    assert is_retry_of(found, replace(TRY_2, first_try=1))
    for by in (TRY_1, TRY_2, replace(TRY_2, first_try=2), replace(TUESDAY, first_try=1)):
        assert not is_retry_of(found, by)


WITHOUT_THE_IMAGE = [
    # state, policy, whether the claim is alive -> what to do before the image is read
    ("claimed", FAIL, True, WaitForClaim),
    ("claimed", FAIL, False, exceptions.VeoUnknownReceiptError),
    ("claimed", RESUBMIT, False, NeedsImage),
    ("unknown", FAIL, False, exceptions.VeoUnknownReceiptError),
    ("unknown", RESUBMIT, False, NeedsImage),
    ("refused", FAIL, False, NeedsImage),
    ("submitted", FAIL, False, NeedsImage),
    ("failed", FAIL, False, NeedsImage),
    ("stored", FAIL, False, NeedsImage),
    ("lost", FAIL, False, NeedsImage),
]


@pytest.mark.parametrize(("state", "policy", "alive", "expected"), WITHOUT_THE_IMAGE)
def test_the_image_is_read_only_where_it_makes_a_difference(state, policy, alive, expected):
    """A claim is waited for, and a lost submission refused, before anybody opens the image."""
    found = receipt(state, alive=alive)
    assert kind(next_step(found, None, ME, policy, now=NOW, stored=True)) is expected


def test_without_a_fingerprint_nothing_is_submitted():
    """Neither where there is no receipt nor where the claim is the attempt's own."""
    own = replace(receipt("claimed", veo_task_id=None), claim_id=ME.id)
    for found in (None, own):
        assert next_step(found, None, ME, RESUBMIT, now=NOW, stored=False) == NeedsImage()


@pytest.mark.parametrize("policy", POLICIES)
def test_an_id_is_verified_before_the_image_is_read(policy):
    """The free status call may settle all of it."""
    found = receipt("unknown", veo_task_id=None, candidate_task_id="task_7")
    assert next_step(found, None, ME, policy, now=NOW, stored=False) == Verify("task_7")


@pytest.mark.parametrize(("generations", "said"), [(1, "once as task_1"), (3, "3 times, last as task_1")])
def test_a_failure_counts_in_english(generations, said):
    """One time is once."""
    step = decide(receipt("failed", generations=generations), GenerationPolicy(max_generations=1))
    assert said in str(step.error)
