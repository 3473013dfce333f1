"""The gateway that a connection's extra names or describes, with the models that it describes."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import date
from typing import TYPE_CHECKING, Any, NoReturn

from veo_provider.api.gateways.builtin import GATEWAYS
from veo_provider.api.gateways.gateway import IMAGE, Charging, Field, Gateway, LookUp
from veo_provider.api.model import Model, Price
from veo_provider.exceptions import VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110 5.6.2."""
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_OWN_HEADERS = frozenset({"authorization", "content-type", "content-length", "host", "transfer-encoding"})
"""Headers that the client sets itself."""
_SOURCES = (
    "model",
    "prompt",
    "seconds",
    "effective_seconds",
    "size",
    "effective_size",
    "resolution",
    "effective_resolution",
    "resolution_without_size",
    "resolution_unless_size",
    "aspect_ratio",
    "effective_aspect_ratio",
    "aspect_ratio_without_size",
    "aspect_ratio_unless_size",
    "seed",
    "negative_prompt",
)
"""The attributes of a request that a field may send."""


def gateway_of(extra: Mapping[str, Any]) -> Gateway:
    """Return the gateway of a connection, with the connection's own models.

    :param extra: the connection's extra. ``gateway`` is the name of a built-in one, or an object that starts
        from one (``like``) and changes fields of :class:`~veo_provider.api.gateways.gateway.Gateway`.
        ``models`` is an object of objects with the fields of :class:`~veo_provider.api.model.Model`.
    :raises VeoRequestError: a description is wrong; the error names the field.
    """
    given = _from_text("gateway", extra.get("gateway") or "apiyi")
    is_name = isinstance(given, str)
    gateway = _built_in(given, "gateway") if is_name else _described(_object("gateway", given))
    return _with_models(gateway, _from_text("models", extra.get("models")))


