"""What a response to a download is."""

import pytest
from support.responses import gateway_shape, openai_shape, response_with

from veo_provider import exceptions
from veo_provider.api.parsing.download import parse_content

CONTENT = [
    (400, gateway_shape("Task is not completed yet", "invalid_request"), exceptions.VeoContentNotReadyError),
    (400, gateway_shape("task_not_exist", "task_not_exist"), exceptions.VeoTaskNotFoundError),
    (404, gateway_shape("gone", "not_found"), exceptions.VeoContentGoneError),
    (410, openai_shape("deleted"), exceptions.VeoContentGoneError),
    (404, openai_shape("filtered by the safety filter"), exceptions.VeoContentFilteredError),
    (400, openai_shape("PUBLIC_ERROR_UNSAFE"), exceptions.VeoContentFilteredError),
    (404, openai_shape("Invalid URL (GET /v1/videos/x/content)"), exceptions.VeoContentServerError),
    (404, b"<html>nginx</html>", exceptions.VeoContentServerError),
    (409, b"", exceptions.VeoContentNotReadyError),
    (425, b"", exceptions.VeoContentNotReadyError),
    (403, b"<html>firewall</html>", exceptions.VeoContentServerError),
    (401, b"<html>who?</html>", exceptions.VeoContentServerError),
    (422, openai_shape("x"), exceptions.VeoContentServerError),
    (451, openai_shape("x"), exceptions.VeoContentServerError),
    (302, b"", exceptions.VeoContentServerError),
    (101, b"", exceptions.VeoContentServerError),
    (429, openai_shape("slow down"), exceptions.VeoRateLimitError),
    (502, b"bad gateway", exceptions.VeoContentServerError),
    (401, openai_shape("Invalid token"), exceptions.VeoAuthenticationError),
    (200, b"<html>", exceptions.VeoUnexpectedAnswerError),
    (200, {"url": "file:///etc/passwd"}, exceptions.VeoUnexpectedAnswerError),
]


@pytest.mark.parametrize(("status", "body", "kind"), CONTENT)
def test_a_download_that_is_no_video_becomes_its_error(status, body, kind):
    """On a download, 400 means not yet and 404 means gone."""
    with pytest.raises(exceptions.VeoAPIError) as caught:
        parse_content(response_with(status, body, Content_Type="application/json"))
    assert type(caught.value) is kind
    assert "the generation itself has been charged" in str(caught.value)
    assert "correct the parameters" not in str(caught.value)


def test_a_filtered_video_is_spoken_of():
    """A 502 or 404 that stays may be the safety filter, and the error says so."""
    for status in (502, 404):
        with pytest.raises(exceptions.VeoAPIError, match="safety filter"):
            parse_content(response_with(status, b""))


def test_content_is_the_video_or_a_link():
    """A video is taken as it is; JSON with a url, or a redirect, leads on."""
    assert parse_content(response_with(200, b"", Content_Type="video/mp4")) is None
    for content_type in ("application/octet-stream; x=1", "application/mp4", ""):
        assert parse_content(response_with(206, b"", Content_Type=content_type)) is None
    link = response_with(200, {"url": "https://cdn.example/v.mp4"}, Content_Type="application/json")
    assert parse_content(link) == "https://cdn.example/v.mp4"
    redirect = response_with(302, b"", Location="/v.mp4")
    assert parse_content(redirect, "https://cdn.example/a/b") == "https://cdn.example/v.mp4"


def test_another_hosts_refusal_says_nothing_about_the_key():
    """An expired link is answered 403 by a storage host that never saw the key."""
    refused = response_with(403, b"<Error>expired</Error>")
    with pytest.raises(exceptions.VeoContentServerError):
        parse_content(refused, own_host=False)
    gone = response_with(404, openai_shape("No such object"))
    with pytest.raises(exceptions.VeoContentServerError):
        parse_content(gone, own_host=False)
    with pytest.raises(exceptions.VeoContentGoneError):
        parse_content(gone)
