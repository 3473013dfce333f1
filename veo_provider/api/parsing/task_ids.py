"""Generations that a gateway calls by another id than it gave out, as one may that wraps upstream's ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veo_provider.api.video import VideoStatus

if TYPE_CHECKING:
    from veo_provider.api.video import Video

ANSWERS_TO_BELIEVE = 5
"""So many answers in a row must name the same other id: a proxy that mixes up answers names several."""

MOST_REMEMBERED = 10_000
"""So many ids at most; a triggerer runs for months."""


class Aliases:
    """What a client has been told of ids other than those it asked for.

    An answer that names another id is another generation's, unless the gateway never says anything else. An
    alias is believed when several answers in a row have named it, none has ever named the id that was asked
    for, and it belongs to no other generation. Even then, that it failed is not believed: a second generation
    might be paid for that.
    """

    def __init__(self) -> None:
        self._own: dict[str, None] = {}
        self._named: dict[str, tuple[str, int]] = {}
        self._named_for: dict[str, str] = {}
        self._shared: set[str] = set()

    def note_own(self, video: Video) -> None:
        """Note an answer that names the very id that was asked for."""
        self._own[video.id] = None
        self._named.pop(video.id, None)
        if len(self._own) > MOST_REMEMBERED:
            del self._own[next(iter(self._own))]

    def believe(self, veo_task_id: str, alias: str, status: VideoStatus) -> bool:
        """Note an answer that names another id, and tell whether it is about the generation all the same."""
        if len(self._named) > MOST_REMEMBERED:
            self._named.clear()
            self._named_for.clear()
        before, count = self._named.get(veo_task_id, ("", 0))
        count = count + 1 if before == alias else 1
        self._named[veo_task_id] = (alias, count)
        if self._named_for.setdefault(alias, veo_task_id) != veo_task_id:
            self._shared.add(alias)
        return (
            count >= ANSWERS_TO_BELIEVE
            and status is not VideoStatus.FAILED
            and veo_task_id not in self._own
            and alias not in self._own
            and alias not in self._shared
        )