def _from_text(where: str, value: Any) -> Any:
    """Return the object in a text of JSON: a form or a URI can carry nothing but texts."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        _refuse(where, "valid JSON")


def _built_in(name: object, where: str) -> Gateway:
    if not isinstance(name, str) or name not in GATEWAYS:
        _refuse(where, f"one of {', '.join(GATEWAYS)}")
    return GATEWAYS[name]


def _described(given: Mapping[str, Any]) -> Gateway:
    """Return a gateway that starts from a built-in one."""
    given = dict(given)
    like = _built_in(given.pop("like", "openai"), "gateway.like")
    changes = {"name": f"own ({like.name})", **_read(given, "gateway", _GATEWAY_FIELDS)}
    if changes.get("models"):
        like, changes["models"] = replace(like, models={}), {**like.models, **changes["models"]}
    gateway = replace(like, **changes)
    if not gateway.form and IMAGE not in str(gateway.image_json):
        _refuse("gateway.image_json", f"an object that contains {IMAGE!r} if form is false")
    return gateway


def _with_models(gateway: Gateway, given: Any) -> Gateway:
    """Return a gateway with further models, and with changes to those that it knows."""
    if not given:
        return gateway
    models = dict(gateway.models)
    for name, each in _object("models", given).items():
        models[name] = _model(gateway.model(name), each, f"models.{name}")
    return replace(gateway, models=models)


def _model(base: Model, given: Any, where: str) -> Model:
    """Return a model with the fields that are given; the others stay as they are."""
    given = dict(_object(where, given))
    price = _read({name: given.pop(name) for name in _PRICE_FIELDS if name in given}, where, _PRICE_FIELDS)
    changes = _read(given, where, _MODEL_FIELDS)
    if price:
        changes["price"] = Price(**price)
    return replace(base, known=True, **changes)


def _read(
    given: Mapping[str, Any], where: str, known: Mapping[str, Callable[[str, Any], Any]]
) -> dict[str, Any]:
    """Return the values of an object, each read as its field demands.

    :raises VeoRequestError: a field is not known, or its value is wrong.
    """
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        _refuse(f"{where}.{unknown[0]}", f"left out; the fields are {', '.join(sorted(known))}")
    return {name: known[name](f"{where}.{name}", value) for name, value in given.items()}


def _refuse(where: str, what: str) -> NoReturn:
    """Refuse a field without repeating its value, which may be a secret."""
    raise VeoRequestError(f"The connection's extra is wrong: {where[:200]!r} must be {what}.")


def _object(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        _refuse(where, "an object")
    found: Mapping[str, Any] = value
    return found


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 2000 or not _HEADER_VALUE.fullmatch(value):  # noqa: PLR2004
        _refuse(where, "a text of printable ASCII characters")
    return str(value)


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        _refuse(where, "true or false")
    return bool(value)


def _flag_or_unknown(where: str, value: Any) -> bool | None:
    return None if value is None else _flag(where, value)


def _amount(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:  # noqa: PLR2004
        _refuse(where, "an amount of USD, a number")
    return float(value)


def _rates(where: str, value: Any) -> dict[str, float]:
    """Read a price per second: one number, or one for each resolution."""
    if not isinstance(value, dict):
        return {"*": _amount(where, value)}
    return {name: _amount(f"{where}.{name}", each) for name, each in _object(where, value).items()}


def _texts(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        _refuse(where, "a list")
    return tuple(_text_or_number(where, each) for each in value)


def _text_or_number(where: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        _refuse(where, "a list of texts or numbers")
    return _text(where, value if isinstance(value, str) else f"{value:g}")


def _lengths(where: str, value: Any) -> tuple[str, ...]:
    lengths = _texts(where, value)
    if not all(_NUMBER.fullmatch(each) for each in lengths):
        _refuse(where, "a list of numbers of seconds")
    return lengths


def _length(where: str, value: Any) -> str | None:
    return None if value is None else _lengths(where, [value])[0]


def _lengths_of(where: str, value: Any) -> dict[str, tuple[str, ...]]:
    return {name: _lengths(f"{where}.{name}", each) for name, each in _object(where, value).items()}


def _optional_text(where: str, value: Any) -> str | None:
    return None if value is None else _text(where, value)


def _sizes(where: str, value: Any) -> dict[str, tuple[str, str]]:
    sizes = {name: _texts(f"{where}.{name}", each) for name, each in _object(where, value).items()}
    for name, meaning in sizes.items():
        if len(meaning) != 2:  # noqa: PLR2004 - a resolution and an aspect ratio
            _refuse(f"{where}.{name}", "a list of a resolution and an aspect ratio")
    return {name: (meaning[0], meaning[1]) for name, meaning in sizes.items()}


def _day(where: str, value: Any) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        _refuse(where, "a day such as 2026-11-17, or null")


def _one_of(*allowed: str) -> Callable[[str, Any], str]:
    def read(where: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            _refuse(where, f"one of {', '.join(allowed)}")
        return value

    return read


def _look_up(where: str, value: Any) -> LookUp:
    return LookUp(_one_of(*(each.value for each in LookUp))(where, value))


def _authorization(where: str, value: Any) -> str:
    """Read the scheme; a key in the extra would be shown where the password is not."""
    text = _text(where, value)
    if not re.fullmatch(r"(?:[A-Za-z0-9-]{1,40} )?\{key\}", text):
        _refuse(where, "a scheme and the placeholder of the password, such as 'Bearer {key}'")
    return text


def _url(where: str, value: Any) -> str:
    text = _text(where, value)
    if not re.fullmatch(r"https?://[^\s/?#@]+(?:/[^\s?#@]*)?", text):
        _refuse(where, "an http or https URL without a user, a query and a fragment")
    return text


def _path(where: str, value: Any) -> str:
    text = _text(where, value)
    if not re.fullmatch(r"/[^\s?#\\]*", text) or text.startswith("//") or ".." in text:
        _refuse(where, "a path below the connection's host, such as /videos")
    return text


def _video_path(where: str, value: Any) -> str:
    text = _path(where, value)
    if text.count("{id}") != 1:
        _refuse(where, "a path with {id} in it, such as /videos/{id}")
    return text


def _header(where: str, value: Any) -> str:
    text = _text(where, value)
    if text and (not _HEADER_NAME.fullmatch(text) or text.lower() in _OWN_HEADERS):
        _refuse(where, "the name of a header that this client does not set itself")
    return text.lower()


def _headers(where: str, value: Any) -> dict[str, str]:
    given = _object(where, value).items()
    return {_header(f"{where}.{name}", name): _text(f"{where}.{name}", each) for name, each in given}


def _header_names(where: str, value: Any) -> tuple[str, ...]:
    return tuple(_header(where, each) for each in _texts(where, value))


def _keys(where: str, value: Any) -> tuple[str | int, ...]:
    """Read a way through JSON."""
    if not isinstance(value, list) or not all(type(each) in (str, int) for each in value):
        _refuse(where, "a list of names and positions")
    return tuple(value)


def _wire_fields(where: str, value: Any) -> tuple[Field, ...]:
    if not isinstance(value, list):
        _refuse(where, "a list of objects")
    read = [
        _read(_object(f"{where}.{n}", each), f"{where}.{n}", _FIELD_FIELDS) for n, each in enumerate(value)
    ]
    for number, each in enumerate(read):
        if not {"name", "source"} <= each.keys():
            _refuse(f"{where}.{number}", "an object with a name and a source")
    return tuple(Field(**each) for each in read)


def _charging(where: str, value: Any) -> Charging:
    return Charging(**_read(_object(where, value), where, _CHARGING_FIELDS))


def _models(where: str, value: Any) -> dict[str, Model]:
    given = _object(where, value).items()
    return {name: _model(Model(name=name), each, f"{where}.{name}") for name, each in given}


def _unknown_model(where: str, value: Any) -> Model:
    return replace(_model(Model(name=""), value, where), known=False)


_PRICE_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "usd_per_video": _amount,
    "usd_per_second": _rates,
    "usd_per_image": _amount,
}
_MODEL_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "seconds": _lengths,
    "seconds_of": _lengths_of,
    "resolutions": _texts,
    "aspect_ratios": _texts,
    "sizes": _sizes,
    "default_seconds": _length,
    "default_resolution": _optional_text,
    "default_aspect_ratio": _optional_text,
    "ends": _day,
    "successor": _text,
}
_FIELD_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "name": _text,
    "source": _one_of(*_SOURCES),
    "number": _flag,
    "detail": _flag,
}
_CHARGING_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "at": _one_of("submission", "completion", "never"),
    "failed": _flag_or_unknown,
    "moderated": _flag_or_unknown,
}
_GATEWAY_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "name": _text,
    "base_url": _url,
    "default_path": _text,
    "authorization": _authorization,
    "submission_headers": _headers,
    "submit_path": _path,
    "video_path": _video_path,
    "form": _flag,
    "form_without_image": _flag,
    "fields": _wire_fields,
    "json_details": _text,
    "image_field": _text,
    "image_json": _object,
    "id_keys": _texts,
    "content_url": _keys,
    "charging": _charging,
    "cost_keys": _keys,
    "cost_header": _header,
    "extra_generations_headers": _header_names,
    "call_id_header": _header,
    "idempotency_header": _header,
    "look_up": _look_up,
    "check": _one_of("missing_video", "models"),
    "task_log": _text,
    "key_kind": _text,
    "kept": _text,
    "models": _models,
    "default_model": _text,
    "unknown_model": _unknown_model,
}
assert _GATEWAY_FIELDS.keys() == {each.name for each in fields(Gateway)}  # noqa: S101 - both lists are here to be read
