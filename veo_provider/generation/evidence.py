"""Evidence: what a gateway's list proves about a submission whose response was lost. Pure: no I/O, no clock.

The list is trusted only as far as it is right about submissions whose ids are known: they calibrate the
gateway's clock, and show which fields of a row are what was sent. Whatever they do not prove stays open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from veo_provider.receipts.receipt import CLOCK_DIFFERENCE, ReceiptState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from veo_provider.api.parsing.listing import Entry, Listing
    from veo_provider.receipts.receipt import Receipt

LATE_ROW_SECONDS = 600.0
"""How long after a submission its row may still be missing from the list."""
LONGEST_CLAIM_SECONDS = 900.0
"""No claim lasts longer."""
EARLY_SECONDS, LATE_SECONDS = 2.0, 5.0
"""What is added to the time in which a submission may have been accepted: gateways tell whole seconds."""
MOST_CANDIDATES = 5
"""The number of ids that a reason names."""
_FIELDS = ("model", "prompt", "seconds")
_PROVING_FIELDS = ("model", "prompt")
"""Fields that a row must show as they were sent, or no row is attached: time alone proves nothing."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One submission, as its receipt tells it; times are Unix seconds by the workers' clocks.

    :param claimed_at: it was sent after this time.
    :param ended_at: it was sent before this time.
    :param veo_task_id: the API's task id; None if the response was lost.
    :param request: what was sent; empty if the receipt no longer says.
    :param clock: who has told the times: submissions of one attempt have one clock.
    :param timed: whether the gateway has accepted it between these times, so that it shows the clocks'
        difference. An id that was found later does not.
    """

    claimed_at: float
    ended_at: float
    veo_task_id: str | None
    request: Mapping[str, Any]
    clock: str = ""
    timed: bool = False


@dataclass(frozen=True)
class Found:
    """The submission was accepted.

    :param veo_task_id: as this generation, which nothing else can be.
    """

    veo_task_id: str


@dataclass(frozen=True)
class Absent:
    """The submission was not accepted: the list is complete and up to date, and has no such generation."""


@dataclass(frozen=True)
class Open:
    """The list proves neither.

    :param reason: why, as a sentence.
    :param candidates: the generations that it may be.
    :param early: whether a later look may show more.
    """

    reason: str
    candidates: tuple[Entry, ...] = ()
    early: bool = False

    def __str__(self) -> str:
        if not self.candidates:
            return self.reason
        named = ", ".join(entry.id for entry in self.candidates[:MOST_CANDIDATES])
        more = len(self.candidates) - MOST_CANDIDATES
        return f"{self.reason} It may be {named}" + (f" or one of {more} more." if more > 0 else ".")

    def told(self) -> list[dict[str, Any]]:
        """Return the first candidates as a receipt keeps them, for the person who decides."""
        return [
            {"veo_task_id": entry.id, "submitted_at": entry.submitted_at, "status": entry.status}
            for entry in self.candidates[:MOST_CANDIDATES]
        ]


Finding = Found | Absent | Open
Offsets = tuple[float, float]
"""Two numbers of seconds, between which a time or a difference of clocks is."""


def sent_of(receipt: Receipt, account: str) -> list[Sent]:
    """Return the submissions of a receipt that an account has, or may have, accepted, oldest first.

    :param account: as receipts name it.
    """
    submissions = receipt.submissions
    found = []
    for number, submission in enumerate(submissions, 1):
        steps = [step for step, _ in submission.steps]
        sent_by = steps[0].get("account", receipt.request.get("account"))
        if sent_by == account and steps[-1].get("state") != ReceiptState.REFUSED.value:
            found.append(_sent(steps, receipt if number == len(submissions) else None))
    return [sent for sent in found if sent is not None]


def lost_of(receipt: Receipt) -> Sent | None:
    """Return the submission whose response was lost; None if there is none or its time is not known."""
    if receipt.state not in (ReceiptState.CLAIMED, ReceiptState.UNKNOWN):
        return None
    sent = sent_of(receipt, str(receipt.request.get("account")))
    return sent[-1] if sent and sent[-1].veo_task_id is None else None


def examine(lost: Sent, others: Sequence[Sent], listing: Listing, now: float) -> Finding:
    """Return what a list proves about a lost submission.

    :param lost: the submission.
    :param others: the other submissions of the same account that are known, lost ones among them.
    :param listing: what the gateway lists.
    :param now: Unix seconds at which the list was read.
    """
    known = {sent.veo_task_id: sent for sent in others if sent.veo_task_id}
    seen = [(known[entry.id], entry) for entry in listing.entries if entry.id in known]
    early = now < lost.ended_at + LATE_ROW_SECONDS
    if not listing.complete:
        return Open("The gateway's list of generations could not be read to its end.", early=early)
    match = _Match.learned_from(seen)
    if match is None:
        return Open(
            "The gateway's list shows no generation that is known from a receipt, by which it could be "
            "checked.",
            early=early,
        )
    if not match.is_covered(lost, listing):
        return Open("The gateway's list does not reach back far enough by its own clock.", early=early)
    fitting = [entry for entry in listing.entries if entry.id not in known and match.fits(entry, lost)]
    if not fitting:
        return _absence(lost, seen, listing, early=early)
    rivals = [sent for sent in others if sent.veo_task_id is None]
    return _identity(fitting, [sent for sent in rivals if match.fits_any(fitting, sent)], match)


def _identity(fitting: Sequence[Entry], rivals: Collection[Sent], match: _Match) -> Finding:
    """Decide whether the generations that fit are one, and the lost submission's."""
    candidates = tuple(fitting)
    if len(fitting) > 1:
        return Open(f"{len(fitting)} generations in the gateway's list fit.", candidates)
    if hidden := match.hidden(fitting[0]):
        return Open(f"The gateway's list does not show the {' and '.join(hidden)} as sent.", candidates)
    if rivals:
        number = len(rivals)
        whose = "another lost submission" if number == 1 else f"{number} other lost submissions"
        return Open(f"A generation in the gateway's list fits, and it fits {whose} as well.", candidates)
    return Found(candidates[0].id)


