"""The decision what to do next, and the machine that carries it out under crashes, outages and rivals."""

import contextlib
import threading
import time
from dataclasses import dataclass, replace

import pytest
import tenacity
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from veo_provider import exceptions
from veo_provider.api.request import VeoRequest
from veo_provider.api.video import Video, VideoStatus
from veo_provider.exceptions import ReceiptConflictError, VeoReceiptUnavailableError
from veo_provider.generation import state_machine
from veo_provider.generation.state_machine import (
    Attach,
    Done,
    GenerationPolicy,
    PreparedRequest,
    Refuse,
    Submit,
    WaitForClaim,
    next_step,
)
from veo_provider.receipts import receipt as receipts
from veo_provider.receipts.receipt import Attempt, Receipt, ReceiptState, VersionedReceipt

NOW = 1_800_000_000.0
OURS, THEIRS = "a" * 64, "b" * 64
ME, OTHER = Attempt("dag / run / me", 2), Attempt("dag / run / other")
FAIL, RESUBMIT = GenerationPolicy(), GenerationPolicy(on_unknown_submission="resubmit")
REGENERATE, KEEP = (
    GenerationPolicy(on_changed_request="regenerate"),
    GenerationPolicy(on_changed_request="keep"),
)
KEEP_RESUBMIT = GenerationPolicy(on_unknown_submission="resubmit", on_changed_request="keep")
POLICIES = [FAIL, RESUBMIT, REGENERATE, KEEP, KEEP_RESUBMIT]
CHANGED = state_machine.VeoRequestChangedError


def receipt(state, *, fingerprint=OURS, claimant="dag / run / other", alive=True, **changes):
    fields = {"generations": 1, "veo_task_id": "task_1", "reason": "upstream broke", **changes}
    return Receipt(
        state=ReceiptState(state),
        fingerprint=fingerprint,
        request={},
        price_usd=0.3,
        claimed_by=f"{claimant} try 1",
        claim_id="0",
        claimant=claimant,
        claimed_until=NOW + 1 if alive else NOW - 1,
        **fields,
    )


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
    assert "veo_task_id" in str(step.error)


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


TRY_1, TRY_2 = Attempt("dag / monday / me", 1), Attempt("dag / monday / me", 2)
TUESDAY = Attempt("dag / tuesday / me", 1)


def history(*steps):
    """What a receipt has been through: who reached which state."""
    return tuple({"state": state, "at": "2026-11-01T00:00:00+00:00", "by": str(by)} for state, by in steps)


def paid(by, *more):
    return (("claimed", by), ("submitted", by), *more)


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
    assert kind(step) is (Submit if may_pay else state_machine.VeoAlreadyPaidError)


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
    assert decide(found, policy) == state_machine.Verify("task_7")


def test_a_lost_video_is_looked_for_again_and_made_anew_only_if_wanted():
    """The look is free; a second payment takes a policy, and another try than the one that was charged."""
    found = receipt("lost", history=history(*paid(TRY_1, ("lost", TRY_1))))
    anew = GenerationPolicy(on_lost_video="regenerate")
    assert decide(found, FAIL, by=TRY_2, stored=False) == Attach("task_1")
    assert decide(found, anew, by=TRY_2, stored=False) == Submit()
    assert decide(found, anew, by=TRY_2, stored=True) == Done()
    assert kind(decide(found, anew, by=TRY_1, stored=False)) is state_machine.VeoAlreadyPaidError
    changed = receipt("lost", fingerprint=THEIRS, history=history(*paid(TRY_1)))
    assert kind(decide(changed, FAIL, by=TRY_2, stored=False)) is CHANGED


@pytest.mark.parametrize(
    "field", ["on_unknown_submission", "on_changed_request", "on_lost_video", "max_generations"]
)
def test_a_policy_that_does_not_exist_is_refused(field):
    """A misspelt policy is told before anything is read or paid."""
    with pytest.raises(exceptions.VeoRequestError, match=field):
        GenerationPolicy(**{field: 0 if field == "max_generations" else "retry"})


