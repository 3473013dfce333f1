"""Where an image comes from, and that it is this one and no other."""

import hashlib
import inspect
import threading
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from veo_provider.api.body import encode
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError
from veo_provider.media.image_source import open_image

NAMES = [
    "what?.jpg",
    "what?#1.jpg",
    "line\nbreak.jpg",
    "tab\there.jpg",
    "100%25 %2F.jpg",
    "größe-日本-🚀.jpg",
    "a+b&c=d;e.jpg",
    "s3:colon.jpg",
]


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("name", NAMES)
def test_a_local_file_may_have_any_name(tmp_path, name, scheme):
    """It is read under this very name, also where a URI of the same characters names another file."""
    for other in ("what#1.jpg", "linebreak.jpg", "tabhere.jpg", "100% %2F.jpg"):
        (tmp_path / other).write_bytes(b"\xff\xd8\xff another one")
    (tmp_path / name).write_bytes(b"\xff\xd8\xff this one")
    image = open_image(f"{scheme}{tmp_path}/{name}", None)
    assert b"".join(image.chunks(99)) == b"\xff\xd8\xff this one"
    assert image.name == name


@pytest.mark.parametrize("name", ["what?#1.jpg", "line\nbreak.jpg"])
def test_a_uri_that_names_another_file_is_refused(name):
    """The wrong image would cost as much as the right one."""
    with pytest.raises(VeoImageError, match="as a URI it names the file"):
        open_image(f"memory://folder/{name}", None)


@pytest.mark.parametrize("path", ["", "nowhere.jpg", "a file/below.jpg", "\0.jpg"], ids=repr)
def test_what_is_no_file_is_refused(tmp_path, path):
    """A folder, a file that is missing, and what no file can be called are no matter of time."""
    (tmp_path / "a file").write_bytes(b"x")
    with pytest.raises(VeoImageError, match="cannot be read"):
        open_image(f"{tmp_path}/{path}", None)


class Pages(ThreadingHTTPServer):
    """Serves one file, and does not say how long it is."""

    daemon_threads = True
    data = b""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Page)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Page(BaseHTTPRequestHandler):
    """One call."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        data = self.server.data
        for start in range(0, len(data), 5000):
            piece = data[start : start + 5000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture(scope="module")
def pages():
    """A web server, which Airflow's object storage reads, as it does a file system in memory."""
    attach = inspect.getmodule(ObjectStoragePath).attach  # another place in each release of Airflow
    attach("http", fs=HTTPFileSystem(skip_instance_cache=True))
    attach("memory", fs=MemoryFileSystem())
    server = Pages()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["path", "file", "memory", "http", "s3", "s3 buffered"])
def source(request, tmp_path, pages):
    """Where an image may be: returns its URI, how to write there, and how many bytes may be buffered."""
    uri, buffered = "", 0
    if request.param in ("path", "file"):
        uri = ("file://" if request.param == "file" else "") + str(tmp_path / "photo.jpg")

        def write(data):
            (tmp_path / "photo.jpg").write_bytes(data)
    elif request.param == "memory":
        uri = "memory://folder/photo.jpg"

        def write(data):
            ObjectStoragePath(uri).parent.mkdir(parents=True, exist_ok=True)
            ObjectStoragePath(uri).write_bytes(data)
    elif request.param == "http":
        uri = f"http://127.0.0.1:{pages.server_port}/photo.jpg"

        def write(data):
            pages.data = data
    else:
        request.getfixturevalue("connections")
        s3 = request.getfixturevalue("s3")
        uri, buffered = "s3://images/changing/photo.jpg", 10**6 if request.param == "s3 buffered" else 0

        def write(data):
            s3.put_object(Bucket="images", Key="changing/photo.jpg", Body=data)

    return uri, write, buffered


JPEG = b"\xff\xd8\xff" + bytes(range(1, 256)) * 500 + b"\xff\xd9"


@pytest.mark.parametrize("then", [JPEG[:-9] + b"otherwise", JPEG + b"more", JPEG[:-9]], ids=len)
def test_what_was_hashed_is_sent_or_nothing_is(source, then):
    """Wherever an image is, and whatever becomes of it meanwhile, no other one is sent to its end."""
    uri, write, buffered = source
    write(JPEG)
    image = open_image(uri, "aws_default", max_buffered_bytes=buffered).hashed()
    assert image.sha256 == hashlib.sha256(JPEG).hexdigest()
    write(then)
    body, sent = encode(VeoRequest(prompt="A harbour", image=image)), b""
    with closing(body), suppress(VeoImageUnavailableError):
        sent = b"".join(body)
    assert body.complete == (JPEG in sent)


def test_a_file_of_unknown_length_is_read_no_further_than_is_taken(pages):
    """A web server that does not say how long it is cannot fill the memory."""
    pages.data = JPEG + bytes(30_000_000)
    with pytest.raises(VeoImageError, match="at most 20 MB"):
        open_image(f"http://127.0.0.1:{pages.server_port}/photo.jpg", None)
