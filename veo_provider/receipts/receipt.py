"""Receipts: the durable record of one paid generation, written before any money moves.

In S3 a receipt is the sidecar of the video that it pays for (``clip.mp4.veo.json``), so that a prefix is its
own ledger. It is claimed with a conditional PUT and changed only as it was read, so that of two workers one
pays and the other finds out. Without an output, it lives in Airflow's task state store (3.3 and later).
"""

from __future__ import annotations

import enum
import json
import logging
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from veo_provider.exceptions import (
    ReceiptConflictError,
    VeoError,
    VeoReceiptDeniedError,
    VeoReceiptError,
    VeoReceiptUnavailableError,
    VeoRequestError,
    VeoStorageError,
    VeoStorageMissingError,
)
from veo_provider.s3.client import is_about_checksums, translate_errors
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mypy_boto3_s3 import S3Client
    from typing_extensions import Self

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
CLOCK_DIFFERENCE = 300.0
"""Seconds that the clocks of S3, workers and triggerers may differ by."""
SUFFIX = ".veo.json"
"""What the sidecar's name adds to the video's."""


def sidecar_of(video: S3Uri) -> S3Uri:
    """Return where the receipt of a video in S3 lies."""
    return S3Uri(video.bucket, video.key + SUFFIX)


class ReceiptState(str, enum.Enum):
    """How far a generation has come, for the money."""

    CLAIMED = "claimed"
    """Somebody is about to submit, or did and died before the answer was recorded."""
    REFUSED = "refused"
    """Provably not accepted: it may be submitted again."""
    UNKNOWN = "unknown"
    """Submitted, and the answer was lost: it may be generating."""
    SUBMITTED = "submitted"
    """Accepted; the task id is known."""
    FAILED = "failed"
    """The service gave up, and did not charge."""
    STORED = "stored"
    """The video is in its place."""
    LOST = "lost"
    """Completed and charged, and the service has no video: filtered, or deleted."""


@dataclass(frozen=True)
class Attempt:
    """One try of one task instance: who acts.

    :param task_instance: names the task instance, without its try.
    :param try_number: Airflow's number of the try.
    :param alone: whether no other attempt of the task instance can still be about.
    :param id: of this very attempt, unlike any other.
    :param first_try: Airflow's number of the first try since the task was started or cleared last; a later
        one is a retry. None where that is not known, as after a change of the task's ``retries``.
    :param most_tries: the number of the last try that Airflow allows: a clear raises it, and nothing else
        changes it. None where that is not known.
    """

    task_instance: str
    try_number: int = 1
    alone: bool = True
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    first_try: int | None = None
    most_tries: int | None = None

    def __str__(self) -> str:
        return f"{self.task_instance} try {self.try_number}"

    def goes_on_with(self, first_try: int, most_tries: int | None) -> bool:
        """Whether an earlier try belongs to this one: the task has not been cleared in between.

        :param first_try: the number of the earlier try, or of the first one of those that it belongs to.
        :param most_tries: as that try had it; None for one of an earlier release.
        """
        if most_tries is not None and self.most_tries is not None:
            return most_tries == self.most_tries
        return self.first_try is not None and first_try >= self.first_try


NOT_CHARGED = frozenset({ReceiptState.REFUSED.value, ReceiptState.FAILED.value})
"""The states of a submission that provably costs nothing."""
_ACCEPTED = frozenset({ReceiptState.SUBMITTED, ReceiptState.STORED, ReceiptState.LOST})


@dataclass(frozen=True)
class Submission:
    """One submission in a receipt's history: a claim, and the steps up to the next one.

    :param attempt: who claimed, as an :class:`Attempt` names itself.
    :param steps: each step, and the state that it reached: the receipt's own for the last step, if a person
        who has found the id has changed only that.
    """

    attempt: str
    steps: tuple[tuple[dict[str, Any], Any], ...] = field(compare=False)

    def __str__(self) -> str:
        return self.attempt

    @property
    def task_instance(self) -> str:
        """The attempt's task instance."""
        return self.attempt.rpartition(" try ")[0]

    @property
    def try_number(self) -> int:
        """Airflow's number of the attempt's try; 0 if it is unknown."""
        number = self.attempt.rpartition(" try ")[2]
        return int(number) if number.isdigit() else 0

    @property
    def most_tries(self) -> int | None:
        """Airflow's ``max_tries`` as the attempt had it; None if the receipt does not say."""
        most = self.steps[0][0].get("most_tries")
        return most if isinstance(most, int) else None

    @property
    def may_be_charged(self) -> bool:
        """Whether it did not provably fail."""
        return self.steps[-1][0].get("state") not in NOT_CHARGED


