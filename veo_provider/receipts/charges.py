"""The money of one run: what it was and may be charged, by its receipts, and never more than agreed.

Each step in a receipt's history names the attempt that made it, and each claim has its own price. So it is
known whose charges were counted already, without comparing the clocks of two machines.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from veo_provider.concurrency.executors import map_ordered
from veo_provider.exceptions import VeoReceiptDeniedError, VeoReceiptError, VeoReceiptUnavailableError
from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, SUFFIX, ReceiptState, S3ReceiptStore
from veo_provider.s3.client import iter_objects, translate_errors
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client

    from veo_provider.receipts.receipt import Receipt

    Counted = Mapping[str, "float | None"]
    """Whose steps are counted already: see :class:`Ledger`."""

_READERS = 8
_AHEAD = 256
_ID_CHARACTERS = 12
"""Of an attempt's id: enough to tell those of one run apart."""

_NOT_CHARGED = (ReceiptState.REFUSED.value, ReceiptState.FAILED.value)
_UNKNOWN = (ReceiptState.CLAIMED.value, ReceiptState.UNKNOWN.value)
_ACCEPTED = (ReceiptState.SUBMITTED, ReceiptState.STORED, ReceiptState.LOST)


@dataclass(frozen=True)
class Charges:
    """What a run pays for a video, in USD.

    :param charged: for what was accepted and did not fail; it is charged when it completes.
    :param unknown: what else it may be charged: for claims and submissions of which nobody knows the fate.
    """

    charged: float = 0.0
    unknown: float = 0.0

    @property
    def total(self) -> float:
        """What may be charged at most."""
        return self.charged + self.unknown

    def __add__(self, other: Charges) -> Charges:
        return Charges(self.charged + other.charged, self.unknown + other.unknown)

    def __sub__(self, other: Charges) -> Charges:
        return Charges(self.charged - other.charged, self.unknown - other.unknown)


def charges(receipt: Receipt | None, run: str, counted: Counted | None = None) -> float:
    """Return what a run may be charged for a video, in USD: each submission that did not provably fail.

    A claim counts, and so does a submission of unknown fate; :func:`charges_of` tells them apart.

    :param run: the task instance whose charges are counted.
    :param counted: whose steps are left out, see :class:`Ledger`. A failure that is not left out counts
        negative if its submission is.
    """
    return charges_of(receipt, run, counted).total


def unknown_charges(receipt: Receipt | None, run: str) -> float:
    """Return what a run may be charged for submissions of a video of which nobody knows the fate, in USD."""
    return charges_of(receipt, run).unknown


def charges_of(receipt: Receipt | None, run: str, counted: Counted | None = None) -> Charges:
    """Return what a run pays for a video, as :func:`charges` does, by what is known of it."""
    total = Charges()
    for step, change in _changes(receipt, run):
        if not _is_counted(step, counted or {}):
            total += change
    return total


def pays(receipt: Receipt, run: str) -> bool:
    """Whether a run is charged for a video, or may be, whatever the price."""
    return any(steps[-1][1] not in _NOT_CHARGED for steps in _submissions(receipt, run))


def _changes(receipt: Receipt | None, run: str) -> Iterator[tuple[Mapping[str, Any], Charges]]:
    """Yield each step of a receipt's history in a submission of the run, and what it changes."""
    if receipt is None:
        return
    for steps in _submissions(receipt, run):
        price, now = _price_of(steps[0][0], receipt), Charges()
        for step, state in steps:
            before, now = now, _worth(state, price)
            yield step, now - before


def _submissions(receipt: Receipt, run: str) -> list[list[tuple[Mapping[str, Any], Any]]]:
    """Return the run's submissions: of each the steps from its claim on, and the state of each step."""
    found: list[list[tuple[Mapping[str, Any], Any]]] = []
    own = False
    for number, step in enumerate(receipt.history, 1):
        state = step.get("state")
        if state == ReceiptState.CLAIMED.value:
            own = str(step.get("by", "")).startswith(f"{run} try ")
            if own:
                found.append([])
        if number == len(receipt.history) and receipt.state in _ACCEPTED:
            state = receipt.state.value  # a person who has found the id may have written no more than that
        if own:
            found[-1].append((step, state))
    return found


def _worth(state: Any, price: float) -> Charges:
    """Return what a submission costs that has come to a state."""
    if state in _NOT_CHARGED:
        return Charges()
    return Charges(unknown=price) if state in _UNKNOWN else Charges(charged=price)


def _price_of(claim: Mapping[str, Any], receipt: Receipt) -> float:
    """Return the price of a submission; earlier releases have written the last one only."""
    price = claim.get("price_usd", receipt.price_usd)
    return float(price) if isinstance(price, (int, float)) else 0.0


def _is_counted(step: Mapping[str, Any], counted: Counted) -> bool:
    """Whether a step's change is among what was counted before."""
    leg = _leg_of(step)
    if leg not in counted:
        return False
    until = counted[leg]
    if until is None:
        return True
    if not leg and step.get("state") in _NOT_CHARGED:
        # Its clock may be another one: rather count too much than give money back twice.
        until += 2 * CLOCK_DIFFERENCE
    return _time_of(step) <= until


