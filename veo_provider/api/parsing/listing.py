"""Listing: what a gateway lists of the generations that it has accepted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A generation in a gateway's list. What the row does not say, or says in an odd form, is None.

    :param id: the gateway's id.
    :param submitted_at: when it was submitted, in seconds since 1970 by the gateway's clock.
    :param model: the model.
    :param prompt: the prompt.
    :param seconds: the length of the video.
    :param size: the size in pixels, such as ``1280x720``.
    :param status: the gateway's word for its status.
    """

    id: str
    submitted_at: float | None = None
    model: str | None = None
    prompt: str | None = None
    seconds: float | None = None
    size: str | None = None
    status: str | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The generations that a gateway lists.

    :param entries: newest first, as the gateway orders them; each id once.
    :param complete: whether each row could be read and the list reaches back far enough.
    :param unexplained_charges: how many rows of the log of charges belong to none of the entries.
    """

    entries: tuple[Entry, ...]
    complete: bool
    unexplained_charges: int = 0