def _absence(lost: Sent, seen: Iterable[tuple[Sent, Entry]], listing: Listing, *, early: bool) -> Finding:
    """Decide whether a list that has nothing fitting proves that nothing was accepted."""
    if early:
        return Open("The gateway's list does not have it, at least not yet.", early=True)
    charged = [model for model in listing.unexplained_charges if model in (None, lost.request.get("model"))]
    if charged:
        number = len(charged)
        charges = "a charge" if number == 1 else f"{number} charges"
        return Open(f"The gateway's list does not have it, but its log has {charges} without a generation.")
    if not any(_is_later(sent, lost) for sent, _ in seen):
        return Open(
            "The gateway's list does not have it, but shows no known generation that was submitted later "
            "either, so that it may be out of date."
        )
    return Absent()


def _is_later(sent: Sent, lost: Sent) -> bool:
    """Whether a submission was sent after another one had ended, by whichever clocks."""
    difference = 0.0 if sent.clock == lost.clock else CLOCK_DIFFERENCE
    return sent.claimed_at > lost.ended_at + difference


def _offsets(seen: Iterable[tuple[Sent, Entry]]) -> Offsets | None:
    """Return between which values the gateway's clock minus the workers' is; None if nothing shows it."""
    intervals = [
        (entry.submitted_at - sent.ended_at, entry.submitted_at - sent.claimed_at)
        for sent, entry in seen
        if sent.timed and entry.submitted_at is not None
    ]
    if not intervals:
        return None
    lowest, highest = max(low for low, _ in intervals), min(high for _, high in intervals)
    if lowest > highest:  # a clock was set, or there are several: any of them may be the one
        return min(low for low, _ in intervals), max(high for _, high in intervals)
    return lowest, highest


def _is_usable(name: str, seen: Iterable[tuple[Sent, Entry]]) -> bool:
    """Whether each known generation shows a field as it was sent, and at least one does."""
    pairs = [(sent.request[name], getattr(entry, name)) for sent, entry in seen if name in sent.request]
    return bool(pairs) and all(_is_same(sent, shown) for sent, shown in pairs)


