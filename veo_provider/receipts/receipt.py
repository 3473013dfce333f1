"""Receipts: the durable record of one paid generation, written before any money is spent.

This module is the record alone, with no store: see :mod:`veo_provider.receipts.s3_store` for the sidecar of a
video in S3, and :mod:`veo_provider.receipts.task_state_store` for a generation without an output.
"""

from __future__ import annotations

import enum
import json
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import VeoReceiptError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from typing_extensions import Self

    from veo_provider.receipts.attempt import Attempt

SCHEMA_VERSION = 2
"""Version 1 had no gateway, and is read as one of APIYI's."""
CLOCK_DIFFERENCE = 300.0
"""Seconds that the clocks of S3, workers and triggerers may differ by."""
SUFFIX = ".veo.json"
"""What the name of a receipt in S3 adds to the name of its video."""


class ReceiptState(str, enum.Enum):
    """The state of a generation, as far as money is concerned."""

    CLAIMED = "claimed"
    """An attempt is about to submit, or has submitted and died before it recorded the response."""
    REFUSED = "refused"
    """Provably not accepted: it may be submitted again."""
    UNKNOWN = "unknown"
    """Submitted, and the response was lost: it may be generating."""
    SUBMITTED = "submitted"
    """Accepted; the task id is known."""
    FAILED = "failed"
    """The service gave up, and did not charge."""
    STORED = "stored"
    """The video is at its output."""
    LOST = "lost"
    """Completed and charged, but the service has no video: it was filtered or deleted."""


NOT_CHARGED = frozenset({ReceiptState.REFUSED.value, ReceiptState.FAILED.value})
"""The states in which a submission provably costs nothing."""
_ACCEPTED = frozenset({ReceiptState.SUBMITTED, ReceiptState.STORED, ReceiptState.LOST})


@dataclass(frozen=True)
class Submission:
    """One submission in a receipt's history: a claim, and the steps up to the next claim.

    :param attempt: the name of the attempt that claimed, ``str(Attempt)``.
    :param steps: each step with the state that it reached. For the last step that is the receipt's own state,
        since a person who has found the task id may have changed only that.
    """

    attempt: str
    steps: tuple[tuple[dict[str, Any], Any], ...] = field(compare=False)

    def __str__(self) -> str:
        return self.attempt

    @property
    def task_instance(self) -> str:
        """The task instance of the attempt."""
        return self.attempt.rpartition(" try ")[0]

    @property
    def try_number(self) -> int:
        """Airflow's number of the try; 0 if it is unknown."""
        number = self.attempt.rpartition(" try ")[2]
        return int(number) if number.isdigit() else 0

    @property
    def most_tries(self) -> int | None:
        """Airflow's ``max_tries`` at the time of the attempt; None if the receipt does not have it."""
        most = self.steps[0][0].get("most_tries")
        return most if isinstance(most, int) else None

    @property
    def may_be_charged(self) -> bool:
        """Whether the submission may be charged: it did not provably fail."""
        return self.steps[-1][0].get("state") not in NOT_CHARGED

    @property
    def told_usd(self) -> float | None:
        """What the gateway has last said that the submission costs; None if it did not say."""
        told = [step["told_usd"] for step, _ in self.steps if _is_amount(step.get("told_usd"))]
        return float(told[-1]) if told else None


