"""Each row of the table of answers, over real sockets: through both clients, and in every phase."""

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
"""Seconds for an answer, and for one that never comes."""
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

rows = pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])


@pytest.fixture(scope="module")
def _server():
    running = RawServer()
    yield running
    running.close()


@pytest.fixture
def server(_server):
    _server.calls = 0
    return _server


def say(server, row):
    server.pieces, server.linked = row.pieces, row.linked


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


def patience(row):
    """Return seconds to wait for an answer."""
    return IMPATIENCE if Act.SILENCE in row.pieces else PATIENCE


@rows
def test_a_submission(server, new_client, monkeypatch, row):
    """What a submission makes of each answer: it is sent once, and both clients agree."""
    monkeypatch.setattr(config, "SUBMIT_TIMEOUT", patience(row))
    say(server, row)
    keeps = row.submit in (Submit.TAKEN, Submit.NAMED)
    happened = submitted(new_client("sk-key", server.url, timeout=patience(row)))
    assert happened == (row.submit, row.kept if keeps else None)
    assert server.calls == 1


@rows
def test_a_wait(server, new_client, row):
    """What a poll makes of each answer: both clients agree."""
    say(server, row)
    assert polled(new_client("sk-key", server.url, timeout=patience(row))) is row.poll


@rows
def test_a_download(server, row):
    """What a download makes of each answer: no half is stored, and nobody says that nothing was charged."""
    say(server, row)
    with VeoClient("sk-key", server.url, timeout=patience(row)) as client:
        happened, words = downloaded(client)
    assert happened is row.content
    assert "othing was charged" not in words


@rows
def test_a_balance(server, row):
    """A balance is shown, or an error of ours says why not."""
    say(server, row)
    with VeoClient("sk-key", server.url, account_token="token", timeout=patience(row)) as client:
        if row.balance is not None:
            assert client.balance() == row.balance
            return
        with pytest.raises(exceptions.VeoError):
            client.balance()
