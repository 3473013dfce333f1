"""Awkward videos are stored in S3 if they are complete, and never if they are not."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.media import videos
from support.media.refused_videos import REFUSED

from veo_provider.api.client import VeoClient
from veo_provider.exceptions import VeoIncompleteVideoError
from veo_provider.generation import retries, storage
from veo_provider.s3.multipart_upload import MultipartUpload
from veo_provider.s3.uri import S3Uri
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

TARGET = S3Uri("videos", "clips/awkward-video.mp4")


class Service(ThreadingHTTPServer):
    """Serves one video, with or without its length."""

    daemon_threads = True
    video, tells_length = b"", True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Call)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Call(BaseHTTPRequestHandler):
    """One call; without a length, the end of the connection is that of the video."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        if not self.path.endswith("/content"):
            self.end_headers()
            self.wfile.write(json.dumps({"id": "task_1", "status": "completed", "model": "veo"}).encode())
            return
        self.send_header("Content-Type", "video/mp4")
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(self.server.video)))
        self.end_headers()
        self.wfile.write(self.server.video)


@pytest.fixture(scope="module")
def service():
    running = Service()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def store(service, s3, monkeypatch):
    """Stores what the service serves, trying once; returns what was stored, or None if nothing is there."""
    monkeypatch.setattr(retries, "STORE_ATTEMPTS", 1)
    s3.delete_object(Bucket=TARGET.bucket, Key=TARGET.key)

    def run(video, *, tells_length=True):
        service.video, service.tells_length = video, tells_length
        upload = MultipartUpload(s3, TARGET, content_type="video/mp4", metadata={})
        with VeoClient("sk-videos", f"http://127.0.0.1:{service.server_port}/v1") as client:
            try:
                return storage.transfer_video(
                    client, "task_1", str(TARGET), upload, asked_seconds=str(videos.SECONDS)
                )
            except VeoIncompleteVideoError:
                assert "Contents" not in s3.list_objects_v2(Bucket=TARGET.bucket, Prefix=TARGET.key)
                return None

    return run


@pytest.mark.parametrize("kind", videos.KINDS)
def test_a_whole_video_is_stored_with_its_length(store, kind):
    """Whatever its boxes, with the length that the server declares."""
    video = videos.awkward_video(kind)
    stored = store(video.data)
    assert stored.duration_seconds == pytest.approx(video.seconds, abs=0.05)
    assert (stored.width, stored.height) == video.sides


@pytest.mark.parametrize("kind", videos.KINDS)
def test_without_a_length_only_what_says_its_own_end_is_stored(store, kind):
    """Of the others, nobody knows whether they are complete."""
    video = videos.awkward_video(kind)
    assert (store(video.data, tells_length=False) is not None) == video.marked


@pytest.mark.parametrize(("kind", "make"), [(kind, make) for kind, _, make, _ in REFUSED])
def test_what_is_no_whole_video_is_never_stored(store, kind, make):
    """Even if the server declares the length that arrives."""
    assert store(make()) is None


@pytest.mark.parametrize("kind", ["fragments with an end", "no end", "DASH, indexed as a whole", "CMAF"])
@pytest.mark.parametrize("tells_length", [True, False], ids=["own length", "no length"])
def test_half_a_video_is_never_stored(store, kind, tells_length):
    """Cut between two fragments it is a valid file: with a proxy's own length, and without any."""
    whole = videos.awkward_video(kind).data
    half = whole[: whole.index(b"moof", whole.index(b"moof") + 4) - 4]
    assert store(half, tells_length=tells_length) is None


def test_the_operator_knows_half_a_video_by_the_seconds_that_it_is_given(
    service, s3, connections, monkeypatch
):
    """Only the requested duration, which the DAG knows, shows that such a half is not complete."""
    monkeypatch.setattr(retries, "STORE_ATTEMPTS", 1)
    port = service.server_port
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", f"veo://:sk-videos@127.0.0.1:{port}/http")
    whole = videos.awkward_video("no end").data
    service.video, service.tells_length = whole[: whole.index(b"moof", whole.index(b"moof") + 4) - 4], True
    fields = {"task_id": "store", "veo_task_id": "task_1", "s3_key": str(TARGET)}
    with pytest.raises(VeoIncompleteVideoError, match=f"of {videos.SECONDS} s"):
        VeoToS3Operator(seconds=str(videos.SECONDS), **fields).execute({})
    assert "Contents" not in s3.list_objects_v2(Bucket=TARGET.bucket, Prefix=TARGET.key)
    service.video = whole
    assert VeoToS3Operator(seconds=videos.SECONDS, **fields).execute({})["bytes"] == len(whole)
    s3.delete_object(Bucket=TARGET.bucket, Key=TARGET.key)
