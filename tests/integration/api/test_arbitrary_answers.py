"""Arbitrary answers over real sockets: whatever comes, both clients make the same of it."""

import asyncio

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.answers.row import TASK, as_bytes, error, video
from support.raw_server import RawServer

from veo_provider import exceptions
from veo_provider.api import config
from veo_provider.api.async_client import AsyncVeoClient
from veo_provider.api.client import VeoClient
from veo_provider.api.request import VeoRequest

EXAMPLES = 60
TIMEOUT = 30.0
REQUEST = VeoRequest(prompt="Up", seconds="4")
AFTERWARDS = (
    exceptions.VeoAuthenticationError,
    exceptions.VeoTaskNotFoundError,
    exceptions.VeoContentGoneError,
)
"""Nothing else ends a wait or a download for good."""

WORDS = ["queued", "completed", "failed", "expired", "error", "odd", ""]
CODES = [None, "x", 500, "INTERNAL", "insufficient_quota", "task_not_exist", "model_not_found"]
MESSAGES = ["no", "PUBLIC_ERROR_UNSAFE", "Video not found", "Invalid URL (POST /v1/videos)", "é\n" + TASK]
objects = st.builds(video, status=st.sampled_from(WORDS)) | st.builds(
    error, st.sampled_from(MESSAGES), st.sampled_from(CODES)
)
bodies = st.binary(max_size=80) | objects.map(as_bytes) | st.lists(objects, max_size=2).map(as_bytes)
NAMES = [
    "Retry-After",
    "Content-Type",
    "ETag",
    "Content-Encoding",
    "Content-Range",
    "Location",
    "X-Odd",
    "Odd ",
]
NAMES += ["Content-Length", "Transfer-Encoding", "Connection", "Set-Cookie", ""]
VALUES = [
    "5",
    "-1",
    "video/mp4",
    "text/html",
    "gzip",
    "deflate",
    "br",
    '"x"',
    "chunked",
    "keep-alive",
    "identity",
]
VALUES += ["bytes 0-9/10", "http://[::1", "ü", "\x01"]
headers = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text("ab \t;,:=\x00é", max_size=6)),
    max_size=3,
)
statuses = st.integers(0, 999) | st.sampled_from(
    [100, 101, 103, 200, 202, 204, 206, 304, 400, 401, 404, 429, 500]
)


@pytest.fixture(scope="module")
def server():
    running = RawServer()
    yield running
    running.close()


def written(status, fields, body, *, with_length):
    """Return an answer as it goes over the socket."""
    lines = [f"HTTP/1.1 {status:03} Odd", *(f"{name}: {value}" for name, value in fields)]
    if with_length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def outcome(call):
    """Return what a client made of an answer, without the words in which a library tells of a broken line."""
    try:
        return call()
    except exceptions.VeoError as error:
        str(error).encode()  # each can be logged
        facts = (getattr(error, name, None) for name in ("veo_task_id", "status", "code", "retry_after"))
        return type(error), *facts, error.money, error.retryable


def in_triggerer(url, call):
    """Return what the triggerer's client made of an answer."""

    async def run():
        async with AsyncVeoClient("sk-key", url, timeout=TIMEOUT) as client:
            return await call(client)

    return outcome(lambda: asyncio.run(run()))


arbitrary = given(
    status=statuses, fields=headers, body=bodies, with_length=st.sampled_from([True, True, False])
)
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@bounded
@arbitrary
@example(status=0, fields=[], body=as_bytes(video()), with_length=False)
@example(status=103, fields=[], body=b"", with_length=True)
@example(status=204, fields=[], body=as_bytes(video()), with_length=True)
@example(status=200, fields=[("Transfer-Encoding", "chunked")], body=as_bytes(video()), with_length=True)
def test_both_clients_make_the_same_of_a_submission(server, status, fields, body, with_length):
    """What is refused, accepted or unknown does not depend on where the task runs; it is sent once."""
    server.pieces, server.calls = (written(status, fields, body, with_length=with_length),), 0
    timeout_before, config.SUBMIT_TIMEOUT = config.SUBMIT_TIMEOUT, TIMEOUT
    try:
        with VeoClient("sk-key", server.url, timeout=TIMEOUT) as client:
            in_worker = outcome(lambda: client.submit(REQUEST))
        assert in_worker == in_triggerer(server.url, lambda other: other.submit(REQUEST))
    finally:
        config.SUBMIT_TIMEOUT = timeout_before
    assert server.calls == 2


@bounded
@arbitrary
@example(status=0, fields=[], body=as_bytes(video()), with_length=False)
@example(status=304, fields=[], body=as_bytes(video()), with_length=True)
def test_both_clients_make_the_same_of_a_poll(server, status, fields, body, with_length):
    """A task waits as long, and ends as it does, in a worker and in the triggerer."""
    server.pieces = (written(status, fields, body, with_length=with_length),)
    with VeoClient("sk-key", server.url, timeout=TIMEOUT) as client:
        in_worker = outcome(lambda: client.get(TASK))
    assert in_worker == in_triggerer(server.url, lambda other: other.get(TASK))


def downloaded(client):
    """Return the bytes of a download, or the error of ours that ended it."""
    try:
        with client.download(TASK) as download:
            return b"".join(download)
    except exceptions.VeoError as error:
        return error


@bounded
@arbitrary
def test_a_download_brings_bytes_or_an_error_that_passes(server, status, fields, body, with_length):
    """But for a wrong key and a file that the API itself says is gone, it is tried again."""
    server.pieces = server.linked = (written(status, fields, body, with_length=with_length),)
    with VeoClient("sk-key", server.url, timeout=TIMEOUT) as client:
        result = downloaded(client)
    if isinstance(result, bytes):
        return
    assert "othing was charged" not in str(result)
    assert result.retryable or (isinstance(result, AFTERWARDS) and status not in range(200, 300))


@bounded
@arbitrary
def test_a_balance_is_a_number_or_an_error(server, status, fields, body, with_length):
    """Whatever comes, the question for the balance ends in one of the two."""
    server.pieces = (written(status, fields, body, with_length=with_length),)
    with VeoClient("sk-key", server.url, account_token="token", timeout=TIMEOUT) as client:
        result = outcome(client.balance)
    assert isinstance(result, float) or issubclass(result[0], exceptions.VeoError)
