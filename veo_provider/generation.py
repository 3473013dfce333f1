"""What to do next for one video: submit it, attach to what was submitted, verify an id, wait, or leave it.

:func:`next_step` decides from the receipt alone, without any I/O, so that whoever comes next (a retry, a
cleared task, another run, a backfill, another worker at the same time) comes to the same decision. The rest
of the module carries out the one step that spends money: claim, submit, record.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import tenacity

from veo_provider import receipts, retrying
from veo_provider.api.errors import (
    TASK_LOG,
    VeoChargeOpenError,
    VeoContentGoneError,
    VeoContentNotReadyError,
    VeoContentServerError,
    VeoError,
    VeoGenerationFailed,
    VeoImageError,
    VeoImageUnavailableError,
    VeoNotFetchedError,
    VeoRequestError,
    VeoSubmissionUnknown,
    VeoTaskNotFoundError,
    VeoVideoLostError,
)
from veo_provider.api.protocol import SUBMIT_TIMEOUT
from veo_provider.api.request import VeoRequest
from veo_provider.pictures import ConvertedImage
from veo_provider.receipts import (
    CLOCK_DIFFERENCE,
    Attempt,
    Held,
    Receipt,
    ReceiptConflictError,
    ReceiptState,
    ReceiptStore,
    VeoReceiptUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.api.client import VeoClient
    from veo_provider.api.image import Image
    from veo_provider.api.video import Video

log = logging.getLogger(__name__)

OnUnknownSubmission = Literal["fail", "resubmit"]
OnChangedRequest = Literal["fail", "regenerate", "keep"]
OnLostVideo = Literal["fail", "regenerate"]

ANSWER_SECONDS = SUBMIT_TIMEOUT + 60 + CLOCK_DIFFERENCE
"""The longest that a live attempt may take from the end of its request to its record, by any clock."""
CLAIM_SECONDS = 180 + ANSWER_SECONDS
"""The longest from its claim to its record: the end of a request is sent in the time before, or never."""
KEPT_SECONDS = 2 * 24 * 60 * 60 + CLOCK_DIFFERENCE
"""How long the service keeps a video: "upstream keeps videos for 2 days", says its documentation."""
NOT_KNOWN_YET_SECONDS = 60 + CLOCK_DIFFERENCE
"""How long after a submission its id may be unknown to the service, by any clock; a wait allows the same."""
RECORD_PATIENCE = 45.0
"""Seconds that a claim or a task id is tried to be written."""


class VeoRequestChangedError(VeoError):
    """The output was made, or is being made, from another request."""

    money = "Nothing more was spent."
    advice = (
        'Give it another output, or say what to do: on_changed_request="regenerate" pays for a new video, '
        '"keep" stays with the one that there is.'
    )


class VeoAlreadyPaidError(VeoRequestChangedError):
    """This try, or another task since an earlier one, has paid for the output: to go on would pay again.

    :param what: one sentence that says what happened.
    :param advice: what to do next.
    """

    money = "Nothing more was spent."

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self._advice = advice

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.money, self._advice) if part)


class VeoUnknownReceiptError(VeoSubmissionUnknown):
    """A submission is of unknown fate, and its receipt keeps everybody from submitting again."""

    advice = (
        f'Look for it in {TASK_LOG}. If it is there, put its id as "veo_task_id" and "state": "submitted" '
        "into the receipt; if it is not, run the task once with "
        'on_unknown_submission="resubmit". Then clear this task.'
    )


class VeoReceiptChangedError(VeoError):
    """Another attempt has changed the receipt to something else meanwhile."""

    money = "Nothing more was spent."
    advice = "The next attempt reads it again."
    temporary = True


class VeoRecordLostError(VeoError):
    """A submission was accepted, but its receipt could not be written."""

    money = "It will be charged when it completes."
    advice = 'To go on with it, put "state": "submitted" and the id as "veo_task_id" into the receipt.'


@dataclass(frozen=True)
class Policy:
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
class Submit:
    """Claim the next submission, submit, record."""


@dataclass(frozen=True)
class Attach:
    """Wait for a task that was submitted, and store its video."""

    veo_task_id: str


@dataclass(frozen=True)
class Verify:
    """Ask for the status of the id that was read in what came of a lost answer, which is free."""

    veo_task_id: str


@dataclass(frozen=True)
class WaitForClaim:
    """Another attempt is submitting: look again later, and pay nothing."""

    by: str
    until: float


@dataclass(frozen=True)
class Done:
    """The video is in its place."""


@dataclass(frozen=True)
class Refuse:
    """Nothing can be done without a person."""

    error: VeoError


Step = Submit | Attach | Verify | WaitForClaim | Done | Refuse


def next_step(
    receipt: Receipt | None, fingerprint: str, by: Attempt, policy: Policy, *, now: float, stored: bool
) -> Step:
    """Decide what an attempt does next.

    :param receipt: as it is now; None if there is none.
    :param fingerprint: of what this attempt asks for.
    :param now: Unix seconds.
    :param stored: whether the receipt's video is in its place.
    """
    if receipt is None:
        return Submit()
    step = _next_step(receipt, fingerprint, by, policy, now, stored=stored)
    paid_before = _paid_before(receipt, by) if isinstance(step, Submit) else None
    return Refuse(paid_before) if paid_before else step


def _next_step(
    receipt: Receipt, fingerprint: str, by: Attempt, policy: Policy, now: float, *, stored: bool
) -> Step:
    """Decide by the receipt's state; whether this attempt may pay at all is decided by :func:`next_step`."""
    # Back with its own claim, an attempt knows that nothing was accepted.
    if receipt.state is ReceiptState.CLAIMED and receipt.claim_id == by.id:
        return Submit()
    if _is_alive(receipt, by, policy, now):
        return WaitForClaim(receipt.claimed_by, receipt.claimed_until)
    if receipt.state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN):
        step = _unknown(receipt, policy)
        if step is not None:
            return step
    if receipt.fingerprint != fingerprint:
        return _changed(receipt, policy, stored=stored)
    if receipt.state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN, ReceiptState.REFUSED):
        return Submit()
    return _attach_to(receipt, policy, stored=stored)