@dataclass(frozen=True)
class Receipt:
    """One generation and its money. Every change is a new object; see :meth:`moved`.

    :param state: how far it has come.
    :param fingerprint: SHA-256 over the image and every parameter that changes the result or the account.
    :param request: what was asked, for people to read.
    :param price_usd: what the generation costs when it completes; None if the price is not known.
    :param claimed_by: the attempt that submits or submitted, for people to read.
    :param claim_id: the same attempt's id.
    :param claimant: the same attempt's task instance.
    :param claimed_until: Unix seconds after which a claim without a task id is a dead attempt's.
    :param veo_task_id: the API's task id, once it is known.
    :param candidate_task_id: the id that was read in what came of a lost answer; nobody has verified it yet.
    :param generations: how many submissions were accepted for this video so far.
    :param reason: why it was refused or failed, or is unknown.
    :param moderated: whether the service's safety filter was the reason.
    :param video: what is stored: ``uri``, ``bytes``, ``sha256``, ``duration_seconds``, ``width``, ``height``.
    :param history: each state with its time and the attempt that reached it: by name, and as ``claim`` by its
        id. A claim also has the price and the account of its submission, and the attempt's
        ``most_tries``; ``completed`` says that the
        generation was seen completed.
    :param revision: unlike any other, so that no two writes have the same ETag.
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

    def moved(self, state: ReceiptState, by: Attempt, **changes: Any) -> Receipt:
        """Return the receipt in another state, with the step added to its history."""
        step: dict[str, Any] = {"state": state.value, "at": _timestamp(), "by": str(by), "claim": by.id}
        if state is ReceiptState.CLAIMED:
            step |= {"price_usd": self.price_usd, "account": self.request.get("account")}
            step |= {} if by.most_tries is None else {"most_tries": by.most_tries}
        for name in ("veo_task_id", "candidate_task_id"):
            if changes.get(name):
                step[name] = changes[name]
        history = _with_step(self.history, step)
        return replace(self, state=state, history=history, revision=uuid.uuid4().hex, **changes)

    def completed_now(self, by: Attempt) -> Receipt:
        """Return the receipt with a step that says that its generation was seen completed, and is charged."""
        seen = self.moved(self.state, by)
        return replace(seen, history=(*seen.history[:-1], {**seen.history[-1], "completed": True}))

    def is_claim_alive(self, now: float) -> bool:
        """Whether the attempt that has claimed may still be submitting.

        :param now: Unix seconds by the reader's clock; a claim lasts long enough for one that is ahead.
        """
        return self.state is ReceiptState.CLAIMED and now < self.claimed_until

    @property
    def was_completed(self) -> bool:
        """Whether the last generation was seen completed, whatever the service says of it later."""
        for step in reversed(self.history):
            if step.get("state") == ReceiptState.CLAIMED.value:
                return False
            if step.get("completed"):
                return True
        return False

    def knows(self, veo_task_id: str) -> bool:
        """Whether a generation is the receipt's, or was before."""
        return veo_task_id == self.veo_task_id or any(
            step.get("veo_task_id") == veo_task_id for step in self.history
        )

    @property
    def changed_at(self) -> float | None:
        """Unix seconds of the last step; None where that cannot be read."""
        return _time_of(self.history[-1:])

    @property
    def submissions(self) -> list[Submission]:
        """Return the submissions of the history, oldest first."""
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
    def payers(self) -> list[Submission]:
        """Return the submissions that may be charged, oldest first: those that did not provably fail."""
        return [one for one in self.submissions if one.may_be_charged]

    @property
    def submitted_at(self) -> float | None:
        """Unix seconds of the submission; None where a person put the id into the receipt."""
        return _time_of([step for step in self.history if step.get("veo_task_id") == self.veo_task_id])

    def to_json(self) -> bytes:
        """Return the receipt as people and later releases read it."""
        data = {"schema_version": SCHEMA_VERSION, **asdict(self), "state": self.state.value}
        if self.candidate_task_id is None:
            del data["candidate_task_id"]  # a receipt without one is read by earlier releases, too
        return json.dumps(data, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Self:
        """Read a receipt.

        :param where: what it was read from, for the error message.
        :raises VeoReceiptError: it is damaged, or was written by a newer release.
        """
        try:
            fields = json.loads(data)
            version = fields.pop("schema_version")
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise VeoReceiptError(
                    f"The receipt {where} has version {version}, and this release knows {SCHEMA_VERSION}: "
                    "upgrade airflow-provider-veo."
                )
            fields["state"] = ReceiptState(fields["state"])
            fields["history"] = tuple(fields["history"])
            _require_sense(fields)
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise VeoReceiptError(f"The receipt {where} cannot be understood: {error!r}.") from error


@dataclass(frozen=True)
class VersionedReceipt:
    """A receipt as it was read or written last, and what its store needs to change exactly that one."""

    receipt: Receipt
    etag: str


class ReceiptStore(Protocol):
    """Where one receipt lives."""

    @property
    def uri(self) -> str:
        """Where that is, for people to read."""

    def read(self) -> VersionedReceipt | None:
        """Return the receipt, or None if there is none.

        :raises VeoReceiptUnavailableError: it cannot be told whether there is one.
        :raises VeoReceiptError: there is one that cannot be understood.
        """

    def write(self, receipt: Receipt, after: VersionedReceipt | None) -> VersionedReceipt:
        """Write the receipt if it is still as it was read, or if there is still none.

        :raises ReceiptConflictError: it is not.
        :raises VeoReceiptUnavailableError: it could not be written, or nobody knows whether it was.
        :raises VeoRequestError: it never can be, under this name.
        """


_REFUSED_CONDITIONS = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404", "409", "412")
"""What S3 answers to a conditional write that it does not make
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html); 404 if there is no object."""
_WRITES_AT_ONCE = 2
"""Attempts at a write that S3 refuses without a reason, before it counts as one that may pass."""


_NEVER = {"IfMatch": '"00000000000000000000000000000000"'}
"""A condition that no object meets."""
_VIDEO_METADATA = {"veo_task_id": "probe", "veo_model": "probe"}
"""The names of what a stored video carries."""


class S3ReceiptStore:
    """Keeps a receipt in S3, where conditional writes decide between two that claim at once.

    :param client: S3 client of boto3.
    :param target: the receipt's object.
    :param unconditional: go on where the store ignores conditional writes, without protection from races.
    """

    _honoured: ClassVar[dict[tuple[str, str, str], bool]] = {}

    def __init__(self, client: S3Client, target: S3Uri, *, unconditional: bool = False) -> None:
        self._client = client
        self._target = target
        self._unconditional = unconditional

    @property
    def uri(self) -> str:
        """``s3://bucket/key``."""
        return str(self._target)

    def read(self) -> VersionedReceipt | None:
        """Return the receipt, or None if there is none; see :class:`ReceiptStore` for the errors."""
        try:
            with translate_errors(f"The receipt {self.uri} cannot be read"):
                answer = self._client.get_object(Bucket=self._target.bucket, Key=self._target.key)
                body = answer["Body"].read()
        except VeoStorageError as error:
            if isinstance(error, VeoStorageMissingError) and error.code == "NoSuchKey":
                return None
            raise _receipt_error(error) from error
        return VersionedReceipt(Receipt.from_json(body, self.uri), answer["ETag"])

    def check(self) -> None:
        """Find out whether receipts can be kept beside this one, without writing it.

        :raises VeoReceiptError: they cannot.
        :raises VeoReceiptUnavailableError: that cannot be told now.
        """
        self.read()
        self._require(self._honours_if_match)

    def write(self, receipt: Receipt, after: VersionedReceipt | None) -> VersionedReceipt:
        """Write the receipt, if nobody else did; see :class:`ReceiptStore` for the errors."""
        self._require(self._honours_if_match)
        if not self._honoured[self._where(self._honours_if_match)]:
            return VersionedReceipt(receipt, self._put(self._target.key, receipt.to_json(), {}) or "")
        if after is None and not self._is_known(self._honours_if_none_match):
            after = self._create_harmless(receipt)
        return self._write_if_same(receipt, after)

    def _write_if_same(
        self, receipt: Receipt, after: VersionedReceipt | None, *earlier: Receipt
    ) -> VersionedReceipt:
        """Write a receipt if the stored one is what was read.

        A refusal does not say why: another write may be going on (409), or S3 has written at the first call
        and boto3 repeated it, because the answer was lost (412). The stored receipt tells.

        :param earlier: what an earlier call may have written in its place.
        """
        ours = {one.revision for one in (receipt, *earlier)}
        for _ in range(_WRITES_AT_ONCE):
            condition = {"IfMatch": after.etag} if after else {"IfNoneMatch": "*"}
            etag = self._put(self._target.key, receipt.to_json(), condition)
            if etag is not None:
                return VersionedReceipt(receipt, etag)
            found = self.read()
            if found is not None and found.receipt.revision in ours:
                return found
            if not _is_same(found, after):
                raise ReceiptConflictError(self.uri)
            after = found  # with another ETag, if the store has rewritten it
        raise VeoReceiptUnavailableError(
            f"The receipt {self.uri} cannot be written: S3 refuses that, though nobody has changed it."
        )

    def _create_harmless(self, receipt: Receipt) -> VersionedReceipt:
        """Create the receipt as one that claims nothing yet, to try on it whether creating is conditional."""
        harmless = replace(
            receipt,
            state=ReceiptState.REFUSED,
            reason="not submitted yet",
            history=receipt.history[:-1],
            revision=uuid.uuid4().hex,
        )
        held = self._write_if_same(harmless, None, receipt)
        self._require(self._honours_if_none_match)
        return held

    def _put(self, key: str, body: bytes, condition: dict[str, Any]) -> str | None:
        """Write an object and return its ETag, or None if S3 refuses it for its condition."""
        try:
            with translate_errors(f"The receipt {self.uri} cannot be written"):
                answer = self._client.put_object(
                    Bucket=self._target.bucket,
                    Key=key,
                    Body=body,
                    ContentType="application/json",
                    **condition,
                )
        except VeoStorageError as error:
            if condition and error.code in _REFUSED_CONDITIONS:
                return None
            if error.code == "KeyTooLongError":
                raise VeoRequestError(
                    f"The name of the receipt {self.uri} is too long for its store."
                ) from error
            raise _receipt_error(error) from error
        return answer["ETag"]

    def _require(self, honours: Callable[[], bool]) -> None:
        """Find out, once for each bucket and process, whether the store honours a condition.

        :raises VeoReceiptError: it does not, and the user has not accepted that.
        """
        if not self._is_known(honours):
            self._honoured[self._where(honours)] = honours()
        if self._honoured[self._where(honours)]:
            return
        if not self._unconditional:
            raise VeoReceiptError(
                f"The store of {self.uri} ignores conditional writes, so two workers could both pay for one "
                "video. Keep receipts in another store, or set allow_unconditional_writes=True if no two "
                "tasks write the same output."
            )
        log.warning(
            "The store of %s ignores conditional writes: there is no protection from races.", self.uri
        )

    def _is_known(self, honours: Callable[[], bool]) -> bool:
        return self._where(honours) in self._honoured

    def _where(self, honours: Callable[[], bool]) -> tuple[str, str, str]:
        return self._client.meta.endpoint_url, self._target.bucket, honours.__name__

    def _honours_if_match(self) -> bool:
        """Write an object that is not there, on condition of its ETag: nothing must come of it.

        The write carries what that of a video carries, so that a store which can never take one is found out
        before a video is paid for: a proxy may drop headers with underscores, which the signature covers.
        """
        # Not the receipt's own name and more, which might be too long.
        folder = self._target.key[: self._target.key.rfind("/") + 1]
        key = f"{folder}{SUFFIX}.probe-{uuid.uuid4().hex}"
        try:
            if self._put(key, b"{}", {**_NEVER, "Metadata": _VIDEO_METADATA}) is None:
                return True
        except VeoReceiptDeniedError as error:
            code = getattr(error.__cause__, "code", "")
            if code == "NotImplemented" and not is_about_checksums(code, error.what):
                return False
            if code == "SignatureDoesNotMatch":
                raise VeoReceiptDeniedError(
                    f"{error.what} If other objects can be written there, a proxy drops headers with "
                    "underscores, such as x-amz-meta-veo_task_id: no video could ever be stored."
                ) from error
            raise
        self._discard(key)
        return False

    def _honours_if_none_match(self) -> bool:
        """Repeat the creation of the receipt that has just been created."""
        if self._put(self._target.key, b"{}", {"IfNoneMatch": "*"}) is None:
            return True
        self._discard(self._target.key)
        return False

    def _discard(self, key: str) -> None:
        """Delete what a store should not have written; harmless where a policy forbids it."""
        try:
            with translate_errors(f"s3://{self._target.bucket}/{key} cannot be deleted"):
                self._client.delete_object(Bucket=self._target.bucket, Key=key)
        except VeoStorageError as error:
            log.warning("%s", error)


def _receipt_error(error: VeoStorageError) -> VeoError:
    """Return what an error of the store means for a receipt."""
    return (VeoReceiptUnavailableError if error.retryable else VeoReceiptDeniedError)(error.what)


def _is_same(found: VersionedReceipt | None, read: VersionedReceipt | None) -> bool:
    """Whether the stored receipt is still what was read; one that a person edits keeps its revision."""
    if found is None or read is None:
        return found is read
    return found.receipt.to_json() == read.receipt.to_json()


class TaskStateReceiptStore:
    """Keeps a receipt in Airflow's task state store, which belongs to one task instance of one run.

    It survives retries, deferral and clear. Nobody else writes there, so there is nothing to race with.

    :param state: ``context["task_state_store"]`` of Airflow 3.3 and later.
    """

    uri = "Airflow's task state store"
    _KEY = "veo_receipt"

    def __init__(self, state: Any) -> None:
        self._state = state

    def read(self) -> VersionedReceipt | None:
        """Return the receipt, or None if there is none; see :class:`ReceiptStore` for the errors."""
        try:
            found = self._state.get(self._KEY)
        except Exception as error:
            raise VeoReceiptUnavailableError(f"The receipt in {self.uri} cannot be read: {error}.") from error
        if found is None:
            return None
        return VersionedReceipt(Receipt.from_json(str(found).encode(), self.uri), "")

    def write(self, receipt: Receipt, after: VersionedReceipt | None) -> VersionedReceipt:  # noqa: ARG002 - there are no rivals
        """Write the receipt; see :class:`ReceiptStore` for the errors."""
        try:
            self._state.set(self._KEY, receipt.to_json().decode(), **self._for_ever())
        except Exception as error:
            raise VeoReceiptUnavailableError(
                f"The receipt in {self.uri} cannot be written: {error}."
            ) from error
        return VersionedReceipt(receipt, "")

    def _for_ever(self) -> dict[str, Any]:
        """Return what keeps the receipt: by default, Airflow removes task state after 30 days."""
        try:
            # Public since Airflow 3.3, and left out of its type stub.
            from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]
        except ImportError:
            return {}
        return {"retention": NEVER_EXPIRE} if "retention" in signature(self._state.set).parameters else {}


