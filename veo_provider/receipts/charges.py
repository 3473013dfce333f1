"""What a run was charged and may be charged, according to its receipts.

Each step in a receipt's history has the id of the attempt that made it, and each claim has its own price. So
a segment knows which charges are already counted, without comparing the clocks of two machines.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from veo_provider.concurrency.executors import map_ordered
from veo_provider.exceptions import VeoReceiptDeniedError, VeoReceiptError, VeoReceiptUnavailableError
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, NOT_CHARGED, SUFFIX, ReceiptState
from veo_provider.receipts.s3_store import S3ReceiptStore, sidecar_of
from veo_provider.s3.client import iter_objects
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Uri, split_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client

    from veo_provider.receipts.receipt import Receipt

    Counted = Mapping[str, "float | None"]
    """The segments whose steps are already counted, see :class:`Ledger`."""

_READERS = 8
_READ_AHEAD = 256
_ID_CHARACTERS = 12
"""The length of the prefix of an attempt's id that distinguishes the segments of one run."""

_UNKNOWN = (ReceiptState.CLAIMED.value, ReceiptState.UNKNOWN.value)


@dataclass(frozen=True)
class Charges:
    """What a run pays for videos, in USD.

    :param charged: for submissions that were accepted and did not fail; they are charged when they complete.
    :param unknown: for claims, and for submissions whose response was lost: these may be charged.
    """

    charged: float = 0.0
    unknown: float = 0.0

    @property
    def total(self) -> float:
        """The maximum that may be charged."""
        return self.charged + self.unknown

    def __add__(self, other: Charges) -> Charges:
        return Charges(self.charged + other.charged, self.unknown + other.unknown)

    def __sub__(self, other: Charges) -> Charges:
        return Charges(self.charged - other.charged, self.unknown - other.unknown)


def charges(receipt: Receipt | None, run: str, counted: Counted | None = None) -> float:
    """Return what a run may be charged for a video, in USD: each submission that did not provably fail.

    Claims and submissions with a lost response are included; :func:`charges_of` separates them.

    :param run: the task instance whose charges are counted.
    :param counted: the segments whose steps are left out, see :class:`Ledger`. The result is negative if a
        submission is left out and its failure is not.
    """
    return charges_of(receipt, run, counted).total


def unknown_charges(receipt: Receipt | None, run: str) -> float:
    """Return the unknown part of what a run may be charged for a video, in USD."""
    return charges_of(receipt, run).unknown


def charges_of(receipt: Receipt | None, run: str, counted: Counted | None = None) -> Charges:
    """Return what a run may be charged for a video, like :func:`charges`, with the unknown part separate."""
    total = Charges()
    for step, change in _changes(receipt, run):
        if not _is_counted(step, counted or {}):
            total += change
    return total


def pays(receipt: Receipt, run: str) -> bool:
    """Whether a run is or may be charged for a video, whatever the price."""
    own = (one for one in receipt.submissions if one.task_instance == run)
    return any(one.steps[-1][1] not in NOT_CHARGED for one in own)


def _changes(receipt: Receipt | None, run: str) -> Iterator[tuple[Mapping[str, Any], Charges]]:
    """Yield each step of the run's submissions with the change that it makes to the charges."""
    if receipt is None:
        return
    for submission in receipt.submissions:
        if submission.task_instance != run:
            continue
        price, cost = _price_of(submission.steps[0][0], receipt), Charges()
        submitted = 1
        for step, state in submission.steps:
            # A gateway that repeats a submission by itself may charge each of them.
            submitted = max(submitted, 1 + _count_of(step.get("extra_generations")))
            before, cost = cost, _cost(state, price * submitted)
            yield step, cost - before


def _cost(state: Any, price: float) -> Charges:
    """Return what a submission costs in a state."""
    if state in NOT_CHARGED:
        return Charges()
    return Charges(unknown=price) if state in _UNKNOWN else Charges(charged=price)


def told_charges(receipt: Receipt | None, run: str) -> float | None:
    """Return what the gateway says that it charges a run for a video, in USD; None if it never says."""
    submissions = receipt.chargeable_submissions if receipt else []
    told = [one.told_usd for one in submissions if one.task_instance == run and one.told_usd is not None]
    return sum(told) if told else None


