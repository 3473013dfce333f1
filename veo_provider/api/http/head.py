"""The head of an HTTP answer, rewritten so that every HTTP library reads the same out of it.

Gateways and what stands before them send heads that one library reads and another refuses. What RFC 9112
lets a client do about them is done here, before the library sees them: both read what this module leaves.
"""

from __future__ import annotations

import re
from http.client import HTTPException
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

INFORMATIONAL = (100, *range(102, 200))
"""A client must read past any 1xx (RFC 9110 15.2). After 101 the connection speaks another protocol, so that
there is no final answer."""
_INVALID = b"599"
"""What a status below 100 is read as: "as if it had a 5xx status code" (RFC 9110 15). One library refuses it,
the other reads no body behind it, which may name a task that is paid for."""
MAX_HEAD_BYTES = 256 * 1024
TOO_LONG = f"the answer's head is longer than {MAX_HEAD_BYTES} bytes"
MAX_FIELD_BYTES = 32 * 1024
"""A longer field is left out: none that is looked at comes near it, and each library has its own limit."""

_MOST_FIELDS = 90
"""``http.client`` reads 100."""
_END = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/([0-9](?:\.[0-9])?)[ \t]+([0-9]{3})(?:[ \t].*)?", re.DOTALL)
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_FRAMING = (b"transfer-encoding", b"content-length", b"trailer", b"upgrade")
_PERSISTENCE = (b"connection", b"keep-alive", b"proxy-connection")
_SINGLE = (b"content-encoding", b"content-range", b"content-type", b"etag", b"location", b"retry-after")
"""Of these the first counts: libraries join them, or take the last."""


class _Lines(Protocol):
    def readline(self, size: int = -1, /) -> bytes: ...


def read_head(stream: _Lines) -> bytes:
    """Read one head up to and with its blank line; nothing, where the connection ends before or in it.

    A first line that is none of HTTP's comes alone, for the library to refuse.

    :raises HTTPException: it is longer than :data:`MAX_HEAD_BYTES`.
    """
    head = b""
    while len(head) < MAX_HEAD_BYTES:
        line = stream.readline(MAX_HEAD_BYTES)
        if not line:
            return b""
        blank = not line.strip(b"\r\n")
        if blank and not head:
            continue  # left over from the answer before
        head += line
        if blank or not head.startswith(b"HTTP/"):
            return head
    raise HTTPException(TOO_LONG)


def split_head(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the head at the start of what has come, and the rest; None while the head is not whole.

    :raises HTTPException: it is longer than :data:`MAX_HEAD_BYTES`.
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
    """Return the status of a head, or None if it is none."""
    known = _STATUS_LINE.fullmatch(re.split(rb"\r?\n", head, maxsplit=1)[0])
    return int(known[2]) if known else None


def cleaned(head: bytes) -> bytes:
    """Return a head that every library reads alike; one that is not HTTP's as it is, which none does.

    - A field whose name is no token is left out. Spaces after a name are removed (RFC 9112 5.1), folded lines
      joined (5.2), and control characters made spaces (RFC 9110 5.5).
    - Transfer-Encoding overrides Content-Length (RFC 9112 6.3), whose repetition counts once. Where lengths
      contradict each other or are none, the body goes up to the connection's end.
    - What is too long or too much for a library is left out. A status below 100 becomes a 5xx.
    """
    first, *lines = re.split(rb"\r?\n", head.rstrip(b"\r\n"))
    known = _STATUS_LINE.fullmatch(first)
    if not known:
        return head
    version = b"1.0" if known[1] in (b"1.0", b"0.9") else b"1.1"
    status = known[2] if known[2] >= b"100" else _INVALID
    start = b"HTTP/%s %s \r\n" % (version, status)
    if int(known[2]) in INFORMATIONAL:
        return start + b"\r\n"
    fields = [(name, value) for name, value in _fields(lines) if len(value) <= MAX_FIELD_BYTES]
    framing, certain = _framing(fields)
    dropped = _FRAMING if certain else _FRAMING + _PERSISTENCE
    kept = [field for field in _without_repetition(fields) if field[0] not in dropped]
    # Those that come in great numbers, and say nothing of the video, go first.
    kept.sort(key=lambda field: field[0] in (b"set-cookie", b"link"))
    return start + b"".join(b"%s: %s\r\n" % field for field in [*framing, *kept[:_MOST_FIELDS]]) + b"\r\n"


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
    """Return the one field that tells where the body ends, if any; and whether that is certain."""
    if b"chunked" in _members(fields, b"transfer-encoding"):
        return [(b"transfer-encoding", b"chunked")], True
    lengths = _members(fields, b"content-length")
    if not lengths:
        return [], True
    if len(lengths) == 1 and _LENGTH.fullmatch(length := lengths.pop()):
        return [(b"content-length", length)], True
    return [(b"connection", b"close")], False


def _members(fields: list[tuple[bytes, bytes]], wanted: bytes) -> set[bytes]:
    """Return the members of a field's list, however many lines it takes."""
    values = b",".join(value for name, value in fields if name == wanted)
    return {member for part in values.split(b",") if (member := part.strip().lower())}


def _without_repetition(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    firsts = dict(reversed([field for field in fields if field[0] in _SINGLE]))
    return [*firsts.items(), *(field for field in fields if field[0] not in _SINGLE)]