def _unknown(receipt: Receipt, policy: Policy) -> Step | None:
    """Decide about a submission of unknown fate; None where the policy says to submit again."""
    if receipt.state is ReceiptState.UNKNOWN and receipt.candidate_task_id:
        return Verify(receipt.candidate_task_id)
    if policy.on_unknown_submission == "resubmit":
        return None
    return Refuse(
        VeoUnknownReceiptError(f"{receipt.claimed_by} submitted this video, and its answer was lost.")
    )


def _attach_to(receipt: Receipt, policy: Policy, *, stored: bool) -> Step:
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
    payers = receipt.payers
    if receipt.state is ReceiptState.CLAIMED and receipt.claim_id == by.id:
        payers = payers[:-1]
    own = [number for number, payer in enumerate(payers) if payer.task_instance == by.task_instance]
    if not own:
        return None
    others = [payer for payer in payers[own[-1] + 1 :] if payer.task_instance != by.task_instance]
    if others:
        return VeoAlreadyPaidError(
            f"{others[-1]} has generated this output anew since {payers[own[-1]]} paid for it.",
            f"Both write the same output, and each would pay for it again and again. Make their outputs "
            f"differ: {_difference(by.task_instance, others[-1].task_instance)} is missing from the output.",
        )
    if payers[own[-1]].try_number != by.try_number:
        return None
    if receipt.state in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN):
        return VeoUnknownReceiptError(f"{by} has submitted this video already, and its answer was lost.")
    return VeoAlreadyPaidError(
        f"{by} has paid for this output already, as {receipt.veo_task_id}.",
        "One try pays for one output once. Look for a template that renders anew each time, such as now(), "
        "uuid4() or a random seed; to pay for another video, clear the task.",
    )


def _difference(one: str, other: str) -> str:
    """Return the template that tells two task instances apart, for what both of them write."""
    templates = ("{{ dag.dag_id }}", "{{ run_id }}", "{{ task.task_id }}")
    for template, mine, theirs in zip(templates, one.split(" / "), other.split(" / "), strict=False):
        if mine.partition(" [")[0] != theirs.partition(" [")[0]:
            return template
    return "{{ ti.map_index }}"


def _is_alive(receipt: Receipt, by: Attempt, policy: Policy, now: float) -> bool:
    """Whether the claim's attempt may still be submitting.

    A later try of its own task takes it for dead, unless it means to submit again: the worker may have lost
    Airflow only, and not the service.
    """
    own = receipt.claimant == by.task_instance and by.alone and policy.on_unknown_submission == "fail"
    return not own and receipt.is_claim_alive(now)


