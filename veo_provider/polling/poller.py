"""One wait for a generation: when to poll again, and when to give up.

Sensor, trigger, operator and batch share these decisions, so that they cannot drift apart; each keeps only
its own way to poll and to sleep. A poller itself does neither.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from veo_provider.exceptions import VeoAPIError, VeoError, VeoTaskNotFoundError
from veo_provider.polling.schedule import schedule_of

if TYPE_CHECKING:
    from veo_provider.api.video import Video

DEFAULT_INTERVAL = 8.0
"""Seconds between two polls that the API's documentation recommends."""
LATE_POLL_SECONDS = 30.0
"""How long the last poll may queue for its permit once the deadline has passed."""
REFUSED_POLLS = 5
"""Polls in a row that must be refused before a refusal that may be temporary is believed."""
REFUSED_SECONDS = 60.0
"""Seconds over which these polls must be spread: a replicated database may lag, a firewall may be wrong."""


class PollAgain(NamedTuple):
    """Poll again after this many seconds."""

    seconds: float


class Finished(NamedTuple):
    """The generation is finished: completed or failed."""

    video: Video


class TimedOut(NamedTuple):
    """Give up: the deadline has passed.

    :param trouble: what went wrong with the last poll; empty if it succeeded.
    """

    trouble: str


class Refused(NamedTuple):
    """Give up: waiting cannot fix this error."""

    error: VeoError


Decision = PollAgain | Finished | TimedOut | Refused


class Patience(NamedTuple):
    """Which errors of a poll end a wait before its deadline; all others are outages, which it outlasts.

    :param ends_when_permanent: whether an error that is not retryable ends it at once.
    :param repeated: errors that end it only when :data:`REFUSED_POLLS` polls in a row have been refused, over
        at least :data:`REFUSED_SECONDS`.
    """

    ends_when_permanent: bool
    repeated: tuple[type[VeoError], ...]


ALONE = Patience(ends_when_permanent=True, repeated=(VeoTaskNotFoundError,))
"""For a wait of its own: a wrong key ends it at once, but a new id may be unknown for a moment."""


class Poller:
    """Decides after each poll when to poll again: at a fixed interval, or by the learned schedule.

    :param poll_interval: seconds between two polls; None for the learned schedule.
    :param deadline: Unix seconds at which to give up.
    :param patience: which errors end the wait earlier.
    :param model: the model's id, if known.
    :param resolution: the resolution, if known.
    :param submitted_at: Unix seconds; a time in the future counts as now. The schedule needs it: if it is
        None, the documented interval is used.
    :param mean: mean duration of such generations in seconds, as measured by another process, if known.
    """

    __slots__ = (
        "_deadline",
        "_interval",
        "_last_news",
        "_patience",
        "_refusals",
        "_refused_since",
        "_schedule",
        "_submitted_at",
        "_trouble",
        "_unfinished_at",
        "has_news",
    )

    def __init__(
        self,
        poll_interval: float | None,
        *,
        deadline: float = math.inf,
        patience: Patience = ALONE,
        model: str = "",
        resolution: str = "",
        submitted_at: float | None = None,
        mean: float | None = None,
    ) -> None:
        now = time.time()
        self._interval = poll_interval
        self._deadline = deadline
        self._patience = patience
        scheduled = poll_interval is None and submitted_at
        self._schedule = schedule_of(model, resolution) if scheduled else None
        if self._schedule is not None and mean is not None:
            self._schedule.expect(mean)
        self._submitted_at = min(max(submitted_at or now, 0.0), now)
        self._unfinished_at: float | None = None
        self._refusals, self._refused_since = 0, 0.0
        self._trouble = ""
        self._last_news: object = None
        self.has_news = False
        """Whether the last poll differed from the one before: a log line costs more than a poll."""

    @property
    def seen_unfinished(self) -> bool:
        """Whether a poll has found the generation unfinished."""
        return self._unfinished_at is not None

    @property
    def permit_deadline(self) -> float:
        """Unix seconds until which the next poll may queue for its permit.

        A wait whose deadline passed while nobody was there to keep it polls once more.
        """
        now = time.time()
        return self._deadline if self._deadline > now else now + LATE_POLL_SECONDS

    def next_delay(self) -> float:
        """Return the seconds until the next poll, after one that found the generation unfinished."""
        now = time.time()
        if self._interval is not None:
            delay = self._interval
        elif self._schedule is None:
            delay = DEFAULT_INTERVAL
        else:
            delay = self._schedule.pause(now - self._submitted_at)
        return min(delay, max(self._deadline - now, 0.0))

    def on_video(self, video: Video | None) -> Decision:
        """Decide after a poll that succeeded; the schedule learns from a completion.

        :param video: the generation; None if there was no permit for the poll in time.
        """
        if video is None:
            return TimedOut(self._trouble)
        self._trouble, self._refusals = "", 0
        self._set_news(video.status)
        now = time.time()
        if not video.finished:
            self._unfinished_at = now
            delay = self.next_delay()
            return PollAgain(delay) if now < self._deadline else TimedOut("")
        if video.status is video.status.COMPLETED and self._schedule is not None:
            earliest = 0.0 if self._unfinished_at is None else self._unfinished_at - self._submitted_at
            self._schedule.learn(earliest, now - self._submitted_at)
        return Finished(video)

    def on_error(self, error: VeoError) -> Decision:
        """Decide after a poll that failed: wait at least as long as the service asked for."""
        self._trouble = error.what
        self._set_news(error.what)
        if self._is_final(error):
            return Refused(error)
        left = self._deadline - time.time()
        if left <= 0:
            return TimedOut(error.what)
        asked = error.retry_after if isinstance(error, VeoAPIError) else None
        delay = max(DEFAULT_INTERVAL if self._interval is None else self._interval, asked or 0.0)
        return PollAgain(min(delay, left))

    def _is_final(self, error: VeoError) -> bool:
        """Return whether polling again makes no sense; count the refusals in a row."""
        if not isinstance(error, self._patience.repeated):
            self._refusals = 0
            return self._patience.ends_when_permanent and not error.retryable
        now = time.monotonic()
        if not self._refusals:
            self._refused_since = now
        self._refusals += 1
        return self._refusals >= REFUSED_POLLS and now - self._refused_since >= REFUSED_SECONDS

    def _set_news(self, news: object) -> None:
        self.has_news = news != self._last_news
        self._last_news = news
