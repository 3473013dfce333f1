"""Downloads through the blocking client, with what may go wrong on the way."""

import json
import socket
import threading
from urllib.parse import quote

import pytest
from support.moments import holding

from veo_provider import exceptions
from veo_provider.api.client import VeoClient
from veo_provider.media.mp4 import Mp4Parser


def fetch(client, veo_task_id):
    walker = Mp4Parser()
    with client.download(veo_task_id) as download:
        for chunk in download:
            walker.feed(chunk)
        return walker.finish(download.length)


def test_a_video_is_whole_and_as_asked(client, completed):
    """The video that comes back has the length and size that were asked for, and sound."""
    info = fetch(client, completed)
    assert (info.duration_seconds, info.width, info.height, info.has_audio) == (4.0, 1280, 720, True)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 400}, exceptions.VeoContentNotReadyError),
        ({"gone": True}, exceptions.VeoContentGoneError),
        ({"status": 502}, exceptions.VeoContentServerError),
        ({"reset": "before"}, exceptions.VeoConnectionError),
        ({"garbage": True}, exceptions.VeoUnexpectedAnswerError),
        ({"garbage": "mp4"}, exceptions.VeoIncompleteVideoError),
        ({"truncate": 0.5}, exceptions.VeoConnectionError),
        ({"truncate": 20_000, "reset": "before"}, exceptions.VeoConnectionError),
    ],
)
def test_what_is_no_whole_video_becomes_an_error(client, sandbox, completed, fault, kind):
    """Not yet, gone, cut, reset or something else altogether: each is told for what it is."""
    sandbox.add_faults([{"call": "content", **fault}])
    with pytest.raises(kind):
        fetch(client, completed)


def test_before_completion_there_is_no_video(client, sandbox, request_4s):
    """A download too early answers 400, which means not yet."""
    sandbox.set_latency(600)
    video = client.submit(request_4s)
    with pytest.raises(exceptions.VeoContentNotReadyError):
        fetch(client, video.id)


@pytest.mark.parametrize("status", [502, 404])
def test_a_filtered_video_is_named_as_such(client, sandbox, request_4s, status):
    """A completed video that has no file points to the safety filter."""
    sandbox.add_faults([{"call": "submit", "filtered": status}])
    video = client.submit(request_4s)
    while not client.get(video.id).finished:
        pass
    with pytest.raises(exceptions.VeoAPIError, match="safety filter"):
        fetch(client, video.id)


def test_a_link_is_followed_without_the_key(client, sandbox, completed):
    """JSON with a URL leads to another host, which refuses anybody who shows a key."""
    sandbox.add_faults([{"call": "content", "json_url": True}])
    assert fetch(client, completed).width == 1280


def test_a_redirect_is_followed_without_the_key(client, sandbox, completed):
    """The same goes for a redirect to another host."""
    sandbox.add_faults([{"call": "content", "json_url": True}])
    with client._open(f"{sandbox.api}/videos/{completed}/content", client._auth_for(sandbox.api)) as response:
        link = response.json()["url"]
    sandbox.clear_faults()
    sandbox.add_faults([{"call": "content", "status": 302, "headers": {"Location": link}}])
    assert fetch(client, completed).width == 1280


def test_a_slow_stream_is_patient_but_a_stalled_one_is_not(sandbox, completed):
    """The timeout is one of progress: a drip goes on, silence ends it."""
    from veo_provider.api.client import VeoClient

    sandbox.add_faults([{"call": "content", "drip": 100_000}])
    with VeoClient(sandbox.api_key, sandbox.api, timeout=3.0) as client, holding() as silence:
        assert fetch(client, completed).width == 1280
        sandbox.clear_faults()
        sandbox.add_faults([{"call": "content", "status": 302, "headers": {"Location": silence.url}}])
        with pytest.raises(exceptions.VeoConnectionError):
            fetch(client, completed)


class Recorder:
    """A raw server that notes each request's first line and key, and answers what is due."""

    def __init__(self):
        self.lines, self.keys, self.answers = [], [], []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as request:
                self.lines.append(request.readline().decode().strip())
                head = b"".join(iter(request.readline, b"\r\n")).lower()
                self.keys.append(b"authorization: bearer" in head)
                connection.sendall(self.answers.pop(0))


@pytest.fixture
def recorder():
    running = Recorder()
    yield running
    running.close()


VIDEO = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 3\r\nConnection: close\r\n\r\nmp4"


def redirect(location):
    return (
        b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )


def link(url):
    body = json.dumps({"url": url}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("answer", [lambda url: redirect(url.encode()), link], ids=["redirect", "JSON"])
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/a%7Eb~c%2fd?X-Sig=%2f%2B%7e~", "/a%7Eb~c%2fd?X-Sig=%2f%2B%7e~"),
        ("/größe.mp4?n=ü", "/gr%C3%B6%C3%9Fe.mp4?n=%C3%BC"),
        ("/a//b/./c;d?", "/a//b/./c;d?"),
        ("/a?p={x}|[y]^`%", "/a?p={x}|[y]^`%"),
    ],
)
def test_a_link_is_asked_for_byte_for_byte(recorder, answer, path, asked):
    """A signature may hold for the exact path: nothing in it is quoted anew."""
    own, other = f"http://127.0.0.1:{recorder.port}", f"http://localhost:{recorder.port}"
    recorder.answers = [answer(other + path), VIDEO]
    with VeoClient("sk-key", f"{own}/v1") as client, client.download("task_1") as download:
        assert b"".join(download) == b"mp4"
    assert recorder.lines[1] == f"GET {asked} HTTP/1.1"
    assert recorder.keys == [True, False]


@pytest.mark.parametrize(
    "own",
    ["http://LOCALHOST:{}", "http://localhost:{}", "HTTP://Localhost:{}"],
    ids=["upper", "lower", "mixed"],
)
def test_the_key_follows_to_the_own_host_however_it_is_written(recorder, own):
    """Host names have no case: a gateway that redirects to itself gets the key."""
    recorder.answers = [redirect(b"http://LocalHost:%d/files/a" % recorder.port), VIDEO]
    with (
        VeoClient("sk-key", own.format(recorder.port) + "/v1") as client,
        client.download("task_1") as download,
    ):
        assert b"".join(download) == b"mp4"
    assert recorder.keys == [True, True]


def test_a_link_is_asked_of_a_proxy_byte_for_byte(recorder, monkeypatch):
    """A proxy gets the whole URL, with the same path."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{recorder.port}")
    recorder.answers = [redirect(b"http://cdn.invalid/a%7eb?x=%2f"), VIDEO]
    with VeoClient("sk-key", "http://api.invalid/v1") as client, client.download("task_1") as download:
        assert b"".join(download) == b"mp4"
    assert recorder.lines == [
        "GET http://api.invalid/v1/videos/task_1/content HTTP/1.1",
        "GET http://cdn.invalid/a%7eb?x=%2f HTTP/1.1",
    ]
    assert recorder.keys == [True, False]


@pytest.mark.parametrize(
    "veo_task_id", ["a/b", "a:b~c", "-x", "models/veo/operations/a", "größe", "50%", "a?b#c"]
)
def test_both_clients_ask_for_an_id_alike(recorder, new_client, veo_task_id):
    """An id is quoted once, and by both clients alike, whatever it holds."""
    answer = b'{"status": "queued"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
    recorder.answers = [head + answer]
    new_client("sk-key", f"http://127.0.0.1:{recorder.port}/v1").get(veo_task_id)
    assert recorder.lines == [f"GET /v1/videos/{quote(veo_task_id, safe='')} HTTP/1.1"]
