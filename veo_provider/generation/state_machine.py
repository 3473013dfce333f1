"""Decides what to do next for one video. Pure: no I/O, no clock.

Every attempt decides by the same receipt and the same rules, be it a retry, a cleared task, another run, a
backfill, or another worker at the same time. :func:`next_step` returns the next step; a driver carries it out
with the methods of :class:`~veo_provider.generation.lifecycle.VideoJob`, and asks again.

For an attempt whose request is the one in the receipt:

==================  ======================================================================================
State               Next step
==================  ======================================================================================
(no receipt)        :class:`Submit`
``claimed``         :class:`WaitForClaim` while the claim holder may be submitting; then as for ``unknown``
``unknown``         :class:`Verify` if an id was read; else :class:`LookUp` if the gateway can be asked; else
                    :class:`Refuse`, or :class:`Submit` by policy
``refused``         :class:`Submit`
``submitted``       :class:`Attach`
``failed``          :class:`Submit` up to ``max_generations``, then :class:`Refuse`
``stored``          :class:`Done`, or :class:`Attach` if the object is missing
``lost``            :class:`Done` if the object is there; else :class:`Attach`, or :class:`Submit` by policy
==================  ======================================================================================

For another request, ``on_changed_request`` decides. The same request under another account is another one
too, unless its video is stored: that stays valid. :class:`NeedsImage` stands in for a decision that depends
on the image, and no attempt submits what it has already paid for.
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

OnUnknownSubmission = Literal["fail", "look_up", "look_up_or_resubmit", "resubmit"]
OnChangedRequest = Literal["fail", "regenerate", "keep"]
OnLostVideo = Literal["fail", "regenerate"]

CLAIM_POLL_SECONDS = 15.0
"""Seconds between two reads of a receipt while another attempt is submitting."""


@dataclass(frozen=True)
class GenerationPolicy:
    """What to do where the receipt leaves a choice.

    :param on_unknown_submission: after a submission whose response was lost: ``fail``; ``look_up`` what
        became of it, and fail unless it is found; ``look_up_or_resubmit``, which submits again once the
        gateway has proved that it accepted nothing; or ``resubmit`` at the risk of paying twice.
    :param on_changed_request: if the output belongs to another request: ``fail``, ``regenerate`` and pay
        again, or ``keep`` the existing video.
    :param max_generations: the maximum number of accepted submissions for one video, if the service fails
        them (a failed generation is not charged).
    :param on_lost_video: if a generation was charged and the service has no video of it: ``fail``, or
        ``regenerate`` and pay again.
    :raises VeoRequestError: a value is not one of these.
    """

    on_unknown_submission: OnUnknownSubmission = "look_up"
    on_changed_request: OnChangedRequest = "fail"
    max_generations: int = 2
    on_lost_video: OnLostVideo = "fail"

    def __post_init__(self) -> None:
        self._require("on_unknown_submission", ("fail", "look_up", "look_up_or_resubmit", "resubmit"))
        self._require("on_changed_request", ("fail", "regenerate", "keep"))
        self._require("on_lost_video", ("fail", "regenerate"))
        if self.max_generations < 1:
            raise VeoRequestError(f"max_generations must be 1 or more; got {self.max_generations}.")

    @property
    def looks_up(self) -> bool:
        """Whether lost submissions are looked up where the gateway can be asked."""
        return self.on_unknown_submission in ("look_up", "look_up_or_resubmit")

    def _require(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            choices = ", ".join(f'"{choice}"' for choice in allowed)
            raise VeoRequestError(f"{name} must be one of {choices}; got {value!r}.")


@dataclass(frozen=True)
class NeedsImage:
    """The decision depends on the image, which has not been read yet.

    The driver reads it, which fixes the fingerprint, and decides again.
    """


@dataclass(frozen=True)
class Submit:
    """No submission of this request is known to be accepted, or the policy says to pay again.

    The driver claims the receipt, submits, and records the result. This is the only step that spends money.
    """


@dataclass(frozen=True)
class Attach:
    """A generation was accepted, and its video is not known to be stored.

    The driver polls it until it is finished, and then stores its video or records its failure.

    :param veo_task_id: the API's task id.
    """

    veo_task_id: str


@dataclass(frozen=True)
class Verify:
    """The response to a submission was lost, but an id was found in what arrived of it.

    The driver asks for the status of that id, which is free, and records whether the id is genuine.

    :param veo_task_id: the id to verify.
    """

    veo_task_id: str


@dataclass(frozen=True)
class LookUp:
    """The response to a submission was lost, and the gateway can be asked what became of it.

    The driver looks it up, which is free, and records what the answer proves.
    """


@dataclass(frozen=True)
class WaitForClaim:
    """Another attempt holds the claim, and may be submitting now.

    The driver waits a moment, reads the receipt again, and pays nothing meanwhile.

    :param holder: the claim holder, for people to read.
    :param until: Unix seconds at which the claim expires.
    """

    holder: str
    until: float


@dataclass(frozen=True)
class Done:
    """The video is stored. The driver returns it."""


@dataclass(frozen=True)
class Refuse:
    """A person must decide, or the policy or a rule of payment forbids to go on. The driver raises the error.

    :param error: why, and what to do about it.
    """

    error: VeoError


Step = NeedsImage | Submit | Attach | Verify | LookUp | WaitForClaim | Done | Refuse


def next_step(
    receipt: Receipt | None,
    fingerprint: str | None,
    attempt: Attempt,
    policy: GenerationPolicy,
    *,
    now: float,
    stored: bool,
    moved: bool = False,
    can_look_up: bool = False,
) -> Step:
    """Return what an attempt does next. Decides only: neither reads, writes nor spends anything.

    :param receipt: as it is now; None if there is none.
    :param fingerprint: of the attempt's request; None while its image has not been read.
    :param attempt: who asks.
    :param policy: what to do where the receipt leaves a choice.
    :param now: Unix seconds.
    :param stored: whether the receipt's video is in S3.
    :param moved: whether the receipt has the attempt's request, but under another account.
    :param can_look_up: whether the gateway can be asked what became of the receipt's submission.
    """
    if receipt is not None and policy.looks_up and can_look_up and _is_lost(receipt, attempt, policy, now):
        return LookUp()
    step = _next_step(receipt, fingerprint, attempt, policy, now, stored=stored, moved=moved)
    if not isinstance(step, Submit):
        return step
    if fingerprint is None:
        return NeedsImage()
    already_paid = _already_paid(receipt, attempt) if receipt else None
    return Refuse(already_paid) if already_paid else step


def _next_step(
    receipt: Receipt | None,
    fingerprint: str | None,
    attempt: Attempt,
    policy: GenerationPolicy,
    now: float,
    *,
    stored: bool,
    moved: bool,
) -> Step:
    """Decide by the receipt; :func:`next_step` decides whether the attempt may pay."""
    if receipt is None:
        return Submit()
    unsettled = receipt.state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN)
    step = _settle_submission(receipt, attempt, policy, now) if unsettled else None
    if step is not None:
        return step
    if fingerprint is None:
        return NeedsImage()
    if receipt.fingerprint != fingerprint:
        decide = _continue_elsewhere if moved else _replace_request
        return decide(receipt, policy, stored=stored)
    if unsettled or receipt.state is ReceiptState.REFUSED:
        return Submit()
    return _continue_generation(receipt, policy, stored=stored)


def _settle_submission(
    receipt: Receipt, attempt: Attempt, policy: GenerationPolicy, now: float
) -> Step | None:
    """Decide about a submission without a recorded result; None if the policy says to submit again."""
    if receipt.state is ReceiptState.CLAIMED:
        # An attempt that finds its own claim knows that nothing was accepted.
        if receipt.claim_id == attempt.id:
            return Submit()
        if _is_claim_alive(receipt, attempt, policy, now):
            return WaitForClaim(receipt.claimed_by, receipt.claimed_until)
    elif receipt.candidate_task_id:
        return Verify(receipt.candidate_task_id)
    if policy.on_unknown_submission == "resubmit":
        return None
    return Refuse(
        VeoUnknownReceiptError(f"{receipt.claimed_by} submitted this video, and its response was lost.")
    )


def _is_lost(receipt: Receipt, attempt: Attempt, policy: GenerationPolicy, now: float) -> bool:
    """Whether nothing is known of the receipt's submission, not even an id to verify."""
    if receipt.state is ReceiptState.CLAIMED:
        return receipt.claim_id != attempt.id and not _is_claim_alive(receipt, attempt, policy, now)
    return receipt.state is ReceiptState.UNKNOWN and not receipt.candidate_task_id