@dataclass(frozen=True)
class _Match:
    """Compares generations with submissions, by what was learned from those that are known.

    :param clocks: between which values the gateway's clock minus an attempt's is.
    :param any_clock: the same for an attempt that is not among them.
    :param usable: the fields that the list shows as they were sent.
    """

    clocks: Mapping[str, Offsets]
    any_clock: Offsets
    usable: Collection[str]

    @classmethod
    def learned_from(cls, seen: Sequence[tuple[Sent, Entry]]) -> _Match | None:
        """Return what the known generations show; None if they do not show the gateway's clock."""
        overall = _offsets(seen)
        if overall is None:
            return None
        by_clock = {
            clock: _offsets([pair for pair in seen if pair[0].clock == clock])
            for clock in {sent.clock for sent, _ in seen if sent.clock}
        }
        return cls(
            {clock: offsets for clock, offsets in by_clock.items() if offsets is not None},
            (overall[0] - CLOCK_DIFFERENCE, overall[1] + CLOCK_DIFFERENCE),
            [name for name in _FIELDS if _is_usable(name, seen)],
        )

    def window(self, sent: Sent) -> Offsets:
        """Return between which times, by the gateway's clock, a submission may have been accepted."""
        lowest, highest = self.clocks.get(sent.clock, self.any_clock)
        return sent.claimed_at + lowest - EARLY_SECONDS, sent.ended_at + highest + LATE_SECONDS

    def is_covered(self, sent: Sent, listing: Listing) -> bool:
        """Whether a list reaches back to when a submission may have been accepted."""
        return self.window(sent)[0] >= listing.since

    def fits(self, entry: Entry, sent: Sent) -> bool:
        """Whether a generation may be a submission's, as far as its row says."""
        first, last = self.window(sent)
        if entry.submitted_at is not None and not first <= entry.submitted_at <= last:
            return False
        shown = ((sent.request.get(name), getattr(entry, name)) for name in self.usable)
        return all(asked is None or value is None or _is_same(asked, value) for asked, value in shown)

    def fits_any(self, entries: Iterable[Entry], sent: Sent) -> bool:
        """Whether one of some generations may be a submission's."""
        return any(self.fits(entry, sent) for entry in entries)

    def hidden(self, entry: Entry) -> list[str]:
        """Return the proving fields that the row of a generation does not show as they were sent."""
        return [name for name in _PROVING_FIELDS if name not in self.usable or getattr(entry, name) is None]


def _is_same(sent: object, shown: object) -> bool:
    """Whether a field is shown as it was sent; a length may be sent as a text and shown as a number."""
    if isinstance(shown, float):
        try:
            return math.isclose(float(str(sent)), shown)
        except ValueError:
            return False
    return sent == shown


def _sent(steps: Sequence[Mapping[str, Any]], receipt: Receipt | None) -> Sent | None:
    """Return a submission by its steps in the history; None if the time of its claim cannot be read.

    :param receipt: if it is the receipt's last submission, which may have been edited by a person.
    """
    claim, rest = steps[0], steps[1:]
    claimed_at = _seconds(claim)
    if claimed_at is None:
        return None
    named = [number for number, step in enumerate(rest) if step.get("veo_task_id")]
    veo_task_id = (receipt.veo_task_id if receipt else None) or (
        str(rest[named[0]]["veo_task_id"]) if named else None
    )
    own = bool(rest) and rest[0].get("claim") == claim.get("claim")
    ended_at = _seconds(rest[0]) if own else None
    if ended_at is None:  # its attempt has not told the end: it is that of the claim
        ended_at = receipt.claimed_until if receipt else claimed_at + LONGEST_CLAIM_SECONDS
    return Sent(
        claimed_at=claimed_at,
        ended_at=max(claimed_at, ended_at),
        veo_task_id=veo_task_id,
        request=receipt.request if receipt else {"model": claim["model"]} if claim.get("model") else {},
        clock=str(claim.get("claim") or ""),
        timed=own and bool(named) and named[0] == 0,
    )


def _seconds(step: Mapping[str, Any]) -> float | None:
    """Return the Unix seconds of a step; None if its time is not valid."""
    try:
        return datetime.fromisoformat(step["at"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
