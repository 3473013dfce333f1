"""Validates a submission as the service does: strict where it is strict, lenient where it is lenient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.body_parser import IMAGE_LIMIT
from veo_provider.sandbox.errors import gateway_error, relay_error, upstream_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from veo_provider.sandbox.body_parser import ParsedBody, UploadedFile

IMAGE_TYPES = {"image/jpeg", "image/png", "image/webp"}
LENGTHS = {"4": 4, "6": 6, "8": 8}
RATIOS = {"16:9", "9:16"}
SIZES = {
    ("720p", "16:9"): (1280, 720),
    ("720p", "9:16"): (720, 1280),
    ("1080p", "16:9"): (1920, 1080),
    ("1080p", "9:16"): (1080, 1920),
    ("4k", "16:9"): (3840, 2160),
    ("4k", "9:16"): (2160, 3840),
}
SIZE_NAMES = {f"{width}x{height}": format_ for format_, (width, height) in SIZES.items()}
_RESOLUTIONS = {resolution for resolution, _ in SIZES}


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid submission, with its defaults filled in."""

    model: str
    prompt: str
    seconds: int
    resolution: str
    aspect_ratio: str
    body: ParsedBody

    @property
    def dimensions(self) -> tuple[int, int]:
        """Return width and height of the video in pixels."""
        return SIZES[self.resolution, self.aspect_ratio]

    @property
    def size(self) -> str:
        """Return the dimensions as the API writes them, like ``1280x720``."""
        width, height = self.dimensions
        return f"{width}x{height}"

    @property
    def image(self) -> UploadedFile | None:
        """Return the image to start from, or None for text-to-video."""
        return self.body.image

    def record(self) -> dict[str, Any]:
        """Return the part of ``/_sandbox/tasks`` about it."""
        return {
            "mode": "image-to-video" if self.image else "text-to-video",
            "model": self.model,
            "prompt": self.prompt,
            "seconds": str(self.seconds),
            "size": self.size,
            "resolution": self.resolution,
            "aspect_ratio": self.aspect_ratio,
            "fields": self.body.fields,
            "files": [{**each.record(), "used": each is self.image} for each in self.body.files],
        }


def validate(body: ParsedBody) -> Submission:
    """Return the submission in a body.

    :raises ApiError: if the service refuses it.
    """
    _check_audio(body.fields)
    model, prompt = _required(body.fields, "model"), _required(body.fields, "prompt")
    check_image(body, required=not body.is_json)
    resolution, aspect_ratio = _format(body)
    _check_seed(body.option("seed"))
    seconds = _seconds(body.fields)
    if resolution != "720p" and seconds != LENGTHS["8"]:
        raise upstream_error(f"{resolution} videos must be 8 seconds long, not {seconds}.")
    return Submission(model, prompt, seconds, resolution, aspect_ratio, body)


def _check_audio(fields: Mapping[str, str]) -> None:
    if any(name.rpartition(".")[2] == "generateAudio" for name in fields):
        raise upstream_error("`generateAudio` isn't supported by this model. Please remove it.")


def _required(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value.strip():
        raise relay_error(400, "invalid_request", f"{name} is required")
    return value


def check_image(body: ParsedBody, *, required: bool) -> None:
    """Check the image of a submission.

    :param required: whether there must be one.
    :raises ApiError: it is missing, too large, or not an image of a known type.
    """
    image = body.image
    if image is None:
        if not required:
            return
        raise relay_error(400, "invalid_request", "input_reference is required")
    if image.bytes > IMAGE_LIMIT:
        raise gateway_error(
            413, f"image is too large: {image.bytes} bytes, limit {IMAGE_LIMIT}", "image_too_large"
        )
    if image.content_type not in IMAGE_TYPES:
        raise upstream_error(
            f"Unsupported image type '{image.content_type}': use image/jpeg, image/png or image/webp."
        )
    if image.width is None:
        raise upstream_error("input_reference is not a picture that can be decoded.")


def _format(body: ParsedBody) -> tuple[str, str]:
    """Return resolution and aspect ratio; their own fields win over ``size``; default 720p, 16:9."""
    size = body.fields.get("size", "1280x720")
    if size not in SIZE_NAMES:
        raise upstream_error(f"Unsupported size '{size}': use one of {', '.join(SIZE_NAMES)}.")
    resolution = body.option("resolution") or SIZE_NAMES[size][0]
    aspect_ratio = body.option("aspectRatio") or SIZE_NAMES[size][1]
    if resolution not in _RESOLUTIONS:
        raise upstream_error(f"Unsupported resolution '{resolution}': use 720p, 1080p or 4k.")
    if aspect_ratio not in RATIOS:
        raise upstream_error(f"Unsupported aspectRatio '{aspect_ratio}': use 16:9 or 9:16.")
    return resolution, aspect_ratio


def _check_seed(seed: str | None) -> None:
    try:
        int(seed or "0")
    except ValueError:
        raise upstream_error(f"seed must be an integer, not '{seed}'.") from None


def _seconds(fields: Mapping[str, str]) -> int:
    """Return the length from ``seconds``; ``duration`` is ignored silently, and the default is four."""
    seconds = fields.get("seconds", "4")
    if seconds not in LENGTHS:
        raise upstream_error(f'seconds must be "4", "6" or "8", not "{seconds}".')
    return LENGTHS[seconds]
