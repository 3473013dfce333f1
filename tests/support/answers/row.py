"""The parts of a row of the table: a response of the service, and the expected result in each phase."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.raw_server import Pieces

TASK = "task_" + "a1B2" * 8
"""The requested id."""
OWN = "own"
"""The source of a row that nobody reported and we made up."""


class Submit(enum.Enum):
    """What happens to a submission with this response."""

    TAKEN = "accepted: waits for its id"
    NAMED = "**unknown**, with an id to look up"
    UNKNOWN = "**unknown**: not sent again automatically"
    REFUSED = "refused, not charged: correct the request"
    KEY = "refused, not charged: check the key"
    EMPTY = "refused, not charged: top the account up"
    MODERATED = "refused, not charged: change image or prompt"
    ENDED = "refused, not charged: the model has ended"
    HOST = "refused, not charged: check the host"
    LATER = "refused, not charged: retried later"


class Poll(enum.Enum):
    """What happens to a poll with this response."""

    WAITS = "in flight: polls again"
    AGAIN = "not conclusive: polls again"
    COMPLETED = "completed"
    DOUBTED = "completed, probably without a video"
    FAILED = "failed, not charged"
    MODERATED = "failed, not charged: change image or prompt"
    OPEN = "ended, perhaps charged"
    KEY = "the wait ends: check the key"
    NO_TASK = "the wait ends: unknown id"


class Content(enum.Enum):
    """What happens to a download with this response."""

    STORED = "stored"
    AGAIN = "retries"
    CUT = "no complete video: retries"
    LOST = "no file: **lost** after six attempts"
    HELD = "withheld: **lost** after three attempts"
    KEY = "ends: check the key"
    NO_TASK = "ends: unknown id"


@dataclass(frozen=True)
class Row:
    """A response and its expected results. The defaults are those of a response that says nothing.

    :param name: the response in words.
    :param pieces: what the server sends, in any phase.
    :param submit: what happens to a submission.
    :param poll: what happens to a poll of :data:`TASK`.
    :param content: what happens to a download.
    :param balance: the balance that the response shows; None if it shows none.
    :param source: the URL of a public report or of documentation, or :data:`OWN`.
    :param linked: the response of the URL that the response links to.
    :param kept: the id that a submission keeps, if it keeps one.
    """

    name: str
    pieces: Pieces
    submit: Submit = Submit.UNKNOWN
    poll: Poll = Poll.AGAIN
    content: Content = Content.AGAIN
    source: str = OWN
    balance: float | None = None
    linked: Pieces = ()
    kept: str = TASK


@dataclass(frozen=True)
class Group:
    """Rows of one kind.

    :param title: the heading of its table.
    :param lead: what they have in common.
    :param about_bodies: whether the body matters, so the documentation shows it.
    """

    title: str
    lead: str
    rows: list[Row]
    about_bodies: bool = True


def github(thread: str) -> str:
    """Return the URL of an issue or a pull request; GitHub redirects from one to the other."""
    repository, _, number = thread.partition("#")
    return f"https://github.com/{repository}/issues/{number}"


def answer(
    status: str,
    body: object = b"",
    *headers: bytes,
    length: int | bool | None = None,
    kind: bytes | None = b"application/json",
) -> bytes:
    """Return the bytes of a response.

    :param status: number and reason.
    :param body: bytes are sent unchanged; anything else becomes JSON.
    :param headers: further lines of the head.
    :param length: what Content-Length says, if not the truth; False for no such line.
    :param kind: Content-Type; None for no such line.
    """
    data = as_bytes(body)
    lines = [f"HTTP/1.1 {status}".encode()]
    if kind is not None:
        lines.append(b"Content-Type: " + kind)
    lines += headers
    if length is not False:
        lines.append(b"Content-Length: %d" % (len(data) if length is None else length))
    return b"\r\n".join([*lines, b"Connection: close", b"", data])


def chunked(
    body: object, *headers: bytes, last: bytes = b"0\r\n\r\n", kind: bytes = b"application/json"
) -> bytes:
    """Return a response whose body is one chunk.

    :param last: the bytes after it.
    """
    data = as_bytes(body)
    head = answer("200 OK", b"", b"Transfer-Encoding: chunked", *headers, length=False, kind=kind)
    return head + b"%x\r\n%s\r\n%s" % (len(data), data, last)


def page(status: str, body: bytes, *headers: bytes) -> bytes:
    """Return an HTML page."""
    return answer(status, body, *headers, kind=b"text/html; charset=UTF-8")


def video(**fields: Any) -> dict[str, Any]:
    """Return the API's object for a generation."""
    return {"id": TASK, "task_id": TASK, "object": "video", "status": "queued", **fields}


def error(message: str, code: object = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    """Return the API's own form of an error."""
    return {"error": {"message": message, "type": kind, "code": code}}


def as_bytes(body: object) -> bytes:
    """Return a body unchanged, or as JSON."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
