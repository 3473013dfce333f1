"""What somebody hostile may try: whoever sets parameters, writes into an archive, or runs the gateway."""

import json
import logging
from contextlib import suppress

import pytest
from support.raw_server import RawServer

from tests.integration.api.test_downloads import Recorder, link, redirect
from veo_provider.api.client import VeoClient
from veo_provider.batch.prompts import prompts_of
from veo_provider.exceptions import VeoError, VeoImageError, VeoUnexpectedAnswerError
from veo_provider.media.image_source import open_image
from veo_provider.operators.veo import VeoSubmitOperator

OUTSIDE = "http://93.184.216.34/v1"
"""A gateway on the internet; the tests reach it through a proxy on this machine."""
INSIDE = [
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://[::ffff:169.254.169.254]/latest/",
    "http://127.0.0.1:8080/",
    "http://2130706433/",
    "http://localhost/",
    "http://[::1]/",
    "http://10.0.0.1/",
    "http://0.0.0.0/",
]


@pytest.fixture
def recorder():
    running = Recorder()
    yield running
    running.close()


@pytest.fixture
def raw():
    running = RawServer()
    yield running
    running.close()


def open_download(base_url):
    with VeoClient("sk-key", base_url) as client, client.download("task_1"):
        raise AssertionError("the download has begun")


@pytest.mark.parametrize("answer", [lambda url: redirect(url.encode()), link], ids=["redirect", "JSON"])
@pytest.mark.parametrize("inside", INSIDE)
def test_a_gateway_outside_does_not_lead_inside(recorder, monkeypatch, answer, inside):
    """Neither a redirect nor a link of it is followed to an address of the worker's own network."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{recorder.port}")
    recorder.answers = [answer(inside)]
    with pytest.raises(VeoUnexpectedAnswerError, match="only this network reaches") as caught:
        open_download(OUTSIDE)
    assert inside not in str(caught.value)
    assert len(recorder.lines) == 1


@pytest.mark.parametrize("answer", [lambda url: redirect(url.encode()), link], ids=["redirect", "JSON"])
def test_no_gateway_leads_to_a_clouds_metadata(recorder, answer):
    """Not even one in the same network: the credentials of the machine are there."""
    recorder.answers = [answer("http://169.254.169.254/latest/")]
    with pytest.raises(VeoUnexpectedAnswerError, match="only this network reaches"):
        open_download(f"http://127.0.0.1:{recorder.port}/v1")


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/a"])
def test_a_gateway_does_not_lead_to_a_file(recorder, place):
    """Only http and https URLs are followed."""
    recorder.answers = [redirect(place.encode())]
    with pytest.raises(VeoUnexpectedAnswerError, match="not an http or https URL"):
        open_download(f"http://127.0.0.1:{recorder.port}/v1")


@pytest.mark.parametrize("place", ["http://127.0.0.1:{}/a.jpg", "http://localhost:{}/a.jpg"])
def test_an_image_is_not_fetched_from_the_workers_network(sandbox, recorder, monkeypatch, place, connections):
    """Airflow opens no http URL unless a file system for them is attached; nothing is even asked."""
    uri = place.format(recorder.port)
    with pytest.raises(Exception, match="No filesystem registered for scheme http"):
        VeoSubmitOperator(task_id="submit", image=uri, prompt="A harbour").execute({})
    assert recorder.lines == []
    assert sandbox.charges()["count"] == 0


@pytest.mark.parametrize("uri", ["/etc/passwd", "file:///etc/passwd", "{}/../secret", "file://{}/../secret"])
def test_a_local_file_that_is_no_image_is_neither_sent_nor_shown(tmp_path, uri):
    """The error does not even repeat how the file begins."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").write_text("root:sk-very-secret")
    with pytest.raises(VeoImageError, match="it is a text") as caught:
        open_image(uri.format(tmp_path / "folder"), None)
    assert "root:" not in str(caught.value)


def test_a_prompt_of_an_archive_is_no_template():
    """What stands between braces in a mapping's prompt stays text, and so does a dollar."""
    from veo_provider.batch.manifest import ManifestItem

    text = "{{ conn.veo_default.password }} {% raw %} ${name} $key"
    item = ManifestItem("a.jpg", "s3://images/a.jpg", "a.jpg", "s3://videos/a.mp4")
    assert prompts_of({"a.jpg": text}, None, s3=None).of(item) == text


@pytest.mark.parametrize("fault", [{}, {"call": "poll", "status": 401}, {"call": "poll", "status": 500}])
def test_the_key_is_in_no_log_at_debug_level(sandbox, new_client, request_4s, caplog, fault):
    """Neither ours nor those of requests, urllib3 and aiohttp show it."""
    caplog.set_level(logging.DEBUG)
    client = new_client(sandbox.api_key, sandbox.api)
    video = client.submit(request_4s)
    if fault:
        sandbox.add_faults([fault])
    raised = ""
    try:
        client.get(video.id)
    except VeoError as error:
        raised = f"{error!r} {error}"
    assert bool(raised) == ("status" in fault)
    assert sandbox.api_key not in raised
    assert caplog.text
    assert sandbox.api_key not in caplog.text


def answer(body, head=b""):
    return (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head + b"\r\n" + body,)


HOSTILE = {
    "a body of 64 MiB": answer(b"[" * 2**26),
    "a header of 1 MiB": answer(b"{}", b"X-A: " + b"a" * 2**20 + b"\r\n"),
    "ten thousand headers": answer(b"{}", b"X-A: a\r\n" * 10_000),
    "nested lists": answer(b"[" * 100_000 + b"]" * 100_000),
}


@pytest.mark.parametrize("pieces", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_response_becomes_an_error_of_ours(raw, new_client, pieces):
    """Neither a body without an end nor headers without number are more than an error."""
    raw.pieces = pieces
    with pytest.raises(VeoError) as caught:
        new_client("sk-key", raw.url).get("task_1")
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("name", ["../../admin", "task_1\r\nX-Evil: 1", "task\n1", "..", "/etc/passwd"])
def test_an_id_of_a_gateway_stays_in_its_place(recorder, new_client, name):
    """An id from a hostile response makes neither another path nor another header."""
    body = json.dumps({"id": name, "status": "completed"}).encode()
    recorder.answers = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    ]
    with suppress(VeoError):
        new_client("sk-key", f"http://127.0.0.1:{recorder.port}/v1").get(name)
    for line in recorder.lines:
        path = line.split()[1]
        assert path.startswith("/v1/videos/")
        assert "/" not in path.removeprefix("/v1/videos/")
        assert path.removeprefix("/v1/videos/") not in {".", ".."}
        assert len(line.split()) == 3
