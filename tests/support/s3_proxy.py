"""Stands between boto3 and the real S3, and does to single calls what networks, stores and policies do."""

import socket
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOT_PASSED_ON = ("connection", "expect", "transfer-encoding", "content-length", "host", "authorization")
LOST = "lost"
"""What a script returns to let a call reach the store, and its answer get lost."""


@dataclass
class Call:
    """One call, as it arrived.

    :param key: the path without the bucket, as it was sent.
    """

    method: str
    bucket: str
    key: str
    query: dict[str, list[str]]
    headers: dict[str, str]

    @property
    def access_key(self):
        """Whose credentials signed it."""
        return self.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


def refusal(status, code, message="So the test has it.", of=None):
    """Return what a script returns to let the store refuse a call.

    :param of: what STS wraps it in.
    """
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, (f"<{of}>{error}</{of}>" if of else error).encode()


class Proxy(ThreadingHTTPServer):
    """Passes calls on, signed anew, so that whoever calls may have any credentials.

    :param sandbox: whose S3 it stands before.
    :param script: called with each call; None passes it on, :data:`LOST` too, but drops the answer and the
        connection; a status and a body are the answer.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, sandbox, script=lambda _: None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = urlsplit(sandbox.s3)
        self.signer = S3SigV4Auth(
            Credentials(sandbox.aws_access_key_id, sandbox.aws_secret_access_key), "s3", "us-east-1"
        )
        self.script = script
        self.calls = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_):
        """Say nothing: a client that was left alone closes its connection."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        _, bucket, key = (*parts.path.split("/", 2), "")[:3]
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = parse_qs(parts.query, keep_blank_values=True)
        call = Call(self.command, bucket, key, query, headers)
        self.server.calls.append(call)
        told = self.server.script(call)
        if told not in (None, LOST):
            self.send(*told)
            return
        status, found, content = self.pass_on(headers, body)
        if told == LOST:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.send(status, content, found)

    def pass_on(self, headers, body):
        headers = {
            name: value
            for name, value in headers.items()
            if name not in NOT_PASSED_ON and name != "x-amz-security-token"
        }
        store = self.server.store
        request = AWSRequest(self.command, f"http://{store.netloc}{self.path}", headers, body)
        request.context["payload_signing_enabled"] = True
        self.server.signer.add_auth(request)
        with closing(HTTPConnection(store.hostname, store.port)) as connection:
            connection.request(self.command, self.path, body, dict(request.headers.items()))
            found = connection.getresponse()
            return found.status, found.getheaders(), found.read()

    def send(self, status, body, headers=()):
        self.send_response(status)
        length = len(body)
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length if headers or self.command != "HEAD" else 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def running(proxy):
    """Serve until the end of the block."""
    with proxy:
        Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        yield proxy
        proxy.shutdown()
