"""Faults, one by one, as a client meets them."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from support.moments import until
from support.sandbox_api import MODEL

from veo_provider.sandbox.process import SandboxError

if TYPE_CHECKING:
    from pathlib import Path

    from support.sandbox_api import Api

CUT = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)


def test_a_status_comes_instead_of_an_acceptance(api: Api) -> None:
    """429 with Retry-After, once; nothing was accepted."""
    body = {"code": "upstream_load_saturated", "message": "busy", "data": None}
    api.sandbox.add_faults(
        [{"call": "submit", "first": 1, "status": 429, "body": body, "headers": {"Retry-After": "2"}}]
    )
    response = api.form()
    assert (response.status_code, response.json()) == (429, body)
    assert response.headers["Retry-After"] == "2"
    assert api.sandbox.tasks() == []
    assert api.form().status_code == 200
    assert api.sandbox.faults()[0]["matched"] == 1


def test_a_status_without_a_body_has_the_first_shape(api: Api) -> None:
    """A rule need not say more than a number."""
    api.sandbox.add_faults([{"call": "submit", "status": 503}])
    assert "fault rule: 503" in api.refused(api.form(), 503)


def test_a_status_can_come_with_plain_text(api: Api) -> None:
    """As from a proxy."""
    api.sandbox.add_faults([{"call": "poll", "status": 502, "text": "Bad Gateway"}])
    response = api.call("GET", f"/{api.submitted()}")
    assert (response.status_code, response.text) == (502, "Bad Gateway")
    assert response.headers["Content-Type"].startswith("text/plain")


def test_a_5xx_may_hide_an_acceptance(api: Api) -> None:
    """The client hears 502, and the video is filmed and charged."""
    api.sandbox.add_faults([{"call": "submit", "first": 1, "status": 502, "accept": True}])
    assert api.form().status_code == 502
    (record,) = api.sandbox.tasks()
    api.ended(record["task_id"])
    assert api.sandbox.charges()["count"] == 1


@pytest.mark.parametrize(("moment", "count"), [("before", 0), ("after", 1)])
def test_a_reset_leaves_the_client_in_the_dark(api: Api, moment: str, count: int) -> None:
    """The same error, whether the submission was lost or is being paid for."""
    api.sandbox.add_faults([{"call": "submit", "first": 1, "reset": moment}])
    with pytest.raises(requests.exceptions.ConnectionError, match="reset by peer"):
        api.form()
    assert len(api.sandbox.tasks()) == count
    for record in api.sandbox.tasks():
        api.ended(record["task_id"])
    assert api.sandbox.charges()["count"] == count


@pytest.mark.parametrize("call", ["poll", "content"])
def test_any_call_can_be_reset(api: Api, call: str) -> None:
    """Waiting and fetching are not spared."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": call, "first": 1, "reset": "before"}])
    path = f"/{task_id}" if call == "poll" else f"/{task_id}/content"
    with pytest.raises(requests.exceptions.ConnectionError, match="reset by peer"):
        api.call("GET", path)
    assert api.call("GET", path).status_code == 200


def test_a_submission_is_accepted_before_its_answer_is_late(api: Api) -> None:
    """A client that stops waiting has paid all the same."""
    api.sandbox.add_faults([{"call": "submit", "delay": 600}])
    with pytest.raises(requests.exceptions.ReadTimeout):
        api.form(timeout=(60, 1))
    assert len(until(api.sandbox.tasks)) == 1


