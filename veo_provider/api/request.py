"""What can be asked for: fields, rules, encodings and price."""

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
"""Per completed request, whatever the length or resolution; as the service publishes them."""

MAX_TEXT_BYTES = 32 * 1024
"""The longest prompt that is sent, in UTF-8: the service reads about a thousand words."""
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
"""Each output size in pixels, with the resolution and the aspect ratio that it means."""


@dataclass(frozen=True, kw_only=True)
class VeoRequest:
    """One video to generate, checked by every rule of the API when it is made.

    There is no field for audio: the API refuses ``generateAudio``, so say in the prompt what is heard.

    :param prompt: what happens, and what is heard.
    :param image: the picture to start from; None asks for text-to-video.
    :param model: the model's id; one that is not in :data:`PRICES_USD` is sent with a warning.
    :param seconds: length of the video, ``"4"``, ``"6"`` or ``"8"``: a string, as the API wants it.
    :param resolution: ``720p`` (default), ``1080p`` or ``4k``; the latter two are 8 seconds long.
    :param aspect_ratio: ``16:9`` (default) or ``9:16``.
    :param size: output pixels such as ``1280x720``, instead of ``resolution`` and ``aspect_ratio``.
    :param seed: clusters the style; the same seed does not give the same video.
    :param negative_prompt: what should not be seen.
    :raises VeoRequestError: a rule is broken; nothing was sent.
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
            log.warning("The model %r is not one that this provider knows; its price is unknown.", self.model)

    @property
    def effective_resolution(self) -> str:
        """The resolution that will be generated: as asked, or by the size, or 720p."""
        return self.resolution or (SIZES[self.size][0] if self.size else DEFAULT_RESOLUTION)

    @property
    def effective_aspect_ratio(self) -> str:
        """The aspect ratio that will be generated: as asked, or by the size, or 16:9."""
        return self.aspect_ratio or (SIZES[self.size][1] if self.size else DEFAULT_ASPECT_RATIO)

    @property
    def price_usd(self) -> float | None:
        """What a completed generation costs in USD; None for a model whose price is not known."""
        return PRICES_USD.get(self.model)

    def description(self) -> dict[str, Any]:
        """Return what is asked for, without the image, under names that no later release may change.

        What is not given is left out, so that a later release may add parameters. Two requests with the
        same description get the same kind of video for the same price.
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
        """Return the text fields of the multipart form, which is flat."""
        return {**self._common_fields(), **self._detail_fields()}

    def json_body(self) -> dict[str, Any]:
        """Return the JSON body of text-to-video, which nests the details under ``metadata``."""
        return {**self._common_fields(), "metadata": self._detail_fields()}

    def _common_fields(self) -> dict[str, str]:
        """Return the fields that both encodings have at the top."""
        fields = {
            "model": self.model,
            "prompt": self.prompt,
            # Newer gateways read `seconds` and silently make 4 s of `duration`; older ones read `duration`.
            "seconds": self.seconds,
            "duration": self.seconds,
        }
        return {**fields, "size": self.size} if self.size else fields

    def _detail_fields(self) -> dict[str, str]:
        """Return the fields that JSON nests; sent even at their defaults, for the bill to be no surprise."""
        fields = {"resolution": self.effective_resolution, "aspectRatio": self.effective_aspect_ratio}
        if self.seed is not None:
            fields["seed"] = str(self.seed)
        if self.negative_prompt:
            fields["negativePrompt"] = self.negative_prompt
        return fields

    def _require_size_to_agree(self) -> None:
        """Refuse a size that says other than resolution or aspect ratio: the API would ignore the size."""
        if self.size is None:
            return
        resolution, aspect_ratio = SIZES[self.size]
        if (self.effective_resolution, self.effective_aspect_ratio) != (resolution, aspect_ratio):
            raise VeoRequestError(
                f"The size {self.size} means {resolution} at {aspect_ratio}, but "
                f"{self.effective_resolution} at {self.effective_aspect_ratio} is asked for as well."
            )

    def _require_full_length(self) -> None:
        """Refuse 1080p and 4k at less than 8 seconds: upstream would."""
        if self.effective_resolution != DEFAULT_RESOLUTION and self.seconds != DEFAULT_SECONDS:
            raise VeoRequestError(
                f"A video in {self.effective_resolution} is always 8 seconds long, "
                f'but seconds="{self.seconds}" is asked for.'
            )


def _require_text(name: str, value: object, *, optional: bool = False) -> None:
    """Refuse what is no text, is empty, is too long, or cannot be sent as UTF-8."""
    if optional and (value is None or value == ""):
        return
    if value is not None and not isinstance(value, str):
        raise VeoRequestError(f"The {name} must be a text; got a {type(value).__name__}.")
    if not value or not value.strip():
        raise VeoRequestError(f"The {name} is empty: it must be a text.")
    try:
        length = len(value.encode())
    except UnicodeEncodeError as error:
        raise VeoRequestError(
            f"The {name} has half a character at position {error.start}, as a text has that was cut in the "
            "middle of an emoji: it cannot be sent."
        ) from error
    if length > MAX_TEXT_BYTES:
        raise VeoRequestError(f"The {name} has {length} bytes; at most {MAX_TEXT_BYTES} are sent.")


def _require_one_of(name: str, value: object, allowed: Collection[str], *, optional: bool = False) -> None:
    if optional and value is None:
        return
    if not isinstance(value, str) or value not in allowed:
        choices = ", ".join(f'"{choice}"' for choice in allowed)
        raise VeoRequestError(f"{name}={value!r} is not possible: it must be a string, one of {choices}.")


def _require_seed(seed: object) -> None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise VeoRequestError(f"seed={seed!r} is not possible: it must be an integer.")
