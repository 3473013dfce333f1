"""A video's way into S3 over connections that break, stall and lie: a server that does as it is told."""

import hashlib
import json
import struct
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.moments import PATIENCE

from veo_provider import exceptions
from veo_provider.api.client import VeoClient
from veo_provider.generation import storage
from veo_provider.generation.retries import STORE_ATTEMPTS
from veo_provider.s3.multipart_upload import PART_BYTES, MultipartUpload
from veo_provider.s3.uri import S3Uri

KEY = "clips/broken-off.mp4"
MB = 1_000_000
TAG = '"one"'


@dataclass
class Answer:
    """How one call is answered; as it stands, in the way of a server that does everything right."""

    cut: int | None = None
    """Bytes after which the connection ends."""
    then: str = "close"
    """What happens there: ``close``, ``silence`` or ``trickle``."""
    piece: int = 1 << 20
    ranges: bool = True
    length: bool = True
    tag: str | None = TAG
    status: int | None = None
    headers: dict | None = None
    link: str | None = None
    changed: bool = False
    """Whether the movie has become another one of the same length by then."""


class Service(ThreadingHTTPServer):
    """Serves a movie, call by call as the script says, and the last answer of it for ever.

    :param asked: for each call its path, Range, If-Range, and whether it carried the key.
    """

    daemon_threads = True

    def __init__(self, movie):
        super().__init__(("127.0.0.1", 0), Call)
        self.movie = movie
        self.script = [Answer()]
        self.asked = []
        self.closing = threading.Event()

    def next_answer(self):
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    @property
    def ranges(self):
        return [each["range"] for each in self.asked]


class Call(BaseHTTPRequestHandler):
    """One call, answered on a connection of its own."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        headers = self.headers
        answer = self.server.next_answer()
        self.server.asked.append(
            {
                "path": self.path,
                "range": headers["Range"],
                "if_range": headers["If-Range"],
                "key": headers["Authorization"] is not None,
            }
        )
        self.close_connection = True
        if answer.link:
            self.send_head(200, {"Content-Type": "application/json"})
            self.wfile.write(json.dumps({"url": answer.link}).encode())
            return
        if answer.changed:
            # Before and after the break, so that a mixture is neither the old file nor the new one.
            old = self.server.movie
            self.server.movie = old[: 5 * MB] + bytes(1000) + old[5 * MB + 1000 : -1000] + bytes(1000)
        start = int(headers["Range"][6:-1]) if headers["Range"] and answer.ranges else 0
        body = self.server.movie[start:]
        said = {"Content-Type": "video/mp4"}
        if answer.tag:
            said["ETag"] = answer.tag
        if answer.length:
            said["Content-Length"] = str(len(body))
        else:
            said["Transfer-Encoding"] = "chunked"
        if start:
            total = len(self.server.movie)
            said["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        said.update(answer.headers or {})
        self.send_head(answer.status or (206 if start else 200), said)
        self.send_body(answer, body if answer.cut is None else body[: answer.cut])

    def send_head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def send_body(self, answer, body):
        try:
            for begin in range(0, len(body), answer.piece):
                self.send(answer, body[begin : begin + answer.piece])
            while answer.cut is not None and answer.then != "close" and not self.server.closing.wait(0.05):
                if answer.then == "trickle":
                    self.send(answer, b"\0")
            if answer.cut is None and not answer.length:
                self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            pass

    def send(self, answer, piece):
        self.wfile.write(piece if answer.length else b"%x\r\n%s\r\n" % (len(piece), piece))


@pytest.fixture(scope="module")
def movie(_sandbox, photo):
    """A real video, and a box behind it that makes it several parts long."""
    from veo_provider.api.image import Image
    from veo_provider.api.request import VeoRequest

    _sandbox.clear_faults()  # of whatever test came before
    with VeoClient(_sandbox.api_key, _sandbox.api) as client:
        task = client.submit(VeoRequest(prompt="Up", image=Image.from_path(photo), seconds="4")).id
        while not client.get(task).finished:
            time.sleep(0.1)
        with client.download(task) as download:
            video = b"".join(download)
    padding = hashlib.shake_128(b"padding").digest(3 * PART_BYTES)
    return video + struct.pack(">I4s", 8 + len(padding), b"free") + padding


@pytest.fixture
def service(movie):
    with Service(movie) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def store(service, s3, impatient):
    """Stores the service's movie, and requires that it came whole, or that nothing of it remained."""
    target = S3Uri("videos", KEY)

    def run(timeout=PATIENCE):
        upload = MultipartUpload(s3, target, content_type="video/mp4", metadata={"veo_task_id": "task_1"})
        base_url = f"http://127.0.0.1:{service.server_port}/v1"
        try:
            with VeoClient("sk-key", base_url, timeout=timeout) as client:
                stored = storage.transfer_video(client, "task_1", str(target), upload)
            body = s3.get_object(Bucket="videos", Key=KEY)["Body"].read()
            assert body == service.movie
            assert stored.sha256 == hashlib.sha256(service.movie).hexdigest()
            assert stored.duration_seconds == 4.0
        except exceptions.VeoError:
            assert "Contents" not in s3.list_objects_v2(Bucket="videos", Prefix=KEY)
            raise
        finally:
            assert "Uploads" not in s3.list_multipart_uploads(Bucket="videos", Prefix=KEY)
            s3.delete_object(Bucket="videos", Key=KEY)

    return run