def _changed(receipt: Receipt, policy: Policy, *, stored: bool) -> Step:
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


def _failed(receipt: Receipt, policy: Policy) -> Step:
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


@dataclass(frozen=True)
class Plan:
    """What is asked for, and by what it is known again.

    :param request: what to submit.
    :param description: the same for people to read, without secrets.
    :param fingerprint: SHA-256 over the image's digest and the description.
    :param image_error: why the image is not to be had, in a plan that may attach but not submit.
    """

    request: VeoRequest
    description: dict[str, Any]
    fingerprint: str
    image_error: VeoError | None = None

    @classmethod
    def of(
        cls,
        request: VeoRequest,
        *,
        image: str | None,
        image_sha256: str | None,
        account: str,
        image_error: VeoError | None = None,
    ) -> Plan:
        """Return the plan for a request.

        :param image: where the image is from, for people to read; it is not part of the fingerprint.
        :param image_sha256: hex digest of its bytes, see :func:`sha256_of`.
        :param account: what tells one account from another: base URL and connection, never a key.
        """
        description = {**request.description(), "image_sha256": image_sha256, "account": account}
        canonical = json.dumps(description, sort_keys=True, ensure_ascii=False).encode()
        fingerprint = hashlib.sha256(canonical).hexdigest()
        return cls(request, {"image": image, **description}, fingerprint, image_error)


def account_of(veo_conn_id: str, client: VeoClient) -> str:
    """Return what tells one account from another in a fingerprint: connection and base URL, never a key."""
    return f"{veo_conn_id} at {client.public_base_url}"


def prepare(
    find: Callable[[], Image | None],
    request_for: Callable[[Image | None], VeoRequest],
    receipt: Receipt | None,
    *,
    image: str | None,
    account: str,
) -> Plan:
    """Return what is asked for; where it is paid for already, the image need not be there any more.

    :param find: returns the image, or None for a request without one.
    :param request_for: returns the request for it.
    :param receipt: of the video, as far as there is one.
    :param image: where the image is from, for people to read.
    :param account: see :func:`account_of`.
    :raises VeoImageError: there is no such image, or it is no good, and nothing was submitted yet.
    :raises VeoImageUnavailableError: it cannot be read now, and nothing was submitted yet.
    """
    try:
        image_found = find()
        request = request_for(image_found.hashed() if image_found else None)
        digest, trouble = sha256_of(request), None
    except (VeoImageError, VeoImageUnavailableError) as error:
        if receipt is None or receipt.veo_task_id is None:
            raise
        request = request_for(None)
        digest, trouble = receipt.request.get("image_sha256"), error
    return Plan.of(request, image=image, image_sha256=digest, account=account, image_error=trouble)


def is_retry_of(receipt: Receipt, by: Attempt) -> bool:
    """Whether an attempt tries again what its own task has paid for since it was started or cleared last."""
    own = [payer for payer in receipt.payers if payer.task_instance == by.task_instance]
    return (
        receipt.claimant == by.task_instance
        and bool(own)
        and own[-1].try_number < by.try_number
        and by.goes_on_with(own[-1].try_number, own[-1].most_tries)
    )


def is_in_flight_elsewhere(receipt: Receipt, fingerprint: str, by: Attempt) -> bool:
    """Whether another task has paid for another request, and has not stored its video yet.

    Who means to replace it lets that one finish first, or it was paid for in vain.
    """
    return (
        receipt.state is ReceiptState.SUBMITTED
        and receipt.claimant != by.task_instance
        and receipt.fingerprint != fingerprint
    )


def request_of(receipt: Receipt, image: Image | None) -> VeoRequest:
    """Return the request that a receipt describes, however its templates render now."""
    fields = {
        name: receipt.request[name]
        for name in ("prompt", "model", "seconds", "resolution", "aspect_ratio", "seed", "negative_prompt")
        if name in receipt.request
    }
    return VeoRequest(image=image, **fields)


def decide(
    held: Held | None, fingerprint: str, by: Attempt, policy: Policy, is_stored: Callable[[Receipt], bool]
) -> Step:
    """Decide what an attempt does next, now, by :func:`next_step`.

    :param is_stored: tells whether a receipt's video is in its place.
    """
    receipt = held.receipt if held else None
    finished = receipt is not None and receipt.state in (ReceiptState.STORED, ReceiptState.LOST)
    stored = finished and receipt is not None and receipt.video is not None and is_stored(receipt)
    return next_step(receipt, fingerprint, by, policy, now=time.time(), stored=stored)


