"""How long a response may take in total: each byte that trickles in restarts the timeout of a read."""

from __future__ import annotations

import io
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class ResponseDeadline:
    """The time by which one response must be complete.

    :param seconds: counted from the end of the request.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def start(self) -> None:
        """Start counting: the request has been sent."""
        self._until = time.monotonic() + self._seconds

    def remove(self) -> None:
        """Remove the deadline: a video follows, which may take longer."""
        self._until = None

    def remaining(self) -> float | None:
        """Return the remaining seconds; None if there is no deadline.

        :raises TimeoutError: the deadline has passed.
        """
        if self._until is None:
            return None
        remaining = self._until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(f"the response was not complete within {self._seconds:g} s")
        return remaining


class DeadlineReader(io.RawIOBase):
    """A socket's stream whose reads end at the socket's timeout or at the deadline, whichever comes first.

    :param stream: the socket's file object, from ``makefile``.
    :param sock: the socket; its timeout limits each read.
    """

    def __init__(self, stream: io.BufferedReader, sock: Any, deadline: ResponseDeadline) -> None:
        super().__init__()
        self._raw = stream.detach()
        self._sock = sock
        self._timeout: float | None = sock.gettimeout()
        self._deadline = deadline

    def readable(self) -> bool:
        """Return True: the stream can be read."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Read once, within the timeout and the deadline."""
        limits = [seconds for seconds in (self._timeout, self._deadline.remaining()) if seconds is not None]
        self._sock.settimeout(min(limits, default=None))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the stream, and the socket if nothing else uses it."""
        if not self.closed:
            self._raw.close()
        super().close()


_current: ContextVar[ResponseDeadline | None] = ContextVar("deadline", default=None)


@contextmanager
def apply_deadline(deadline: ResponseDeadline) -> Iterator[None]:
    """Apply a deadline to the calls that start inside: HTTP libraries have no parameter for it."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


def current_deadline() -> ResponseDeadline | None:
    """Return the deadline of the current call, if it has one."""
    return _current.get()
