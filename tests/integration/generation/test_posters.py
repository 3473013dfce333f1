"""Posters and contact sheets: for people to look at, and never a reason for a task to fail."""

import io
import json
from collections import Counter

import PIL.Image
import pytest

from veo_provider.generation import posters
from veo_provider.media import poster
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.s3.object_reader import PIECE_BYTES, ObjectReader
from veo_provider.s3.uri import S3Uri

pytestmark = pytest.mark.usefixtures("connections")

VIDEO = S3Uri("videos", "posters/rocket.jpg.mp4")
POSTER = "posters/rocket.jpg.mp4.veo.jpg"


@pytest.fixture(autouse=True)
def _empty_bucket(s3):
    for found in s3.list_objects_v2(Bucket="videos", Prefix="posters/").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


@pytest.fixture
def wanted(monkeypatch):
    """The setting that asks for posters."""
    monkeypatch.setenv("AIRFLOW__VEO__POSTERS", "True")


class Instance:
    """What a receipt wants to know of a task instance."""

    dag_id, run_id, task_id, map_index, try_number = "clips", "monday", "make", -1, 1

    def xcom_push(self, **_):
        pass


def make():
    task = VeoImageToVideoOperator(
        task_id="make",
        image="s3://images/rocket.jpg",
        prompt="The rocket lifts off",
        seconds="4",
        output=str(VIDEO),
        deferrable=False,
        poll_interval=0.1,
    )
    return task.execute({"ti": Instance()})


def run_batch(images):
    task = VeoBatchOperator(
        task_id="make",
        images=images,
        prompt="The rocket lifts off",
        seconds="4",
        output_prefix="s3://videos/posters/",
        deferrable=False,
        poll_interval=0.1,
    )
    return task.execute({"ti": Instance()})


def keys(s3):
    return [each["Key"] for each in s3.list_objects_v2(Bucket="videos", Prefix="posters/")["Contents"]]


def picture(s3, key):
    found = s3.get_object(Bucket="videos", Key=key)
    assert found["ContentType"] == "image/jpeg"
    return PIL.Image.open(io.BytesIO(found["Body"].read())).convert("RGB")


def test_a_poster_is_kept_beside_the_video(wanted, s3, sandbox):
    """It is a small JPEG of the video's first picture, which is the photograph, and costs nothing."""
    make()
    found = picture(s3, POSTER)
    assert found.size == (640, 360)
    assert len(set(found.resize((8, 8)).get_flattened_data())) > 8
    assert sandbox.charges()["count"] == 1


def test_without_the_setting_there_is_none(s3):
    """Nothing else is written than before."""
    make()
    assert sorted(keys(s3)) == ["posters/rocket.jpg.mp4", "posters/rocket.jpg.mp4.veo.json"]


def test_without_the_library_the_task_goes_on(wanted, s3, monkeypatch):
    """The setting without the extra: a video and no poster."""
    monkeypatch.setattr(poster, "find_spec", lambda _: None)
    assert make()["uri"] == str(VIDEO)
    assert POSTER not in keys(s3)


@pytest.mark.parametrize("body", [b"", b"no video", b"\0" * 100_000], ids=["empty", "text", "zeros"])
def test_what_cannot_be_decoded_has_no_poster(s3, body):
    """A video that PyAV does not understand is no error."""
    s3.put_object(Bucket=VIDEO.bucket, Key=VIDEO.key, Body=body)
    assert posters.keep_poster(s3, VIDEO) is False
    assert POSTER not in keys(s3)


def test_a_store_that_refuses_the_poster_fails_nothing(s3):
    """No object, no bucket: it is logged."""
    assert posters.keep_poster(s3, S3Uri("videos", "posters/missing.mp4")) is False
    assert posters.keep_poster(s3, S3Uri("no-such-bucket", "a.mp4")) is False


def test_only_the_beginning_of_a_long_video_is_read(s3):
    """A few pieces of a video of 40 MB: neither memory nor traffic grow with it."""
    make()
    film = s3.get_object(Bucket=VIDEO.bucket, Key=VIDEO.key)["Body"].read()
    padding = (40_000_000).to_bytes(4, "big") + b"free" + bytes(40_000_000 - 8)
    s3.put_object(Bucket=VIDEO.bucket, Key=VIDEO.key, Body=film + padding)
    read, largest = Counter(), []

    def count(params, **_):
        first, _, last = params["headers"].get("Range", "bytes=0-0")[6:].partition("-")
        read["bytes"] += int(last) - int(first) + 1
        largest.append(int(last) - int(first) + 1)

    s3.meta.events.register("before-call.s3.GetObject", count)
    try:
        assert posters.keep_poster(s3, VIDEO)
    finally:
        s3.meta.events.unregister("before-call.s3.GetObject", count)
    assert max(largest) <= PIECE_BYTES
    assert read["bytes"] < len(film) + 4 * PIECE_BYTES


def test_a_reader_gives_up_after_its_share(s3):
    """A file that leads the decoder through all of it costs a bounded amount of traffic."""
    s3.put_object(Bucket=VIDEO.bucket, Key=VIDEO.key, Body=bytes(3 * PIECE_BYTES))
    reader = io.BufferedReader(ObjectReader(s3, VIDEO, 2 * PIECE_BYTES), PIECE_BYTES)
    assert len(reader.read(10)) == 10
    assert reader.seek(-5, io.SEEK_END) == 3 * PIECE_BYTES - 5
    assert len(reader.read()) == 5
    reader.seek(0)
    with pytest.raises(OSError, match=r"Too much of s3://videos/posters/"):
        reader.read()


def test_a_batch_has_a_contact_sheet_and_takes_no_poster_for_an_image(wanted, s3, sandbox):
    """Images and videos in one folder: run again, the batch finds one image, and pays nothing more."""
    s3.copy_object(
        Bucket="videos", Key="posters/rocket.jpg", CopySource={"Bucket": "images", "Key": "rocket.jpg"}
    )
    assert run_batch("s3://videos/posters/")["counts"] == {"stored": 1}
    assert POSTER in keys(s3)
    result = run_batch("s3://videos/posters/")
    assert result["counts"] == {"stored": 1}
    assert sandbox.charges()["count"] == 1
    sheet = picture(
        s3, result["summary_uri"].partition("videos/")[2].replace("summary.jsonl", "contact-sheet.jpg")
    )
    assert sheet.size == (240 + 2 * 8, 160 + 16 + 2 * 8)
    assert len(set(sheet.crop((20, 20, 220, 140)).resize((8, 8)).get_flattened_data())) > 8


def test_in_the_contact_sheet_an_image_stands_in_for_its_poster(wanted, s3, monkeypatch):
    """Without PyAV, the sheet shows the photographs."""
    monkeypatch.setattr(poster, "find_spec", lambda _: None)
    result = run_batch(["s3://images/rocket.jpg"])
    row = json.loads(
        s3.get_object(Bucket="videos", Key=result["summary_uri"].removeprefix("s3://videos/"))["Body"].read()
    )
    assert row["outcome"] == "stored"
    sheet = picture(s3, "posters/_veo/clips/monday/make/contact-sheet.jpg")
    assert len(set(sheet.crop((20, 20, 220, 140)).resize((8, 8)).get_flattened_data())) > 8