def advance(
    store: ReceiptStore,
    client: VeoClient,
    plan: Plan,
    by: Attempt,
    policy: Policy,
    *,
    is_stored: Callable[[Receipt], bool],
) -> tuple[Attach | WaitForClaim | Done, Held]:
    """Bring a video to the point where there is only to wait or nothing to do, submitting it if need be.

    Between two submissions that were provably not accepted, the receipt says so: killed while it waits for
    its next turn, an attempt leaves nothing unclear.

    :param is_stored: tells whether a receipt's video is in its place.
    :returns: what is left to do, and the receipt as it is now.
    :raises VeoError: the step was refused, or the submission failed, or was not accepted for
        :data:`~veo_provider.retrying.SUBMIT_PATIENCE` seconds.
    """
    return retrying.of_submission()(advance_once, store, client, plan, by, policy, is_stored)


def advance_once(
    store: ReceiptStore,
    client: VeoClient,
    plan: Plan,
    by: Attempt,
    policy: Policy,
    is_stored: Callable[[Receipt], bool],
) -> tuple[Attach | WaitForClaim | Done, Held]:
    """Advance as :func:`advance` does, with one submission at most, accepted or not."""
    held = store.read()
    while True:
        step = decide(held, plan.fingerprint, by, policy, is_stored)
        if isinstance(step, Refuse):
            raise step.error
        if isinstance(step, Verify):
            held = verify(store, client, _existing(held), by)
            continue
        if not isinstance(step, Submit):
            return step, _existing(held)
        if plan.image_error:
            raise plan.image_error
        try:
            claimed = _write(store, _claim(plan, by, held.receipt if held else None), held)
        except ReceiptConflictError:
            log.info("Another attempt has claimed %s first.", store.uri)
            held = store.read()
            continue
        held = _submit_claimed(store, client, plan, by, claimed)
        if held.receipt.state is ReceiptState.SUBMITTED:
            return Attach(held.receipt.veo_task_id or ""), held


def _existing(held: Held | None) -> Held:
    assert held is not None, "every step but a submission comes from a receipt"  # noqa: S101 - for the type
    return held


def verify(store: ReceiptStore, client: VeoClient, held: Held, by: Attempt) -> Held:
    """Settle a submission of unknown fate by the id that was read in its answer, with a free status call.

    :returns: the receipt with that id, if there is such a generation; else as it was, but without the
        candidate, so that it stays of unknown fate.
    :raises VeoNotFetchedError: the service cannot tell now.
    :raises VeoUnknownReceiptError: it does not know the id, which may be too new to be known.
    :raises VeoReceiptChangedError: another attempt has changed the receipt meanwhile.
    """
    receipt = held.receipt
    candidate = receipt.candidate_task_id or ""
    try:
        client.get(candidate)
    except (VeoTaskNotFoundError, VeoRequestError) as error:
        if receipt.changed_at is not None and time.time() - receipt.changed_at < NOT_KNOWN_YET_SECONDS:
            raise VeoUnknownReceiptError(
                f"The answer to the submission of {receipt.claimed_by} was lost. It named {candidate}, which "
                "the service does not know, or not yet."
            ) from error
        log.warning("The lost answer named %s, but there is no such generation: %s", candidate, error)
        return replace(held, receipt=replace(receipt, candidate_task_id=None))
    except VeoError as error:
        raise VeoNotFetchedError(
            f"The answer to the submission broke off after it had named {candidate}, and whether there is "
            f"such a generation could not be asked now: {error.what}"
        ) from error
    log.info("The lost answer named %s, and there is such a generation: going on with it.", candidate)
    return _record(store, held, _submitted(receipt, by, candidate))


def require_place(store: ReceiptStore, held: Held) -> None:
    """Pass where a video may be stored: the one of a later generation that is stored by now stays.

    :raises VeoReceiptChangedError: there is such a one.
    """
    found = store.read()
    if found is None or found.receipt.state is not ReceiptState.STORED:
        return
    if found.receipt.veo_task_id != held.receipt.veo_task_id:
        raise VeoReceiptChangedError(
            f"{found.receipt.claimed_by} has stored {found.receipt.veo_task_id} by now where the video of "
            f"{held.receipt.veo_task_id} belongs, as {store.uri} says."
        )


