"""The head of an HTTP response, rewritten so that every HTTP library parses it in the same way.

Gateways and proxies send heads that one library accepts and another refuses. This module repairs them as far
as RFC 9112 allows, before the library sees them.
"""

from __future__ import annotations

import re
from http.client import HTTPException
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

INFORMATIONAL = (100, *range(102, 200))
"""A client must skip any 1xx (RFC 9110 15.2). After 101 the connection speaks another protocol, so there is
no final response."""
_REPLACED_STATUS = b"599"
"""Replaces a status below 100: "as if it had a 5xx status code" (RFC 9110 15). One library refuses such a
status, the other does not read the body, which may name a paid task."""
MAX_HEAD_BYTES = 256 * 1024
TOO_LONG = f"the head of the response is longer than {MAX_HEAD_BYTES} bytes"
MAX_FIELD_BYTES = 32 * 1024
"""Longer fields are dropped: those that matter are much shorter, and each library has its own limit."""

_MAX_FIELDS = 90
"""``http.client`` accepts 100."""
_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/([0-9](?:\.[0-9])?)[ \t]+([0-9]{3})(?:[ \t].*)?", re.DOTALL)
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_FRAMING = (b"transfer-encoding", b"content-length", b"trailer", b"upgrade")
_PERSISTENCE = (b"connection", b"keep-alive", b"proxy-connection")
_SINGLE = (b"content-encoding", b"content-range", b"content-type", b"etag", b"location", b"retry-after")
"""The first of these counts; libraries would join them or use the last."""


class _Lines(Protocol):
    def readline(self, size: int = -1, /) -> bytes: ...


def read_head(stream: _Lines) -> bytes:
    """Read one head including its blank line; return nothing if the connection ends before that.

    A first line that is not HTTP is returned alone, for the library to refuse.

    :raises HTTPException: the head is longer than :data:`MAX_HEAD_BYTES`.
    """
    head = b""
    while len(head) < MAX_HEAD_BYTES:
        line = stream.readline(MAX_HEAD_BYTES)
        if not line:
            return b""
        blank = not line.strip(b"\r\n")
        if blank and not head:
            continue  # left over from the previous response
        head += line
        if blank or not head.startswith(b"HTTP/"):
            return head
    raise HTTPException(TOO_LONG)


def split_head(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the head at the start of the data, and the rest; None while the head is incomplete.

    :raises HTTPException: the head is longer than :data:`MAX_HEAD_BYTES`.
    """
    data = data.lstrip(b"\r\n")
    end = _END.search(data, 0, MAX_HEAD_BYTES)
    if end:
        return data[: end.end()], data[end.end() :]
    if b"\n" in data and not data.startswith(b"HTTP/"):
        return data, b""
    if len(data) >= MAX_HEAD_BYTES:
        raise HTTPException(TOO_LONG)
    return None


def status_of(head: bytes) -> int | None:
    """Return the status in a head, or None if it is not HTTP."""
    known = _STATUS_LINE.fullmatch(re.split(rb"\r?\n", head, maxsplit=1)[0])
    return int(known[2]) if known else None


def normalised(head: bytes) -> bytes:
    """Return a head that every library parses alike; one that is not HTTP is returned unchanged.

    - A field whose name is not a token is dropped. Spaces after a name are removed (RFC 9112 5.1), folded
      lines are joined (5.2), and control characters become spaces (RFC 9110 5.5).
    - Transfer-Encoding overrides Content-Length (RFC 9112 6.3); a repeated length counts once. If lengths are
      contradictory or invalid, the body ends with the connection.
    - Fields that are too long or too many for a library are dropped. A status below 100 becomes a 5xx.
    """
    first, *lines = re.split(rb"\r?\n", head.rstrip(b"\r\n"))
    known = _STATUS_LINE.fullmatch(first)
    if not known:
        return head
    version = b"1.0" if known[1] in (b"1.0", b"0.9") else b"1.1"
    status = known[2] if known[2] >= b"100" else _REPLACED_STATUS
    start = b"HTTP/%s %s \r\n" % (version, status)
    if int(known[2]) in INFORMATIONAL:
        return start + b"\r\n"
    fields = [(name, value) for name, value in _fields(lines) if len(value) <= MAX_FIELD_BYTES]
    framing, is_certain = _framing(fields)
    dropped = _FRAMING if is_certain else _FRAMING + _PERSISTENCE
    kept = [field for field in _without_repetition(fields) if field[0] not in dropped]
    # Fields that come in large numbers and do not matter here are dropped first.
    kept.sort(key=lambda field: field[0] in (b"set-cookie", b"link"))
    return start + b"".join(b"%s: %s\r\n" % field for field in [*framing, *kept[:_MAX_FIELDS]]) + b"\r\n"


def _fields(lines: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    folds = False
    for line in lines:
        if line.startswith((b" ", b"\t")):
            if folds:
                name, value = found.pop()
                found.append((name, value + b" " + _value(line)))
            continue
        name, colon, text = line.partition(b":")
        name = name.rstrip(b" \t").lower()
        folds = bool(colon and _TOKEN.fullmatch(name))
        if folds:
            found.append((name, _value(text)))
    return found


def _value(text: bytes) -> bytes:
    return _CONTROL.sub(b" ", text).strip(b" \t")


def _framing(fields: list[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the field that says where the body ends, if any, and whether that is certain."""
    if b"chunked" in _members(fields, b"transfer-encoding"):
        return [(b"transfer-encoding", b"chunked")], True
    lengths = _members(fields, b"content-length")
    if not lengths:
        return [], True
    if len(lengths) == 1 and _LENGTH.fullmatch(length := lengths.pop()):
        return [(b"content-length", length)], True
    return [(b"connection", b"close")], False


def _members(fields: list[tuple[bytes, bytes]], wanted: bytes) -> set[bytes]:
    """Return the members of a list field, which may span several lines."""
    values = b",".join(value for name, value in fields if name == wanted)
    return {member for part in values.split(b",") if (member := part.strip().lower())}


def _without_repetition(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    firsts = dict(reversed([field for field in fields if field[0] in _SINGLE]))
    return [*firsts.items(), *(field for field in fields if field[0] not in _SINGLE)]
