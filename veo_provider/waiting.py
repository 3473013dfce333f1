"""One wait for a generation: when it looks next, what of that is news, and what later waits learn from it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from veo_provider.api.errors import VeoAPIError, VeoTaskNotFoundError
from veo_provider.schedule import schedule_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.api.errors import VeoError
    from veo_provider.api.video import Video

log = logging.getLogger(__name__)

DEFAULT_INTERVAL = 8.0
"""Seconds between two looks that the API's documentation recommends."""
LATE_LOOK_SECONDS = 30.0
"""How long a wait whose deadline has passed may queue for its last look."""
NOT_FOUND_POLLS = 5
NOT_FOUND_SECONDS = 60.0
"""So often and so long must the service deny that it knows an id before that is believed."""


class Waiting:
    """Says when to look next: at a fixed interval, or as other generations of its kind have finished.

    :param poll_interval: seconds between two looks; None for the learned schedule.
    :param model: the model's id, as far as it is known.
    :param resolution: the resolution, as far as it is known.
    :param submitted_at: Unix seconds; a clock that is ahead of ours is not believed. Without them there is no
        schedule to follow: the interval is then the documented one.
    :param mean: seconds that such generations took in another process; None if that is not known.
    """

    __slots__ = (
        "_interval",
        "_not_found",
        "_not_found_since",
        "_said",
        "_schedule",
        "_submitted_at",
        "_unfinished_at",
    )

    def __init__(
        self,
        poll_interval: float | None,
        *,
        model: str = "",
        resolution: str = "",
        submitted_at: float | None = None,
        mean: float | None = None,
    ) -> None:
        now = time.time()
        self._interval = poll_interval
        follows = poll_interval is None and submitted_at
        self._schedule = schedule_of(model, resolution) if follows else None
        if self._schedule is not None and mean is not None:
            self._schedule.expect(mean)
        self._submitted_at = min(max(submitted_at or now, 0.0), now)
        self._unfinished_at = self._submitted_at
        self._said: object = None
        self._not_found, self._not_found_since = 0, 0.0

    def pause(self) -> float:
        """Return the seconds to the next look, after one that found the generation unfinished."""
        if self._interval is not None:
            return self._interval
        if self._schedule is None:
            return DEFAULT_INTERVAL
        return self._schedule.pause(time.time() - self._submitted_at)

    def pause_after(self, error: VeoError) -> float:
        """Return the seconds to the next look, after one that failed; at least what the service asked for."""
        asked = error.retry_after if isinstance(error, VeoAPIError) else None
        return max(DEFAULT_INTERVAL if self._interval is None else self._interval, asked or 0.0)

    def ends_with(self, error: VeoError) -> bool:
        """Whether an error of a look ends the wait: waiting does not mend a refused key, or an unknown id.

        An id that was handed out may be unknown for a moment, and is asked for again.
        """
        if not isinstance(error, VeoTaskNotFoundError):
            return not error.temporary
        now = time.time()
        self._not_found_since = self._not_found_since if self._not_found else now
        self._not_found += 1
        return self._not_found >= NOT_FOUND_POLLS and now - self._not_found_since >= NOT_FOUND_SECONDS

    def saw(self, video: Video) -> None:
        """Note what a look has shown; one that is completed says how long its kind takes."""
        now = time.time()
        self._not_found = 0
        if not video.finished:
            self._unfinished_at = now
        elif video.status is video.status.COMPLETED and self._schedule is not None:
            self._schedule.learn(self._unfinished_at - self._submitted_at, now - self._submitted_at)

    def is_news(self, said: object) -> bool:
        """Whether it differs from what was said last: a line in Airflow's log costs more than a look."""
        news = said != self._said
        self._said = said
        return news


def until_known(look: Callable[[str], Video], veo_task_id: str) -> Video:
    """Return a generation's status, and ask for up to a minute while the service denies that it knows its id.

    For a process that looks once: it cannot leave the counting to a later look.

    :raises VeoTaskNotFoundError: the service has denied it as often and as long as is believed.
    :raises VeoError: another error of the look, at once.
    """
    waiting = Waiting(None)
    while True:
        try:
            return look(veo_task_id)
        except VeoTaskNotFoundError as error:
            if waiting.ends_with(error):
                raise
            log.warning("%s Asking again.", error)
        time.sleep(NOT_FOUND_SECONDS / (NOT_FOUND_POLLS - 1))