class Killed(BaseException):
    """The process is gone: nothing of it runs any more, except in this test its unwinding."""


class Interrupted(BaseException):
    """A signal or Airflow's timeout: the process goes on with its handlers."""


class Clock:
    """The time of this world, which passes when somebody sleeps or the test says so."""

    def __init__(self):
        self.now = NOW

    def time(self):
        return self.now

    monotonic = time

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """Time that passes without waiting."""
    made = Clock()
    monkeypatch.setattr(state_machine, "time", made)
    monkeypatch.setattr(receipts, "time", made)
    monkeypatch.setattr(tenacity, "time", made)
    monkeypatch.setattr(tenacity.nap, "time", made)
    return made


@dataclass
class Task:
    """A generation as the service has it."""

    id: str
    fingerprint: str
    status: VideoStatus = VideoStatus.IN_PROGRESS
    code: str = ""


class World:
    """The service's ledger, the one receipt, the one video, and what must never happen to them."""

    def __init__(self):
        self.tasks = {}
        self.body = None
        self.version = 0
        self.video_there = False
        self.recorded = set()
        self.recorded_failed = set()
        self.violations = []

    @property
    def receipt(self):
        return None if self.body is None else Receipt.from_json(self.body, "memory")

    def put(self, new, etag):
        """Write the receipt as S3 would, under a condition."""
        if (str(self.version) if self.body else None) != etag:
            # As the S3 store has it: a write that was repeated is found to be one's own.
            if self.body and self.receipt.revision == new.revision:
                return str(self.version)
            raise ReceiptConflictError("memory")
        self.judge(self.receipt, new)
        self.body, self.version = new.to_json(), self.version + 1
        return str(self.version)

    def judge(self, old, new):
        """Note what a write must not do."""
        if old and old.state is ReceiptState.STORED and new.state is not ReceiptState.STORED:
            self.violations.append(f"a stored receipt became {new.state}")
        if new.state is ReceiptState.SUBMITTED:
            self.recorded.add(new.veo_task_id)
        if new.state is ReceiptState.FAILED:
            self.recorded_failed.add(new.veo_task_id)
        named = {step.get("veo_task_id") for step in new.history} | {new.veo_task_id}
        if lost := self.recorded - named:
            self.violations.append(f"the receipt has forgotten {lost}")

    def accept(self, fingerprint, policy):
        """Accept a submission, which must be the only one that may still be charged."""
        if open_ones := set(self.tasks) - self.recorded_failed:
            self.violations.append(f"submitted again although {open_ones} may be charged")
        row = 0
        for task in reversed(self.tasks.values()):
            if task.fingerprint != fingerprint:
                break
            row += 1
        if row >= policy.max_generations:
            self.violations.append(f"submitted {row + 1} times")
        task = Task(f"task_{len(self.tasks) + 1}", fingerprint)
        self.tasks[task.id] = task
        return task

    def charged(self):
        return [task for task in self.tasks.values() if task.status is VideoStatus.COMPLETED]


LOST = exceptions.VeoSubmissionUnknown
BEFORE_OR_AFTER = {"killed": Killed, "interrupted": Interrupted, "unavailable": VeoReceiptUnavailableError}
REFUSALS = {
    "bad request": exceptions.VeoBadRequestError,
    "moderated": exceptions.VeoModerationError,
    "empty account": exceptions.VeoQuotaError,
    "rate limit": exceptions.VeoRateLimitError,
    "not sent": exceptions.VeoNotSentError,
    "image lost": exceptions.VeoImageUnavailableError,
    "interrupted before": exceptions.VeoInterruptedError,
}
STORE_TROUBLE = [f"{kind} {when}" for kind in BEFORE_OR_AFTER for when in ("before", "after")]
TROUBLE = {
    "read": ["unavailable before", "killed before", "interrupted before"],
    "write": STORE_TROUBLE,
    "submit": [
        *REFUSALS,
        "lost before",
        "lost after",
        "named before",
        "named after",
        "killed before",
        "killed after",
    ],
    "get": ["unavailable", "killed before"],
}