def test_a_cut_download_goes_on_where_it_broke_off(service, store):
    """Each byte is asked for once, however often the connection ends, and of the same file only."""
    service.script = [Answer(cut=7 * MB), Answer(cut=6 * MB + 1), Answer(cut=10), Answer()]
    store()
    assert service.ranges == [None, "bytes=7000000-", "bytes=13000001-", "bytes=13000011-"]
    assert [each["if_range"] for each in service.asked] == [None, TAG, TAG, TAG]


def test_a_cut_before_the_first_byte_asks_for_the_begin(service, store):
    """There is nothing to go on from."""
    service.script = [Answer(cut=0), Answer()]
    store()
    assert service.ranges == [None, None]


DATE = "Sun, 22 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    "first",
    [
        Answer(cut=2 * MB, tag=None),
        Answer(cut=2 * MB, tag=None, headers={"Last-Modified": DATE}),
        Answer(cut=2 * MB, tag='W/"weak"', headers={"Last-Modified": DATE}),
        Answer(cut=2 * MB, tag="unquoted"),
    ],
    ids=["length alone", "date", "weak tag", "no tag"],
)
def test_a_file_without_a_strong_tag_starts_over(service, store, first):
    """A date, a weak tag or the same length may stay for another file: its parts are not joined."""
    service.script = [first, Answer()]
    store()
    assert service.ranges == [None, None]


def test_a_rest_without_the_tag_is_not_taken(service, store):
    """A part must carry the very tag that the first one had; silence is not agreement."""
    service.script = [Answer(cut=7 * MB), Answer(tag=None), Answer()]
    store()
    assert service.ranges == [None, "bytes=7000000-", None]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(changed=True, tag='"two"', ranges=False),
        Answer(changed=True, tag='"two"'),
        Answer(changed=True, tag=None),
        Answer(changed=True, tag=None, headers={"Last-Modified": DATE}),
        Answer(changed=True, tag='W/"one"'),
    ],
    ids=["If-Range kept", "If-Range ignored", "no tag", "the same date", "a weak tag"],
)
@pytest.mark.parametrize("first", [TAG, None, 'W/"one"'])
def test_a_file_that_changes_between_two_parts_is_never_mixed(service, store, answer, first):
    """The service renders the file anew while it is fetched: what is stored is the new one, whole."""
    dated = {"Last-Modified": DATE}
    service.script = [Answer(cut=7 * MB, tag=first, headers=dated), answer, Answer(tag='"two"')]
    store()


def test_a_file_of_unknown_length_goes_on_by_its_tag(service, store):
    """Without a length, the end of the last chunk or the answer to the Range says where the file ends."""
    service.script = [Answer(cut=3 * MB, length=False), Answer(cut=3 * MB), Answer(length=False)]
    store()
    assert service.ranges == [None, "bytes=3000000-", "bytes=6000000-"]