@pytest.mark.parametrize(
    ("garbage", "kind", "start"),
    [
        (True, "text/html", b"<!doctype"),
        ("html", "text/html", b"<!doctype"),
        ("json", "application/json", b'{"id'),
        ("mp4", "video/mp4", b"\x00\x01\x02"),
    ],
)
@pytest.mark.parametrize("call", ["poll", "content"])
def test_garbage_is_200_with_something_else(
    api: Api, garbage: bool | str, kind: str, start: bytes, call: str
) -> None:
    """A web page, half a JSON, or noise."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": call, "garbage": garbage}])
    response = api.call("GET", f"/{task_id}" if call == "poll" else f"/{task_id}/content")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(kind)
    assert response.content.startswith(start)


@pytest.mark.parametrize("accept", [False, True])
def test_garbage_may_hide_an_acceptance(api: Api, *, accept: bool) -> None:
    """A submission that is answered by a web page may be running."""
    api.sandbox.add_faults([{"call": "submit", "garbage": True, "accept": accept}])
    assert api.form().text.startswith("<!doctype html>")
    assert len(api.sandbox.tasks()) == accept


def test_an_answer_can_be_edited(api: Api) -> None:
    """A wrong model, an early ``completed_at``, a field that is missing."""
    task_id = api.submitted()
    changes = {"model": "other", "completed_at": 1}
    api.sandbox.add_faults([{"call": "poll", "set": changes, "drop": ["progress"]}])
    answer = api.poll(task_id)
    assert (answer["model"], answer["completed_at"]) == ("other", 1)
    assert "progress" not in answer


@pytest.mark.parametrize("status", ["unknown", "queued", "paused"])
def test_a_poll_can_say_any_status(api: Api, status: str) -> None:
    """Whatever the task is doing."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": "poll", "first": 1, "task_status": status}])
    answer = api.poll(task_id)
    assert (answer["status"], answer["progress"]) == (status, 0)
    assert "completed_at" not in answer
    assert api.poll(task_id)["status"] == "completed"


@pytest.mark.parametrize("reason", [True, {"code": "PUBLIC_ERROR_UNSAFE", "message": "blocked"}])
def test_a_generation_can_fail(api: Api, reason: bool | dict[str, str]) -> None:
    """With a reason or without; it is not charged, and has no content."""
    api.sandbox.add_faults([{"call": "submit", "fail": reason}])
    task_id = api.submitted()
    assert api.ended(task_id)["status"] == "failed"
    answer = api.poll(task_id)
    assert answer["status"] == "failed"
    assert answer.get("error", True) == reason
    assert api.content(task_id).status_code == 400
    assert api.sandbox.charges()["count"] == 0


@pytest.mark.parametrize(("said", "status"), [(True, 502), (502, 502), (404, 404)])
def test_a_filtered_video_is_completed_charged_and_empty(api: Api, said: bool | int, status: int) -> None:
    """Its content is an error that does not go away."""
    api.sandbox.add_faults([{"call": "submit", "filtered": said}])
    task_id = api.completed()
    assert api.poll(task_id)["status"] == "completed"
    assert [api.content(task_id).status_code for _ in range(3)] == [status] * 3
    assert api.sandbox.charges()["count"] == 1


@pytest.mark.parametrize(
    ("cut", "kept"), [(1000, lambda _: 1000), (0.5, lambda size: size // 2), (0, lambda _: 0)]
)
def test_content_can_be_cut(api: Api, cut: float, kept: Any) -> None:
    """The whole length is promised, a part is sent, and the connection closes."""
    task_id = api.completed()
    whole = api.content(task_id).content
    api.sandbox.add_faults([{"call": "content", "first": 1, "truncate": cut}])
    response = api.content(task_id, stream=True)
    assert int(response.headers["Content-Length"]) == len(whole)
    received = b""
    with pytest.raises(CUT):  # noqa: PT012 - the bytes before the cut count
        for chunk in response.iter_content(100):
            received += chunk
    assert whole.startswith(received)
    assert kept(len(whole)) - 100 <= len(received) <= kept(len(whole))
    assert api.content(task_id).content == whole


def test_content_can_be_reset_in_the_middle(api: Api) -> None:
    """Cut, and not even closed in order."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": "content", "truncate": 0.5, "reset": "after"}])
    with pytest.raises(CUT):
        api.content(task_id)


def test_content_can_drip(api: Api) -> None:
    """A tenth of a second's bytes at a time: the first arrive long before the last."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": "content", "drip": 10_000}])
    with api.content(task_id, stream=True) as response:
        assert len(next(response.iter_content(1000))) == 1000
        assert int(response.headers["Content-Length"]) > 100_000


def peak_memory(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_content_can_be_as_long_as_you_like(api: Api, tmp_path: Path) -> None:
    """A padded video is still a video, its parts fit, and its length is not held in memory."""
    task_id = api.completed()
    plain = api.content(task_id).content
    pad = 256 * 1024 * 1024
    api.sandbox.add_faults([{"call": "content", "pad": pad}])
    start = api.content(task_id, headers={"Range": f"bytes=0-{len(plain) + 15}"})
    assert start.content == plain + pad.to_bytes(4, "big") + b"free" + bytes(8)
    before = peak_memory(api.sandbox.pid)
    with api.content(task_id, stream=True) as response:
        assert int(response.headers["Content-Length"]) == len(plain) + pad
        assert sum(len(chunk) for chunk in response.iter_content(1 << 20)) == len(plain) + pad
    assert peak_memory(api.sandbox.pid) - before < 32 * 1024 * 1024


def test_ranges_can_be_ignored(api: Api) -> None:
    """A server that does not know Range answers 200 with everything."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": "content", "ranges": False}])
    response = api.content(task_id, headers={"Range": "bytes=0-9"})
    assert response.status_code == 200
    assert len(response.content) > 10


def test_content_can_be_gone(api: Api) -> None:
    """404, as two days later."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": "content", "gone": True}])
    assert api.content(task_id).status_code == 404