class Actor:
    """One attempt of one task instance, in a thread that moves only when it is told to.

    It stops before each call to the store and to the service, and is told how that call ends. It is the
    receipt store and the client of its own attempt.
    """

    uri = "memory"

    def __init__(self, world, task_instance, plan, policy):
        self.world = world
        self.plan = plan
        self.policy = policy
        self.by = Attempt(task_instance)
        self.outcome = None
        self.next_call = None
        self.accepted = None
        self._dead = False
        self._verdict = "ok"
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._back.acquire()

    @property
    def ended(self):
        return self.next_call is None

    def move(self, verdict="ok"):
        """Let the call that is due end as told, and the attempt go on to its next one."""
        self._verdict = verdict
        self._go.release()
        self._back.acquire()

    def _run(self):
        try:
            self.outcome = self._live()
        except BaseException as error:  # noqa: BLE001 - a crash is an outcome here
            self.outcome = error
        self.next_call = None
        self._back.release()

    def _live(self):
        """Do what the operator does."""
        while True:
            step, held = state_machine.advance(
                self, self, self.plan, self.by, self.policy, is_stored=lambda _: self.world.video_there
            )
            if not isinstance(step, Attach):
                return step
            video = self.get(step.veo_task_id)
            if video.status is VideoStatus.FAILED:
                state_machine.record_failure(self, held, video, self.by)
            elif video.status is VideoStatus.COMPLETED:
                self.world.video_there = True
                state_machine.record_video(self, held, {"bytes": 1}, self.by)
                return Done()
            else:
                return step

    def _call(self, name):
        """Stop before a call, and return how it is to end; a dead process makes no calls."""
        if not self._dead:
            self.next_call = name
            self._back.release()
            self._go.acquire()
        if self._dead:
            raise Killed
        return self._verdict

    def _end(self, kind):
        """End a call with an error, and the process with it if it was killed."""
        self._dead = self._dead or kind is Killed
        raise kind("So the test has it.")

    def _under(self, name, effect):
        verdict = self._call(name)
        if verdict == "ok":
            return effect()
        kind, when = verdict.split()
        if when == "after":
            with contextlib.suppress(ReceiptConflictError):
                effect()
        return self._end(BEFORE_OR_AFTER[kind])

    def read(self):
        def effect():
            return (
                None
                if self.world.body is None
                else VersionedReceipt(self.world.receipt, str(self.world.version))
            )

        return self._under("read", effect)

    def write(self, receipt, after):
        return self._under(
            "write", lambda: VersionedReceipt(receipt, self.world.put(receipt, after.etag if after else None))
        )

    def submit(self, request, send_before):
        assert request is self.plan.request
        verdict = self._call("submit")
        if CLOCK.now >= send_before:
            self._end(exceptions.VeoNotSentError)
        if verdict in REFUSALS:
            self._end(REFUSALS[verdict])
        if not verdict.endswith("before"):
            self.accepted = self.world.accept(self.plan.fingerprint, self.policy)
        if verdict.startswith("named"):
            # An answer that breaks off after an id: the right one, or what looks like one.
            name = self.accepted.id if verdict.endswith("after") else "req_0123456789"
            raise LOST("The answer broke off.", veo_task_id=name)
        if verdict != "ok":
            self._end(Killed if verdict.startswith("killed") else LOST)
        return Video(self.accepted.id, VideoStatus.QUEUED)

    def get(self, veo_task_id):
        verdict = self._call("get")
        if verdict != "ok":
            self._end(Killed if verdict.startswith("killed") else exceptions.VeoServerError)
        if veo_task_id not in self.world.tasks:
            self._end(exceptions.VeoTaskNotFoundError)
        task = self.world.tasks[veo_task_id]
        return Video(task.id, task.status, error_code=task.code)


PLANS = [
    PreparedRequest(VeoRequest(prompt=prompt), {"prompt": prompt}, fingerprint)
    for prompt, fingerprint in (("ours", OURS), ("theirs", THEIRS))
]
SAFE_POLICIES = [FAIL, KEEP]
MOST_CALLS = 40
"""More than an attempt ever makes while nothing goes wrong."""


