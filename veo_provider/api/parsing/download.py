"""What a response to a download is: the video, the rest of it, a link to it, or an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from veo_provider import exceptions
from veo_provider.api.http.json_path import dig
from veo_provider.api.http.urls import resolve_link
from veo_provider.api.parsing.error_mapping import CONTENT_MONEY, content_error

if TYPE_CHECKING:
    from veo_provider.api.http.response import Response

_REDIRECT_STATUSES = range(300, 400)
_RANGE_STATUSES = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_LENGTH = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_STRONG_ETAG = re.compile(r'"[!#-~\x80-\xff]*"')
"""RFC 9110 8.8.3; a weak one begins with ``W/``."""
_NO_VIDEO_TYPES = ("application/json", "text/")
"""Anything else may be the video; parsing its boxes shows whether it is."""


@dataclass(frozen=True)
class ResumePoint:
    """A position in a video file on the server, where a download starts or resumes.

    :param start: bytes of the file before the position.
    :param total: bytes of the whole file; None if the server did not say.
    :param validator: the file's strong ETag, which changes with every byte of it; empty if the server sent
        none. A weak ETag or a date may be the same for another file (RFC 9110 8.8.1), so neither is used.
    """

    start: int = 0
    total: int | None = None
    validator: str = ""

    @property
    def resumable(self) -> bool:
        """Whether a download can resume here: not at the start, and in a file that can be recognised."""
        return self.start > 0 and bool(self.validator)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that request the rest of the very same file; none if it could not be recognised.

        RFC 9110 13.1.5: If-Range makes the server send the whole file if it has changed.
        """
        if not self.resumable:
            return {}
        return {"Range": f"bytes={self.start}-", "If-Range": self.validator}


START = ResumePoint()
"""Where the first download of a video starts."""


def parse_content(
    response: Response,
    requested_url: str = "",
    *,
    own_host: bool = True,
    wanted: ResumePoint = START,
    link_keys: tuple[str | int, ...] = (),
) -> str | None:
    """Return None if the response is the video itself, or the URL where the video is.

    :param response: with its body only if it is not the video, see :func:`is_video`.
    :param requested_url: a link may be relative to it.
    :param own_host: whether that is the API's host; the refusal of another one says nothing about the key or
        the video.
    :param wanted: the requested position in the file.
    :param link_keys: where the gateway's JSON has the link, besides ``url``.
    :raises VeoIncompleteVideoError: the server does not resume there, so the download must start over.
    :raises VeoAPIError: the response is neither. The error says that downloading costs nothing, and that the
        generation has been charged.
    """
    if wanted.resumable and response.status in _RANGE_STATUSES and not _resumes(response, wanted):
        raise exceptions.VeoIncompleteVideoError(
            f"The server does not resume the video at byte {wanted.start}: it answered {response.status} "
            f"with the range {response.headers.get('content-range', '')[:100]!r}."
        )
    if is_video(response):
        return None
    if response.status in _REDIRECT_STATUSES and "location" in response.headers:
        return _download_url(response, requested_url, response.headers["location"])
    if response.ok:
        data = response.json()
        url = dig(data, ("url",)) or dig(data, link_keys)
        if not isinstance(url, str):
            raise _unexpected(response, "it is neither a video nor a link to one")
        return _download_url(response, requested_url, url)
    raise content_error(response, own_host=own_host)


def too_many_links(veo_task_id: str, max_links: int) -> exceptions.VeoUnexpectedAnswerError:
    """Return the error for links that never lead to a video."""
    error = exceptions.VeoUnexpectedAnswerError(
        f"More than {max_links} links lead to the video {veo_task_id}."
    )
    error.money = CONTENT_MONEY
    return error


def inner_link(veo_task_id: str, status: int) -> exceptions.VeoUnexpectedAnswerError:
    """Return the error for a link into the network of the worker; it does not repeat the address."""
    error = exceptions.VeoUnexpectedAnswerError(
        f"The video {veo_task_id} is said to be at an address that only this network reaches, such as a "
        "loopback, private or link-local one; a gateway outside of it must not lead there.",
        status=status,
    )
    error.money = CONTENT_MONEY
    return error


def is_video(response: Response) -> bool:
    """Whether the response's body is the video itself."""
    return response.ok and not response.content_type.startswith(_NO_VIDEO_TYPES)


def video_position(response: Response, wanted: ResumePoint = START) -> ResumePoint:
    """Return the position in the file at which the response starts, and what it says about the file.

    :param wanted: the requested position; a server may send the file from its first byte nevertheless.
    """
    length = "" if _is_compressed(response) else response.headers.get("content-length", "")
    whole = ResumePoint(0, int(length) if _LENGTH.fullmatch(length) else None, _validator(response))
    return (_partial_position(response) or whole) if wanted.resumable else whole


def _resumes(response: Response, wanted: ResumePoint) -> bool:
    """Whether a response carries the requested rest of the very same file (RFC 9110 14.2, 15.3.7)."""
    found = _partial_position(response)
    return (
        found is not None
        and found.start == wanted.start
        and wanted.total in (None, found.total)
        and found.validator == wanted.validator
    )


def _partial_position(response: Response) -> ResumePoint | None:
    """Return the position at which a 206 response starts; None if it is not a valid one."""
    span = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status != HTTPStatus.PARTIAL_CONTENT or not span or _is_compressed(response):
        return None
    start, last, total = (int(number) for number in span.groups())
    return ResumePoint(start, total, _validator(response)) if start <= last == total - 1 else None


def _is_compressed(response: Response) -> bool:
    """Whether the body is compressed, so its length is not the file's."""
    return response.headers.get("content-encoding", "identity") != "identity"


def _validator(response: Response) -> str:
    """Return the file's strong ETag, or ""; that of a compressed body belongs to other bytes."""
    tag = response.headers.get("etag", "").strip()
    return tag if _STRONG_ETAG.fullmatch(tag) and not _is_compressed(response) else ""


def _download_url(response: Response, requested_url: str, location: str) -> str:
    """Return the URL of a link that a download may follow."""
    url = resolve_link(requested_url, location)
    if url is None:
        raise _unexpected(response, "its link is not an http or https URL")
    return url


def _unexpected(response: Response, why: str) -> exceptions.VeoUnexpectedAnswerError:
    error = exceptions.VeoUnexpectedAnswerError(
        f"The response ({response.status}, {response.content_type or 'no content type'}) is not the API's: "
        f"{why}; it begins with {response.snippet()!r}.",
        status=response.status,
    )
    error.money = CONTENT_MONEY
    return error
