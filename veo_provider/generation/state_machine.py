"""Decides what to do next for one video: read its image, submit it, wait for it, or stop.

:func:`next_step` decides from the receipt alone, without any I/O, so that every attempt (a retry, a cleared
task, another run, a backfill, another worker at the same time) comes to the same decision. The steps are
carried out by :class:`~veo_provider.generation.lifecycle.VideoJob`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from veo_provider.exceptions import (
    VeoAlreadyPaidError,
    VeoGenerationFailed,
    VeoRequestChangedError,
    VeoRequestError,
    VeoUnknownReceiptError,
)
from veo_provider.receipts.receipt import ReceiptState

if TYPE_CHECKING:
    from veo_provider.exceptions import VeoError
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt

OnUnknownSubmission = Literal["fail", "resubmit"]
OnChangedRequest = Literal["fail", "regenerate", "keep"]
OnLostVideo = Literal["fail", "regenerate"]

CLAIM_POLL_SECONDS = 15.0
"""Seconds between two reads of a receipt while another attempt is submitting."""


@dataclass(frozen=True)
class GenerationPolicy:
    """What to do where the receipt leaves a choice.

    :param on_unknown_submission: after a submission whose answer was lost: ``fail``, or ``resubmit`` at the
        risk of paying twice.
    :param on_changed_request: if the output belongs to another request: ``fail``, ``regenerate`` and pay
        again, or ``keep`` what there is.
    :param max_generations: how many submissions one video may need while the service fails it (a failed one
        is not charged).
    :param on_lost_video: if the generation was charged, and the service has no video: ``fail``, or
        ``regenerate`` and pay again.
    :raises VeoRequestError: a value is not one of these.
    """

    on_unknown_submission: OnUnknownSubmission = "fail"
    on_changed_request: OnChangedRequest = "fail"
    max_generations: int = 2
    on_lost_video: OnLostVideo = "fail"

    def __post_init__(self) -> None:
        self._require("on_unknown_submission", ("fail", "resubmit"))
        self._require("on_changed_request", ("fail", "regenerate", "keep"))
        self._require("on_lost_video", ("fail", "regenerate"))
        if self.max_generations < 1:
            raise VeoRequestError(f"max_generations={self.max_generations} is not possible: it is 1 or more.")

    def _require(self, name: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, name) not in allowed:
            raise VeoRequestError(f"{name}={getattr(self, name)!r} is not possible: it is one of {allowed}.")


@dataclass(frozen=True)
class NeedsImage:
    """The receipt alone does not decide: the image must be read first."""


@dataclass(frozen=True)
class Submit:
    """Claim the next submission, submit, record."""


@dataclass(frozen=True)
class Attach:
    """Wait for a generation that was submitted, and store its video."""

    veo_task_id: str


@dataclass(frozen=True)
class Verify:
    """Ask for the status of the id that was read in what came of a lost answer, which is free."""

    veo_task_id: str


@dataclass(frozen=True)
class WaitForClaim:
    """Another attempt is submitting: read the receipt again later, and pay nothing."""

    by: str
    until: float


@dataclass(frozen=True)
class Done:
    """The video is stored."""


@dataclass(frozen=True)
class Refuse:
    """Nothing can be done without a person."""

    error: VeoError


Step = NeedsImage | Submit | Attach | Verify | WaitForClaim | Done | Refuse


def next_step(
    receipt: Receipt | None,
    fingerprint: str | None,
    by: Attempt,
    policy: GenerationPolicy,
    *,
    now: float,
    stored: bool,
) -> Step:
    """Decide what an attempt does next.

    :param receipt: as it is now; None if there is none.
    :param fingerprint: of what this attempt asks for; None while its image has not been read.
    :param now: Unix seconds.
    :param stored: whether the receipt's video is in S3.
    """
    if receipt is None:
        step: Step = Submit()
    else:
        step = _next_step(receipt, fingerprint, by, policy, now, stored=stored)
    if not isinstance(step, Submit):
        return step
    if fingerprint is None:
        return NeedsImage()
    paid_before = _paid_before(receipt, by) if receipt else None
    return Refuse(paid_before) if paid_before else step


def _next_step(
    receipt: Receipt,
    fingerprint: str | None,
    by: Attempt,
    policy: GenerationPolicy,
    now: float,
    *,
    stored: bool,
) -> Step:
    """Decide by the receipt's state; whether this attempt may pay at all is decided by :func:`next_step`."""
    unsettled = receipt.state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN)
    step = _unsettled(receipt, by, policy, now) if unsettled else None
    if step is not None:
        return step
    if fingerprint is None:
        return NeedsImage()
    if receipt.fingerprint != fingerprint:
        return _changed(receipt, policy, stored=stored)
    if unsettled or receipt.state is ReceiptState.REFUSED:
        return Submit()
    return _attach_to(receipt, policy, stored=stored)


def _unsettled(receipt: Receipt, by: Attempt, policy: GenerationPolicy, now: float) -> Step | None:
    """Decide about a submission without a recorded result; None where the policy says to submit again."""
    # An attempt that finds its own claim knows that nothing was accepted.
    if receipt.state is ReceiptState.CLAIMED and receipt.claim_id == by.id:
        return Submit()
    if _is_alive(receipt, by, policy, now):
        return WaitForClaim(receipt.claimed_by, receipt.claimed_until)
    if receipt.state is ReceiptState.UNKNOWN and receipt.candidate_task_id:
        return Verify(receipt.candidate_task_id)
    if policy.on_unknown_submission == "resubmit":
        return None
    return Refuse(
        VeoUnknownReceiptError(f"{receipt.claimed_by} submitted this video, and its answer was lost.")
    )