class Machine(RuleBasedStateMachine):
    """Several attempts of several task instances after the same output, in any order of their calls."""

    def __init__(self):
        super().__init__()
        self.world = World()
        self.actors = []

    @initialize()
    def begin(self):
        CLOCK.now = NOW

    def live(self):
        return [actor for actor in self.actors if not actor.ended]

    @rule(
        task=st.sampled_from(["me", "me", "other", "third"]),
        plan=st.sampled_from([PLANS[0], PLANS[0], PLANS[0], PLANS[1]]),
        policy=st.sampled_from(SAFE_POLICIES),
    )
    def start(self, task, plan, policy):
        """Begin an attempt; another one of the same task instance may still run."""
        if len(self.live()) < 4:
            self.actors.append(Actor(self.world, task, plan, policy))

    @rule(which=st.integers(0, 3), calls=st.integers(1, 5))
    def advance(self, which, calls):
        """Let an attempt make some calls that succeed."""
        for _ in range(calls):
            if live := self.live():
                live[which % len(live)].move()

    @rule(which=st.integers(0, 3), how=st.integers(0, 999))
    def trouble(self, which, how):
        """Let an attempt's next call end badly."""
        if live := self.live():
            actor = live[which % len(live)]
            choices = TROUBLE[actor.next_call]
            actor.move(choices[how % len(choices)])

    @rule(
        which=st.integers(0, 9),
        end=st.sampled_from([("completed", ""), ("failed", "broke"), ("failed", "PUBLIC_X")]),
    )
    def finish(self, which, end):
        """Let the service end a generation."""
        running = [task for task in self.world.tasks.values() if task.status is VideoStatus.IN_PROGRESS]
        if running:
            task = running[which % len(running)]
            task.status, task.code = VideoStatus(end[0]), end[1]

    @rule(seconds=st.sampled_from([1.0, 100.0, state_machine.CLAIM_SECONDS + 1]))
    def wait(self, seconds):
        """Let time pass, beyond the life of a claim too."""
        CLOCK.now += seconds

    @rule()
    def delete_the_video(self):
        """Somebody removes the video, and leaves its receipt."""
        self.world.video_there = False

    @invariant()
    def nothing_is_paid_twice(self):
        assert self.world.violations == []
        assert len(self.world.charged()) <= 1

    @invariant()
    def every_attempt_tells_the_truth(self):
        """An attempt whose submission was accepted never ends by saying that nothing was paid."""
        for actor in self.actors:
            if actor.ended and actor.accepted and isinstance(actor.outcome, exceptions.VeoError):
                if actor.accepted.status is VideoStatus.FAILED or actor.accepted.id in self.world.recorded:
                    continue
                truth = (LOST, state_machine.VeoRecordLostError, exceptions.VeoNotFetchedError)
                assert isinstance(actor.outcome, truth), actor.outcome
            assert not isinstance(actor.outcome, (AssertionError, TypeError, AttributeError)), actor.outcome

    def run_to_the_end(self, actor):
        for _ in range(MOST_CALLS):
            if actor.ended:
                return
            actor.move()
        pytest.fail("an attempt does not end")

    def teardown(self):
        """Let everybody come to an end, and then somebody new: there is always one, and a cheap one."""
        for actor in self.actors:
            self.run_to_the_end(actor)
        CLOCK.now += state_machine.CLAIM_SECONDS + 1
        submitted = len(self.world.tasks)
        last = Actor(self.world, "last", PLANS[0], FAIL)
        self.actors.append(last)
        self.run_to_the_end(last)
        self.nothing_is_paid_twice()
        self.every_attempt_tells_the_truth()
        assert isinstance(last.outcome, (Attach, Done, exceptions.VeoError)), last.outcome
        assert len(self.world.tasks) - submitted <= 2
        if isinstance(last.outcome, Attach):
            assert last.outcome.veo_task_id in self.world.tasks


CLOCK = Clock()


