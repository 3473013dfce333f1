"""The money of one run: what it may still be charged at most, by its receipts, and never more than agreed."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING

from veo_provider.receipts import (
    CLOCK_DIFFERENCE,
    SUFFIX,
    ReceiptState,
    S3ReceiptStore,
    VeoReceiptDeniedError,
    VeoReceiptError,
    VeoReceiptUnavailableError,
)
from veo_provider.s3.client import iter_objects, translate_errors
from veo_provider.s3.uri import S3Uri
from veo_provider.threads import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client

    from veo_provider.receipts import Held, Receipt

_READERS = 8
_AHEAD = 256

_NOT_CHARGED = (ReceiptState.REFUSED.value, ReceiptState.FAILED.value)


def charges(receipt: Receipt | None, run: str, since: float = 0.0) -> float:
    """Return what a run may be charged for a video, in USD: each submission that did not provably fail.

    A claim counts, and so does a submission of unknown fate.

    :param run: the task instance whose charges are counted.
    :param since: Unix seconds; only what came about since then is counted, and a failure since then counts
        negative if its submission was before.
    """
    if receipt is None or receipt.price_usd is None:
        return 0.0
    before = [step for step in receipt.history if _time_of(step) < since]
    return receipt.price_usd * (_submissions(receipt.history, run) - _submissions(before, run))


def _submissions(history: Iterable[Mapping[str, str]], run: str) -> int:
    """Return how many submissions of a run may be charged."""
    count, own = 0, False
    for step in history:
        if step.get("state") == ReceiptState.CLAIMED.value:
            own = str(step.get("by", "")).startswith(f"{run} try ")
            count += own
        elif step.get("state") in _NOT_CHARGED:
            count -= own
            own = False
    return count


def _time_of(step: Mapping[str, str]) -> float:
    try:
        return datetime.fromisoformat(step["at"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def receipts_below(s3: S3Client, prefix: str, since: float) -> Iterator[Receipt]:
    """Yield the receipts below a prefix that were written since; this call blocks.

    :param prefix: ``s3://bucket/prefix/``.
    :param since: Unix seconds; what the clocks of S3 and of others may differ by is allowed for.
    :raises VeoReceiptUnavailableError: they cannot be read now.
    :raises VeoReceiptDeniedError: they may not be read.
    """
    bucket, _, below = prefix.partition("://")[2].partition("/")
    with translate_errors(
        f"The receipts below {prefix} cannot be listed",
        retryable=VeoReceiptUnavailableError,
        final=VeoReceiptDeniedError,
    ):
        stores = (
            S3ReceiptStore(s3, S3Uri(bucket, one["Key"]))
            for one in iter_objects(s3, S3Uri(bucket, below))
            if one["Key"].endswith(SUFFIX) and one["LastModified"].timestamp() >= since - CLOCK_DIFFERENCE
        )
        held = in_order(_readable, stores, threads=_READERS, ahead=_AHEAD, name="veo-budget")
        yield from (one.receipt for one in held if one is not None)


def charges_below(s3: S3Client, prefix: str, run: str, since: float) -> float:
    """Return what a run may be charged since, for all videos below a prefix, in USD; this call blocks.

    :param prefix: ``s3://bucket/prefix/``.
    :param run: the task instance whose charges are counted.
    :param since: Unix seconds.
    :raises VeoReceiptUnavailableError: the receipts cannot be read now.
    """
    return sum(charges(receipt, run, since) for receipt in receipts_below(s3, prefix, since))


def _readable(store: S3ReceiptStore) -> Held | None:
    """Return a receipt, or None if it cannot be understood: then nothing is submitted past it either."""
    try:
        return store.read()
    except VeoReceiptDeniedError:
        raise
    except VeoReceiptError:
        return None


class Budget:
    """Counts what a run may be charged, and lets nobody spend past its ceiling.

    Belongs to an event loop: all of it happens between two steps of it.

    :param ceiling: USD that the run may be charged at most; None for no ceiling.
    :param committed: USD that it may be charged already.
    :param unknown: the part of it for submissions of unknown fate.
    """

    def __init__(self, ceiling: float | None, committed: float = 0.0, unknown: float = 0.0) -> None:
        self._ceiling = ceiling
        self._committed = committed
        self._unknown = unknown
        self._reserved = 0.0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def committed(self) -> float:
        """USD that the run may be charged by now, to the cent."""
        return round(self._committed, 2)

    @property
    def unknown(self) -> float:
        """USD of it that nobody knows to be charged: the fate of their submissions is unknown."""
        return round(self._unknown, 2)

    def doubt(self, usd: float) -> None:
        """Count a part of what may be charged as unknown; it stays set aside."""
        self._unknown += usd

    async def reserve(self, usd: float) -> None:
        """Set money aside for one submission; while there is not enough, wait for others to give theirs back.

        Follow it with :meth:`settle`.
        """
        while not self.pays(usd):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            finally:
                self._queue.remove(turn)
        self._reserved += usd

    def settle(self, reserved: float, charged: float) -> None:
        """Give back what was set aside, and count what may be charged instead."""
        self._reserved -= reserved
        self.add(charged)

    def add(self, usd: float) -> None:
        """Count what may be charged, or, below zero, what will not be charged after all."""
        self._committed += usd
        for turn in self._queue:
            if not turn.done():
                turn.set_result(None)

    def pays(self, usd: float) -> bool:
        """Whether there is enough left for one more submission."""
        if self._ceiling is None:
            return True
        # Neither sums of prices nor a ceiling that somebody multiplied are exact.
        return round(self._committed + self._reserved + usd - self._ceiling, 4) <= 0
