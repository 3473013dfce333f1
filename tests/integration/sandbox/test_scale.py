"""What lets a sandbox play for ten thousand pictures: one small film, scattered times, numbers and pages."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import av
import pytest
import requests
from support.archive import fill, listed, picture
from support.sandbox_api import Api

from veo_provider.media.mp4 import Mp4Parser
from veo_provider.sandbox.process import Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="module")
def _small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(latency=0, film="small", s3=False, data=tmp_path_factory.mktemp("small")) as sandbox:
        yield sandbox


@pytest.fixture
def small(_small: Sandbox) -> Api:
    """A sandbox with a small film for all."""
    _small.reset()
    return Api(_small)


def jpeg(text: str) -> dict[str, tuple[str, bytes, str]]:
    """A form's file."""
    return {"input_reference": (f"{text}.jpg", picture(text), "image/jpeg")}


def test_a_small_film_is_a_whole_mp4(small: Api, tmp_path: Path) -> None:
    """H.264 and AAC, 320 by 180, one second: whatever was asked, and whatever the picture shows."""
    task_id = small.completed(seconds="8", size="1920x1080")
    content = small.content(task_id).content
    walker = Mp4Parser()
    walker.feed(content)
    info = walker.finish(len(content))
    assert (info.duration_seconds, info.width, info.height, info.has_audio) == (1.0, 320, 180, True)
    (tmp_path / "video.mp4").write_bytes(content)
    with av.open(tmp_path / "video.mp4") as container:
        codecs = [stream.codec_context.name for stream in container.streams]
        assert codecs == ["h264", "aac"]
        assert len(list(container.decode(video=0))) == 24


def test_each_small_film_has_bytes_of_its_own(small: Api) -> None:
    """It ends with the task's id, so that a swapped video is found out, also when fetched in parts."""
    task_ids = [small.completed() for _ in range(3)]
    responses = [small.content(task_id) for task_id in task_ids]
    assert len({hashlib.sha256(response.content).digest() for response in responses}) == 3
    assert len({response.headers["ETag"] for response in responses}) == 3
    assert [response.content[-37:].decode() for response in responses] == task_ids
    whole, cut = responses[0].content, len(responses[0].content) - 40
    headers = {"Range": f"bytes={cut}-", "If-Range": responses[0].headers["ETag"]}
    rest = small.content(task_ids[0], headers=headers)
    assert (rest.status_code, rest.content) == (206, whole[cut:])


def test_a_small_film_can_be_padded_and_cut(small: Api) -> None:
    """Rules do with it what they do with any video."""
    task_id = small.completed()
    whole = small.content(task_id).content
    small.sandbox.add_faults([{"call": "content", "occurrence": 1, "pad": 300_000}])
    padded = small.content(task_id).content
    assert padded == whole + b"\x00\x04\x93\xe0free" + bytes(300_000 - 8)
    small.sandbox.add_faults([{"call": "content", "truncate": 0.5}])
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        small.content(task_id)


def test_pictures_are_looked_at_and_not_kept(small: Api, tmp_path: Path) -> None:
    """Nothing is filmed from them, so ten thousand of them need no disk; what is no picture is refused."""
    with Sandbox(latency=0, film="small", s3=False, data=tmp_path) as sandbox:
        api = Api(sandbox)
        assert api.form(jpeg("one")).status_code == 200
        (record,) = sandbox.tasks()
        (file,) = record["files"]
        assert (file["width"], file["height"], file["used"]) == (64, 36, True)
        assert file["sha256"] == hashlib.sha256(picture("one")).hexdigest()
        broken = {"input_reference": ("cut.jpg", picture("one")[:-40], "image/jpeg")}
        assert api.form(broken).status_code == 400
        assert list((tmp_path / "uploads").iterdir()) == []


def test_the_bill_is_as_ever(small: Api) -> None:
    """A small film costs what any video costs, and a failure nothing."""
    small.sandbox.add_faults([{"call": "submit", "occurrence": 2, "fail": True}])
    first, failed = small.submitted(), small.submitted()
    assert small.ended(failed)["status"] == "failed"
    assert small.ended(first)["status"] == "completed"
    assert [task["task_id"] for task in small.sandbox.charges()["tasks"]] == [first]


