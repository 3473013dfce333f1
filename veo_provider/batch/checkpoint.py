"""A checkpoint: what one segment of a batch hands to the next, small enough for a trigger."""

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


def known_fields(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a dataclass's own fields from a dict that another release may have written."""
    names = {one.name for one in fields(cls)}
    return {name: value for name, value in data.items() if name in names}


@dataclass
class Checkpoint:
    """How far a batch has come. All items up to and including ``cursor`` are finished.

    So are the keys in ``finished``, which come after it. In-flight items are not recorded: the next segment
    reaches them first, and reads their receipts.

    :param cursor: key of the last item up to which all are finished; None before the first one.
    :param finished: keys of finished items after the cursor.
    :param open: number of items after the cursor that were started and are not finished.
    :param counts: number of finished items by :class:`~veo_provider.batch.outcome.Outcome`.
    :param committed_usd: what the run may be charged for the submissions of ``legs``.
    :param unknown_usd: the part of it for submissions of unknown fate.
    :param legs: the segments whose submissions are counted, see
        :class:`~veo_provider.receipts.charges.Ledger`.
    :param at: Unix seconds; older receipts contain no submissions that are not counted.
    :param leftovers: outputs that are paid and not stored, of images that are no longer in the manifest, and
        these images.
    :param began: Unix seconds at which the task's try began.
    :param images: number of images; 0 until they are counted.
    :param window: how many generations may be in flight; None before the service refused one.
    :param mean_seconds: recent mean duration of a generation; None until one has finished.
    :param ignored: template fields that have rendered differently since the try began, and are ignored.
    :param stopped: why nothing more is submitted; empty while that is not so.
    :param stopped_for_now: whether that may pass, so that the task's next try may go on.
    :param breaker: state of the :class:`~veo_provider.concurrency.circuit_breaker.CircuitBreaker`; empty
        before the first segment.
    :param refused_routes: state of the :class:`~veo_provider.batch.engine.refused_routes.RefusedRoutes`.
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
    refused_routes: dict[str, Any] = field(default_factory=dict)
    done: bool = False

    @property
    def total(self) -> int:
        """Number of finished items."""
        return sum(self.counts.values())

    def count(self, outcome: Outcome) -> None:
        """Count a finished item."""
        self.counts[outcome.value] = self.counts.get(outcome.value, 0) + 1

    def restarted(self) -> Self:
        """Return a checkpoint that starts over with the first item, but keeps what was counted as charged."""
        return replace(self, cursor=None, finished=set(), counts={}, open=self.open + self.total)

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can carry. The keys are compressed: there may be thousands."""
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
        """Read what :meth:`to_dict` returned, in this release or an earlier one."""
        known = known_fields(cls, data)
        if "legs" not in known and known.get("at"):
            # An earlier release counted by time, and its steps name no segment: some may be counted twice.
            known["legs"] = {"": known["at"] - CLOCK_DIFFERENCE}
        packed = known.pop("finished", "")
        keys = json.loads(zlib.decompress(base64.b85decode(packed))) if packed else []
        return cls(**known, finished=set(keys))
