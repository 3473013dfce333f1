"""Values of parameters as templates, XComs and rows of a table give them, or a clear error.

A text may stand for something else: ``"False"`` for a boolean, ``"7"`` for a number, ``"None"`` for nothing.
Whatever stands for none of what a parameter takes is refused before anything is sent.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from veo_provider.api.parsing.task_ids import check_task_id
from veo_provider.exceptions import VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeGuard

_NOTHING = frozenset({"", "none", "null", "nan"})
"""What an empty cell, or a template of None, renders to."""
_SHOWN_CHARACTERS = 200
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def is_nothing(value: object) -> bool:
    """Whether a value stands for nothing; a table has the number NaN in its empty cells."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def as_bool(name: str, value: object) -> bool:
    """Return a boolean.

    :raises VeoRequestError: the value stands for none; nothing at all does not, either.
    """
    found = _BOOLEANS.get(_text_of(value))
    if found is None:
        raise VeoRequestError(f"{name}={_shown(value)} is not possible: it is True or False.")
    return found


def as_int(name: str, value: object) -> int | None:
    """Return an integer, or None for nothing.

    :raises VeoRequestError: the value stands for neither.
    """
    if is_nothing(value):
        return None
    try:
        return int(value) if isinstance(value, float) and value.is_integer() else int(_text_of(value))
    except ValueError as error:
        raise VeoRequestError(f"{name}={_shown(value)} is not possible: it must be an integer.") from error


def as_positive(name: str, value: object) -> int:
    """Return an integer of 1 or more.

    :raises VeoRequestError: the value stands for none.
    """
    number = as_int(name, value)
    if number is None or number < 1:
        raise VeoRequestError(f"{name}={_shown(value)} is not possible: it is 1 or more.")
    return number


def as_usd(name: str, value: object) -> float:
    """Return an amount of US dollars, 0 or more.

    :raises VeoRequestError: the value stands for none; nothing at all does not, either.
    """
    try:
        dollars = math.nan if isinstance(value, bool) else float(_text_of(value))
    except ValueError:
        dollars = math.nan
    if not 0 <= dollars < math.inf:
        raise VeoRequestError(f"{name}={_shown(value)} is not possible: it is a number of US dollars.")
    return dollars


def as_seconds(name: str, value: object) -> str | None:
    """Return a length in seconds as a text, or None for nothing.

    :raises VeoRequestError: the value stands for neither.
    """
    text = as_text(name, value)
    try:
        possible = text is None or 0 < float(text) < math.inf
    except ValueError:
        possible = False
    if not possible:
        raise VeoRequestError(f"{name}={_shown(value)} is not possible: it is a number of seconds.")
    return text


def as_terms(name: str, value: object) -> str | None:
    """Return a text that may be given as a list of its terms, as an XCom or a parameter of type array has it.

    :raises VeoRequestError: the value is something else, or one of the terms is.
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, (as_text(name, term) for term in value))) or None
    return as_text(name, value)


def as_text(name: str, value: object) -> str | None:
    """Return a text, or None for nothing. Native rendering makes numbers of texts like ``1984``.

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
    raise VeoRequestError(f"{name} is not possible as a {type(value).__name__}: it must be a text.")


def as_prompts(name: str, value: object) -> str | dict[str, str] | None:
    """Return a text, a mapping to texts, or None for nothing.

    :raises VeoRequestError: the value is something else.
    """
    if not isinstance(value, dict):
        return as_text(name, value)
    return {str(key): as_text(f"{name}[{key!r}]", text) or "" for key, text in value.items()} or None


def as_place(name: str, value: object) -> str:
    """Return a path or a URI, which may also be given as a path object, ``ObjectStoragePath`` among them.

    :raises VeoRequestError: the value is something else, or nothing.
    """
    text = _as_path(value)
    if is_nothing(text):
        raise VeoRequestError(f"{name}={text!r} is empty: it must be a path or a URI.")
    if not isinstance(text, str):
        raise VeoRequestError(
            f"{name} is not possible as a {type(value).__name__}: it must be a path or a URI, one."
        )
    return text


def as_places(name: str, value: object) -> str | list[str]:
    """Return a text as it is, or a list of paths and URIs.

    :raises VeoRequestError: the value is neither.
    """
    value = _as_path(value)
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, dict)) or not _is_iterable(value):
        raise VeoRequestError(
            f"{name} is not possible as a {type(value).__name__}: it is a text or a list of paths and URIs."
        )
    return [as_place(f"{name}[{index}]", each) for index, each in enumerate(value)]


def as_task_id(value: object) -> str:
    """Return the API's task id, of which native rendering makes a number where it has digits only.

    :raises VeoRequestError: the value is none.
    """
    number = isinstance(value, int) and not isinstance(value, bool)
    return check_task_id(_text_of(value) if number else value)


def as_connection(name: str, value: object, *, optional: bool = False) -> str | None:
    """Return a connection's id.

    :param optional: whether nothing at all is one, too.
    :raises VeoRequestError: the value is something else.
    """
    conn_id = as_text(name, value)
    if conn_id is None and not optional:
        raise VeoRequestError(f"{name}={value!r} is not possible: it must be the id of a connection.")
    return conn_id


def _as_path(value: object) -> object:
    """Return the text of a path object, with its scheme and connection; anything else as it is."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return str(value) if isinstance(value, (os.PathLike, ObjectStoragePath)) else value


def _is_iterable(value: object) -> TypeGuard[Iterable[object]]:
    try:
        iter(value)  # type: ignore[call-overload]  # that is the question
    except TypeError:
        return False
    return True


def _text_of(value: object) -> str:
    """Return a value as a text in small letters without space around it; empty if it has too many digits."""
    try:
        return str(value).strip().lower()
    except ValueError:
        return ""


def _shown(value: object) -> str:
    """Return a value as an error shows it: whatever it is, in one line."""
    try:
        shown = repr(value)
    except ValueError:
        return f"a {type(value).__name__} with too many digits"
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
