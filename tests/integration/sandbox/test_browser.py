"""A page in a browser, from another origin, submits a picture that its user chose."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support.chromium import CHROMIUM, FLAGS
from support.sandbox_api import MODEL, PHOTOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sandbox_api import Api

PAGE = b"""<!doctype html>
<input type="file" id="picture">
<video id="player" muted></video>
<script>
async function film(url, key, model) {
  const headers = {Authorization: `Bearer ${key}`};
  const form = new FormData();
  form.set("input_reference", document.getElementById("picture").files[0]);
  form.set("model", model);
  form.set("prompt", "The cat looks up");
  form.set("seconds", "4");
  let video = await (await fetch(url, {method: "POST", headers, body: form})).json();
  while (video.status !== "completed") {
    await new Promise((resolve) => setTimeout(resolve, 100));
    video = await (await fetch(`${url}/${video.id}`, {headers})).json();
  }
  const response = await fetch(`${url}/${video.id}/content`, {headers});
  const blob = await response.blob();
  return {id: video.id, size: blob.size, type: blob.type, length: response.headers.get("Content-Length")};
}
</script>
"""


class Page(BaseHTTPRequestHandler):
    """Serves that page."""

    def do_GET(self) -> None:
        """Answer it, whatever the path."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def page_url() -> Iterator[str]:
    """The page on an origin of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_page_submits_polls_and_fetches(api: Api, page_url: str) -> None:
    """A file input, FormData and fetch with Authorization are all that a page needs."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(page_url)
        page.set_input_files("#picture", PHOTOS / "chelsea.png")
        told = page.evaluate(
            "([url, key, model]) => film(url, key, model)", [api.url, api.sandbox.api_key, MODEL]
        )
        browser.close()
    assert told["type"] == "video/mp4"
    assert int(told["length"]) == told["size"] > 100_000
    (record,) = api.sandbox.tasks()
    assert record["task_id"] == told["id"]
    assert record["files"][0]["content_type"] == "image/png"


def test_a_preflight_is_let_in(api: Api) -> None:
    """Any origin, the header that it asks for, and no key."""
    response = api.call(
        "OPTIONS",
        headers={
            "Authorization": "",
            "Origin": "https://example.org",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-extra",
        },
    )
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert response.headers["Access-Control-Allow-Headers"] == "authorization,x-extra"


def test_a_page_can_read_errors_too(api: Api) -> None:
    """Without these headers a page would only see that something went wrong."""
    response = api.form(headers={"Authorization": "", "Origin": "https://example.org"})
    assert response.status_code == 401
    assert response.headers["Access-Control-Allow-Origin"] == "*"