def test_a_summary_has_numbers_only(small: Api) -> None:
    """What was accepted, what became of it, and what it cost, without a list."""
    small.sandbox.add_faults([{"call": "submit", "occurrence": 3, "fail": True}])
    task_ids = [small.submitted() for _ in range(3)]
    for task_id in task_ids:
        small.ended(task_id)
    small.poll(task_ids[0])
    small.content(task_ids[0])
    assert small.sandbox.summary() == {
        "count": 2,
        "usd": 0.6,
        "accepted": 3,
        "statuses": {"completed": 2, "failed": 1},
        "polls": 1,
        "content_requests": 1,
    }


def test_tasks_come_in_pages(small: Api) -> None:
    """``after`` leaves the first ones out, ``limit`` ends a page, and neither gives all."""
    task_ids = [small.submitted() for _ in range(5)]
    url = f"{small.sandbox.api.removesuffix('/v1')}/_sandbox/tasks"

    def asked(query: str) -> list[str]:
        return [record["task_id"] for record in requests.get(url + query, timeout=60).json()]

    assert asked("") == [record["task_id"] for record in small.sandbox.tasks()] == task_ids
    assert asked("?after=1&limit=3") == task_ids[1:4]
    assert asked("?after=4") == task_ids[4:]
    assert asked("?limit=2") == task_ids[:2]
    assert asked("?after=9") == asked("?limit=0") == []
    assert requests.get(f"{url}?limit=-1", timeout=60).status_code == 400


def test_latency_changes_while_it_runs(small: Api) -> None:
    """Later submissions take the new one, earlier ones keep theirs, and a reset brings the first one back."""
    url = f"{small.sandbox.api.removesuffix('/v1')}/_sandbox/latency"
    early = small.completed()
    small.sandbox.set_latency(600, sigma=0.1, seed=3)
    late = small.submitted()
    assert [small.poll(task_id)["status"] for task_id in (early, late)] == ["completed", "queued"]
    assert requests.get(url, timeout=60).json() == {"mean": 600, "sigma": 0.1, "seed": 3}
    with pytest.raises(SandboxError, match="`mean` is a number from 0"):
        small.sandbox.set_latency(-1)
    for wrong in ({"median": 1}, [8], 8):
        assert requests.post(url, json=wrong, timeout=60).status_code == 400
    assert requests.get(url, timeout=60).json()["mean"] == 600
    small.sandbox.reset()
    assert requests.get(url, timeout=60).json() == {"mean": 0.0, "sigma": 0.0, "seed": 0}


def test_scattered_tasks_take_their_own_times(data: Path) -> None:
    """The options of the start reach the tasks, and each run gives the same times."""

    def times() -> list[float]:
        options = {"latency": 0.5, "latency_sigma": 1.0, "latency_seed": 5}
        with Sandbox(**options, film="small", s3=False, data=data) as sandbox:
            api = Api(sandbox)
            for task_id in [api.submitted() for _ in range(4)]:
                api.ended(task_id)
            return [round(task["ended_at"] - task["created_at"], 3) for task in sandbox.tasks()]

    first = times()
    assert len(set(first)) == 4
    assert times() == first


def test_an_archive_is_filled_and_listed_in_pages(s3: S3Client) -> None:
    """No two pictures are alike, and pages come in order, also from the middle on."""
    keys = fill(s3, "images", "archive/", 250)
    assert listed(s3, "images", "archive/", page=100) == keys
    rest = s3.list_objects_v2(Bucket="images", Prefix="archive/", StartAfter=keys[119], MaxKeys=100)
    assert [each["Key"] for each in rest["Contents"]] == keys[120:220]
    assert rest["IsTruncated"] is True
    pictures = [s3.get_object(Bucket="images", Key=key)["Body"].read() for key in keys[:3]]
    assert pictures == [picture(key) for key in keys[:3]]
    assert len(set(pictures)) == 3
    s3.delete_objects(Bucket="images", Delete={"Objects": [{"Key": key} for key in keys]})