def record_video(store: ReceiptStore, held: Held, video: dict[str, Any], by: Attempt) -> Held:
    """Record what was stored.

    :raises VeoReceiptChangedError: the receipt tells of another generation by now.
    """
    return _record(store, held, held.receipt.moved(ReceiptState.STORED, by, video=video))


def record_failure(store: ReceiptStore, held: Held, video: Video, by: Attempt) -> Held:
    """Record that the service gave up on a generation.

    :raises VeoChargeOpenError: it ended by a word that does not say whether it was charged, or it was charged
        before: what was completed once is not free because it is called failed later.
    :raises VeoReceiptChangedError: the receipt tells of another generation by now.
    """
    charged = held.receipt.state is ReceiptState.LOST or held.receipt.was_completed
    if charged or not video.resubmittable:
        before = ", though it was completed before" if held.receipt.was_completed else ""
        what = f"The generation {video.id} has ended without a video{before}: {video.failure_reason}."
        record_loss(store, held, what, by)
        raise VeoChargeOpenError(what)
    failed = held.receipt.moved(
        ReceiptState.FAILED, by, reason=video.failure_reason, moderated=video.moderated
    )
    return _record(store, held, failed)


def not_stored(
    store: ReceiptStore, held: Held, error: VeoError, video: Video | None, by: Attempt
) -> VeoError:
    """Return what an error means that kept a completed video from its place, and record a loss.

    :param error: of the download or of the store.
    :param video: as its status describes it, where that was asked for.
    :raises VeoReceiptChangedError: the receipt tells of another generation by now.
    """
    veo_task_id = held.receipt.veo_task_id or ""
    if not _is_lost(held.receipt, error, video):
        _note_completion(store, held, by)
        return VeoNotFetchedError.of(veo_task_id, error)
    cause = f"{error.what} {error.advice}"
    if video is not None and video.completed_with_error:
        cause = f"its status says {video.failure_reason}; {cause}"
    what = f"The generation {veo_task_id} was completed, and there is no video of it: {cause}"
    record_loss(store, held, what, by)
    return VeoVideoLostError(what)


def _note_completion(store: ReceiptStore, held: Held, by: Attempt) -> None:
    """Record that a generation is charged, before another attempt meets it under another status."""
    if held.receipt.was_completed or held.receipt.state is not ReceiptState.SUBMITTED:
        return
    try:
        _record(store, held, held.receipt.completed_now(by))
    except VeoReceiptUnavailableError as error:
        log.warning("%s", error)


def _is_lost(receipt: Receipt, error: VeoError, video: Video | None) -> bool:
    """Whether there is no video any more, or never was: a closed list, in which no outage is.

    The service says so itself; or it said in the status why there is none, and gives none; or it gives none
    after the time that it keeps videos for.
    """
    if isinstance(error, VeoContentGoneError):
        return True
    if not isinstance(error, (VeoContentNotReadyError, VeoContentServerError)):
        return False
    explained = video is not None and video.completed_with_error
    submitted_at = receipt.submitted_at
    expired = submitted_at is not None and time.time() - submitted_at > KEPT_SECONDS
    return explained or expired


def record_loss(store: ReceiptStore, held: Held, reason: str, by: Attempt) -> Held:
    """Record that a generation was charged, or may have been, and that the service has no video of it.

    :param reason: why, in one sentence.
    :raises VeoReceiptChangedError: the receipt tells of another generation by now.
    """
    if held.receipt.state is ReceiptState.LOST:
        return held
    return _record(store, held, held.receipt.moved(ReceiptState.LOST, by, reason=reason))


def _record(store: ReceiptStore, held: Held, receipt: Receipt) -> Held:
    """Write a receipt, or take what another attempt has written about the same generation."""
    try:
        return _write(store, receipt, held)
    except ReceiptConflictError as error:
        found = store.read()
        if found and (found.receipt.veo_task_id, found.receipt.state) == (receipt.veo_task_id, receipt.state):
            return found
        if found is None:
            raise receipts.VeoReceiptError(
                f"The receipt {store.uri} is gone, though {receipt.veo_task_id} was submitted by it: put it "
                "back first, or the output is paid for again."
            ) from error
        raise VeoReceiptChangedError(f"The receipt {store.uri} was changed by another attempt.") from error


