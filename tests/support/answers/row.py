"""What one row of the table is made of: what the service says, and what is to happen in each phase."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.raw_server import Pieces

TASK = "task_" + "a1B2" * 8
"""The id that is asked for."""
OWN = "own"
"""The source of a row that nobody reported: we made it up."""


class Submit(enum.Enum):
    """What happens to a submission that is answered so."""

    TAKEN = "accepted: waits for its id"
    NAMED = "**unknown**, with an id to look up"
    UNKNOWN = "**unknown**: not sent again by itself"
    REFUSED = "refused, not charged: correct the request"
    KEY = "refused, not charged: check the key"
    EMPTY = "refused, not charged: top the account up"
    MODERATED = "refused, not charged: change image or prompt"
    ENDED = "refused, not charged: the model has ended"
    HOST = "refused, not charged: check the host"
    LATER = "refused, not charged: sent again later"


class Poll(enum.Enum):
    """What happens to a wait that is answered so."""

    WAITS = "under way: polls again"
    AGAIN = "says nothing: polls again"
    COMPLETED = "completed"
    DOUBTED = "completed, probably without a video"
    FAILED = "failed, not charged"
    MODERATED = "failed, not charged: change image or prompt"
    OPEN = "ended, perhaps charged"
    KEY = "the wait ends: check the key"
    NO_TASK = "the wait ends: unknown id"


class Content(enum.Enum):
    """What happens to a download that is answered so."""

    STORED = "stored"
    AGAIN = "tries again"
    CUT = "no whole video: tries again"
    LOST = "no file: **lost** after six tries"
    HELD = "held back: **lost** after three tries"
    KEY = "ends: check the key"
    NO_TASK = "ends: unknown id"


@dataclass(frozen=True)
class Row:
    """One answer, and what is to happen. Where a row says nothing else, nothing is known, which is harmless.

    :param name: the answer in a person's words.
    :param pieces: what goes over the socket, in any phase.
    :param submit: what happens to a submission.
    :param poll: what happens to a wait for :data:`TASK`.
    :param content: what happens to a download.
    :param balance: what is shown when the balance was asked for; None where nothing can be.
    :param source: the address of a public report or of a documentation, or :data:`OWN`.
    :param linked: what the place says that the answer points to.
    :param kept: the id that a submission keeps, where it keeps one.
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
    :param about_bodies: whether it is the body that matters, so that the documentation shows it.
    """

    title: str
    lead: str
    rows: list[Row]
    about_bodies: bool = True


def github(thread: str) -> str:
    """Return the address of an issue or a pull request, which GitHub leads to by the same number."""
    repository, _, number = thread.partition("#")
    return f"https://github.com/{repository}/issues/{number}"


def answer(
    status: str,
    body: object = b"",
    *headers: bytes,
    length: int | bool | None = None,
    kind: bytes | None = b"application/json",
) -> bytes:
    """Return an answer as it goes over the socket.

    :param status: number and reason.
    :param body: bytes as they are; anything else becomes JSON.
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
    """Return an answer whose body comes as one chunk.

    :param last: what follows that.
    """
    data = as_bytes(body)
    head = answer("200 OK", b"", b"Transfer-Encoding: chunked", *headers, length=False, kind=kind)
    return head + b"%x\r\n%s\r\n%s" % (len(data), data, last)


def page(status: str, body: bytes, *headers: bytes) -> bytes:
    """Return a page for people."""
    return answer(status, body, *headers, kind=b"text/html; charset=UTF-8")


def video(**fields: Any) -> dict[str, Any]:
    """Return the object that the API describes a generation with."""
    return {"id": TASK, "task_id": TASK, "object": "video", "status": "queued", **fields}


def error(message: str, code: object = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    """Return the API's own form of an error."""
    return {"error": {"message": message, "type": kind, "code": code}}


def as_bytes(body: object) -> bytes:
    """Return a body as it is, or as JSON."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