def test_a_file_that_cannot_be_known_again_starts_over(service, store):
    """Neither length nor tag nor date: another file could not be told from this one."""
    service.script = [Answer(cut=3 * MB, length=False, tag=None), Answer()]
    store()
    assert service.ranges == [None, None]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(ranges=False),
        Answer(ranges=False, tag='"two"'),
    ],
    ids=["ranges are ignored", "another file"],
)
def test_a_whole_file_in_answer_to_a_range_starts_over(service, store, answer):
    """A 200 begins at the first byte, whatever was asked: it takes no further call."""
    service.script = [Answer(cut=7 * MB), answer]
    store()
    assert service.ranges == [None, "bytes=7000000-"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(headers={"Content-Range": "bytes 6999999-9999999/10000000"}),
        Answer(headers={"Content-Range": "bytes 7000000-8000000/16000000"}),
        Answer(headers={"Content-Range": "bytes 7000000-7999999/8000000"}),
        Answer(headers={"Content-Range": "bytes 7000000-8000000/*"}),
        Answer(headers={"Content-Range": "7000000-"}),
        Answer(tag='"two"'),
        Answer(headers={"Content-Encoding": "gzip"}),
        Answer(headers={"Content-Type": "application/json", "Content-Range": "bytes 1-2/3"}),
        Answer(status=416, cut=0, headers={"Content-Range": "bytes */100", "Content-Length": "0"}),
    ],
    ids=["start", "not to the end", "total", "unknown total", "broken", "tag", "encoding", "type", "416"],
)
def test_a_rest_that_does_not_fit_is_not_taken(service, store, answer):
    """Another place, another file or another form: none of it is stored, and the download starts over."""
    service.script = [Answer(cut=7 * MB), answer, Answer()]
    store()
    assert service.ranges == [None, "bytes=7000000-", None]


def test_behind_a_link_the_download_goes_on_without_the_key(service, store):
    """It asks the API for a new link each time, and the other host for the rest."""
    elsewhere = f"http://localhost:{service.server_port}/signed"
    link = Answer(link=elsewhere)
    service.script = [link, Answer(cut=7 * MB), link, Answer()]
    store()
    assert [(each["path"], each["key"]) for each in service.asked] == [
        ("/v1/videos/task_1/content", True),
        ("/signed", False),
    ] * 2
    assert service.asked[3]["range"] == "bytes=7000000-"


def test_progress_is_no_failed_attempt(service, store):
    """A connection that breaks again and again is good enough, as long as it brings something each time."""
    service.script = [Answer(cut=MB + 100_000)]
    store()
    assert len(service.asked) > 2 * STORE_ATTEMPTS


def test_attempts_without_progress_come_to_an_end(service, store):
    """The first attempt got somewhere; as many as are allowed got no further."""
    service.script = [Answer(cut=7 * MB, ranges=False)]
    with pytest.raises(exceptions.VeoConnectionError):
        store()
    assert len(service.asked) == 1 + STORE_ATTEMPTS


def test_trouble_between_two_connections_forgets_nothing(service, store):
    """An answer without a video in it says nothing about the bytes that have come."""
    trouble = Answer(status=503, cut=0, headers={"Content-Length": "0"})
    service.script = [Answer(cut=7 * MB), trouble, Answer()]
    store()
    assert service.ranges == [None, "bytes=7000000-", "bytes=7000000-"]


@pytest.mark.parametrize("then", ["silence", "trickle"])
def test_a_stalled_download_is_left_and_gone_on_with(service, store, then):
    """Nothing at all, or a byte now and then: neither is a download that goes on."""
    service.script = [Answer(cut=7 * MB, then=then), Answer()]
    if then == "trickle":
        # What trickles in is the movie, too, where it stands.
        service.movie = service.movie[: 7 * MB] + bytes(1000) + service.movie[7 * MB + 1000 :]
    store(timeout=3.0)
    assert len(service.asked) == 2
    assert int(service.ranges[1][6:-1]) in range(7 * MB, 7 * MB + 1000)


class SlowTime:
    """A time in which each look at it takes most of a timeout."""

    now = 0.0

    def monotonic(self):
        self.now += 0.9 * PATIENCE
        return self.now


def test_a_slow_but_steady_download_is_left_in_peace(service, store, monkeypatch):
    """It takes many times the timeout and is never broken off."""
    service.script = [Answer(piece=400_000)]
    monkeypatch.setattr("veo_provider.api.client.time", SlowTime())
    monkeypatch.setattr("veo_provider.api.config.MIN_BYTES_PER_TIMEOUT", 1)
    store()
    assert service.ranges == [None]


def test_an_upload_that_is_taken_back_meanwhile_starts_over(service, store, s3):
    """Another task's cleanup costs this one its parts, and nothing else."""
    taken = []

    def take_back(**_):
        if not taken:
            for upload in s3.list_multipart_uploads(Bucket="videos", Prefix=KEY)["Uploads"]:
                taken.append(upload["UploadId"])
                s3.abort_multipart_upload(Bucket="videos", Key=KEY, UploadId=upload["UploadId"])

    s3.meta.events.register("after-call.s3.UploadPart", take_back)
    try:
        store()
    finally:
        s3.meta.events.unregister("after-call.s3.UploadPart", take_back)
    assert taken
    assert service.ranges == [None, None]