def _replace_request(receipt: Receipt, policy: GenerationPolicy, *, stored: bool) -> Step:
    """Decide about an output that belongs to another request."""
    if _may_be_replaced(receipt, policy):
        return Submit()
    if policy.on_changed_request == "keep" and receipt.veo_task_id:
        return _continue_generation(receipt, policy, stored=stored)
    return Refuse(
        VeoRequestChangedError(
            f"The output belongs to another request, which is {receipt.state.value} as {receipt.veo_task_id}."
        )
    )


def _continue_elsewhere(receipt: Receipt, policy: GenerationPolicy, *, stored: bool) -> Step:
    """Decide about the same request under another account, which only that account's connection can poll."""
    if receipt.state in (ReceiptState.STORED, ReceiptState.LOST) and stored:
        return Done()
    if _may_be_replaced(receipt, policy):
        return Submit()
    state, account = receipt.state.value, receipt.request.get("account")
    return Refuse(
        VeoRequestChangedError(
            f"The same video is {state} as {receipt.veo_task_id} with the connection {account}.",
            advice="Run the task once with that connection to finish it, which costs nothing more, or pay "
            'for a new video by on_changed_request="regenerate".',
        )
    )


def _may_be_replaced(receipt: Receipt, policy: GenerationPolicy) -> bool:
    """Whether another request may take the output; one that nobody paid for is free to use."""
    unpaid = receipt.state in (ReceiptState.REFUSED, ReceiptState.FAILED)
    return unpaid or policy.on_changed_request == "regenerate"


