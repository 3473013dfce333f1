"""Answers over raw sockets that trickle, or never end: each call is given up in time, and no id is lost."""

import io
import time

import pytest
from support.answers.row import TASK, answer, as_bytes, chunked, error, video
from support.raw_server import MOST_TRICKLE_SECONDS, Act, RawServer

from veo_provider import exceptions
from veo_provider.api import config
from veo_provider.api.client import VeoClient
from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest

REQUEST = VeoRequest(prompt="Up", seconds="4")
VIDEO = as_bytes(video())
CUT = VIDEO[:-20]
ERROR = as_bytes(error("no", "x"))
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n"


@pytest.fixture
def server():
    running = RawServer()
    yield running
    running.close()


@pytest.fixture
def either(new_client, server, monkeypatch):
    """A client of either kind for the server, which does not wait long."""
    monkeypatch.setattr(config, "SUBMIT_TIMEOUT", 1.0)
    return new_client("sk-key", server.url, timeout=1.0)


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
    server.pieces = [start, Act.TRICKLE]
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
    server.pieces = [answer("200 OK", CUT, length=9999), Act.TRICKLE]
    with pytest.raises(exceptions.VeoSubmissionUnknown, match=TASK) as caught:
        either.submit(REQUEST)
    assert caught.value.veo_task_id == TASK


def test_a_long_timeout_does_not_prolong_a_submission(server, new_client, monkeypatch):
    """A submission ends before its claim does, whatever the connection says of timeouts."""
    monkeypatch.setattr(config, "SUBMIT_TIMEOUT", 0.5)
    server.pieces = [Act.SILENCE]
    began = time.monotonic()
    with pytest.raises(exceptions.VeoSubmissionUnknown):
        new_client("sk-key", server.url, timeout=MOST_TRICKLE_SECONDS).submit(REQUEST)
    assert time.monotonic() - began < MOST_TRICKLE_SECONDS / 2


def test_a_download_s_head_may_not_trickle(server):
    """The deadline holds up to the video."""
    server.pieces = [b"HTTP/1.1 200 OK\r\nX-Slow: ", Act.TRICKLE]
    began = time.monotonic()
    with VeoClient("sk-key", server.url, timeout=0.5) as client, pytest.raises(exceptions.VeoConnectionError):
        client.has_content(TASK)
    assert time.monotonic() - began < MOST_TRICKLE_SECONDS / 2


def test_a_video_may_take_longer_than_an_answer(server, monkeypatch):
    """A video that comes fast enough is not cut at the deadline of an answer, but at its own."""
    monkeypatch.setattr(config, "MIN_BYTES_PER_TIMEOUT", 1)
    monkeypatch.setattr(config, "DOWNLOAD_TIMEOUT", 2.0)
    head = answer("200 OK", b"", length=999_999).replace(b"application/json", b"video/mp4")
    server.pieces = [head, Act.TRICKLE]
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
    deadline = time.time() + 0.5

    class Slow(io.BytesIO):
        def read(self, size=-1):
            reads.append(size)
            time.sleep(max(0.0, deadline - time.time()))
            return super().read(size)

    image = Image.check("p.jpg", size=len(data), header=data[:64], open_stream=lambda: Slow(data))
    request = VeoRequest(prompt="Up", seconds="4", image=image)
    with pytest.raises(exceptions.VeoNotSentError, match="took too long"):
        new_client(sandbox.api_key, sandbox.api).submit(request, deadline=deadline)
    assert sum(reads) < len(data)
    assert sandbox.tasks() == []
