"""Clients of other people drive the sandbox unchanged but for base URL and key."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from openai import BadRequestError, OpenAI
from support.moments import PATIENCE
from support.sandbox_api import MODEL, PHOTOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sandbox_api import Api

    from veo_provider.sandbox.process import Sandbox

NODE = """
const fs = require("node:fs");
const [url, key, photo, model] = process.argv.slice(1);
const headers = {Authorization: `Bearer ${key}`};
const answered = async (response) => {
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response;
};
(async () => {
  const form = new FormData();
  form.set("input_reference", new Blob([fs.readFileSync(photo)], {type: "image/jpeg"}), "rocket.jpg");
  form.set("model", model);
  form.set("prompt", "The rocket lifts off");
  form.set("seconds", "4");
  let video = await (await answered(await fetch(url, {method: "POST", headers, body: form}))).json();
  while (video.status !== "completed") {
    await new Promise((resolve) => setTimeout(resolve, 100));
    video = await (await answered(await fetch(`${url}/${video.id}`, {headers}))).json();
  }
  const content = await (await answered(await fetch(`${url}/${video.id}/content`, {headers}))).arrayBuffer();
  const type = Buffer.from(content, 4, 4).toString();
  console.log(JSON.stringify({id: video.id, size: content.byteLength, type}));
})();
"""


def run(*command: str) -> str:
    """What a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(api: Api) -> None:
    """Three commands: submit, poll, fetch."""
    curl = ("curl", "-sSf", "-H", f"Authorization: {api.headers['Authorization']}")
    fields = {"model": MODEL, "prompt": "The rocket lifts off", "seconds": "4"}
    form = [f"-F{name}={value}" for name, value in fields.items()]
    video = json.loads(run(*curl, api.url, f"-Finput_reference=@{PHOTOS / 'rocket.jpg'}", *form))
    api.ended(video["id"])
    assert json.loads(run(*curl, f"{api.url}/{video['id']}"))["status"] == "completed"
    size = run(*curl, "-o", "/dev/null", "-w", "%{size_download}", f"{api.url}/{video['id']}/content")
    assert int(size) > 100_000
    assert api.sandbox.charges()["count"] == 1


def test_requests(sandbox: Sandbox) -> None:
    """A session with a header, a file and three fields."""
    with requests.Session() as session, (PHOTOS / "rocket.jpg").open("rb") as photo:
        session.headers["Authorization"] = f"Bearer {sandbox.api_key}"
        video: dict[str, Any] = session.post(
            f"{sandbox.api}/videos",
            data={"model": MODEL, "prompt": "The rocket lifts off", "seconds": "4"},
            files={"input_reference": ("rocket.jpg", photo, "image/jpeg")},
            timeout=60,
        ).json()
        while video["status"] != "completed":
            time.sleep(0.1)
            video = session.get(f"{sandbox.api}/videos/{video['id']}", timeout=60).json()
        content = session.get(f"{sandbox.api}/videos/{video['id']}/content", timeout=60).content
    assert content[4:8] == b"ftyp"


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_fetch_of_node(api: Api) -> None:
    """FormData and fetch, as they come with Node."""
    photo = str(PHOTOS / "rocket.jpg")
    told = json.loads(run("node", "-e", NODE, api.url, api.sandbox.api_key, photo, MODEL))
    assert told["type"] == "ftyp"
    assert told["size"] > 100_000
    assert api.sandbox.charges()["tasks"][0]["task_id"] == told["id"]


@pytest.fixture
def openai(sandbox: Sandbox) -> Iterator[OpenAI]:
    """OpenAI's own client."""
    with OpenAI(base_url=sandbox.api, api_key=sandbox.api_key, max_retries=0) as client:
        yield client


# OpenAI announces the end of its own service at these methods; other gateways keep the calls.
@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_openai_videos(openai: OpenAI, sandbox: Sandbox) -> None:
    """Its ``videos``: create, retrieve, download."""
    with (PHOTOS / "rocket.jpg").open("rb") as photo:
        video = openai.videos.create(
            model=MODEL, prompt="The rocket lifts off", input_reference=photo, seconds="8", size="1280x720"
        )
    assert (video.status, video.seconds, video.size) == ("queued", "8", "1280x720")
    while video.status != "completed":
        time.sleep(0.1)
        video = openai.videos.retrieve(video.id)
    assert video.completed_at is not None
    assert openai.videos.download_content(video.id).read()[4:8] == b"ftyp"
    assert sandbox.charges()["count"] == 1


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_openai_create_and_poll(openai: OpenAI) -> None:
    """One call that waits by itself."""
    with (PHOTOS / "rocket.jpg").open("rb") as photo:
        video = openai.videos.create_and_poll(
            model=MODEL,
            prompt="The rocket lifts off",
            input_reference=photo,
            seconds="4",
            poll_interval_ms=100,
        )
    assert (video.status, video.progress) == ("completed", 100)


def test_openai_post(openai: OpenAI, sandbox: Sandbox) -> None:
    """Its bare ``post`` with files and fields that it has no names for."""
    answer = openai.post(
        "/videos",
        cast_to=object,
        body={"model": MODEL, "prompt": "x", "seconds": "4", "aspectRatio": "9:16"},
        files={"input_reference": ("rocket.jpg", (PHOTOS / "rocket.jpg").read_bytes(), "image/jpeg")},
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )
    assert isinstance(answer, dict)
    assert answer["size"] == "720x1280"
    assert sandbox.tasks()[0]["files"][0]["used"] is True


def test_openai_understands_a_refusal(openai: OpenAI) -> None:
    """Errors arrive as its own exceptions with the message of the service."""
    with pytest.raises(BadRequestError, match="prompt is required"):
        openai.post("/videos", cast_to=object, body={"model": MODEL})
