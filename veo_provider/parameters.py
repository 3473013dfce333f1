"""Parameter values from templates, XComs and tables: converted to the right type, or refused.

A text may mean another type: ``"False"`` a boolean, ``"7"`` a number, ``"None"`` no value. A value that
cannot be converted is refused before anything is sent.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeGuard

_NOTHING = frozenset({"", "none", "null", "nan"})
"""How an empty cell, or None in a template, is rendered."""
_SHOWN_CHARACTERS = 200
_PAIR = 2
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def is_nothing(value: object) -> bool:
    """Whether a value means no value; empty cells of a table are the number NaN."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def as_bool(name: str, value: object) -> bool:
    """Return a boolean.

    :raises VeoRequestError: the value is not a boolean; no value is not one, either.
    """
    found = _BOOLEANS.get(_text_of(value))
    if found is None:
        raise VeoRequestError(f"{name} must be True or False; got {_shown(value)}.")
    return found


def as_int(name: str, value: object) -> int | None:
    """Return an integer, or None for no value.

    :raises VeoRequestError: the value is neither.
    """
    if is_nothing(value):
        return None
    try:
        return int(value) if isinstance(value, float) and value.is_integer() else int(_text_of(value))
    except ValueError as error:
        raise VeoRequestError(f"{name} must be an integer; got {_shown(value)}.") from error


def as_positive(name: str, value: object) -> int:
    """Return an integer of 1 or more.

    :raises VeoRequestError: the value is not one.
    """
    number = as_int(name, value)
    if number is None or number < 1:
        raise VeoRequestError(f"{name} must be 1 or more; got {_shown(value)}.")
    return number


def as_usd(name: str, value: object) -> float:
    """Return an amount of US dollars, 0 or more.

    :raises VeoRequestError: the value is not one; no value is not one, either.
    """
    try:
        dollars = math.nan if isinstance(value, bool) else float(_text_of(value))
    except ValueError:
        dollars = math.nan
    if not 0 <= dollars < math.inf:
        raise VeoRequestError(f"{name} must be a number of US dollars; got {_shown(value)}.")
    return dollars


def as_seconds(name: str, value: object) -> str | None:
    """Return a length in seconds as a text, or None for no value.

    :raises VeoRequestError: the value is neither.
    """
    text = as_text(name, value)
    try:
        is_valid = text is None or 0 < float(text) < math.inf
    except ValueError:
        is_valid = False
    if not is_valid:
        raise VeoRequestError(f"{name} must be a number of seconds; got {_shown(value)}.")
    return text


