"""Each row of the tables of responses, over real sockets: through both clients, and in every phase."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from support.answers import ROWS
from support.answers.row import TASK, Content, Poll, Submit
from support.raw_server import Act, RawServer

from veo_provider import exceptions
from veo_provider.api import config
from veo_provider.api.client import VeoClient
from veo_provider.api.request import VeoRequest
from veo_provider.api.video import VideoStatus
from veo_provider.generation.storage import VideoInspector

REQUEST = VeoRequest(prompt="Up", seconds="4")
PATIENCE, IMPATIENCE = 30.0, 3.0
"""Seconds that a client waits for a response, and for one that never ends."""
REFUSALS = {
    exceptions.VeoBadRequestError: Submit.REFUSED,
    exceptions.VeoModelRetiredError: Submit.ENDED,
    exceptions.VeoWrongHostError: Submit.HOST,
    exceptions.VeoAuthenticationError: Submit.KEY,
    exceptions.VeoQuotaError: Submit.EMPTY,
    exceptions.VeoModerationError: Submit.MODERATED,
    exceptions.VeoRateLimitError: Submit.LATER,
    exceptions.VeoNoChannelError: Submit.LATER,
}
ENDS_OF_WAITS = {exceptions.VeoAuthenticationError: Poll.KEY, exceptions.VeoTaskNotFoundError: Poll.NO_TASK}
ENDS_OF_DOWNLOADS = {
    exceptions.VeoAuthenticationError: Content.KEY,
    exceptions.VeoTaskNotFoundError: Content.NO_TASK,
    exceptions.VeoContentGoneError: Content.LOST,
    exceptions.VeoContentFilteredError: Content.HELD,
}

SILENT_ROWS = [row for row in ROWS if Act.SILENCE in row.pieces]
"""Rows that end by the client's timeout: those are checked at the same time, each on its own server."""

rows = pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name) for row in ROWS if row not in SILENT_ROWS]
)


@pytest.fixture(scope="module")
def _server():
    running = RawServer()
    yield running
    running.close()


@pytest.fixture
def server(_server):
    _server.calls = 0
    return _server


def respond_with(server, row):
    server.pieces, server.linked = row.pieces, row.linked


def check_silent_rows(check):
    """Check these rows at the same time: a client that waits needs no processor."""

    def check_row(row):
        with closing(RawServer()) as server:
            check(server, row, IMPATIENCE)

    with ThreadPoolExecutor(len(SILENT_ROWS)) as pool:
        list(pool.map(check_row, SILENT_ROWS))


def submitted(client):
    """Return what happens to a submission, and the id that is kept."""
    try:
        return Submit.TAKEN, client.submit(REQUEST).id
    except exceptions.VeoSubmissionUnknown as error:
        return (Submit.NAMED if error.veo_task_id else Submit.UNKNOWN), error.veo_task_id
    except exceptions.VeoAPIError as error:
        return REFUSALS[type(error)], None


def polled(client):
    """Return what happens to a wait."""
    try:
        video = client.get(TASK)
    except exceptions.VeoError as error:
        return Poll.AGAIN if error.retryable else ENDS_OF_WAITS[type(error)]
    if video.status is VideoStatus.COMPLETED:
        return Poll.DOUBTED if video.completed_with_error else Poll.COMPLETED
    if video.status is VideoStatus.FAILED:
        failed = Poll.MODERATED if video.moderated else Poll.FAILED
        return failed if video.resubmittable else Poll.OPEN
    return Poll.WAITS


def downloaded(client):
    """Return what happens to a download, its bytes looked at before they are stored; and what is said."""
    inspector = VideoInspector()
    try:
        with client.download(TASK) as download:
            for chunk in download:
                inspector.feed(chunk)
            inspector.finish("s3://videos/v.mp4", TASK, download.length)
    except exceptions.VeoIncompleteVideoError as error:
        return Content.CUT, str(error)
    except exceptions.VeoError as error:
        return (Content.AGAIN if error.retryable else ENDS_OF_DOWNLOADS[type(error)]), str(error)
    return Content.STORED, ""


def check_submission(server, new_client, row, timeout=PATIENCE):
    """What a submission makes of a response: it is sent once."""
    respond_with(server, row)
    keeps = row.submit in (Submit.TAKEN, Submit.NAMED)
    happened = submitted(new_client("sk-key", server.url, timeout=timeout))
    assert happened == (row.submit, row.kept if keeps else None)
    assert server.calls == 1


def check_poll(server, new_client, row, timeout=PATIENCE):
    """What a poll makes of a response."""
    respond_with(server, row)
    assert polled(new_client("sk-key", server.url, timeout=timeout)) is row.poll


def check_download(server, row, timeout=PATIENCE):
    """What a download makes of a response: no half is stored, and no error says that nothing was charged."""
    respond_with(server, row)
    with VeoClient("sk-key", server.url, timeout=timeout) as client:
        happened, words = downloaded(client)
    assert happened is row.content
    assert "othing was charged" not in words


def check_balance(server, row, timeout=PATIENCE):
    """A balance is shown, or one of our errors says why not."""
    respond_with(server, row)
    with VeoClient("sk-key", server.url, account_token="token", timeout=timeout) as client:
        if row.balance is not None:
            assert client.balance() == row.balance
            return
        with pytest.raises(exceptions.VeoError):
            client.balance()


@rows
def test_a_submission(server, new_client, monkeypatch, row):
    """Each response leads to the expected result of a submission, with both clients."""
    monkeypatch.setattr(config, "SUBMIT_TIMEOUT", PATIENCE)
    check_submission(server, new_client, row)


def test_a_submission_whose_response_does_not_end(new_client, monkeypatch):
    """The same, for responses that fall silent."""
    monkeypatch.setattr(config, "SUBMIT_TIMEOUT", IMPATIENCE)
    check_silent_rows(lambda server, row, timeout: check_submission(server, new_client, row, timeout))


@rows
def test_a_poll(server, new_client, row):
    """Each response leads to the expected result of a poll, with both clients."""
    check_poll(server, new_client, row)


def test_a_poll_whose_response_does_not_end(new_client):
    """The same, for responses that fall silent."""
    check_silent_rows(lambda server, row, timeout: check_poll(server, new_client, row, timeout))


@rows
def test_a_download(server, row):
    """Each response leads to the expected result of a download."""
    check_download(server, row)


def test_a_download_whose_response_does_not_end():
    """The same, for responses that fall silent."""
    check_silent_rows(check_download)


@rows
def test_a_balance(server, row):
    """Each response leads to a balance or an error."""
    check_balance(server, row)


def test_a_balance_whose_response_does_not_end():
    """The same, for responses that fall silent."""
    check_silent_rows(check_balance)
