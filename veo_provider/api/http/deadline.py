"""How long an answer may take in all: the timeout of a read is renewed by every byte that trickles in."""

from __future__ import annotations

import io
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class AnswerDeadline:
    """The time at which one answer has to be complete.

    :param seconds: from the end of the request on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def start(self) -> None:
        """Begin to count: the request has been sent."""
        self._until = time.monotonic() + self._seconds

    def lift(self) -> None:
        """Count no more: what follows is a video, which may take its time."""
        self._until = None

    def left(self) -> float | None:
        """Return the seconds that are left; None where there is no end to them.

        :raises TimeoutError: none are left.
        """
        if self._until is None:
            return None
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the answer was not complete within {self._seconds:g} s")
        return left


class DeadlineReader(io.RawIOBase):
    """A socket's stream that waits for each byte no longer than the socket's timeout and the deadline allow.

    :param stream: what ``makefile`` returned for the socket.
    :param sock: the socket; its timeout is the one for each read.
    """

    def __init__(self, stream: io.BufferedReader, sock: Any, deadline: AnswerDeadline) -> None:
        super().__init__()
        self._raw = stream.detach()
        self._sock = sock
        self._patience: float | None = sock.gettimeout()
        self._deadline = deadline

    def readable(self) -> bool:
        """Whether it can be read: it can."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Read once."""
        waits = [seconds for seconds in (self._patience, self._deadline.left()) if seconds is not None]
        self._sock.settimeout(min(waits, default=None))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the stream, and the socket where nobody else has it."""
        if not self.closed:
            self._raw.close()
        super().close()


_current: ContextVar[AnswerDeadline | None] = ContextVar("deadline", default=None)


@contextmanager
def answered_by(deadline: AnswerDeadline) -> Iterator[None]:
    """Let a deadline hold for the calls that are begun within: no HTTP library hands one through."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


def current_deadline() -> AnswerDeadline | None:
    """Return the deadline of the call that is being made, if it has one."""
    return _current.get()
