"""Downloads through the blocking client, with what may go wrong on the way."""

import pytest
from moments import holding

from veo_provider.api import errors
from veo_provider.api.mp4 import Mp4Walker


def fetch(client, veo_task_id):
    walker = Mp4Walker()
    with client.download(veo_task_id) as download:
        for chunk in download:
            walker.feed(chunk)
        return walker.finish(download.length)


def test_a_video_is_whole_and_as_asked(client, completed):
    """The video that comes back has the length and size that were asked for, and sound."""
    info = fetch(client, completed)
    assert (info.duration_seconds, info.width, info.height, info.has_audio) == (4.0, 1280, 720, True)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 400}, errors.VeoContentNotReadyError),
        ({"gone": True}, errors.VeoContentGoneError),
        ({"status": 502}, errors.VeoContentServerError),
        ({"reset": "before"}, errors.VeoConnectionError),
        ({"garbage": True}, errors.VeoUnexpectedAnswerError),
        ({"garbage": "mp4"}, errors.VeoIncompleteVideoError),
        ({"truncate": 0.5}, errors.VeoConnectionError),
        ({"truncate": 20_000, "reset": "before"}, errors.VeoConnectionError),
    ],
)
def test_what_is_no_whole_video_becomes_an_error(client, sandbox, completed, fault, kind):
    """Not yet, gone, cut, reset or something else altogether: each is told for what it is."""
    sandbox.add_faults([{"call": "content", **fault}])
    with pytest.raises(kind):
        fetch(client, completed)


def test_before_completion_there_is_no_video(client, sandbox, request_4s):
    """A download too early answers 400, which means not yet."""
    sandbox.set_latency(600)
    video = client.submit(request_4s)
    with pytest.raises(errors.VeoContentNotReadyError):
        fetch(client, video.id)


@pytest.mark.parametrize("status", [502, 404])
def test_a_filtered_video_is_named_as_such(client, sandbox, request_4s, status):
    """A completed video that has no file points to the safety filter."""
    sandbox.add_faults([{"call": "submit", "filtered": status}])
    video = client.submit(request_4s)
    while not client.get(video.id).finished:
        pass
    with pytest.raises(errors.VeoAPIError, match="safety filter"):
        fetch(client, video.id)


def test_a_link_is_followed_without_the_key(client, sandbox, completed):
    """JSON with a URL leads to another host, which refuses anybody who shows a key."""
    sandbox.add_faults([{"call": "content", "json_url": True}])
    assert fetch(client, completed).width == 1280


def test_a_redirect_is_followed_without_the_key(client, sandbox, completed):
    """The same goes for a redirect to another host."""
    sandbox.add_faults([{"call": "content", "json_url": True}])
    with client._open(f"{sandbox.api}/videos/{completed}/content", client._auth_for(sandbox.api)) as response:
        link = response.json()["url"]
    sandbox.clear_faults()
    sandbox.add_faults([{"call": "content", "status": 302, "headers": {"Location": link}}])
    assert fetch(client, completed).width == 1280


def test_a_slow_stream_is_patient_but_a_stalled_one_is_not(sandbox, completed):
    """The timeout is one of progress: a drip goes on, silence ends it."""
    from veo_provider.api.client import VeoClient

    sandbox.add_faults([{"call": "content", "drip": 100_000}])
    with VeoClient(sandbox.api_key, sandbox.api, timeout=3.0) as client, holding() as silence:
        assert fetch(client, completed).width == 1280
        sandbox.clear_faults()
        sandbox.add_faults([{"call": "content", "status": 302, "headers": {"Location": silence.url}}])
        with pytest.raises(errors.VeoConnectionError):
            fetch(client, completed)