def as_terms(name: str, value: object) -> str | None:
    """Return a text; a list of terms, such as an XCom or a parameter of type array, is joined by commas.

    :raises VeoRequestError: the value or one of the terms is something else.
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, (as_text(name, term) for term in value))) or None
    return as_text(name, value)


def as_text(name: str, value: object) -> str | None:
    """Return a text, or None for no value. Native rendering turns texts such as ``1984`` into numbers.

    :raises VeoRequestError: the value is something else, such as a list.
    """
    if is_nothing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str):
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
    if is_number and (text := _text_of(value)):
        return text
    raise VeoRequestError(f"{name} must be a text; got a value of type {type(value).__name__}.")


def as_prompts(name: str, value: object) -> str | dict[str, str] | None:
    """Return a text, a mapping to texts, or None for no value.

    :raises VeoRequestError: the value is something else.
    """
    if not isinstance(value, dict):
        return as_text(name, value)
    return {str(key): as_text(f"{name}[{key!r}]", text) or "" for key, text in value.items()} or None


def as_pairs(name: str, value: object) -> list[tuple[str, str]]:
    """Return a list of pairs ``(veo_conn_id, model)``; no value is an empty list.

    :raises VeoRequestError: the value is something else, or names a pair twice.
    """
    if is_nothing(value):
        return []
    if not isinstance(value, (list, tuple)):
        raise VeoRequestError(f"{name} must be a list of pairs (veo_conn_id, model); got {_shown(value)}.")
    pairs = [_as_pair(f"{name}[{index}]", each) for index, each in enumerate(value)]
    for index, pair in enumerate(pairs):
        if pair in pairs[:index]:
            raise VeoRequestError(f"{name}[{index}] is {pair!r}, which is in the list before.")
    return pairs


def require_pairs(name: str, value: object) -> None:
    """Check a list of pairs as far as that is possible before templates and XComs have values.

    :raises VeoRequestError: the value, or an element of it, is no pair whatever it renders to.
    """
    if _has_value_later(value):
        return
    if isinstance(value, (list, tuple)) and any(map(_has_value_later, value)):
        for index, each in enumerate(value):
            if not _has_value_later(each):
                _as_pair(f"{name}[{index}]", each)
        return
    as_pairs(name, value)


def _as_pair(name: str, value: object) -> tuple[str, str]:
    if not isinstance(value, (list, tuple)) or len(value) != _PAIR:
        raise VeoRequestError(f"{name} must be a pair (veo_conn_id, model); got {_shown(value)}.")
    conn_id, model = value
    if _has_value_later(conn_id) or _has_value_later(model):
        return str(conn_id), str(model)
    found = as_connection(f"the veo_conn_id of {name}", conn_id), as_text(f"the model of {name}", model)
    if found[0] is None or found[1] is None:
        raise VeoRequestError(f"{name} must name a connection and a model; got {_shown(value)}.")
    return found[0], found[1]


def _has_value_later(value: object) -> bool:
    """Whether a value is a template or an upstream task's result, which is known when the task runs."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return not (value is None or isinstance(value, (int, float, bytes, dict, list, tuple, set)))


def as_place(name: str, value: object) -> str:
    """Return a path or a URI as a text; path objects, such as ``ObjectStoragePath``, are accepted.

    :raises VeoRequestError: the value is something else, or no value.
    """
    text = _as_path(value)
    if is_nothing(text):
        raise VeoRequestError(f"{name} must be a path or a URI; got {text!r}, which is empty.")
    if not isinstance(text, str):
        raise VeoRequestError(f"{name} must be one path or URI; got a value of type {type(value).__name__}.")
    return text


def as_places(name: str, value: object) -> str | list[str]:
    """Return a text unchanged, or a list of paths and URIs.

    :raises VeoRequestError: the value is neither.
    """
    value = _as_path(value)
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, dict)) or not _is_iterable(value):
        raise VeoRequestError(
            f"{name} must be a text or a list of paths and URIs; got a value of type {type(value).__name__}."
        )
    return [as_place(f"{name}[{index}]", each) for index, each in enumerate(value)]


def as_task_id(value: object) -> str:
    """Return the API's task id; native rendering turns an id that has only digits into a number.

    :raises VeoRequestError: the value is not a task id.
    """
    from veo_provider.api.parsing.task_ids import check_task_id

    number = isinstance(value, int) and not isinstance(value, bool)
    return check_task_id(_text_of(value) if number else value)


def as_connection(name: str, value: object, *, optional: bool = False) -> str | None:
    """Return a connection's id.

    :param optional: whether no value is allowed.
    :raises VeoRequestError: the value is something else.
    """
    conn_id = as_text(name, value)
    if conn_id is None and not optional:
        raise VeoRequestError(f"{name} must be the id of a connection; got {value!r}.")
    return conn_id


def _as_path(value: object) -> object:
    """Return the text of a path object, with its scheme and connection; anything else unchanged."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return str(value) if isinstance(value, (os.PathLike, ObjectStoragePath)) else value


def _is_iterable(value: object) -> TypeGuard[Iterable[object]]:
    try:
        iter(value)  # type: ignore[call-overload]  # iter() raises TypeError if not
    except TypeError:
        return False
    return True


def _text_of(value: object) -> str:
    """Return a value as a stripped text in lower case; empty if it is a number with too many digits."""
    try:
        return str(value).strip().lower()
    except ValueError:
        return ""


def _shown(value: object) -> str:
    """Return a value for an error message: its repr, shortened."""
    try:
        shown = repr(value)
    except ValueError:
        return f"a {type(value).__name__} with too many digits"
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
