"""One generation in memory: its receipt, the service's ledger, a clock, and attempts that come to an end."""

from dataclasses import dataclass

from support.gateways import SERVED
from typing_extensions import assert_never

from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.request import VeoRequest
from veo_provider.api.video import Video, VideoStatus
from veo_provider.exceptions import ReceiptConflictError
from veo_provider.generation.fingerprint import PreparedRequest
from veo_provider.generation.lifecycle import GenerationJob
from veo_provider.generation.retries import submit_retries
from veo_provider.generation.state_machine import (
    Attach,
    Done,
    GenerationPolicy,
    LookUp,
    NeedsImage,
    Refuse,
    Submit,
    Verify,
    WaitForClaim,
)
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import Receipt, ReceiptState
from veo_provider.receipts.store import VersionedReceipt

NOW = 1_800_000_000.0
OURS, THEIRS = "a" * 64, "b" * 64
ME, OTHER = Attempt("dag / run / me", 2), Attempt("dag / run / other")
FAIL, RESUBMIT = GenerationPolicy(), GenerationPolicy(on_unknown_submission="resubmit")
LOOK_UP = GenerationPolicy(on_unknown_submission="look_up_or_resubmit")
REGENERATE, KEEP = (
    GenerationPolicy(on_changed_request="regenerate"),
    GenerationPolicy(on_changed_request="keep"),
)
KEEP_RESUBMIT = GenerationPolicy(on_unknown_submission="resubmit", on_changed_request="keep")


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


TRY_1, TRY_2 = Attempt("dag / monday / me", 1), Attempt("dag / monday / me", 2)
TUESDAY = Attempt("dag / tuesday / me", 1)


def history(*steps):
    """What a receipt has been through: who reached which state."""
    return tuple({"state": state, "at": "2026-11-01T00:00:00+00:00", "by": str(by)} for state, by in steps)


def paid(by, *more):
    return (("claimed", by), ("submitted", by), *more)


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


@dataclass
class Task:
    """A generation as the service has it."""

    id: str
    fingerprint: str
    claim: str = ""
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

    def accept(self, fingerprint, policy, claim=""):
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
        task = Task(f"task_{len(self.tasks) + 1}", fingerprint, claim)
        self.tasks[task.id] = task
        return task

    def charged(self):
        return [task for task in self.tasks.values() if task.status is VideoStatus.COMPLETED]


BASE_URL = "https://gateway.example/v1"
ACCOUNT = f"veo_default at {BASE_URL}"
PLANS = [
    PreparedRequest(
        VeoRequest(prompt=prompt, gateway=SERVED), {"prompt": prompt, "account": ACCOUNT}, fingerprint
    )
    for prompt, fingerprint in (("ours", OURS), ("theirs", THEIRS))
]
CLOCK = Clock()


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

    gateway = APIYI
    public_base_url = BASE_URL
    can_look_up = False

    def __init__(self, ends=None):
        self.ends = ends
        self.submitted = 0

    def submit(self, request, deadline, idempotency_key=""):
        self.submitted += 1
        if self.ends:
            raise self.ends
        return Video("task_1", VideoStatus.QUEUED)


def advance(store, client, prepared, by, policy=FAIL, *, is_stored=lambda _: True, look_ups=None):
    """Do what an operator does until there is only to wait; return the last step, and the receipt."""
    job = GenerationJob(store, client, by, policy, prepare=lambda _: prepared, look_ups=look_ups)
    job.is_stored = is_stored
    current = job.read()
    while True:
        step = job.decide(current)
        match step:
            case NeedsImage():
                job.prepare(current)
            case Submit():
                current = submit_retries()(job.submit_once)
            case Verify():
                current = job.verify(current)
            case LookUp():
                current = job.look_up(current)
            case Refuse(error):
                raise error
            case Attach() | WaitForClaim() | Done():
                return step, current
            case _:
                assert_never(step)


def submitted_by(store, by, policy=FAIL, service=None):
    """Return the receipt of what an attempt has submitted, or found."""
    return advance(store, service or Service(), PLANS[0], by, policy)[1]
