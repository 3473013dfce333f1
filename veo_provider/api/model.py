"""Models as data: what a model can make, what that costs, and when the model ends."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoModelRetiredError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

log = logging.getLogger(__name__)

WARNING_TIME = timedelta(days=30)
"""How long before a model's end its users are warned."""

SIZES = {
    "1280x720": ("720p", "16:9"),
    "720x1280": ("720p", "9:16"),
    "1920x1080": ("1080p", "16:9"),
    "1080x1920": ("1080p", "9:16"),
    "3840x2160": ("4k", "16:9"),
    "2160x3840": ("4k", "9:16"),
}
"""Output sizes in pixels, each with its resolution and aspect ratio."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one video of a model costs, in USD: the sum of its parts.

    :param usd_per_video: for each video.
    :param usd_per_second: for each second of video, by resolution; the key ``"*"`` is any other resolution.
    :param usd_per_image: for each image that is sent.
    """

    usd_per_video: float = 0.0
    usd_per_second: Mapping[str, float] = field(default_factory=dict)
    usd_per_image: float = 0.0

    @property
    def form(self) -> str:
        """What the price depends on, for people to read."""
        video = "per second by resolution" if self.usd_per_second else "per video"
        return f"{video}, and per image" if self.usd_per_image else video

    def of(self, *, seconds: str | None, resolution: str | None, images: int) -> float | None:
        """Return the price of one video; None if it depends on something that is not known."""
        total = self.usd_per_video + images * self.usd_per_image
        if self.usd_per_second:
            rate = self.usd_per_second.get(resolution or "*", self.usd_per_second.get("*"))
            if rate is None or seconds is None:
                return None
            total += rate * float(seconds)
        return round(total, 6)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of a gateway. What is empty is not limited, and what is None is not sent unless it is given.

    :param name: the model's id, as the gateway spells it.
    :param seconds: the lengths that it makes.
    :param seconds_of: the lengths for a resolution that allows fewer of them.
    :param resolutions: the resolutions that it makes.
    :param aspect_ratios: the aspect ratios that it makes.
    :param sizes: the output sizes that it makes, each with its resolution and aspect ratio.
    :param default_seconds: the length where none is given.
    :param default_resolution: the resolution where none is given.
    :param default_aspect_ratio: the aspect ratio where none is given.
    :param price: what a video costs; None if that is not known.
    :param ends: the day from which the model is no longer served; None if none is announced.
    :param successor: the model to use after that.
    :param known: whether somebody has described this model. An unknown one has no limits here.
    """

    name: str
    seconds: tuple[str, ...] = ()
    seconds_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resolutions: tuple[str, ...] = ()
    aspect_ratios: tuple[str, ...] = ()
    sizes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    default_seconds: str | None = None
    default_resolution: str | None = None
    default_aspect_ratio: str | None = None
    price: Price | None = None
    ends: date | None = None
    successor: str = ""
    known: bool = True

    def require_served(self, now: float) -> None:
        """Check that the model has not ended, and warn once if it ends soon.

        :param now: Unix seconds.
        :raises VeoModelRetiredError: it has; nothing was sent.
        """
        if self.ends is None:
            return
        today = datetime.fromtimestamp(now, timezone.utc).date()
        instead = f" Its successor is {self.successor}." if self.successor else ""
        if today >= self.ends:
            raise VeoModelRetiredError(
                f"The model {self.name} ended on {self.ends}.{instead}",
                advice="Use another model. If your gateway still serves this one, say so in the connection's "
                f'extra: {{"models": {{"{self.name}": {{"ends": null}}}}}}.',
            )
        if today >= self.ends - WARNING_TIME:
            _warn_once(f"The model {self.name} ends on {self.ends}.{instead}")


@cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)
