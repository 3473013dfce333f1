"""Awkward films on their way into S3: what is whole is stored with its length, and half of it never is."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import films
import pytest
from refused_films import REFUSED

from veo_provider.api.client import VeoClient
from veo_provider.exceptions import VeoIncompleteVideoError
from veo_provider.generation import retries, storage
from veo_provider.s3.multipart_upload import MultipartUpload
from veo_provider.s3.uri import S3Uri
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

TARGET = S3Uri("videos", "clips/awkward-film.mp4")


class Service(ThreadingHTTPServer):
    """Serves one film, with or without its length."""

    daemon_threads = True
    film, tells_length = b"", True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Call)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Call(BaseHTTPRequestHandler):
    """One call; without a length, the end of the connection is that of the film."""

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
            self.send_header("Content-Length", str(len(self.server.film)))
        self.end_headers()
        self.wfile.write(self.server.film)


@pytest.fixture(scope="module")
def service():
    running = Service()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def store(service, s3, monkeypatch):
    """Stores what the service serves, trying once; returns what was stored, or None if nothing lies there."""
    monkeypatch.setattr(storage.retrying, "STORE_ATTEMPTS", 1)
    s3.delete_object(Bucket=TARGET.bucket, Key=TARGET.key)

    def run(film, *, tells_length=True):
        service.film, service.tells_length = film, tells_length
        upload = MultipartUpload(s3, TARGET, content_type="video/mp4", metadata={})
        with VeoClient("sk-films", f"http://127.0.0.1:{service.server_port}/v1") as client:
            try:
                return storage.transfer_video(
                    client, "task_1", str(TARGET), upload, asked_seconds=str(films.SECONDS)
                )
            except VeoIncompleteVideoError:
                assert "Contents" not in s3.list_objects_v2(Bucket=TARGET.bucket, Prefix=TARGET.key)
                return None

    return run


@pytest.mark.parametrize("kind", films.KINDS)
def test_a_whole_film_is_stored_with_its_length(store, kind):
    """Whatever its boxes, with the length that the server tells."""
    film = films.awkward_film(kind)
    stored = store(film.data)
    assert stored.duration_seconds == pytest.approx(film.seconds, abs=0.05)
    assert (stored.width, stored.height) == film.sides


@pytest.mark.parametrize("kind", films.KINDS)
def test_without_a_length_only_what_says_its_own_end_is_stored(store, kind):
    """Of the others nobody knows whether more was to come."""
    film = films.awkward_film(kind)
    assert (store(film.data, tells_length=False) is not None) == film.marked


@pytest.mark.parametrize(("kind", "make"), [(kind, make) for kind, _, make, _ in REFUSED])
def test_what_is_no_whole_film_is_never_stored(store, kind, make):
    """Though the server gives it the length that it has."""
    assert store(make()) is None


@pytest.mark.parametrize("kind", ["fragments with an end", "no end", "DASH, indexed as a whole", "CMAF"])
@pytest.mark.parametrize("tells_length", [True, False], ids=["own length", "no length"])
def test_half_a_film_is_never_stored(store, kind, tells_length):
    """Cut between two fragments it is a valid file: with a proxy's own length, and without any."""
    whole = films.awkward_film(kind).data
    half = whole[: whole.index(b"moof", whole.index(b"moof") + 4) - 4]
    assert store(half, tells_length=tells_length) is None


def test_the_operator_knows_half_a_film_by_the_seconds_that_it_is_given(
    service, s3, connections, monkeypatch
):
    """Only the length that was asked for tells such a half from a whole: it comes from the DAG."""
    monkeypatch.setattr(retries, "STORE_ATTEMPTS", 1)
    port = service.server_port
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", f"veo://:sk-films@127.0.0.1:{port}/http")
    whole = films.awkward_film("no end").data
    service.film, service.tells_length = whole[: whole.index(b"moof", whole.index(b"moof") + 4) - 4], True
    fields = {"task_id": "store", "veo_task_id": "task_1", "s3_key": str(TARGET)}
    with pytest.raises(VeoIncompleteVideoError, match=f"of {films.SECONDS} s"):
        VeoToS3Operator(seconds=str(films.SECONDS), **fields).execute({})
    assert "Contents" not in s3.list_objects_v2(Bucket=TARGET.bucket, Prefix=TARGET.key)
    service.film = whole
    assert VeoToS3Operator(seconds=films.SECONDS, **fields).execute({})["bytes"] == len(whole)
    s3.delete_object(Bucket=TARGET.bucket, Key=TARGET.key)
