"""Waiting, fetching and paying: what a completed video is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import av
import pytest
import requests
from support.moments import until
from support.sandbox_api import Api

from veo_provider.sandbox.process import Sandbox

if TYPE_CHECKING:
    from pathlib import Path


def test_a_task_goes_from_queued_to_completed(api: Api) -> None:
    """Progress is 0, 50 or 100, and ``completed_at`` comes with completion."""
    task_id = api.submitted(prompt="a task goes on")
    seen = [api.poll(task_id)]
    while seen[-1]["status"] != "completed":
        seen.append(api.poll(task_id))
    steps = [("queued", 0), ("in_progress", 50), ("completed", 100)]
    walked = [(answer["status"], answer["progress"]) for answer in seen]
    assert walked == sorted(walked, key=steps.index)
    assert seen[-1]["completed_at"] >= seen[-1]["created_at"]
    assert "completed_at" not in seen[0] or len(seen) == 1
    assert api.sandbox.tasks()[0]["polls"] == len(seen)


@pytest.mark.parametrize("path", ["/task_nothing", "/task_nothing/content"])
def test_an_unknown_task_is_400(api: Api, path: str) -> None:
    """``task_not_exist``, in the second shape."""
    response = api.call("GET", path)
    assert response.status_code == 400
    assert response.json() == {"code": "task_not_exist", "message": "task_not_exist", "data": None}


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", "/task_x"), ("POST", "/task_x/remix")])
def test_there_is_no_other_call(api: Api, method: str, path: str) -> None:
    """No list, no delete, no remix: 404 in the gateway's shape."""
    assert "Invalid URL" in api.refused(api.call(method, path), 404)
    assert "Invalid URL" in api.refused(requests.get(f"{api.sandbox.api}/models", timeout=60), 404)


def test_content_before_completion_is_400(api: Api) -> None:
    """It says that the task is not completed yet."""
    api.sandbox.add_faults([{"call": "submit", "fail": True}])
    response = api.content(api.submitted())
    assert response.status_code == 400
    assert "Task is not completed yet" in response.json()["error"]["message"]


def test_content_right_after_completion_is_400(data: Path) -> None:
    """A completed video cannot be fetched at once."""
    with Sandbox(latency=0, content_delay=3600, s3=False, data=data) as sandbox:
        api = Api(sandbox)
        task_id = api.completed()
        assert api.poll(task_id)["status"] == "completed"
        early = api.content(task_id)
        assert early.status_code == 400
        assert "not available yet" in early.json()["error"]["message"]


def test_content_comes_after_a_while(data: Path) -> None:
    """The 400 does not last."""
    with Sandbox(latency=0, content_delay=0.5, s3=False, data=data) as sandbox:
        api = Api(sandbox)
        task_id = api.completed()
        until(lambda: api.content(task_id).status_code == 200)


@pytest.mark.parametrize(
    ("photo", "kind", "size"),
    [("rocket.jpg", "image/jpeg", (1280, 720)), ("hubble_portrait.webp", "image/webp", (720, 1280))],
)
def test_a_video_is_what_was_asked_for(
    api: Api, tmp_path: Path, photo: str, kind: str, size: tuple[int, int]
) -> None:
    """It decodes whole: H.264 and AAC, eight seconds, of the asked size."""
    width, height = size
    fields: dict[str, str | None] = {"seconds": "8", "size": f"{width}x{height}"}
    task_id = api.form({"input_reference": api.photo(photo, kind)}, fields).json()["id"]
    api.ended(task_id)
    (tmp_path / "video.mp4").write_bytes(api.content(task_id).content)
    with av.open(tmp_path / "video.mp4") as container:
        assert container.duration == 8_000_000
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.codec_context.pix_fmt == "yuv420p"
        frames = list(container.decode(video=0))
        assert len(frames) == 192
        assert {(frame.width, frame.height) for frame in frames} == {size}
    with av.open(tmp_path / "video.mp4") as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert abs(samples - 8 * 48_000) <= 1024


def test_text_to_video_gives_a_video_too(api: Api, tmp_path: Path) -> None:
    """A gradient moves where no picture was given."""
    task_id = api.json().json()["id"]
    api.ended(task_id)
    (tmp_path / "video.mp4").write_bytes(api.content(task_id).content)
    with av.open(tmp_path / "video.mp4") as container:
        assert container.duration == 4_000_000