def _count_of(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _price_of(claim: Mapping[str, Any], receipt: Receipt) -> float:
    """Return the price of a submission; receipts of earlier releases have only that of the last one."""
    price = claim.get("price_usd", receipt.price_usd)
    return float(price) if isinstance(price, (int, float)) else 0.0


def _is_counted(step: Mapping[str, Any], counted: Counted) -> bool:
    """Whether a step is already counted."""
    segment = _segment_of(step)
    if segment not in counted:
        return False
    until = counted[segment]
    if until is None:
        return True
    if not segment and step.get("state") in NOT_CHARGED:
        # The clocks may differ: counting too much is safer than releasing the same money twice.
        until += 2 * CLOCK_DIFFERENCE
    return _time_of(step) <= until


def _segment_of(step: Mapping[str, Any]) -> str:
    """Return the id of the segment that made a step, as in :class:`Ledger`; empty for an earlier release."""
    return str(step.get("claim", ""))[:_ID_CHARACTERS]


def _time_of(step: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(step["at"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


class Ledger:
    """The charges that the segments of a run have counted.

    Each segment is an attempt, and each step of a receipt has the id of its attempt. A segment that finished
    has counted all of its own steps. A segment that was killed has counted none: the next one finds its steps
    in the receipts, counts them, and remembers the time of the newest, by the clock of the killed segment.
    Whatever that segment may still do is newer.

    :param run: the task instance.
    :param segment: the id of this segment's attempt.
    :param counted: the segments that were counted before, by the first characters of their ids. The value is
        None if all of their steps are counted, or else the time of the last counted step, in Unix seconds by
        the segment's own clock.
    """

    def __init__(self, run: str, segment: str, counted: Counted) -> None:
        self._run = run
        self._before = dict(counted)
        self._found: dict[int, Charges] = {}
        self.counted: dict[str, float | None] = {**counted, segment[:_ID_CHARACTERS]: None}
        """The segments that are counted once this one has finished."""
        self.read_at: float | None = None
        """Unix seconds at which receipts were read; None before that."""
        self.found_others = False
        """Whether submissions of other segments were found, which may still be running."""

    def count_others(self, s3: S3Client, prefix: str, since: float) -> Charges:
        """Return the charges of other segments that are not counted yet; this call blocks.

        For each receipt with such a charge, some hundred bytes are kept until :meth:`found` is called.

        :param prefix: the folder of the receipts, ``s3://bucket/prefix/``.
        :param since: Unix seconds; receipts that were last written before are already counted.
        :raises VeoReceiptUnavailableError: S3 is unavailable.
        """
        total, self.read_at = Charges(), time.time()
        for store, receipt in read_receipts(s3, prefix, lambda _, modified: modified >= since):
            new = [one for one in _changes(receipt, self._run) if not _is_counted(one[0], self._before)]
            for step, _ in new:
                segment = _segment_of(step)
                self.counted[segment] = max(self.counted.get(segment) or 0.0, _time_of(step))
            if new:
                self.found_others = True
                found = sum((change for _, change in new), Charges())
                self._found[hash(store.uri.removesuffix(SUFFIX))] = found
                total += found
        return total

    def found(self, output: str) -> Charges:
        """Return, once, what :meth:`count_others` has found for a video."""
        return self._found.pop(hash(output), Charges())

    def charges(self, receipt: Receipt) -> Charges:
        """Return the charges of a receipt that were not counted when this segment started."""
        return charges_of(receipt, self._run, self._before)

    def late(self, receipt: Receipt) -> Charges:
        """Return what others have submitted since :meth:`count_others`; the next segment counts it again."""
        return charges_of(receipt, self._run, self.counted)


def read_receipts(
    s3: S3Client, prefix: str, wanted: Callable[[str, float], bool]
) -> Iterator[tuple[S3ReceiptStore, Receipt]]:
    """Yield the receipts below a prefix, each with its store; this call blocks.

    Receipts that cannot be understood are left out.

    :param prefix: ``s3://bucket/prefix/``.
    :param wanted: which receipts to read. Called with the URI of the receipt's video, and the latest Unix
        seconds at which the receipt may have been written, by any clock.
    :raises VeoReceiptUnavailableError: S3 is unavailable.
    :raises VeoReceiptDeniedError: S3 does not allow to read them.
    """
    with translate_errors(
        f"The receipts below {prefix} cannot be listed",
        retryable=VeoReceiptUnavailableError,
        final=VeoReceiptDeniedError,
    ):
        stores = _stores_below(s3, prefix, wanted)
        read = map_ordered(_read_or_skip, stores, threads=_READERS, ahead=_READ_AHEAD, name="veo-budget")
        yield from ((store, receipt) for store, receipt in read if receipt is not None)


def _stores_below(
    s3: S3Client, prefix: str, wanted: Callable[[str, float], bool]
) -> Iterator[S3ReceiptStore]:
    """List the receipts below a prefix; see :func:`read_receipts`."""
    _, bucket, key = split_uri(prefix)
    for found in iter_objects(s3, S3Uri(bucket, key or "")):
        if not found["Key"].endswith(SUFFIX):
            continue
        video = S3Uri(bucket, found["Key"].removesuffix(SUFFIX))
        if wanted(str(video), found["LastModified"].timestamp() + CLOCK_DIFFERENCE):
            yield S3ReceiptStore(s3, sidecar_of(video))


def iter_receipts(s3: S3Client, prefix: str, since: float) -> Iterator[Receipt]:
    """Yield the receipts below a prefix that were written since a time; see :func:`read_receipts`.

    :param since: Unix seconds.
    """
    return (receipt for _, receipt in read_receipts(s3, prefix, lambda _, modified: modified >= since))


def _read_or_skip(store: S3ReceiptStore) -> tuple[S3ReceiptStore, Receipt | None]:
    """Return a receipt, or None if it cannot be understood: such a receipt blocks every submission."""
    try:
        stored = store.read()
    except VeoReceiptDeniedError:
        raise
    except VeoReceiptError:
        stored = None
    return store, stored.receipt if stored else None
