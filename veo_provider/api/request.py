"""VeoRequest: one video to generate, checked by the rules of its model, with its fields and its price."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from veo_provider.api.gateways.apiyi import APIYI, FAST_MODEL
from veo_provider.api.model import SIZES
from veo_provider.exceptions import VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Collection

    from veo_provider.api.gateways.gateway import Field, Gateway
    from veo_provider.api.image import Image
    from veo_provider.api.model import Model

log = logging.getLogger(__name__)

MAX_TEXT_BYTES = 32 * 1024
"""The longest prompt, in bytes of UTF-8; the service reads about a thousand words."""


@dataclass(frozen=True, kw_only=True)
class VeoRequest:
    """One video to generate; the constructor checks all rules of its model.

    There is no field for audio, because the API refuses ``generateAudio``: describe the sound in the prompt.
    A parameter without a value gets the model's default, or is not sent.

    :param prompt: what happens, and what is heard.
    :param image: the first frame; None means text-to-video.
    :param model: the model's id; for one that the gateway does not describe, a warning is logged.
    :param seconds: length of the video as a text, such as ``"8"``.
    :param resolution: such as ``720p``, ``1080p`` or ``4k``.
    :param aspect_ratio: such as ``16:9`` or ``9:16``.
    :param size: output pixels such as ``1280x720``, instead of ``resolution`` and ``aspect_ratio``.
    :param seed: makes the style similar; the same seed does not give the same video.
    :param negative_prompt: what the video should not show.
    :param gateway: whose fields and models these are; only its own clients submit the request.
    :raises VeoRequestError: a field breaks a rule; nothing was sent.
    """

    prompt: str
    image: Image | None = None
    model: str = FAST_MODEL
    seconds: str | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    size: str | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    gateway: Gateway = field(default=APIYI, repr=False)

    def __post_init__(self) -> None:
        _require_text("prompt", self.prompt)
        _require_text("model", self.model)
        _require_text("negative_prompt", self.negative_prompt, optional=True)
        model = self.model_data
        _require_one_of("seconds", self.seconds, model.seconds)
        _require_one_of("resolution", self.resolution, model.resolutions)
        _require_one_of("aspect_ratio", self.aspect_ratio, model.aspect_ratios)
        _require_one_of("size", self.size, model.sizes)
        _require_seed(self.seed)
        self._require_size_to_agree()
        self._require_length_for_resolution()
        if not model.known:
            log.warning("This provider does not know the model %r, so its price is unknown.", self.model)

    @property
    def model_data(self) -> Model:
        """What is known about the model."""
        return self.gateway.model(self.model)

    @property
    def effective_seconds(self) -> str | None:
        """The length of the video: ``seconds``, or the model's default."""
        return self.seconds or self.model_data.default_seconds

    @property
    def effective_resolution(self) -> str | None:
        """The resolution of the video: ``resolution``, or that of ``size``, or the model's default."""
        default = None if self.size else self.model_data.default_resolution
        return self.resolution or self._meaning_of_size[0] or default

    @property
    def effective_aspect_ratio(self) -> str | None:
        """The aspect ratio of the video: ``aspect_ratio``, or that of ``size``, or the model's default."""
        default = None if self.size else self.model_data.default_aspect_ratio
        return self.aspect_ratio or self._meaning_of_size[1] or default

    @property
    def effective_size(self) -> str | None:
        """The output pixels: ``size``, or that of the resolution and the aspect ratio."""
        wanted = (self.effective_resolution, self.effective_aspect_ratio)
        sizes = self.model_data.sizes or SIZES
        return self.size or next((size for size, meaning in sizes.items() if meaning == wanted), None)

    @property
    def resolution_without_size(self) -> str | None:
        """The resolution, where no output pixels say the same."""
        return None if self.effective_size else self.effective_resolution

    @property
    def aspect_ratio_without_size(self) -> str | None:
        """The aspect ratio, where no output pixels say the same."""
        return None if self.effective_size else self.effective_aspect_ratio

    @property
    def resolution_unless_size(self) -> str | None:
        """The resolution, for a gateway that reads no output pixels unless they are given."""
        return None if self.size else self.effective_resolution

    @property
    def aspect_ratio_unless_size(self) -> str | None:
        """The aspect ratio, for a gateway that reads no output pixels unless they are given."""
        return None if self.size else self.effective_aspect_ratio

    @property
    def price_usd(self) -> float | None:
        """The price of the video in USD; None if it is not known."""
        return self.price_with(images=0 if self.image is None else 1)

    @property
    def price_form(self) -> str | None:
        """What the price depends on; None if it is not known."""
        price = self.model_data.price
        return None if price is None else price.form

    def price_with(self, *, images: int) -> float | None:
        """Return the price of the video with some images, in USD; None if it is not known."""
        price = self.model_data.price
        if price is None:
            return None
        return price.of(seconds=self.effective_seconds, resolution=self.effective_resolution, images=images)

    def description(self) -> dict[str, Any]:
        """Return the request without its image, under names that no later release may change.

        Fields without a value are omitted, so a later release can add parameters. Two requests with the same
        description get the same kind of video for the same price.
        """
        given = {
            "model": self.model,
            "prompt": self.prompt,
            "seconds": self.effective_seconds,
            "resolution": self.effective_resolution,
            "aspect_ratio": self.effective_aspect_ratio,
            # What a known size means is in the two fields before.
            "size": None if self.size is None or self._meaning_of_size[0] else self.size,
            "seed": self.seed,
            "negative_prompt": self.negative_prompt or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def form_fields(self) -> dict[str, str]:
        """Return the text fields of the multipart form, which is not nested."""
        return {each.name: str(self._value(each)) for each in self.gateway.fields if self._is_given(each)}

    def json_body(self) -> dict[str, Any]:
        """Return the JSON body without an image; the gateway says which fields are nested."""
        given = [each for each in self.gateway.fields if self._is_given(each)]
        body = {each.name: self._value(each) for each in given if not each.detail}
        details = {each.name: self._value(each) for each in given if each.detail}
        return {**body, self.gateway.json_details: details} if details else body

    def _is_given(self, each: Field) -> bool:
        return getattr(self, each.source) not in (None, "")

    def _value(self, each: Field) -> str | int | float:
        value = getattr(self, each.source)
        if not each.number:
            return str(value)
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise VeoRequestError(f"{each.source} must be a number; got {value!r}.") from error
        return int(number) if number.is_integer() else number

    @property
    def _meaning_of_size(self) -> tuple[str | None, str | None]:
        """The resolution and the aspect ratio of ``size``, if they are known."""
        size = self.size or ""
        return self.model_data.sizes.get(size) or SIZES.get(size) or (None, None)

    def _require_size_to_agree(self) -> None:
        """Refuse a size that contradicts resolution or aspect ratio: the API would ignore the size."""
        resolution, aspect_ratio = self._meaning_of_size
        if resolution is None:
            return
        if (self.effective_resolution, self.effective_aspect_ratio) != (resolution, aspect_ratio):
            raise VeoRequestError(
                f"size={self.size!r} means {resolution} at {aspect_ratio}, but the request also asks for "
                f"{self.effective_resolution} at {self.effective_aspect_ratio}."
            )

    def _require_length_for_resolution(self) -> None:
        """Refuse a length that the model makes in lower resolutions only."""
        allowed = self.model_data.seconds_of.get(self.effective_resolution or "", ())
        if allowed and self.effective_seconds not in allowed:
            choices = " or ".join(f'"{choice}"' for choice in allowed)
            raise VeoRequestError(
                f"seconds must be {choices} for a video in {self.effective_resolution}; "
                f"got {self.effective_seconds!r}."
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


def _require_one_of(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a value that is no text, or that a model does not make; one without a list has no limit."""
    if value is None:
        return
    if not isinstance(value, str) or (allowed and value not in allowed):
        choices = ", ".join(f'"{choice}"' for choice in allowed) or "a text"
        raise VeoRequestError(f"{name} must be one of {choices}; got {value!r}.")


def _require_seed(seed: object) -> None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise VeoRequestError(f"seed must be an integer; got {seed!r}.")