def submit(client: VeoClient, request: VeoRequest) -> Video:
    """Submit a generation without a receipt, again only as long as no server can have accepted it.

    :raises VeoSubmissionUnknown: it may have been accepted; it is not tried again.
    :raises VeoError: it was refused, or not accepted for
        :data:`~veo_provider.retrying.SUBMIT_PATIENCE` seconds.
    """
    return retrying.of_submission()(_send, client, request)


def _send(client: VeoClient, request: VeoRequest, send_before: float | None = None) -> Video:
    """Submit once. Only the client's own errors vouch that nothing was accepted."""
    try:
        return client.submit(request, send_before=send_before)
    except VeoError:
        raise
    except BaseException as error:
        raise VeoSubmissionUnknown("The task was interrupted when its submission was answered.") from error


def _claim(plan: Plan, by: Attempt, before: Receipt | None) -> Receipt:
    return receipts.claim(
        plan.fingerprint,
        plan.description,
        plan.request.price_usd,
        by,
        seconds=CLAIM_SECONDS,
        after=before,
    )


def _submit_claimed(store: ReceiptStore, client: VeoClient, plan: Plan, by: Attempt, claimed: Held) -> Held:
    """Submit, and record the outcome whatever it is.

    :returns: the receipt with the id; or of unknown fate with an id to verify.
    """
    try:
        video = _send(client, plan.request, claimed.receipt.claimed_until - ANSWER_SECONDS)
    except VeoSubmissionUnknown as error:
        unknown = {"reason": error.what, "candidate_task_id": error.veo_task_id}
        recorded = _record_if_possible(store, claimed, by, ReceiptState.UNKNOWN, unknown)
        if recorded and error.veo_task_id:
            return recorded
        raise VeoUnknownReceiptError(f"{error.what} Its receipt is {store.uri}.") from error
    except VeoError as error:
        _record_if_possible(store, claimed, by, ReceiptState.REFUSED, {"reason": str(error)})
        raise
    log.info("Submitted as %s.", video.id)
    return _record_submission(store, claimed, by, video)


def _record_submission(store: ReceiptStore, claimed: Held, by: Attempt, video: Video) -> Held:
    """Record the task id: patiently, for without it the generation is lost."""
    submitted = _submitted(claimed.receipt, by, video.id)
    try:
        return _write(store, submitted, claimed)
    except (VeoError, ReceiptConflictError) as error:
        reason = error.what if isinstance(error, VeoError) else f"{error} was changed by another attempt."
        raise VeoRecordLostError(
            f"The submission was accepted as {video.id}, but {store.uri} was not written: {reason}"
        ) from error
    except BaseException:
        # Airflow's execution_timeout or a signal: the id is worth one more write before the task ends.
        with suppress(Exception):
            store.write(submitted, claimed)
        raise


def _submitted(receipt: Receipt, by: Attempt, veo_task_id: str) -> Receipt:
    """Return the receipt of a submission that was accepted."""
    return receipt.moved(
        ReceiptState.SUBMITTED,
        by,
        veo_task_id=veo_task_id,
        candidate_task_id=None,
        generations=receipt.generations + 1,
    )


def _write(store: ReceiptStore, receipt: Receipt, after: Held | None) -> Held:
    """Write a receipt, and outlast a store that is away for a moment.

    A write whose answer was lost is found to be ours.
    """
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(VeoReceiptUnavailableError),
        wait=tenacity.wait_exponential(multiplier=0.5, max=10),
        stop=tenacity.stop_after_delay(RECORD_PATIENCE),
        reraise=True,
    )
    return patiently(store.write, receipt, after)


def _record_if_possible(
    store: ReceiptStore, held: Held, by: Attempt, state: ReceiptState, changes: dict[str, Any]
) -> Held | None:
    """Record why there is no task id; without that record, the submission counts as of unknown fate."""
    try:
        return _write(store, held.receipt.moved(state, by, **changes), held)
    except (VeoError, ReceiptConflictError) as error:
        log.warning("The receipt %s could not be written: %s", store.uri, error)
        return None


def sha256_of(request: VeoRequest) -> str | None:
    """Return the digest of a request's image, see :meth:`Image.hashed`; None for a request without one.

    For an image that was converted it is that of the original: another release of the converter makes other
    bytes of the same picture, and must not make its video look like another request's.

    :raises VeoImageUnavailableError: the image cannot be read to its end.
    """
    if request.image is None:
        return None
    if isinstance(request.image, ConvertedImage):
        return request.image.source_sha256
    return request.image.hashed().sha256