def test_content_says_how_long_it_is(api: Api) -> None:
    """Content-Length, always, and the type of an MP4."""
    response = api.content(api.completed())
    assert response.headers["Content-Type"] == "video/mp4"
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert response.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=1000-", 1000, None),
        ("bytes=-50", -50, None),
        ("bytes=5-99999999", 5, None),
    ],
)
def test_a_part_can_be_asked_for(api: Api, wanted: str, start: int, stop: int | None) -> None:
    """206 with exactly these bytes."""
    task_id = api.completed()
    whole = api.content(task_id).content
    response = api.content(task_id, headers={"Range": wanted})
    assert response.status_code == 206
    assert response.content == whole[start:stop]
    first = start % len(whole)
    last = first + len(response.content) - 1
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "lines=1-2"])
def test_a_part_that_is_not_there_is_416(api: Api, wanted: str) -> None:
    """It says how long the whole is."""
    task_id = api.completed()
    length = len(api.content(task_id).content)
    response = api.content(task_id, headers={"Range": wanted})
    assert (response.status_code, response.content) == (416, b"")
    assert response.headers["Content-Range"] == f"bytes */{length}"


def test_a_part_of_another_version_is_the_whole(api: Api) -> None:
    """If-Range protects a client from gluing two files together."""
    task_id = api.completed()
    tag = api.content(task_id).headers["ETag"]
    same = api.content(task_id, headers={"Range": "bytes=0-9", "If-Range": tag})
    other = api.content(task_id, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


def test_a_fl_model_answers_a_url_on_another_host(api: Api) -> None:
    """There the key is not wanted: a request that carries it is refused."""
    response = api.content(api.completed(model="veo-3.1-fast-generate-preview-fl"))
    assert response.headers["Content-Type"].startswith("application/json")
    url = json.loads(response.content)["url"]
    assert url.startswith("http://localhost:")
    assert requests.get(url, headers=api.headers, timeout=60).status_code == 400
    fetched = requests.get(url, timeout=60)
    assert fetched.headers["Content-Type"] == "video/mp4"
    assert fetched.content[4:8] == b"ftyp"


def test_only_completed_videos_are_charged(api: Api) -> None:
    """Nobody has to poll for that, and neither polling nor fetching costs anything."""
    api.sandbox.add_faults([{"call": "submit", "occurrence": 1, "fail": True}])
    failed = api.submitted()
    fast, standard = api.submitted(), api.submitted(model="veo-3.1-generate-preview")
    for task_id in (failed, fast, standard):
        api.ended(task_id)
    bill = api.sandbox.charges()
    assert (bill["count"], bill["usd"]) == (2, 1.5)
    assert [(task["task_id"], task["usd"]) for task in bill["tasks"]] == [(fast, 0.3), (standard, 1.2)]
    api.poll(fast)
    api.content(fast)
    assert api.sandbox.charges() == bill


def test_the_balance_is_low_until_a_failure_is_known(data: Path) -> None:
    """Money is taken at submission and given back on failure."""
    fault = {"call": "submit", "first": 1, "fail": True}
    with Sandbox(latency=3600, s3=False, data=data, faults=[fault]) as sandbox:
        api = Api(sandbox)

        def dollars() -> float:
            url = sandbox.api.replace("/v1", "/api/user/self")
            answer = requests.get(url, headers={"Authorization": sandbox.account_token}, timeout=60).json()
            assert answer["success"] is True
            return float(answer["data"]["quota"]) / 500_000

        assert dollars() == 100
        api.submitted()
        assert dollars() == 99.7
        sandbox.reset()
        sandbox.set_latency(0)
        api.ended(api.submitted())
        assert dollars() == 100
        api.completed()
        assert dollars() == 99.7


@pytest.mark.parametrize("prefix", ["Bearer ", "wrong"])
def test_the_account_wants_its_token_as_it_is(api: Api, prefix: str) -> None:
    """No Bearer, and not the API key."""
    url = api.sandbox.api.replace("/v1", "/api/user/self")
    headers = {"Authorization": prefix + api.sandbox.account_token}
    assert "Invalid access token" in api.refused(requests.get(url, headers=headers, timeout=60), 401)
    assert "Invalid access token" in api.refused(requests.get(url, headers=api.headers, timeout=60), 401)


def test_reset_forgets_tasks_bill_and_rules(api: Api) -> None:
    """As freshly started."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": "poll", "status": 500}])
    api.sandbox.reset()
    assert api.sandbox.tasks() == api.sandbox.faults() == []
    assert api.sandbox.charges() == {"count": 0, "usd": 0, "tasks": []}
    assert api.poll(task_id)["code"] == "task_not_exist"