@dataclass(frozen=True)
class Receipt:
    """One generation and what it costs. Immutable: :meth:`transition` returns a new receipt.

    :param state: the state of the generation.
    :param fingerprint: SHA-256 over the image and every parameter that changes the result or the account.
    :param request: the request, for people to read.
    :param price_usd: what the generation costs when it completes; None if the price is not known.
    :param claimed_by: the claim holder, the attempt that submits or submitted; for people to read.
    :param claim_id: the id of the claim holder.
    :param claimant: the task instance of the claim holder.
    :param claimed_until: Unix seconds after which a claim without a task id has expired: its holder is dead.
    :param veo_task_id: the API's task id, once it is known.
    :param candidate_task_id: a task id found in a broken response, not verified yet.
    :param generations: the number of submissions that were accepted for this video so far, with those that
        the gateway says it has made by itself.
    :param reason: why the submission was refused or failed, or is unknown.
    :param moderated: whether the service's safety filter was the reason.
    :param video: the stored video: ``uri``, ``bytes``, ``sha256``, ``duration_seconds``, ``width``,
        ``height``.
    :param history: each state with its time and the attempt that reached it: ``by`` is its name, ``claim``
        its id. A claim also has the price, the account and the model of its submission, its ``most_tries``,
        and the routes that were ``skipped`` before it; a refusal has its ``reason``. ``completed`` means that
        the generation was seen completed, ``told_usd`` is what the gateway says that it costs, and
        ``extra_generations`` how often it says to have submitted it by itself. ``candidates`` are the
        generations that a lost submission may be, as a look-up has found them.
    :param revision: unique to each write, so that no two writes have the same ETag.
    :param gateway: the name of the gateway, see :data:`~veo_provider.api.gateways.builtin.GATEWAYS`.
    :param price_form: what the price depends on, such as ``per second``; None if the price is not known.
    :param told_usd: what the gateway says that the last generation costs; None if it does not say.
    :param call_id: the name of the submission in the gateway's own log; may be empty.
    :param idempotency_key: by which the gateway recognises a repeated submission; may be empty.
    """

    state: ReceiptState
    fingerprint: str
    request: dict[str, Any]
    price_usd: float | None
    claimed_by: str
    claim_id: str
    claimant: str
    claimed_until: float
    veo_task_id: str | None = None
    generations: int = 0
    reason: str = ""
    moderated: bool = False
    video: dict[str, Any] | None = None
    history: tuple[dict[str, Any], ...] = ()
    revision: str = ""
    candidate_task_id: str | None = None
    gateway: str = "apiyi"
    price_form: str | None = None
    told_usd: float | None = None
    call_id: str = ""
    idempotency_key: str = ""

    def transition(
        self,
        state: ReceiptState,
        attempt: Attempt,
        *,
        told_usd: float | None = None,
        extra_generations: int = 0,
        candidates: Sequence[Mapping[str, Any]] = (),
        **changes: Any,
    ) -> Receipt:
        """Return the receipt in another state, with the step added to its history.

        :param attempt: the attempt that changes the receipt.
        :param told_usd: what the gateway says that the generation costs; None if it does not say.
        :param extra_generations: how often it says to have submitted the generation by itself.
        :param candidates: the generations that a lost submission may be, for people to choose from.
        :param changes: other fields that change.
        """
        step: dict[str, Any] = {
            "state": state.value,
            "at": _timestamp(),
            "by": str(attempt),
            "claim": attempt.id,
        }
        if state is ReceiptState.CLAIMED:
            step |= {"price_usd": self.price_usd}
            step |= {name: self.request.get(name) for name in ("account", "model")}
            step |= {} if attempt.most_tries is None else {"most_tries": attempt.most_tries}
        if state is ReceiptState.REFUSED:
            step["reason"] = changes.get("reason", "")
        if candidates:
            step["candidates"] = [dict(one) for one in candidates]
        if extra_generations:
            step["extra_generations"] = extra_generations
        if told_usd is not None:
            step["told_usd"] = changes["told_usd"] = told_usd
        for name in ("veo_task_id", "candidate_task_id"):
            if changes.get(name):
                step[name] = changes[name]
        history = _with_step(self.history, step)
        return replace(self, state=state, history=history, revision=uuid.uuid4().hex, **changes)

    def with_completion(self, attempt: Attempt) -> Receipt:
        """Return the receipt with a step that says that the generation was seen completed: it is charged."""
        seen = self.transition(self.state, attempt)
        return replace(seen, history=(*seen.history[:-1], {**seen.history[-1], "completed": True}))

    def is_claim_alive(self, now: float) -> bool:
        """Whether the claim holder may still be submitting.

        :param now: Unix seconds by the reader's clock. A claim lasts long enough for a clock that is ahead.
        """
        return self.state is ReceiptState.CLAIMED and now < self.claimed_until

    @property
    def was_completed(self) -> bool:
        """Whether the last generation was seen completed, whatever status the service reports later."""
        for step in reversed(self.history):
            if step.get("state") == ReceiptState.CLAIMED.value:
                return False
            if step.get("completed"):
                return True
        return False

    def has_task(self, veo_task_id: str) -> bool:
        """Whether a generation is, or was, this receipt's."""
        return veo_task_id == self.veo_task_id or any(
            step.get("veo_task_id") == veo_task_id for step in self.history
        )

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """The generations that the lost submission may be, as the last look-up has found them.

        Each has ``veo_task_id``, and the gateway's ``submitted_at`` (Unix seconds) and ``status`` or None.
        """
        if self.candidate_task_id:
            return [{"veo_task_id": self.candidate_task_id, "submitted_at": None, "status": None}]
        for step in reversed(self.history):
            found = step.get("candidates")
            if step.get("state") == ReceiptState.CLAIMED.value or isinstance(found, list):
                return [one for one in found or () if isinstance(one, dict) and one.get("veo_task_id")]
        return []

    @property
    def changed_at(self) -> float | None:
        """Unix seconds of the last step; None if its time is not valid."""
        return _time_of(self.history[-1:])

    @property
    def claimed_at(self) -> float | None:
        """Unix seconds of the last claim; None if its time is not valid."""
        return _time_of([step for step in self.history if step.get("state") == ReceiptState.CLAIMED.value])

    @property
    def submissions(self) -> list[Submission]:
        """The submissions in the history, oldest first."""
        found: list[tuple[str, list[tuple[dict[str, Any], Any]]]] = []
        for number, step in enumerate(self.history, 1):
            state = step.get("state")
            if state == ReceiptState.CLAIMED.value:
                found.append((str(step.get("by", "")), []))
            if number == len(self.history) and self.state in _ACCEPTED:
                state = self.state.value
            if found:
                found[-1][1].append((step, state))
        return [Submission(attempt, tuple(steps)) for attempt, steps in found]

    @property
    def chargeable_submissions(self) -> list[Submission]:
        """The submissions that may be charged, oldest first: those that did not provably fail."""
        return [one for one in self.submissions if one.may_be_charged]

    @property
    def submitted_at(self) -> float | None:
        """Unix seconds of the submission; None if a person has put the task id into the receipt."""
        return _time_of([step for step in self.history if step.get("veo_task_id") == self.veo_task_id])

    def to_json(self) -> bytes:
        """Return the receipt as JSON, for people and for later releases."""
        data = {"schema_version": SCHEMA_VERSION, **asdict(self), "state": self.state.value}
        if self.candidate_task_id is None:
            del data["candidate_task_id"]  # earlier releases read a receipt without it
        return json.dumps(data, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Self:
        """Parse a receipt.

        :param where: the URI that it was read from, for the error message.
        :raises VeoReceiptError: it is damaged, or a newer release wrote it.
        """
        try:
            fields = json.loads(data)
            version = fields.pop("schema_version")
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise VeoReceiptError(
                    f"The receipt {where} has schema version {version}, but this release reads only version "
                    f"{SCHEMA_VERSION}: upgrade airflow-provider-veo."
                )
            fields["state"] = ReceiptState(fields["state"])
            fields["history"] = tuple(fields["history"])
            _require_valid(fields)
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise VeoReceiptError(f"The receipt {where} cannot be understood: {error!r}.") from error


def claim(
    fingerprint: str,
    request: dict[str, Any],
    price_usd: float | None,
    attempt: Attempt,
    *,
    seconds: float,
    after: Receipt | None = None,
    gateway: str = "apiyi",
    price_form: str | None = None,
    idempotency_key: str = "",
    same_video: Collection[str] = (),
    skipped: Sequence[Mapping[str, Any]] = (),
) -> Receipt:
    """Return a receipt that claims the next submission for an attempt.

    :param seconds: the maximum duration of the submission.
    :param after: the receipt of an earlier generation of the same video; its history is continued.
    :param gateway: the gateway's name.
    :param price_form: what the price depends on.
    :param idempotency_key: by which the gateway recognises this submission.
    :param same_video: other fingerprints of the same video, whose generations count as its own.
    :param skipped: the routes that are not asked before this one, each with its account and the reason.
    """
    is_same = after is not None and after.fingerprint in (fingerprint, *same_video)
    base = Receipt(
        state=ReceiptState.CLAIMED,
        fingerprint=fingerprint,
        request=request,
        price_usd=price_usd,
        claimed_by=str(attempt),
        claim_id=attempt.id,
        claimant=attempt.task_instance,
        claimed_until=time.time() + seconds,
        generations=after.generations if after and is_same else 0,
        history=after.history if after else (),
        gateway=gateway,
        price_form=price_form,
        idempotency_key=idempotency_key,
    )
    claimed = base.transition(ReceiptState.CLAIMED, attempt)
    if not skipped:
        return claimed
    step = {**claimed.history[-1], "skipped": [dict(each) for each in skipped]}
    return replace(claimed, history=(*claimed.history[:-1], step))


def _with_step(history: tuple[dict[str, Any], ...], step: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the history with one more step; repeated refusals are counted instead of listed.

    An attempt that the service refuses again and again claims each time. None of these claims was charged, so
    the first and the last one are kept, with the number of those in between. A refusal by another account or
    of another model is listed.
    """
    last = history[-4:]
    states = [each.get("state") for each in last]
    is_refused_again = (
        step["state"] == ReceiptState.CLAIMED.value
        and states == [ReceiptState.CLAIMED.value, ReceiptState.REFUSED.value] * 2
        and all(each.get("by") == step["by"] for each in last)
        and all(each.get(name) == step[name] for each in last[::2] for name in ("account", "model"))
    )
    if not is_refused_again:
        return (*history, step)
    return (*history[:-2], {**step, "repeated": int(history[-2].get("repeated") or 1) + 1})


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _time_of(steps: Sequence[dict[str, Any]]) -> float | None:
    """Return the Unix seconds of the last of some steps; None if its time is not valid."""
    try:
        return datetime.fromisoformat(steps[-1]["at"]).timestamp()
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _timestamp() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _require_valid(fields: dict[str, Any]) -> None:
    """Check the fields that a person may have edited."""
    if not isinstance(fields["claimed_until"], (int, float)) or not isinstance(fields["generations"], int):
        raise TypeError("claimed_until and generations must be numbers")
    if not isinstance(fields["video"], (dict, type(None))) or not isinstance(fields["request"], dict):
        raise TypeError("video and request must be objects")
    if not all(isinstance(fields.get(name, ""), str) for name in ("gateway", "call_id", "idempotency_key")):
        raise TypeError("gateway, call_id and idempotency_key must be texts")
    if not all(isinstance(step, dict) for step in fields["history"]):
        raise TypeError("each step of the history must be an object")
    if fields["state"] in (ReceiptState.SUBMITTED, ReceiptState.STORED) and not fields["veo_task_id"]:
        raise ValueError("veo_task_id is missing")


def describe(receipt: Receipt) -> str:
    """Return a stored video in one line, for the log: where it is, how long, its pixels, size and price."""
    video = receipt.video or {}
    parts = [str(video.get("uri", ""))]
    if isinstance(seconds := video.get("duration_seconds"), (int, float)):
        parts.append(f"{seconds:.1f} s")
    if video.get("width") and video.get("height"):
        parts.append(f"{video['width']}x{video['height']}")
    if isinstance(size := video.get("bytes"), int):
        parts.append(f"{size / 1e6:.1f} MB")
    if _is_amount(receipt.price_usd):
        parts.append(f"${receipt.price_usd:.2f}")
    if receipt.told_usd is not None:
        parts.append(f"${receipt.told_usd:.2f} according to the gateway")
    return ", ".join(parts)
