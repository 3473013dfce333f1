"""Answers that no client library would show as they are: read from a socket, byte by byte."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests
from support.sandbox_api import MODEL

if TYPE_CHECKING:
    from support.sandbox_api import Api


def received(api: Api, path: str = "", body: dict[str, str] | None = None) -> bytes:
    """All that comes back until the connection closes, for a GET, or for a submission as JSON."""
    place = urlsplit(path if path.startswith("http:") else api.url + path)
    # The file that a URL leads to refuses requests that carry the key.
    key = [] if "/files/" in path else [f"Authorization: {api.headers['Authorization']}"]
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{'GET' if body is None else 'POST'} {place.path} HTTP/1.1",
        f"Host: {place.netloc}",
        *key,
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
    ]
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + payload)
        with connection.makefile("rb") as stream:
            return stream.read()


def submission(api: Api) -> bytes:
    """What comes back for a submission."""
    return received(api, body={"model": MODEL, "prompt": "A boat at dawn", "seconds": "4"})


def heads(answer: bytes) -> list[int]:
    """The statuses of an answer's heads, in their order; only the last one has a body."""
    statuses = []
    while answer.startswith(b"HTTP/1.1 "):
        head, _, answer = answer.partition(b"\r\n\r\n")
        statuses.append(int(head.split(b" ")[1]))
    return statuses


def split(answer: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:]), body


def charged(api: Api) -> list[str]:
    """The ids on the bill, once all that was accepted has ended."""
    for record in api.sandbox.tasks():
        api.ended(record["task_id"])
    return [task["task_id"] for task in api.sandbox.charges()["tasks"]]


@pytest.mark.parametrize(("early", "statuses"), [(103, [103]), ([102, 103, 199], [102, 103, 199])])
def test_informational_answers_come_before_each_call_s_own(
    api: Api, early: int | list[int], statuses: list[int]
) -> None:
    """Before an acceptance, a status, a video, a file and a refusal, whatever the rules make of those."""
    task_id = api.completed()
    rules = [{"call": call, "early": early} for call in ("submit", "poll", "content", "file", "account")]
    api.sandbox.add_faults(rules)
    assert heads(submission(api)) == [*statuses, 200]
    assert heads(received(api, f"/{task_id}")) == [*statuses, 200]
    content = received(api, f"/{task_id}/content")
    assert heads(content) == [*statuses, 200]
    assert b"ftyp" in content
    file = f"{api.sandbox.api.removesuffix('/v1')}/_sandbox/files/{task_id}.mp4"
    assert heads(received(api, file)) == [*statuses, 200]
    assert heads(received(api, "/task_nothing")) == [*statuses, 400]
    api.sandbox.add_faults([{"call": "poll", "status": 503}])
    assert heads(received(api, f"/{task_id}")) == [*statuses, 503]
    assert len(charged(api)) == len(api.sandbox.tasks()) == 2


@pytest.mark.parametrize("status", [100, 101, 102, 103, 199])
@pytest.mark.parametrize("accept", [False, True])
def test_an_informational_answer_may_be_all(api: Api, status: int, *, accept: bool) -> None:
    """A head, then nothing; what it hides is on the bill."""
    api.sandbox.add_faults([{"call": "submit", "status": status, "accept": accept}])
    answer = submission(api)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.endswith(b"\r\n\r\n")
    assert heads(answer) == [status]
    assert len(charged(api)) == len(api.sandbox.tasks()) == accept


@pytest.mark.parametrize("status", [0, 99, 600, 999])
@pytest.mark.parametrize("call", ["submit", "poll", "content"])
def test_a_status_may_be_none_of_http(api: Api, status: int, call: str) -> None:
    """Three digits, a whole body, and the end of the connection."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": call, "status": status, "body": {"odd": True}}])
    paths = {"poll": f"/{task_id}", "content": f"/{task_id}/content"}
    answer = submission(api) if call == "submit" else received(api, paths[call])
    headers, body = split(answer)
    assert answer.startswith(b"HTTP/1.1 %03d " % status)
    assert (json.loads(body), int(headers["Content-Length"])) == ({"odd": True}, len(body))
    assert headers["Content-Type"].startswith("application/json")
    assert charged(api) == [task_id]


@pytest.mark.parametrize("framing", ["chunk", "length", "cut", "encoding"])
@pytest.mark.parametrize("call", ["submit", "poll"])
def test_an_answer_may_break_after_the_id(api: Api, framing: str, call: str) -> None:
    """The id can be read, the answer is not whole or not what it says, and a submission is on the bill."""
    task_id = "" if call == "submit" else api.submitted()
    api.sandbox.add_faults([{"call": call, "framing": framing}])
    headers, body = split(submission(api) if call == "submit" else received(api, f"/{task_id}"))
    (record,) = api.sandbox.tasks()
    assert f'"id": "{record["task_id"]}"'.encode() in body
    if framing == "chunk":
        size, chunk, rest = body.split(b"\r\n")
        assert (headers["Transfer-Encoding"], rest) == ("chunked", b"")
        assert int(size, 16) == len(chunk)
        assert json.loads(chunk)["id"] == record["task_id"]
    elif framing == "encoding":
        assert (headers["Content-Encoding"], int(headers["Content-Length"])) == ("gzip", len(body))
        assert json.loads(body)["id"] == record["task_id"]
    else:
        assert int(headers["Content-Length"]) > len(body)
        assert body.endswith(b"}") is (framing == "length")
    assert charged(api) == [record["task_id"]]


def test_no_client_gets_a_broken_answer_by_its_ordinary_way(api: Api) -> None:
    """An error in each case, though the id was there."""
    for framing in ("chunk", "length", "cut", "encoding"):
        api.sandbox.add_faults([{"call": "submit", "first": 1, "framing": framing}])
        with pytest.raises(requests.exceptions.RequestException):
            api.json()
    assert len(api.sandbox.tasks()) == 4


def test_an_error_may_break_too(api: Api) -> None:
    """A status with a body that is cut; nothing was accepted."""
    api.sandbox.add_faults([{"call": "submit", "status": 400, "framing": "cut"}])
    headers, body = split(submission(api))
    assert int(headers["Content-Length"]) > len(body)
    assert body.startswith(b'{"error": ')
    assert api.sandbox.tasks() == []
