"""VeoRequest: its fields, the API's rules for them, their encodings, and the price."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Collection

    from veo_provider.api.image import Image

log = logging.getLogger(__name__)

FAST_MODEL = "veo-3.1-fast-generate-preview"
STANDARD_MODEL = "veo-3.1-generate-preview"
PRICES_USD = {
    FAST_MODEL: 0.30,
    STANDARD_MODEL: 1.20,
    f"{FAST_MODEL}-fl": 0.15,
    f"{STANDARD_MODEL}-fl": 0.25,
}
"""Per completed request, whatever the length or resolution, as published by the service."""

MAX_TEXT_BYTES = 32 * 1024
"""The longest prompt, in bytes of UTF-8; the service reads about a thousand words."""
DEFAULT_SECONDS = "8"
DEFAULT_RESOLUTION = "720p"
DEFAULT_ASPECT_RATIO = "16:9"
SECONDS = ("4", "6", "8")
RESOLUTIONS = ("720p", "1080p", "4k")
ASPECT_RATIOS = ("16:9", "9:16")
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
class VeoRequest:
    """One video to generate; the constructor checks all rules of the API.

    There is no field for audio, because the API refuses ``generateAudio``: describe the sound in the prompt.

    :param prompt: what happens, and what is heard.
    :param image: the first frame; None means text-to-video.
    :param model: the model's id; for one that is not in :data:`PRICES_USD`, a warning is logged.
    :param seconds: length of the video, ``"4"``, ``"6"`` or ``"8"``; the API requires a string.
    :param resolution: ``720p`` (default), ``1080p`` or ``4k``; the latter two are always 8 seconds long.
    :param aspect_ratio: ``16:9`` (default) or ``9:16``.
    :param size: output pixels such as ``1280x720``, instead of ``resolution`` and ``aspect_ratio``.
    :param seed: makes the style similar; the same seed does not give the same video.
    :param negative_prompt: what the video should not show.
    :raises VeoRequestError: a field breaks a rule; nothing was sent.
    """

    prompt: str
    image: Image | None = None
    model: str = FAST_MODEL
    seconds: str = DEFAULT_SECONDS
    resolution: str | None = None
    aspect_ratio: str | None = None
    size: str | None = None
    seed: int | None = None
    negative_prompt: str | None = None

    def __post_init__(self) -> None:
        _require_text("prompt", self.prompt)
        _require_text("model", self.model)
        _require_text("negative_prompt", self.negative_prompt, optional=True)
        _require_one_of("seconds", self.seconds, SECONDS)
        _require_one_of("resolution", self.resolution, RESOLUTIONS, optional=True)
        _require_one_of("aspect_ratio", self.aspect_ratio, ASPECT_RATIOS, optional=True)
        _require_one_of("size", self.size, SIZES, optional=True)
        _require_seed(self.seed)
        self._require_size_to_agree()
        self._require_full_length()
        if self.model not in PRICES_USD:
            log.warning("This provider does not know the model %r, so its price is unknown.", self.model)

    @property
    def effective_resolution(self) -> str:
        """The resolution of the video: ``resolution``, or that of ``size``, or 720p."""
        return self.resolution or (SIZES[self.size][0] if self.size else DEFAULT_RESOLUTION)

    @property
    def effective_aspect_ratio(self) -> str:
        """The aspect ratio of the video: ``aspect_ratio``, or that of ``size``, or 16:9."""
        return self.aspect_ratio or (SIZES[self.size][1] if self.size else DEFAULT_ASPECT_RATIO)

    @property
    def price_usd(self) -> float | None:
        """The price of a completed generation in USD; None if it is not known."""
        return PRICES_USD.get(self.model)

    def description(self) -> dict[str, Any]:
        """Return the request without its image, under names that no later release may change.

        Fields without a value are omitted, so a later release can add parameters. Two requests with the same
        description get the same kind of video for the same price.
        """
        given = {
            "model": self.model,
            "prompt": self.prompt,
            "seconds": self.seconds,
            "resolution": self.effective_resolution,
            "aspect_ratio": self.effective_aspect_ratio,
            "seed": self.seed,
            "negative_prompt": self.negative_prompt or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def form_fields(self) -> dict[str, str]:
        """Return the text fields of the multipart form, which is not nested."""
        return {**self._common_fields(), **self._detail_fields()}

    def json_body(self) -> dict[str, Any]:
        """Return the JSON body of text-to-video, which nests the details under ``metadata``."""
        return {**self._common_fields(), "metadata": self._detail_fields()}

    def _common_fields(self) -> dict[str, str]:
        """Return the fields that are at the top level in both encodings."""
        fields = {
            "model": self.model,
            "prompt": self.prompt,
            # Newer gateways read `seconds`, and make 4 s of `duration` alone; older ones read `duration`.
            "seconds": self.seconds,
            "duration": self.seconds,
        }
        return {**fields, "size": self.size} if self.size else fields

    def _detail_fields(self) -> dict[str, str]:
        """Return the fields that are nested in JSON; always sent, so no changed default changes the bill."""
        fields = {"resolution": self.effective_resolution, "aspectRatio": self.effective_aspect_ratio}
        if self.seed is not None:
            fields["seed"] = str(self.seed)
        if self.negative_prompt:
            fields["negativePrompt"] = self.negative_prompt
        return fields

    def _require_size_to_agree(self) -> None:
        """Refuse a size that contradicts resolution or aspect ratio: the API would ignore the size."""
        if self.size is None:
            return
        resolution, aspect_ratio = SIZES[self.size]
        if (self.effective_resolution, self.effective_aspect_ratio) != (resolution, aspect_ratio):
            raise VeoRequestError(
                f"size={self.size!r} means {resolution} at {aspect_ratio}, but the request also asks for "
                f"{self.effective_resolution} at {self.effective_aspect_ratio}."
            )

    def _require_full_length(self) -> None:
        """Refuse 1080p and 4k with less than 8 seconds, as upstream does."""
        if self.effective_resolution != DEFAULT_RESOLUTION and self.seconds != DEFAULT_SECONDS:
            raise VeoRequestError(
                f'seconds must be "{DEFAULT_SECONDS}" for a video in {self.effective_resolution}; '
                f"got {self.seconds!r}."
            )


def _require_text(name: str, value: object, *, optional: bool = False) -> None:
    """Refuse a value that is not a text, is empty, is too long, or cannot be sent as UTF-8."""
    if optional and (value is None or value == ""):
        return
    if value is not None and not isinstance(value, str):
        raise VeoRequestError(f"The {name} must be a text; got a value of type {type(value).__name__}.")
    if not value or not value.strip():
        raise VeoRequestError(f"The {name} is empty.")
    try:
        length = len(value.encode())
    except UnicodeEncodeError as error:
        raise VeoRequestError(
            f"The {name} cannot be sent: at position {error.start} it has half a character, as in a text "
            "that was cut in the middle of an emoji."
        ) from error
    if length > MAX_TEXT_BYTES:
        raise VeoRequestError(f"The {name} must have at most {MAX_TEXT_BYTES} bytes; it has {length}.")


def _require_one_of(name: str, value: object, allowed: Collection[str], *, optional: bool = False) -> None:
    if optional and value is None:
        return
    if not isinstance(value, str) or value not in allowed:
        choices = ", ".join(f'"{choice}"' for choice in allowed)
        raise VeoRequestError(f"{name} must be one of {choices}; got {value!r}.")


def _require_seed(seed: object) -> None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise VeoRequestError(f"seed must be an integer; got {seed!r}.")
