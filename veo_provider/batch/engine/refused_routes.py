"""The routes of a batch that have refused an image as they would refuse every other one."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from veo_provider.generation.fallbacks import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class RefusedRoutes:
    """Remembers, for a while, which routes the images of a batch need not ask. Belongs to one event loop.

    After the pause, one image asks the route again: if it is refused, the next pause begins, and if it is
    accepted, all ask it again.

    :param state: what :meth:`to_dict` of the segment before returned.
    :param pause: seconds for which a route is not asked after a refusal.
    :param clock: returns Unix seconds.
    """

    def __init__(
        self,
        state: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        pause: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pause = pause
        self._clock = clock
        self._refusals = {int(number): Refusal(**each["refusal"]) for number, each in (state or {}).items()}
        # The clock of the process before may have been ahead of ours.
        latest = clock() + pause
        self._until = {int(number): min(each["until"], latest) for number, each in (state or {}).items()}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the state for the next segment, in a form that JSON can carry."""
        return {
            str(number): {"refusal": asdict(refusal), "until": self._until[number]}
            for number, refusal in self._refusals.items()
        }

    def add(self, number: int, refusal: Refusal) -> None:
        """Record that a route refuses every image.

        :param number: of the route.
        """
        self._refusals[number] = replace(refusal, asked=False)
        self._until[number] = self._clock() + self._pause

    def remove(self, number: int) -> None:
        """Record that a route has accepted an image."""
        self._refusals.pop(number, None)

    @property
    def paused(self) -> dict[int, Refusal]:
        """The routes that are not asked now, by their numbers, and why."""
        now = self._clock()
        return {number: refusal for number, refusal in self._refusals.items() if now < self._until[number]}

    def pass_image(self) -> dict[int, Refusal]:
        """Return which routes an image does not ask, like :attr:`paused`.

        If the pause of another route is over, this image asks it, and its next pause begins.
        """
        paused = self.paused
        for number in self._refusals.keys() - paused.keys():
            self._until[number] = self._clock() + self._pause
        return paused
