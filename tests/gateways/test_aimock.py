"""A fake that others wrote, @copilotkit/aimock, in place of the sandbox: its OpenAI and its OpenRouter."""

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider.exceptions import VeoError
from veo_provider.hooks.veo import VeoHook

AIMOCK = Path(__file__).parent / "programs" / "aimock.mjs"
KEY = "sk-of-the-fake"


class Files(ThreadingHTTPServer):
    """Serves one video on another host than the API, and keeps each call's headers."""

    def __init__(self, video):
        super().__init__(("localhost", 0), _Answer)
        self.video, self.calls = video, []


class _Answer(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.calls.append(dict(self.headers))
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(self.server.video)))
        self.end_headers()
        self.wfile.write(self.server.video)


@pytest.fixture
def video(upstream, photo):
    """The bytes of a real video, made by the sandbox."""
    headers = {"Authorization": f"Bearer {upstream.api_key}"}
    asked = {"model": "veo-3.1-fast-generate-001", "prompt": "Up", "seconds": "4", "size": "1280x720"}
    with photo.open("rb") as image:
        image_file = {"input_reference": (photo.name, image, "image/jpeg")}
        url = f"{upstream.api}/videos"
        made = requests.post(url, headers=headers, data=asked, files=image_file, timeout=60).json()
    while requests.get(f"{url}/{made['id']}", headers=headers, timeout=60).json()["status"] != "completed":
        pass
    return requests.get(f"{url}/{made['id']}/content", headers=headers, timeout=60).content


@pytest.fixture
def files(video):
    """The other host."""
    with Files(video) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def aimock(video, files, tmp_path, connections):
    """The base URL of the fake, which makes that video of everything."""
    (tmp_path / "video.mp4").write_bytes(video)
    link = f"http://localhost:{files.server_port}/video.mp4"
    command = [shutil.which("node"), AIMOCK, tmp_path / "video.mp4", link]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture
def connect(aimock, monkeypatch, s3):
    """Makes the default connection one to the fake."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="videos", Prefix="relayed/"):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket="videos", Key=found["Key"])

    def connect(gateway, path):
        extra = {"gateway": gateway, "models": {"veo": {"usd_per_second": 0.10}}}
        conn = {"conn_type": "veo", "host": f"{aimock}/{path}", "password": KEY, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", json.dumps(conn))

    return connect


def test_openai_with_a_link_in_the_status(connect, make_one, receipt, files):
    """Its OpenAI has no content, but a link to another host, which gets no key."""
    connect({"like": "openai", "content_url": ["url"], "look_up": "none"}, "v1")
    make_one()
    assert (receipt().state.value, receipt().veo_task_id) == ("stored", "video_of_aimock")
    assert files.calls
    assert not [call for call in files.calls if "authorization" in {name.lower() for name in call}]


def test_openrouter_with_its_cost(connect, make_one, receipt, files):
    """The video comes from the API itself, and the receipt has the cost that the status tells."""
    connect("openrouter", "api/v1")
    make_one()
    found = receipt()
    assert (found.state.value, found.gateway, found.told_usd) == ("stored", "openrouter", 0.4)
    assert not files.calls


def test_openrouters_failure_is_a_text(connect, make_one, receipt):
    """Its reason arrives; whether it was charged, nobody says."""
    connect("openrouter", "api/v1")
    with pytest.raises((AirflowFailException, VeoError), match="It went wrong"):
        make_one(prompt="The rocket breaks")
    assert receipt().state.value == "lost"


def test_its_connection_test(connect):
    """A video that does not exist is answered with 404 and its own words, which shows that it is the API."""
    connect({"like": "openai", "look_up": "none"}, "v1")
    good, says = VeoHook().test_connection()
    assert good, says
