"""Values of parameters as templates, XComs and rows of a table give them, or a clear error.

A text may stand for something else: ``"False"`` for a boolean, ``"7"`` for a number, ``"None"`` for nothing.
Whatever stands for none of what a parameter takes is refused before anything is sent.
"""

from __future__ import annotations

import math

from veo_provider.exceptions import VeoRequestError

_NOTHING = frozenset({"", "none", "null", "nan"})
"""What an empty cell, or a template of None, renders to."""
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def is_nothing(value: object) -> bool:
    """Whether a value stands for nothing."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def as_bool(name: str, value: object) -> bool:
    """Return a boolean.

    :raises VeoRequestError: the value stands for none; nothing at all does not, either.
    """
    try:
        return _BOOLEANS[str(value).strip().lower()]
    except KeyError as error:
        raise VeoRequestError(f"{name}={value!r} is not possible: it is True or False.") from error


def as_int(name: str, value: object) -> int | None:
    """Return an integer, or None for nothing.

    :raises VeoRequestError: the value stands for neither.
    """
    if is_nothing(value):
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    try:
        return int(text)
    except ValueError as error:
        raise VeoRequestError(f"{name}={value!r} is not possible: it must be an integer.") from error


def as_positive(name: str, value: object) -> int:
    """Return an integer of 1 or more.

    :raises VeoRequestError: the value stands for none.
    """
    number = as_int(name, value)
    if number is None or number < 1:
        raise VeoRequestError(f"{name}={value!r} is not possible: it is 1 or more.")
    return number


def as_usd(name: str, value: object) -> float:
    """Return an amount of US dollars, 0 or more.

    :raises VeoRequestError: the value stands for none; nothing at all does not, either.
    """
    try:
        dollars = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        dollars = math.nan
    if not 0 <= dollars < math.inf:
        raise VeoRequestError(f"{name}={value!r} is not possible: it is a number of US dollars.")
    return dollars


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
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    raise VeoRequestError(f"{name} is not possible as a {type(value).__name__}: it must be a text.")