@pytest.fixture
def world_clock(monkeypatch):
    """The clock that the state machine moves."""
    for module in (state_machine, receipts, tenacity, tenacity.nap):
        monkeypatch.setattr(module, "time", CLOCK)


def run(machine, examples, **options):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            **options,
        ),
    )


def test_nothing_is_paid_twice_whatever_happens_in_whatever_order(world_clock):
    """Crashes, outages, lost answers, rivals and time leave at most one generation that is charged."""
    run(Machine, 200)


class CarelessWorld(World):
    """A store that ignores conditional writes."""

    def put(self, new, etag):
        return super().put(new, str(self.version) if self.body else None)


class CarelessMachine(Machine):
    """The same attempts on a store that ignores conditional writes."""

    def __init__(self):
        super().__init__()
        self.world = CarelessWorld()


def test_the_proof_would_find_a_double_payment(world_clock):
    """On a store that ignores conditional writes the same machine does find one."""
    with pytest.raises(AssertionError, match=r"may be charged|a stored receipt|has forgotten"):
        run(CarelessMachine, 2000, phases=[Phase.generate], report_multiple_bugs=False, derandomize=True)


class Memory:
    """A receipt store that keeps conditions, and does nothing else."""

    uri = "memory"

    def __init__(self):
        self.world = World()

    def read(self):
        return self.world.body and VersionedReceipt(self.world.receipt, str(self.world.version))

    def write(self, receipt, after):
        return VersionedReceipt(receipt, self.world.put(receipt, after.etag if after else None))


class Service:
    """A client whose submissions are accepted, or end as the test says."""

    def __init__(self, ends=None):
        self.ends = ends
        self.submitted = 0

    def submit(self, request, send_before):
        self.submitted += 1
        if self.ends:
            raise self.ends
        return Video("task_1", VideoStatus.QUEUED)


def submitted_by(store, by, policy=FAIL, service=None):
    return state_machine.advance(store, service or Service(), PLANS[0], by, policy, is_stored=lambda _: True)[
        1
    ]


def test_a_refusal_is_recorded_and_may_be_repeated():
    """After a refusal the receipt says why, and the next attempt submits."""
    store = Memory()
    with pytest.raises(exceptions.VeoQuotaError):
        submitted_by(store, ME, service=Service(exceptions.VeoQuotaError("The account is empty.")))
    assert store.world.receipt.state is ReceiptState.REFUSED
    assert "empty" in store.world.receipt.reason
    assert submitted_by(store, ME).receipt.veo_task_id == "task_1"


def test_a_lost_answer_is_recorded_and_stops_the_next_attempt():
    """After a lost answer the receipt says so, and the next attempt submits nothing."""
    store, service = Memory(), Service(exceptions.VeoSubmissionUnknown("The answer was lost."))
    for _ in range(2):
        with pytest.raises(exceptions.VeoSubmissionUnknown):
            submitted_by(store, ME, service=service)
    assert service.submitted == 1
    assert store.world.receipt.state is ReceiptState.UNKNOWN


def test_a_timeout_while_the_id_is_recorded_does_not_lose_it():
    """Airflow's timeout or a signal in that very write ends the task, and the receipt has the id."""
    store = Memory()
    write, writes = store.write, []

    def interrupted(receipt, after):
        writes.append(receipt.state)
        if len(writes) == 2:
            raise Interrupted
        return write(receipt, after)

    store.write = interrupted
    with pytest.raises(Interrupted):
        submitted_by(store, ME)
    assert store.world.receipt.veo_task_id == "task_1"
    assert store.world.receipt.state is ReceiptState.SUBMITTED


def test_an_id_that_cannot_be_recorded_is_told(clock):
    """When the store stays away after the acceptance, the error names the id and how to go on with it."""
    store = Memory()
    write, writes = store.write, []

    def once(receipt, after):
        writes.append(receipt.state)
        if len(writes) > 1:
            raise VeoReceiptUnavailableError("The store is away.")
        return write(receipt, after)

    store.write = once
    with pytest.raises(state_machine.VeoRecordLostError, match=r"task_1.*will be charged.*veo_task_id"):
        submitted_by(store, ME)
    assert len(writes) > 3