def _leg_of(step: Mapping[str, Any]) -> str:
    """Return who made a step, as :class:`Ledger` names it; empty for a step of an earlier release."""
    return str(step.get("claim", ""))[:_ID_CHARACTERS]


def _time_of(step: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(step["at"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


class Ledger:
    """Whose charges a leg of a run has counted, and whose it has not.

    Each step of a receipt names the attempt that made it by its id. A leg that came to its end has counted
    all of its own steps. One that was broken off has counted nothing: the next one finds its steps in the
    receipts, and remembers the newest of them, by the clock of who made it. Whatever that one may yet do is
    newer.

    :param run: the task instance.
    :param leg: the id of the leg's own attempt.
    :param counted: whose steps were counted before: by the first characters of the id, None for all of them,
        or the time of the last one, in Unix seconds by that attempt's own clock.
    """

    def __init__(self, run: str, leg: str, counted: Counted) -> None:
        self._run = run
        self._leg = leg[:_ID_CHARACTERS]
        self._before = dict(counted)
        self._found: dict[int, Charges] = {}
        self.counted: dict[str, float | None] = {**counted, self._leg: None}
        """Whose steps are counted when this leg has come to its end."""
        self.read_at: float | None = None
        """Unix seconds of the recount; None before it."""
        self.found_others = False
        """Whether it has found submissions of who may still be about."""

    def recount(self, s3: S3Client, prefix: str, since: float) -> Charges:
        """Return what others have submitted that is not counted yet; this call blocks.

        Of each receipt with such a charge, some hundred bytes are held till :meth:`found` asks for it.

        :param prefix: where the receipts are, ``s3://bucket/prefix/``.
        :param since: Unix seconds; what was not written since is counted.
        :raises VeoReceiptUnavailableError: they cannot be read now.
        """
        total, self.read_at = Charges(), time.time()
        for store, receipt in read_below(s3, prefix, lambda _, modified: modified >= since):
            new = [one for one in _changes(receipt, self._run) if not _is_counted(one[0], self._before)]
            for step, _ in new:
                leg = _leg_of(step)
                self.counted[leg] = max(self.counted.get(leg) or 0.0, _time_of(step))
            if new:
                self.found_others = True
                found = sum((change for _, change in new), Charges())
                self._found[hash(store.uri.removesuffix(SUFFIX))] = found
                total += found
        return total

    def found(self, output: str) -> Charges:
        """Return what the recount has found for a video, once."""
        return self._found.pop(hash(output), Charges())

    def charges(self, receipt: Receipt) -> Charges:
        """Return what was not counted when this leg began."""
        return charges_of(receipt, self._run, self._before)

    def late(self, receipt: Receipt) -> Charges:
        """Return what others have submitted since the recount: the next leg counts it again."""
        return charges_of(receipt, self._run, self.counted)


def read_below(
    s3: S3Client, prefix: str, wanted: Callable[[str, float], bool]
) -> Iterator[tuple[S3ReceiptStore, Receipt]]:
    """Yield the receipts below a prefix that are wanted; this call blocks.

    :param prefix: ``s3://bucket/prefix/``.
    :param wanted: called with the URI of a receipt's video, and with the Unix seconds up to which it may
        have been written: what the clocks of S3 and of others may differ by is allowed for.
    :raises VeoReceiptUnavailableError: they cannot be read now.
    :raises VeoReceiptDeniedError: they may not be read.
    """
    bucket, _, below = prefix.partition("://")[2].partition("/")

    def stores() -> Iterator[S3ReceiptStore]:
        for one in iter_objects(s3, S3Uri(bucket, below)):
            video, suffix, rest = one["Key"].rpartition(SUFFIX)
            modified = one["LastModified"].timestamp() + CLOCK_DIFFERENCE
            if suffix and not rest and wanted(str(S3Uri(bucket, video)), modified):
                yield S3ReceiptStore(s3, S3Uri(bucket, one["Key"]))

    with translate_errors(
        f"The receipts below {prefix} cannot be listed",
        retryable=VeoReceiptUnavailableError,
        final=VeoReceiptDeniedError,
    ):
        read = map_ordered(_readable, stores(), threads=_READERS, ahead=_AHEAD, name="veo-budget")
        yield from ((store, receipt) for store, receipt in read if receipt is not None)


def iter_receipts(s3: S3Client, prefix: str, since: float) -> Iterator[Receipt]:
    """Yield the receipts below a prefix that were written since; see :func:`read_below`.

    :param since: Unix seconds.
    """
    return (receipt for _, receipt in read_below(s3, prefix, lambda _, modified: modified >= since))


def _readable(store: S3ReceiptStore) -> tuple[S3ReceiptStore, Receipt | None]:
    """Return a receipt, or None if it cannot be understood: then nothing is submitted past it either."""
    try:
        held = store.read()
    except VeoReceiptDeniedError:
        raise
    except VeoReceiptError:
        held = None
    return store, held.receipt if held else None