def claim(
    fingerprint: str,
    request: dict[str, Any],
    price_usd: float | None,
    by: Attempt,
    *,
    seconds: float,
    after: Receipt | None = None,
) -> Receipt:
    """Return a receipt that claims the next submission for an attempt.

    :param seconds: how long the submission may take at most.
    :param after: the receipt of an earlier generation of the same video, whose history goes on.
    """
    base = Receipt(
        state=ReceiptState.CLAIMED,
        fingerprint=fingerprint,
        request=request,
        price_usd=price_usd,
        claimed_by=str(by),
        claim_id=by.id,
        claimant=by.task_instance,
        claimed_until=time.time() + seconds,
        generations=after.generations if after and after.fingerprint == fingerprint else 0,
        history=after.history if after else (),
    )
    return base.moved(ReceiptState.CLAIMED, by)


def _with_step(history: tuple[dict[str, Any], ...], step: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the history with one more step, in which what is repeated over and over is counted, not listed.

    An attempt that the service refuses again and again claims each time. None of these was charged, so the
    first one and the last one, with the number of those between them, say all that there is to say.
    """
    last = [(each.get("state"), each.get("by")) for each in history[-4:]]
    claimed, refused = ((state.value, step["by"]) for state in (ReceiptState.CLAIMED, ReceiptState.REFUSED))
    if step["state"] != ReceiptState.CLAIMED.value or last != [claimed, refused, claimed, refused]:
        return (*history, step)
    return (*history[:-2], {**step, "repeated": int(history[-2].get("repeated") or 1) + 1})


def _time_of(steps: Sequence[dict[str, Any]]) -> float | None:
    """Return the Unix seconds of the last of some steps, as far as a person has left them legible."""
    try:
        return datetime.fromisoformat(steps[-1]["at"]).timestamp()
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _timestamp() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _require_sense(fields: dict[str, Any]) -> None:
    """Check what a person may have written by hand."""
    if not isinstance(fields["claimed_until"], (int, float)) or not isinstance(fields["generations"], int):
        raise TypeError("claimed_until and generations are numbers")
    if not isinstance(fields["video"], (dict, type(None))) or not isinstance(fields["request"], dict):
        raise TypeError("video and request are objects")
    if not all(isinstance(step, dict) for step in fields["history"]):
        raise TypeError("each step of the history is an object")
    if fields["state"] in (ReceiptState.SUBMITTED, ReceiptState.STORED) and not fields["veo_task_id"]:
        raise ValueError("there is no veo_task_id")
