"""Checks of submissions that a strict service makes: no unknown field, no wrong type, no unknown model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.errors import gateway_error
from veo_provider.sandbox.faces.models import MODELS
from veo_provider.sandbox.submission import LENGTHS, RATIOS, SIZE_NAMES, SIZES, Submission, check_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from veo_provider.sandbox.body_parser import ParsedBody
    from veo_provider.sandbox.errors import ApiError

    Check = Callable[[Any], bool]

_RESOLUTIONS = {resolution for resolution, _ in SIZES}
_NEEDED = ("model", "prompt")


def is_text(value: Any) -> bool:
    """Return whether a value is a text that is not empty."""
    return isinstance(value, str) and bool(value.strip())


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer of JSON."""
    return type(value) is int


def is_digits(value: Any) -> bool:
    """Return whether a value is an integer as a text, as a form has it."""
    return isinstance(value, str) and value.removeprefix("-").isdecimal()


def is_size(value: Any) -> bool:
    """Return whether a value is one of the sizes in pixels."""
    return value in SIZE_NAMES


def is_resolution(value: Any) -> bool:
    """Return whether a value is one of the resolutions."""
    return value in _RESOLUTIONS


def is_ratio(value: Any) -> bool:
    """Return whether a value is one of the aspect ratios."""
    return value in RATIOS


def read_strictly(
    face: str, body: ParsedBody, values: Mapping[str, Any], checks: Mapping[str, Check], length: str
) -> Submission:
    """Return the submission in the fields of a body.

    :param face: whose models are known.
    :param values: the fields.
    :param checks: the known fields, each with its check.
    :param length: the name of the field with the seconds.
    :raises ApiError: a field is not known, is missing or has a wrong value.
    """
    _check_fields(values, checks)
    model = str(values["model"])
    if model not in MODELS[face]:
        raise gateway_error(404, f"The model `{model}` does not exist", "model_not_found")
    check_image(body, required=False)
    resolution, aspect_ratio = _format(values)
    seconds = LENGTHS.get(str(values.get(length, 8)))
    if seconds is None or (resolution != "720p" and seconds != LENGTHS["8"]):
        raise _bad(f"{length}: this length is not supported at {resolution}")
    return Submission(model, str(values["prompt"]), seconds, resolution, aspect_ratio, body)


def _check_fields(values: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    for name in _NEEDED:
        if name not in values:
            raise _bad(f"{name}: Field required")
    for name, value in values.items():
        if name not in checks:
            raise _bad(f"{name}: Extra inputs are not permitted")
        if not checks[name](value):
            raise _bad(f"{name}: the value is not valid")


def _format(values: Mapping[str, Any]) -> tuple[str, str]:
    """Return resolution and aspect ratio; a size says both, and excludes them."""
    if "size" in values:
        if values.keys() & {"resolution", "aspect_ratio"}:
            raise _bad("size: cannot be combined with resolution or aspect_ratio")
        return SIZE_NAMES[values["size"]]
    return values.get("resolution", "720p"), values.get("aspect_ratio", "16:9")


def _bad(message: str) -> ApiError:
    return gateway_error(400, message, "invalid_request")
