"""A store that can never take a video is found out before one is paid for."""

import json
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider.operators.veo import VeoImageToVideoOperator

pytestmark = pytest.mark.usefixtures("connections")

NOT_PASSED_ON = ("connection", "expect", "transfer-encoding", "content-length")


@pytest.fixture
def underscore_proxy(sandbox, monkeypatch):
    """Stands before S3 as nginx does by default: headers with underscores do not arrive."""
    aws = json.loads(sandbox.aws_conn())
    store = urlsplit(aws["extra"]["endpoint_url"])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if "_" not in name}
            with closing(HTTPConnection(store.hostname, store.port)) as connection:
                connection.request(self.command, self.path, body, headers)
                found = connection.getresponse()
                content = found.read()
            self.send_response(found.status)
            for name, value in found.getheaders():
                if name.lower() not in NOT_PASSED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        aws["extra"]["endpoint_url"] = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
        yield
        server.shutdown()


def test_a_proxy_that_drops_metadata_is_told_before_money_moves(sandbox, underscore_proxy):
    """The first receipt is tried with what a video carries, and the error names the headers."""
    make = VeoImageToVideoOperator(
        task_id="make",
        image="s3://images/rocket.jpg",
        prompt="p",
        seconds="4",
        output="s3://videos/proxied/clip.mp4",
        deferrable=False,
        poll_interval=0.1,
    )
    with pytest.raises(AirflowFailException, match="drops headers with underscores"):
        make.execute({})
    assert sandbox.tasks() == []