def _continue_generation(receipt: Receipt, policy: GenerationPolicy, *, stored: bool) -> Step:
    """Decide about a generation that was accepted."""
    match receipt.state:
        case ReceiptState.FAILED:
            return _repeat_failed(receipt, policy)
        case ReceiptState.STORED | ReceiptState.LOST if stored:
            return Done()
        case ReceiptState.LOST if policy.on_lost_video == "regenerate":
            return Submit()
        case _:
            # A lost video is fetched once more: that is free, and the service may have been wrong.
            return Attach(receipt.veo_task_id or "")


def _repeat_failed(receipt: Receipt, policy: GenerationPolicy) -> Step:
    """Decide about a failed generation, which is not charged; moderation would only refuse it again."""
    if not receipt.moderated and receipt.generations < policy.max_generations:
        return Submit()
    times = "once" if receipt.generations == 1 else f"{receipt.generations} times, last"
    return Refuse(
        VeoGenerationFailed(
            f"The generation failed {times} as {receipt.veo_task_id}: {receipt.reason}.",
            moderated=receipt.moderated,
            advice="To generate it again, raise max_generations or delete the receipt.",
        )
    )


def _is_claim_alive(receipt: Receipt, attempt: Attempt, policy: GenerationPolicy, now: float) -> bool:
    """Whether the claim holder may still be submitting.

    A retry of the same task treats the claim as dead, except under ``resubmit``: the old worker may have lost
    Airflow but still be talking to the API.
    """
    waits = policy.on_unknown_submission == "resubmit"
    own = receipt.claimant == attempt.task_instance and attempt.alone and not waits
    return not own and receipt.is_claim_alive(now)


def _already_paid(receipt: Receipt, attempt: Attempt) -> VeoError | None:
    """Return why an attempt must not pay; None if it may.

    One try pays for one output once, whatever other attempts do meanwhile. A task whose video was replaced by
    another task does not pay for it again, or the two would replace each other's videos without end.
    """
    payers = receipt.chargeable_submissions
    if receipt.state is ReceiptState.CLAIMED and receipt.claim_id == attempt.id:
        payers = payers[:-1]
    own = [number for number, payer in enumerate(payers) if payer.task_instance == attempt.task_instance]
    if not own:
        return None
    last = payers[own[-1]]
    others = [payer for payer in payers[own[-1] + 1 :] if payer.task_instance != attempt.task_instance]
    if others:
        template = _distinguishing_template(attempt.task_instance, others[-1].task_instance)
        return VeoAlreadyPaidError(
            f"{others[-1]} has generated this output again since {last} paid for it.",
            advice="Both tasks write the same output, and would pay for it in turn without end. Make their "
            f"outputs differ: add {template} to the output.",
        )
    if last.try_number != attempt.try_number:
        return None
    if receipt.state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN):
        return VeoUnknownReceiptError(
            f"{attempt} has already submitted this video, and its response was lost."
        )
    return VeoAlreadyPaidError(
        f"{attempt} has already paid for this output, as {receipt.veo_task_id}.",
        advice="One try pays for one output once. Look for a template that renders differently each time, "
        "such as now(), uuid4() or a random seed; to pay for another video, clear the task.",
    )


def _distinguishing_template(one: str, other: str) -> str:
    """Return the template that renders differently for two task instances."""
    templates = ("{{ dag.dag_id }}", "{{ run_id }}", "{{ task.task_id }}")
    for template, mine, theirs in zip(templates, one.split(" / "), other.split(" / "), strict=False):
        if mine.partition(" [")[0] != theirs.partition(" [")[0]:
            return template
    return "{{ ti.map_index }}"


def is_retry_of(receipt: Receipt, attempt: Attempt) -> bool:
    """Whether an attempt retries a payment that its own task made since it was last started or cleared."""
    own = [payer for payer in receipt.chargeable_submissions if payer.task_instance == attempt.task_instance]
    return (
        receipt.claimant == attempt.task_instance
        and bool(own)
        and own[-1].try_number < attempt.try_number
        and attempt.continues(own[-1].try_number, own[-1].most_tries)
    )


def is_in_flight_elsewhere(receipt: Receipt, fingerprint: str, attempt: Attempt) -> bool:
    """Whether another task has paid for another request, and its video is not stored yet.

    An attempt that replaces that video waits until it is stored; otherwise, nobody would have it.
    """
    return (
        receipt.state is ReceiptState.SUBMITTED
        and receipt.claimant != attempt.task_instance
        and receipt.fingerprint != fingerprint
    )