@pytest.mark.parametrize("end", [Interrupted(), KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_signal_after_the_answer_is_not_taken_for_a_refusal(end):
    """What the client does not vouch for, such as a signal after its answer, lets nobody pay again."""
    store, service = Memory(), Service(end)
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        submitted_by(store, ME, service=service)
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        submitted_by(store, ME, service=service)
    assert service.submitted == 1


def test_a_signal_between_two_attempts_to_submit_is_a_refusal(clock, monkeypatch):
    """While it waits to submit again nothing is on its way, so that the next attempt may submit."""

    def interrupt(seconds):
        raise Interrupted

    monkeypatch.setattr(clock, "sleep", interrupt)
    store = Memory()
    with pytest.raises(Interrupted):
        submitted_by(store, ME, service=Service(exceptions.VeoRateLimitError("Slow down.")))
    assert store.world.receipt.state is ReceiptState.REFUSED
    assert submitted_by(store, ME).receipt.veo_task_id == "task_1"


def test_a_rival_may_submit_while_one_waits_for_its_next_turn(clock, monkeypatch):
    """Whoever was told to come back later holds no claim meanwhile, and finds what a rival submitted."""
    store, busy, rival = Memory(), Service(exceptions.VeoRateLimitError("Slow down.")), Service()
    monkeypatch.setattr(clock, "sleep", lambda _: submitted_by(store, OTHER, service=rival))
    assert submitted_by(store, ME, service=busy).receipt.claim_id == OTHER.id
    assert (busy.submitted, rival.submitted) == (1, 1)


def test_a_claim_that_was_not_taken_back_is_no_riddle_to_its_own_attempt(clock):
    """If the record of a refusal is lost, the attempt itself still knows that nothing was accepted."""
    store, service = Memory(), Service(exceptions.VeoRateLimitError("Slow down."))
    write = store.write

    def lose_refusals(receipt, after):
        if receipt.state is ReceiptState.REFUSED:
            service.ends = None
            raise VeoReceiptUnavailableError("The store is away.")
        return write(receipt, after)

    store.write = lose_refusals
    assert submitted_by(store, ME, service=service).receipt.veo_task_id == "task_1"
    assert service.submitted == 2


GOLDEN = "7e10e52e9259e813355f4ffb5d8e3c751c85347ee07d02098fe2b5b6e4376086"


def test_a_fingerprint_is_the_same_in_every_release():
    """A receipt outlives the release that wrote it, so what it was made from must still be recognised."""
    request = VeoRequest(prompt="The rocket lifts off", seconds="4", size="720x1280", seed=7)
    plan = PreparedRequest.of(
        request, image="s3://images/a.jpg", image_sha256="c" * 64, account="veo_default at https://x/v1"
    )
    assert plan.fingerprint == GOLDEN
    same = VeoRequest(prompt="The rocket lifts off", seconds="4", aspect_ratio="9:16", seed=7)
    assert PreparedRequest.of(
        same, image=None, image_sha256="c" * 64, account="veo_default at https://x/v1"
    ) == replace(plan, request=same, description={**plan.description, "image": None})


def test_a_reason_that_is_no_unicode_hides_nothing():
    """Half a character in the service's words, or in a file name, keeps no outcome from its record."""
    store = Memory()
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        submitted_by(store, ME, service=Service(exceptions.VeoSubmissionUnknown("It said \ud800.")))
    assert store.world.receipt.state is ReceiptState.UNKNOWN


def test_two_attempts_may_record_the_same_video():
    """Of two attempts that wait for one generation, the second to store it finds it recorded."""
    store = Memory()
    first = second = submitted_by(store, ME)
    state_machine.record_video(store, first, {"bytes": 1}, ME)
    held = state_machine.record_video(store, second, {"bytes": 1}, Attempt("other"))
    assert held.receipt.state is ReceiptState.STORED


def test_two_attempts_may_record_the_same_failure():
    """Of two attempts that wait for one generation, the second to see it fail just goes on."""
    store = Memory()
    first = second = submitted_by(store, ME)
    failed = Video("task_1", VideoStatus.FAILED)
    state_machine.record_failure(store, first, failed, ME)
    state_machine.record_failure(store, second, failed, Attempt("other"))
    assert store.world.receipt.state is ReceiptState.FAILED


def test_a_claim_whose_answer_was_lost_does_not_need_a_person(clock):
    """A store that is away for a moment while the output is claimed costs nothing, not even a retry."""
    store = Memory()
    write, writes = store.write, []

    def flaky(receipt, after):
        writes.append(receipt.state)
        held = write(receipt, after)
        if len(writes) == 1:
            raise VeoReceiptUnavailableError("The answer was lost.")
        return held

    store.write = flaky
    service = Service()
    for _ in range(2):
        try:
            held = submitted_by(store, ME, service=service)
        except VeoReceiptUnavailableError:
            continue
    assert held.receipt.veo_task_id == "task_1"
    assert service.submitted == 1


def named(veo_task_id):
    return Service(exceptions.VeoSubmissionUnknown("The answer broke off.", veo_task_id=veo_task_id))


def test_an_id_that_arrived_in_a_broken_answer_is_used():
    """One free look settles what the lost answer left open, and the generation is waited for."""
    store, service = Memory(), named("task_1")
    service.get = lambda veo_task_id: Video(veo_task_id, VideoStatus.IN_PROGRESS)
    held = submitted_by(store, ME, service=service)
    assert (held.receipt.state, held.receipt.veo_task_id) == (ReceiptState.SUBMITTED, "task_1")
    assert held.receipt.candidate_task_id is None
    assert held.receipt.generations == 1


def test_an_id_that_the_service_does_not_know_leaves_the_submission_unknown():
    """What looked like an id and is none is looked for again each time, and nothing is submitted."""
    store, service, asked = Memory(), named("req_1"), []

    def get(veo_task_id):
        asked.append(veo_task_id)
        raise exceptions.VeoTaskNotFoundError("There is no such task.")

    service.get = get
    for by in (ME, OTHER):
        with pytest.raises(exceptions.VeoSubmissionUnknown):
            submitted_by(store, by, service=service)
    assert (service.submitted, asked) == (1, ["req_1", "req_1"])
    assert store.world.receipt.state is ReceiptState.UNKNOWN


def test_an_id_may_be_too_new_to_be_known(clock):
    """Who may submit again does so only once the service has had the time to know the id that was read."""
    store, service = Memory(), named("task_1")
    service.get = unknown_task
    clock.now = time.time()
    for by in (ME, replace(ME, try_number=3, id="3")):
        with pytest.raises(exceptions.VeoSubmissionUnknown, match="task_1"):
            submitted_by(store, by, RESUBMIT, service)
    assert service.submitted == 1
    clock.now += state_machine.NOT_KNOWN_YET_SECONDS + 1
    service.ends = None
    held = submitted_by(store, replace(ME, try_number=4, id="4"), RESUBMIT, service)
    assert held.receipt.state is ReceiptState.SUBMITTED
    assert [step.get("candidate_task_id") for step in held.receipt.history][1] == "task_1"


def unknown_task(veo_task_id):
    raise exceptions.VeoTaskNotFoundError("There is no such task.")


def test_an_id_that_cannot_be_verified_now_waits_for_a_retry():
    """While the service cannot tell, the task is left to its retries, and the receipt keeps the id."""
    store, service = Memory(), named("task_1")

    def get(veo_task_id):
        raise exceptions.VeoServerError("The service answered 503.")

    service.get = get
    with pytest.raises(exceptions.VeoNotFetchedError, match="task_1"):
        submitted_by(store, ME, service=service)
    assert store.world.receipt.candidate_task_id == "task_1"
    service.get = lambda veo_task_id: Video(veo_task_id, VideoStatus.QUEUED)
    assert submitted_by(store, OTHER, service=service).receipt.veo_task_id == "task_1"
    assert service.submitted == 1


def test_what_was_completed_once_is_not_free_because_it_is_called_failed_later():
    """A video that could not be fetched was charged: a status that turns to failed pays for no other one."""
    store = Memory()
    held = submitted_by(store, ME)
    state_machine.not_stored(store, held, AWAY, PLAIN, ME)
    held = store.read()
    assert (held.receipt.state, held.receipt.was_completed) == (ReceiptState.SUBMITTED, True)
    for _ in range(2):
        with pytest.raises(exceptions.VeoChargeOpenError, match="completed before"):
            state_machine.record_failure(store, held, Video("task_1", VideoStatus.FAILED), OTHER)
        held = store.read()
        assert held.receipt.state is ReceiptState.LOST


def test_a_new_submission_knows_nothing_of_the_completion_before():
    """What is made anew after a loss may fail, and is then not charged."""
    store = Memory()
    held = submitted_by(store, ME)
    state_machine.not_stored(store, held, AWAY, PLAIN, ME)
    held = state_machine.record_loss(store, store.read(), "gone", ME)
    held = submitted_by(store, OTHER, GenerationPolicy(on_lost_video="regenerate"))
    assert state_machine.record_failure(store, held, Video("task_1", VideoStatus.FAILED), OTHER)


def test_a_receipt_that_is_deleted_under_way_ends_the_task_without_a_retry():
    """A retry would find none, and pay again: the error says to put it back first."""
    for record in (
        lambda store, held: state_machine.record_video(store, held, {"bytes": 1}, ME),
        lambda store, held: state_machine.not_stored(store, held, AWAY, PLAIN, ME),
    ):
        store = Memory()
        held = submitted_by(store, ME)
        store.world.body = None
        with pytest.raises(receipts.VeoReceiptError, match=r"is gone.*task_1.*put it back") as caught:
            record(store, held)
        assert not caught.value.retryable


GONE = exceptions.VeoContentGoneError("The service answered 404.")
NOT_READY = exceptions.VeoContentNotReadyError("The service answered 400.")
AWAY = exceptions.VeoConnectionError("The call failed.")
BUSY = exceptions.VeoContentServerError("The service answered 502.")
PLAIN = Video("task_1", VideoStatus.COMPLETED)
EXPLAINED = Video("task_1", VideoStatus.COMPLETED, error_code="filtered", error_message="held back")


@pytest.mark.parametrize(
    ("error", "video", "days", "lost"),
    [
        (GONE, PLAIN, 0, True),
        (NOT_READY, PLAIN, 0, False),
        (BUSY, PLAIN, 0, False),
        (BUSY, None, 0, False),
        (AWAY, EXPLAINED, 0, False),
        (BUSY, EXPLAINED, 0, True),
        (NOT_READY, EXPLAINED, 0, True),
        (BUSY, PLAIN, 3, True),
        (AWAY, PLAIN, 3, False),
        (exceptions.VeoAuthenticationError("The service answered 401."), EXPLAINED, 3, False),
    ],
)
def test_a_video_is_lost_only_where_that_is_certain(clock, error, video, days, lost):
    """The service says that it is gone, has said why there is none, or keeps no video for so long."""
    store = Memory()
    held = submitted_by(store, ME)
    clock.now = time.time() + days * 24 * 60 * 60
    told = state_machine.not_stored(store, held, error, video, ME)
    assert isinstance(told, exceptions.VeoVideoLostError if lost else exceptions.VeoNotFetchedError)
    assert "task_1" in str(told)
    assert told.retryable is not lost
    assert store.world.receipt.state is (ReceiptState.LOST if lost else ReceiptState.SUBMITTED)


def test_a_retry_asks_for_what_its_task_has_asked_for_first():
    """Only a later try of the same round counts as a retry; a clear asks anew."""
    found = receipt("submitted", claimant=TRY_1.task_instance, history=history(*paid(TRY_1)))
    assert state_machine.is_retry_of(found, replace(TRY_2, first_try=1))
    for by in (TRY_1, TRY_2, replace(TRY_2, first_try=2), replace(TUESDAY, first_try=1)):
        assert not state_machine.is_retry_of(found, by)
