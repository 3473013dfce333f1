"""Odd answers over raw sockets, through both clients: they agree, and lose no id that arrived."""

import gzip
import io
import json
import socket
import struct
import threading
import time

import pytest

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.client import VeoClient
from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.api.video import VideoStatus

TASK = "task_" + "a1B2" * 8
REQUEST = VeoRequest(prompt="Up", seconds="4")
VIDEO = json.dumps({"id": TASK, "task_id": TASK, "object": "video", "status": "queued"}).encode()
ERROR = json.dumps({"error": {"message": "no", "code": "x"}}).encode()
RESET = "reset"
SILENCE = "silence"
TRICKLE = "trickle"


class Server:
    """Answers each call with the same bytes, then closes, resets or keeps the connection."""

    def __init__(self):
        self.pieces = []
        self.calls = 0
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        self._closing.set()
        # Wakes the thread that waits for a call.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()

    def _serve(self):
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

    def _answer(self, connection):
        with connection.makefile("rb") as request:
            length = 0
            while (line := request.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            request.read(length)
        self.calls += 1
        for piece in self.pieces:
            if piece == RESET:
                time.sleep(0.1)  # what was sent before has to be read before the reset discards it
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if piece == SILENCE:
                connection.recv(1)  # until the client hangs up
                return
            if piece == TRICKLE:
                self._trickle(connection)
                return
            connection.sendall(piece)

    def _trickle(self, connection):
        """Send a byte now and then, within each timeout for a byte, until the client hangs up."""
        began = time.monotonic()
        while time.monotonic() - began < MOST_TRICKLE_SECONDS:
            time.sleep(0.1)
            connection.sendall(b" ")


MOST_TRICKLE_SECONDS = 30.0


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture
def either(new_client, server, monkeypatch):
    """A client of either kind for the server, which does not wait long."""
    monkeypatch.setattr(protocol, "SUBMIT_TIMEOUT", 1.0)
    return new_client("sk-key", server.url, timeout=1.0)


def answer(status, body=b"", *headers, length=None):
    lines = [f"HTTP/1.1 {status}".encode(), b"Content-Type: application/json", *headers]
    if length is not False:
        lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join([*lines, b"Connection: close", b"", body])


def chunked(body, *, last=b"0\r\n\r\n", headers=()):
    head = answer("200 OK", b"", b"Transfer-Encoding: chunked", *headers, length=False)
    return head + b"%x\r\n%s\r\n%s" % (len(body), body, last)


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n"
CUT = VIDEO[:-20]
FOUND = [
    ("102 first", [b"HTTP/1.1 102 Processing\r\n\r\n" + answer("200 OK", VIDEO)]),
    ("103 first", [EARLY + answer("200 OK", VIDEO)]),
    ("many first", [b"HTTP/1.1 100 Continue\r\n\r\n", EARLY * 20, answer("201 Created", VIDEO)]),
    ("199 first", [b"HTTP/1.1 199 Odd\r\nServer: odd\r\n\r\n" + answer("200 OK", VIDEO)]),
    ("no last chunk", [chunked(VIDEO, last=b"")]),
    ("length too large", [answer("200 OK", VIDEO, length=len(VIDEO) + 100)]),
    ("wrong label", [answer("200 OK", VIDEO, b"Content-Encoding: gzip")]),
    ("wrong label, chunked", [chunked(VIDEO, headers=[b"Content-Encoding: deflate"])]),
    ("unknown label", [answer("200 OK", VIDEO, b"Content-Encoding: br")]),
    ("x-gzip", [answer("200 OK", gzip.compress(VIDEO), b"Content-Encoding: x-gzip")]),
    ("gzip cut in its check sum", [answer("200 OK", gzip.compress(VIDEO)[:-4], b"Content-Encoding: gzip")]),
    ("reset after the object", [answer("200 OK", VIDEO, length=9999), RESET]),
    ("silence after the object", [answer("200 OK", VIDEO, length=9999), SILENCE]),
    ("a field of 9 KB", [answer("200 OK", VIDEO, b"Content-Security-Policy: " + b"x" * 9_000)]),
    ("a field of 100 KB", [answer("200 OK", VIDEO, b"X-Litellm-Debug: " + b"x" * 100_000)]),
    ("150 cookies", [answer("200 OK", VIDEO, *(b"Set-Cookie: a%d=b" % number for number in range(150)))]),
    ("two lengths alike", [answer("200 OK", VIDEO, b"Content-Length: %d" % len(VIDEO))]),
    ("a list of lengths", [answer("200 OK", VIDEO, b"Content-Length: %d, %d" % (2 * (len(VIDEO),)))]),
    ("two lengths", [answer("200 OK", VIDEO, b"Content-Length: 7")]),
    ("a length below zero", [answer("200 OK", VIDEO, b"Content-Length: -1", length=False)]),
    ("a length that is no number", [answer("200 OK", VIDEO, b"Content-Length: abc", length=False)]),
    ("a length beyond all numbers", [answer("200 OK", VIDEO, b"Content-Length: " + b"9" * 30, length=False)]),
    ("an empty length", [answer("200 OK", VIDEO, b"Content-Length:", length=False)]),
    ("length beside chunks", [chunked(VIDEO, headers=[b"Content-Length: %d" % len(VIDEO)])]),
    ("a wrong length beside chunks", [chunked(VIDEO, headers=[b"Content-Length: 3"])]),
    ("chunks twice", [chunked(VIDEO, headers=[b"transfer-encoding: Chunked"])]),
    ("identity", [answer("200 OK", VIDEO, b"Transfer-Encoding: identity")]),
    ("a space in a name", [answer("200 OK", VIDEO, b"X-Request Id: 1")]),
    (
        "a space in a name before chunks",
        [chunked(VIDEO).replace(b"Content-Type", b"X-Request Id: 1\r\nX-Type")],
    ),
    ("a space after a name", [answer("200 OK", VIDEO, b"Content-Length : %d" % len(VIDEO), length=False)]),
    ("a line that is no field", [answer("200 OK", VIDEO, b"Warning, no colon")]),
    ("a field without a name", [answer("200 OK", VIDEO, b": odd")]),
    ("a name of other letters", [answer("200 OK", VIDEO, "X-Größe: 1".encode())]),
    ("a folded field", [answer("200 OK", VIDEO, b"X-Long: one\r\n two")]),
    ("a fold at the start", [answer("200 OK", VIDEO).replace(b"Content-Type", b" odd\r\nContent-Type", 1)]),
    ("a zero byte", [answer("200 OK", VIDEO, b"X-Odd: a\x00b\x01")]),
    ("raw UTF-8", [answer("200 OK", VIDEO, "X-Odd: ü".encode())]),
    ("raw Latin-1", [answer("200 OK", VIDEO, b"X-Odd: \xfc")]),
    ("Content-Type twice", [answer("200 OK", VIDEO, b"Content-Type: text/html")]),
    ("no reason", [answer("200", VIDEO)]),
    ("an odd reason", [answer("200 \x01 Größe", VIDEO)]),
    ("HTTP/1.0", [answer("200 OK", VIDEO, length=False).replace(b"HTTP/1.1", b"HTTP/1.0")]),
    ("HTTP/1.2", [answer("200 OK", VIDEO).replace(b"HTTP/1.1", b"HTTP/1.2")]),
    ("spaces in the status line", [answer("200 OK", VIDEO).replace(b" 200", b"   200")]),
    ("line feeds alone", [answer("200 OK", b"", length=len(VIDEO)).replace(b"\r\n", b"\n") + VIDEO]),
    ("blank lines first", [b"\r\n\r\n" + answer("200 OK", VIDEO)]),
    ("an offer of h2c", [answer("200 OK", VIDEO, b"Upgrade: h2c", b"Connection: Upgrade")]),
    ("an announced trailer", [chunked(VIDEO, last=b"0\r\nX-End: 1\r\n\r\n", headers=[b"Trailer: X-End"])]),
    ("spaces in chunk sizes", [chunked(VIDEO).replace(b"\r\n{", b"  \r\n{")]),
    ("a chunk with an extension", [chunked(VIDEO).replace(b"\r\n{", b";a=b\r\n{")]),
    ("byte by byte", [bytes([byte]) for byte in EARLY + answer("200 OK", VIDEO)]),
    ("cut before the blank line and after", [EARLY[:-1], EARLY[-1:] + answer("200 OK", VIDEO)]),
]


@pytest.mark.parametrize("pieces", [pytest.param(pieces, id=name) for name, pieces in FOUND])
def test_an_object_that_arrived_whole_is_read(server, either, pieces):
    """Informational answers before it and a broken frame around it change nothing about an id."""
    server.pieces = pieces
    assert either.submit(REQUEST).id == TASK
    assert either.get(TASK).status is VideoStatus.QUEUED
    assert server.calls == 2


CANDIDATES = [
    ("no last chunk", [chunked(CUT, last=b"")]),
    ("length too large", [answer("200 OK", CUT, length=len(VIDEO))]),
    ("gzip cut", [answer("200 OK", gzip.compress(VIDEO)[:-12], b"Content-Encoding: gzip")]),
    ("reset", [answer("200 OK", CUT, length=9999), RESET]),
    ("silence", [answer("200 OK", CUT, length=9999), SILENCE]),
    ("too long", [answer("200 OK", VIDEO[:-1] + b', "x": "' + bytes(2_000_000), length=3_000_000)]),
]


@pytest.mark.parametrize("pieces", [pytest.param(pieces, id=name) for name, pieces in CANDIDATES])
def test_an_id_before_the_break_is_kept(server, either, pieces):
    """Where the object is not whole, its id is a candidate, and the error names it."""
    server.pieces = pieces
    with pytest.raises(exceptions.VeoSubmissionUnknown, match=TASK) as caught:
        either.submit(REQUEST)
    assert caught.value.veo_task_id == TASK
    with pytest.raises(exceptions.VeoError) as caught:
        either.get(TASK)
    assert caught.value.retryable


UNKNOWN = [
    ("101", [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"]),
    (
        "101 first",
        [
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            answer("200 OK", VIDEO),
        ],
    ),
    ("103 alone", [EARLY]),
    ("000", [answer("000 Odd", ERROR)]),
    ("999", [answer("999 Odd", ERROR)]),
    ("409", [answer("409 Conflict", ERROR)]),
    ("302", [answer("302 Found", b"", b"Location: https://elsewhere.example/")]),
    ("302 to nowhere", [answer("302 Found", b"x" * 99, b"Location: http://[::1")]),
    ("307 without a target", [answer("307 Temporary Redirect", b"")]),
    ("404 page", [answer("404 Not Found", b"<html>")]),
    ("413 page", [answer("413 Too Large", b"<html>")]),
    ("400 cut", [answer("400 Bad Request", ERROR[:-3], length=len(ERROR))]),
    ("502", [answer("502 Bad Gateway", b"<html>")]),
    ("503 busy", [answer("503 Busy", ERROR)]),
    ("no answer", [b""]),
    ("half a head", [b"HTTP/1.1 200 OK\r\nContent-Ty"]),
    ("half a head of a refusal", [b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"]),
    ("a head without an end", [answer("200 OK", VIDEO, *(b"X-%d: " % n + b"x" * 9_999 for n in range(40)))]),
    ("HTTP of another kind", [answer("200 OK", VIDEO).replace(b"HTTP/1.1", b"http/1.1")]),
    ("a status of two digits", [answer("20 OK", VIDEO)]),
    ("no HTTP", [b"SSH-2.0-OpenSSH_9.6\r\n"]),
]


@pytest.mark.parametrize("pieces", [pytest.param(pieces, id=name) for name, pieces in UNKNOWN])
def test_an_answer_that_says_nothing_certain_is_unknown(server, either, pieces):
    """A submission of unknown fate is sent once; a poll that meets the same may be repeated."""
    server.pieces = pieces
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        either.submit(REQUEST)
    assert caught.value.veo_task_id is None
    assert server.calls == 1
    with pytest.raises(exceptions.VeoError) as caught:
        either.get(TASK)
    assert caught.value.retryable


REFUSED = [
    ("400", [EARLY + answer("400 Bad Request", ERROR)], exceptions.VeoBadRequestError),
    (
        "400, wrong label",
        [answer("400 Bad", ERROR, b"Content-Encoding: gzip")],
        exceptions.VeoBadRequestError,
    ),
    ("429", [answer("429 Slow down", ERROR)], exceptions.VeoRateLimitError),
]


@pytest.mark.parametrize(
    ("pieces", "kind"), [pytest.param(pieces, kind, id=name) for name, pieces, kind in REFUSED]
)
def test_a_certain_refusal_is_told_by_both(server, either, pieces, kind):
    """What stands in the closed list is a refusal, however it arrives."""
    server.pieces = pieces
    with pytest.raises(exceptions.VeoAPIError) as caught:
        either.submit(REQUEST)
    assert type(caught.value) is kind


def test_a_download_reads_past_informational_answers(server):
    """A proxy's early hints stand before a video as before any answer."""
    body = b"video" * 100
    server.pieces = [EARLY * 3 + answer("200 OK", body).replace(b"application/json", b"video/mp4")]
    with VeoClient("sk-key", server.url, timeout=1.0) as client, client.download(TASK) as download:
        assert b"".join(download) == body


@pytest.mark.parametrize("one", [EARLY, b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_informational_answers_without_an_end_are_given_up(server, one):
    """A server that never comes to its final answer does not hold a task for ever."""
    server.pieces = [one * 1000 + answer("200 OK", VIDEO)]
    with VeoClient("sk-key", server.url, timeout=1.0) as client, pytest.raises(exceptions.VeoConnectionError):
        client.get(TASK)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Slow: ", id="in the head"),
        pytest.param(answer("200 OK", VIDEO[:1], length=9999), id="in the body"),
        pytest.param(chunked(VIDEO, last=b"270f\r\n")[: -len(VIDEO)], id="in a chunk"),
        pytest.param(answer("500 Odd", ERROR[:1], length=9999), id="in an error"),
    ],
)
def test_an_answer_that_trickles_is_given_up(server, either, start):
    """Bytes that come now and then hold neither a submission nor a poll beyond its deadline."""
    server.pieces = [start, TRICKLE]
    began = time.monotonic()
    with pytest.raises(exceptions.VeoSubmissionUnknown) as caught:
        either.submit(REQUEST)
    assert caught.value.veo_task_id is None
    with pytest.raises(exceptions.VeoError) as caught:
        either.get(TASK)
    assert caught.value.retryable
    assert time.monotonic() - began < MOST_TRICKLE_SECONDS / 2


def test_an_id_before_a_trickle_is_kept(server, either):
    """What came before the deadline is looked at: it names what is paid for."""
    server.pieces = [answer("200 OK", CUT, length=9999), TRICKLE]
    with pytest.raises(exceptions.VeoSubmissionUnknown, match=TASK) as caught:
        either.submit(REQUEST)
    assert caught.value.veo_task_id == TASK


def test_a_long_timeout_does_not_prolong_a_submission(server, new_client, monkeypatch):
    """A submission ends before its claim does, whatever the connection says of timeouts."""
    monkeypatch.setattr(protocol, "SUBMIT_TIMEOUT", 0.5)
    server.pieces = [SILENCE]
    began = time.monotonic()
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        new_client("sk-key", server.url, timeout=MOST_TRICKLE_SECONDS).submit(REQUEST)
    assert time.monotonic() - began < MOST_TRICKLE_SECONDS / 2


def test_a_download_s_head_may_not_trickle(server):
    """The deadline holds up to the video."""
    server.pieces = [b"HTTP/1.1 200 OK\r\nX-Slow: ", TRICKLE]
    began = time.monotonic()
    with VeoClient("sk-key", server.url, timeout=0.5) as client, pytest.raises(exceptions.VeoConnectionError):
        client.has_content(TASK)
    assert time.monotonic() - began < MOST_TRICKLE_SECONDS / 2


def test_a_video_may_take_longer_than_an_answer(server, monkeypatch):
    """A video that comes fast enough is not cut at the deadline of an answer, but at its own."""
    monkeypatch.setattr(protocol, "MIN_BYTES_PER_TIMEOUT", 1)
    monkeypatch.setattr(protocol, "DOWNLOAD_TIMEOUT", 2.0)
    head = answer("200 OK", b"", length=999_999).replace(b"application/json", b"video/mp4")
    server.pieces = [head, TRICKLE]
    began = time.monotonic()
    with (
        VeoClient("sk-key", server.url, timeout=0.5) as client,
        client.download(TASK) as download,
        pytest.raises(exceptions.VeoConnectionError, match="not complete within"),
    ):
        list(download)
    assert 2.0 <= time.monotonic() - began < MOST_TRICKLE_SECONDS / 2


def test_a_submission_that_is_taken_slowly_is_not_sent_to_its_end(new_client, sandbox, photo):
    """What is past its time is broken off where it is, not at its end alone."""
    data = photo.read_bytes() + bytes(1_000_000)
    reads = []
    send_before = time.time() + 0.5

    class Slow(io.BytesIO):
        def read(self, size=-1):
            reads.append(size)
            time.sleep(max(0.0, send_before - time.time()))
            return super().read(size)

    image = Image.check("p.jpg", size=len(data), header=data[:64], open_stream=lambda: Slow(data))
    request = VeoRequest(prompt="Up", seconds="4", image=image)
    with pytest.raises(exceptions.VeoNotSentError, match="took too long"):
        new_client(sandbox.api_key, sandbox.api).submit(request, send_before=send_before)
    assert sum(reads) < len(data)
    assert sandbox.tasks() == []