def _attach_to(receipt: Receipt, policy: GenerationPolicy, *, stored: bool) -> Step:
    """Decide about a generation that was accepted."""
    if receipt.state is ReceiptState.FAILED:
        return _failed(receipt, policy)
    if stored and receipt.state in (ReceiptState.STORED, ReceiptState.LOST):
        return Done()
    if receipt.state is ReceiptState.LOST and policy.on_lost_video == "regenerate":
        return Submit()
    # A video that was lost is looked for again: that is free, and a service may have been wrong.
    return Attach(receipt.veo_task_id or "")


def _paid_before(receipt: Receipt, by: Attempt) -> VeoError | None:
    """Say why an attempt must not pay: one try pays for one output once, whatever others do meanwhile.

    And a task whose payment another task has replaced since does not answer by another payment, or the two
    would take turns without end.
    """
    payers = receipt.chargeable_submissions
    if receipt.state is ReceiptState.CLAIMED and receipt.claim_id == by.id:
        payers = payers[:-1]
    own = [number for number, payer in enumerate(payers) if payer.task_instance == by.task_instance]
    if not own:
        return None
    others = [payer for payer in payers[own[-1] + 1 :] if payer.task_instance != by.task_instance]
    if others:
        return VeoAlreadyPaidError(
            f"{others[-1]} has generated this output anew since {payers[own[-1]]} paid for it.",
            advice="Both write the same output, and each would pay for it again and again. Make their "
            f"outputs differ: {_difference(by.task_instance, others[-1].task_instance)} is missing from the "
            "output.",
        )
    if payers[own[-1]].try_number != by.try_number:
        return None
    if receipt.state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN):
        return VeoUnknownReceiptError(f"{by} has submitted this video already, and its answer was lost.")
    return VeoAlreadyPaidError(
        f"{by} has paid for this output already, as {receipt.veo_task_id}.",
        advice="One try pays for one output once. Look for a template that renders anew each time, such as "
        "now(), uuid4() or a random seed; to pay for another video, clear the task.",
    )


def _difference(one: str, other: str) -> str:
    """Return the template that tells two task instances apart, for what both of them write."""
    templates = ("{{ dag.dag_id }}", "{{ run_id }}", "{{ task.task_id }}")
    for template, mine, theirs in zip(templates, one.split(" / "), other.split(" / "), strict=False):
        if mine.partition(" [")[0] != theirs.partition(" [")[0]:
            return template
    return "{{ ti.map_index }}"


def _is_alive(receipt: Receipt, by: Attempt, policy: GenerationPolicy, now: float) -> bool:
    """Whether the claim holder may still be submitting.

    A retry of the same task treats the claim as dead, except under ``resubmit``: the old worker may have lost
    Airflow but still be talking to the API.
    """
    own = receipt.claimant == by.task_instance and by.alone and policy.on_unknown_submission == "fail"
    return not own and receipt.is_claim_alive(now)


def _changed(receipt: Receipt, policy: GenerationPolicy, *, stored: bool) -> Step:
    """Decide about another request: where nothing was made and nothing paid, there is nothing to keep."""
    unpaid = receipt.state in (ReceiptState.REFUSED, ReceiptState.FAILED)
    if unpaid or policy.on_changed_request == "regenerate":
        return Submit()
    if policy.on_changed_request == "keep" and receipt.veo_task_id:
        return _attach_to(receipt, policy, stored=stored)
    return Refuse(
        VeoRequestChangedError(
            f"The output belongs to another request, which is {receipt.state.value} as {receipt.veo_task_id}."
        )
    )


def _failed(receipt: Receipt, policy: GenerationPolicy) -> Step:
    if not receipt.moderated and receipt.generations < policy.max_generations:
        return Submit()
    return Refuse(
        VeoGenerationFailed(
            f"The generation failed {receipt.generations} times, last as {receipt.veo_task_id}: "
            f"{receipt.reason}.",
            moderated=receipt.moderated,
            advice="Raise max_generations, or delete the receipt, to generate it anew.",
        )
    )


def is_retry_of(receipt: Receipt, by: Attempt) -> bool:
    """Whether an attempt tries again what its own task has paid for since it was started or cleared last."""
    own = [payer for payer in receipt.chargeable_submissions if payer.task_instance == by.task_instance]
    return (
        receipt.claimant == by.task_instance
        and bool(own)
        and own[-1].try_number < by.try_number
        and by.continues(own[-1].try_number, own[-1].most_tries)
    )


def is_in_flight_elsewhere(receipt: Receipt, fingerprint: str, by: Attempt) -> bool:
    """Whether another task has paid for another request, and has not stored its video yet.

    An attempt that means to replace that video lets it be stored first, or it was paid for in vain.
    """
    return (
        receipt.state is ReceiptState.SUBMITTED
        and receipt.claimant != by.task_instance
        and receipt.fingerprint != fingerprint
    )
