"""The life of one video under crashes, outages and rivals, and what each step takes for granted."""

import contextlib
import threading

import pytest
import tenacity
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from support.generations import (
    BASE_URL,
    CLOCK,
    FAIL,
    KEEP,
    LOOK_UP,
    NOW,
    PLANS,
    Interrupted,
    Killed,
    World,
    advance,
)

from veo_provider import exceptions
from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.video import Video, VideoStatus
from veo_provider.exceptions import ReceiptConflictError, VeoReceiptUnavailableError
from veo_provider.generation import lifecycle, look_up, recording, submission
from veo_provider.generation.evidence import LATE_ROW_SECONDS, Absent, Found, Open
from veo_provider.generation.state_machine import Attach, Done
from veo_provider.receipts import receipt as receipts
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.store import VersionedReceipt

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
    "find": ["unavailable"],
}


class Actor:
    """One attempt of one task instance, in a thread that moves only when it is told to.

    It stops before each call to the store and to the service, and is told how that call ends. It is the
    receipt store and the client of its own attempt.
    """

    uri = "memory"
    gateway = APIYI
    public_base_url = BASE_URL
    can_look_up = True

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
            step, current = advance(
                self,
                self,
                self.plan,
                self.by,
                self.policy,
                is_stored=lambda _: self.world.video_there,
                look_ups=self,
            )
            if not isinstance(step, Attach):
                return step
            video = self.get(step.veo_task_id)
            if video.status is VideoStatus.FAILED:
                recording.record_failure(self, current, video, self.by, APIYI.charging)
            elif video.status is VideoStatus.COMPLETED:
                self.world.video_there = True
                recording.record_video(self, current, {"bytes": 1}, self.by)
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

    def submit(self, request, deadline, idempotency_key=""):
        assert request is self.plan.request
        verdict = self._call("submit")
        if CLOCK.now >= deadline:
            self._end(exceptions.VeoNotSentError)
        if verdict in REFUSALS:
            self._end(REFUSALS[verdict])
        if not verdict.endswith("before"):
            self.accepted = self.world.accept(self.plan.fingerprint, self.policy, self.by.id)
        if verdict.startswith("named"):
            # An answer that breaks off after an id: the right one, or what looks like one.
            name = self.accepted.id if verdict.endswith("after") else "req_0123456789"
            raise LOST("The answer broke off.", veo_task_id=name)
        if verdict != "ok":
            self._end(Killed if verdict.startswith("killed") else LOST)
        return Video(self.accepted.id, VideoStatus.QUEUED)

    def find(self, client, receipt, uri):
        """Return what the gateway's list proves, if it is honest: rows may be late, but none is missing."""
        if self._call("find") != "ok":
            return Open("The gateway could not be asked.", early=True)
        ours = [task for task in self.world.tasks.values() if task.claim == receipt.claim_id]
        lost = [task for task in ours if task.id not in self.world.recorded]
        if lost:
            return Found(lost[-1].id)
        if receipt.state is receipts.ReceiptState.CLAIMED and (
            CLOCK.now < receipt.claimed_until + LATE_ROW_SECONDS
        ):
            return Open("It may still be sent.", early=True)
        return Absent()

    def get(self, veo_task_id):
        verdict = self._call("get")
        if verdict != "ok":
            self._end(Killed if verdict.startswith("killed") else exceptions.VeoServerError)
        if veo_task_id not in self.world.tasks:
            self._end(exceptions.VeoTaskNotFoundError)
        task = self.world.tasks[veo_task_id]
        return Video(task.id, task.status, error_code=task.code)


SAFE_POLICIES = [FAIL, KEEP, LOOK_UP]
MOST_CALLS = 40


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

    @rule(seconds=st.sampled_from([1.0, 100.0, LATE_ROW_SECONDS, submission.CLAIM_SECONDS + 1]))
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
                truth = (LOST, exceptions.VeoRecordLostError, exceptions.VeoNotFetchedError)
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
        CLOCK.now += submission.CLAIM_SECONDS + 1
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


@pytest.fixture
def world_clock(monkeypatch):
    """The clock that the state machine moves."""
    for module in (lifecycle, look_up, submission, recording, receipts, tenacity, tenacity.nap):
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
