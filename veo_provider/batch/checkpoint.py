"""How far a batch has come: all that one leg of its way tells the next one, small enough for a trigger."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from veo_provider.receipts.receipt import CLOCK_DIFFERENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from veo_provider.batch.outcome import Outcome


@dataclass
class Checkpoint:
    """Everything up to the cursor is finished, and some keys after it.

    What is under way is not in it: who walks on from the cursor meets those items first, and their receipts
    say how they stand.

    :param cursor: key of the last item up to which all are finished; None before the first one.
    :param finished: keys after the cursor that are finished, too.
    :param open: how many items after the cursor were taken up and are not finished.
    :param counts: how many items came out how, see :class:`~veo_provider.batch.outcome.Outcome`.
    :param committed_usd: what the run may be charged for what ``legs`` have submitted.
    :param unknown_usd: the part of it for submissions of unknown fate.
    :param legs: whose submissions that is, see :class:`~veo_provider.receipts.charges.Ledger`.
    :param at: Unix seconds; receipts that were not written since tell of no other submissions.
    :param leftovers: outputs that are paid and not stored, of images that are in the archive no more, and
        these images.
    :param began: Unix seconds at which the task's try began.
    :param images: how many there are; 0 while that is not known.
    :param window: how many generations may be under way at once; None before the service refused any.
    :param mean_seconds: that a generation took lately, on average; None while that is not known.
    :param ignored: what has come out differently since the try began, and is not heeded.
    :param stopped: why nothing more is taken up; empty if that is not so.
    :param stopped_for_now: whether that may pass, so that the task's next try may go on.
    :param breaker: how submissions went lately, see
        :class:`~veo_provider.concurrency.circuit_breaker.CircuitBreaker`; empty before the first leg.
    :param done: whether nothing is left to do.
    """

    cursor: str | None = None
    finished: set[str] = field(default_factory=set)
    open: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    committed_usd: float = 0.0
    unknown_usd: float = 0.0
    legs: dict[str, float | None] = field(default_factory=dict)
    at: float = 0.0
    leftovers: dict[str, str] = field(default_factory=dict)
    began: float = 0.0
    images: int = 0
    window: float | None = None
    mean_seconds: float | None = None
    ignored: list[str] = field(default_factory=list)
    stopped: str = ""
    stopped_for_now: bool = False
    breaker: dict[str, Any] = field(default_factory=dict)
    done: bool = False

    @property
    def total(self) -> int:
        """How many items are finished."""
        return sum(self.counts.values())

    def count(self, outcome: Outcome) -> None:
        """Count an item that came out like this."""
        self.counts[outcome.value] = self.counts.get(outcome.value, 0) + 1

    def restarted(self) -> Self:
        """Return the progress of who walks over all items anew, and knows what they have cost so far."""
        return replace(self, cursor=None, finished=set(), counts={}, open=self.open + self.total)

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can carry. Thousands of keys are much alike, and are packed."""
        keys = json.dumps(sorted(self.finished)).encode()
        return {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "counts": dict(self.counts),
            "legs": dict(self.legs),
            "ignored": list(self.ignored),
            "leftovers": dict(self.leftovers),
            "finished": base64.b85encode(zlib.compress(keys)).decode() if self.finished else "",
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` returned, of this release or an earlier one."""
        names = {one.name for one in fields(cls)}
        known = {name: value for name, value in data.items() if name in names}
        if "legs" not in known and known.get("at"):
            # An earlier release has counted by time, and its steps name nobody: rather count some twice.
            known["legs"] = {"": known["at"] - CLOCK_DIFFERENCE}
        packed = known.pop("finished", "")
        keys = json.loads(zlib.decompress(base64.b85decode(packed))) if packed else []
        return cls(**known, finished=set(keys))