def test_content_can_be_a_url_whose_file_has_faults_of_its_own(api: Api) -> None:
    """The file behind the URL is a call like any other."""
    task_id = api.completed()
    api.sandbox.add_faults(
        [{"call": "content", "json_url": True}, {"call": "file", "first": 1, "truncate": 10}]
    )
    url = json.loads(api.content(task_id).content)["url"]
    assert urlsplit(url).hostname != urlsplit(api.url).hostname
    with pytest.raises(CUT):
        requests.get(url, timeout=60)
    assert requests.get(url, timeout=60).headers["Content-Type"] == "video/mp4"


def test_the_account_call_can_fail_too(api: Api) -> None:
    """There is no call without rules."""
    api.sandbox.add_faults([{"call": "account", "status": 500}])
    url = api.sandbox.api.replace("/v1", "/api/user/self")
    headers = {"Authorization": api.sandbox.account_token}
    assert requests.get(url, headers=headers, timeout=60).status_code == 500


def test_rules_count_per_task_where_they_say_so(api: Api) -> None:
    """The first poll of each task fails, and the second submission's polls always do."""
    first, second = api.submitted(), api.submitted()
    api.sandbox.add_faults(
        [
            {"call": "poll", "per_task": True, "first": 1, "status": 503},
            {"call": "poll", "task": 2, "status": 504},
        ]
    )
    statuses = [api.call("GET", f"/{task}").status_code for task in (first, second, first, second)]
    assert statuses == [503, 503, 200, 504]


def test_a_refused_submission_is_refused_in_spite_of_rules(api: Api) -> None:
    """A rule about the answer to an acceptance needs an acceptance."""
    api.sandbox.add_faults([{"call": "submit", "status": 502, "accept": True}])
    assert "prompt is required" in api.refused(api.form(fields={"prompt": None}))


def test_rules_can_be_cleared(api: Api) -> None:
    """Everything works again at once."""
    api.sandbox.add_faults([{"call": "submit", "status": 500}])
    assert api.form().status_code == 500
    api.sandbox.clear_faults()
    assert api.form().status_code == 200


def test_a_rule_without_sense_is_refused_and_none_is_added(api: Api) -> None:
    """The message says which one and why."""
    with pytest.raises(SandboxError, match="rule 2: unknown key `statsu`"):
        api.sandbox.add_faults([{"call": "submit", "status": 500}, {"call": "submit", "statsu": 500}])
    assert api.sandbox.faults() == []
    response = requests.post(api.sandbox.api.replace("/v1", "/_sandbox/faults"), data="[", timeout=60)
    assert "not JSON" in api.refused(response)


def test_many_submissions_at_once_are_counted_one_by_one(api: Api) -> None:
    """Ten at the same time, of which the rules refuse exactly three."""
    api.sandbox.add_faults([{"call": "submit", "occurrence": [2, 5, 9], "status": 429}])
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(api.form().status_code)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 7 + [429] * 3
    assert len(api.sandbox.tasks()) == 7


def test_a_slow_client_does_not_hold_up_others(api: Api) -> None:
    """Half a request hangs there, and everybody else is served."""
    place = urlsplit(api.url)
    with socket.create_connection((place.hostname, place.port)) as connection:
        head = f"POST {place.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {api.headers['Authorization']}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode())
        assert api.form(fields={"model": MODEL}).status_code == 200
