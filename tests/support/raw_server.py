"""A server that answers with the very bytes it is given, or breaks off as it is told."""

from __future__ import annotations

import enum
import socket
import struct
import threading
import time

MOST_TRICKLE_SECONDS = 30.0
PORT = b"@PORT"
"""Stands in an answer for the server's own port, which has five digits, too."""
LINKED = b"/linked"
"""The path of the place that an answer may point to."""


class Act(enum.Enum):
    """What a server may do instead of sending bytes."""

    RESET = "reset"
    SILENCE = "silence"
    TRICKLE = "trickle"


Pieces = tuple["bytes | Act", ...]


class RawServer:
    """Answers each call with the same pieces, then closes the connection."""

    def __init__(self) -> None:
        self.pieces: Pieces = ()
        self.linked: Pieces = ()
        self.calls = 0
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End the server's thread, and wait for that."""
        self._closing.set()
        # Wakes the thread that waits for a call.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._closing.is_set():
                    return
                connection.settimeout(20)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as request:
            length = 0
            first = request.readline()
            while (line := request.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            request.read(length)
        self.calls += 1
        for piece in self.linked if b" %s " % LINKED in first else self.pieces:
            if not isinstance(piece, Act):
                connection.sendall(piece.replace(PORT, b"%05d" % self._port))
                continue
            if piece is Act.RESET:
                time.sleep(0.1)  # what was sent before has to be read before the reset discards it
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif piece is Act.SILENCE:
                connection.recv(1)  # until the client hangs up
            else:
                self._trickle(connection)
            return

    def _trickle(self, connection: socket.socket) -> None:
        """Send a byte now and then, within each timeout for a byte, until the client hangs up."""
        began = time.monotonic()
        while time.monotonic() - began < MOST_TRICKLE_SECONDS:
            time.sleep(0.1)
            connection.sendall(b" ")
