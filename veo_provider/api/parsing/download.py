"""An answer to a download: the video, a link to it, or an error; and where in the file it goes on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from veo_provider import exceptions
from veo_provider.api.http.address import linked
from veo_provider.api.parsing.error_mapping import CONTENT_MONEY, content_error

if TYPE_CHECKING:
    from veo_provider.api.http.response import Response

_HTTP_REDIRECT = range(300, 400)
_ABOUT_RANGES = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_LENGTH = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_STRONG_ETAG = re.compile(r'"[!#-~\x80-\xff]*"')
"""RFC 9110 8.8.3; a weak one begins with ``W/``."""
_NO_VIDEO_TYPES = ("application/json", "text/")
"""Anything else may be the video: the walk over its boxes tells."""


@dataclass(frozen=True)
class ResumePoint:
    """A place in a video file on the server, where a download begins or goes on.

    :param start: bytes of the file that stand before it.
    :param total: bytes of the whole file; None where the server did not say.
    :param validator: the file's strong ETag, which changes with every byte of it; empty where the server gave
        none. A weak ETag or a date may stay the same for another file (RFC 9110 8.8.1): neither counts.
    """

    start: int = 0
    total: int | None = None
    validator: str = ""

    @property
    def inside(self) -> bool:
        """Whether a download may go on there: inside of a file that would be known again."""
        return self.start > 0 and bool(self.validator)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that ask for the very same file from there on; none where it would not be known.

        RFC 9110 13.1.5: If-Range makes the server send the whole file where it has changed.
        """
        if not self.inside:
            return {}
        return {"Range": f"bytes={self.start}-", "If-Range": self.validator}


START = ResumePoint()
"""Where the first download of a video starts."""


def read_content(
    answer: Response, asked: str = "", *, own_host: bool = True, wanted: ResumePoint = START
) -> str | None:
    """Judge an answer to a download by its head: None for the video itself, or the URL where it is.

    :param answer: with its body only where :func:`is_video` says that it is none.
    :param asked: the URL that was asked for, which a link may be relative to.
    :param own_host: whether that is the API's; on another, a refusal says nothing about the key or the video.
    :param wanted: the place in the file that was asked for.
    :raises VeoIncompleteVideoError: the server does not go on there, so that a download must start over.
    :raises VeoAPIError: there is no video in this answer. What it says about the money is that downloading
        costs nothing, and that the generation has been charged.
    """
    if wanted.inside and answer.status in _ABOUT_RANGES and not _goes_on(answer, wanted):
        raise exceptions.VeoIncompleteVideoError(
            f"The server does not go on with the video at byte {wanted.start}: it answered {answer.status} "
            f"with the range {answer.headers.get('content-range', '')[:100]!r}."
        )
    if is_video(answer):
        return None
    if answer.status in _HTTP_REDIRECT and "location" in answer.headers:
        return _download_url(answer, asked, answer.headers["location"])
    if answer.ok:
        data = answer.json()
        url = data.get("url") if isinstance(data, dict) else None
        if not isinstance(url, str):
            raise _unexpected(answer, "it is neither a video nor a link to one")
        return _download_url(answer, asked, url)
    raise content_error(answer, own_host=own_host)


def too_many_links(veo_task_id: str, most: int) -> exceptions.VeoUnexpectedAnswerError:
    """Return the error for a video that links lead in circles about."""
    error = exceptions.VeoUnexpectedAnswerError(
        f"The video {veo_task_id} lies behind more than {most} links."
    )
    error.money = CONTENT_MONEY
    return error


def is_video(answer: Response) -> bool:
    """Whether the answer's body is the video itself."""
    return answer.ok and not answer.content_type.startswith(_NO_VIDEO_TYPES)


def video_place(answer: Response, wanted: ResumePoint = START) -> ResumePoint:
    """Return where in the file the video in an answer starts, with what the answer says of the file.

    :param wanted: the place that was asked for; a server may give the file from its first byte all the same.
    """
    length = "" if _encoded(answer) else answer.headers.get("content-length", "")
    whole = ResumePoint(0, int(length) if _LENGTH.fullmatch(length) else None, _validator(answer))
    return (_partial_place(answer) or whole) if wanted.inside else whole


def _goes_on(answer: Response, wanted: ResumePoint) -> bool:
    """Whether an answer carries the wanted rest of the very same file (RFC 9110 14.2, 15.3.7)."""
    found = _partial_place(answer)
    return (
        found is not None
        and found.start == wanted.start
        and wanted.total in (None, found.total)
        and found.validator == wanted.validator
    )


def _partial_place(answer: Response) -> ResumePoint | None:
    """Return where in the file an answer with its rest starts; None if it is no such answer."""
    span = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if answer.status != HTTPStatus.PARTIAL_CONTENT or not span or _encoded(answer):
        return None
    start, last, total = (int(number) for number in span.groups())
    return ResumePoint(start, total, _validator(answer)) if start <= last == total - 1 else None


def _encoded(answer: Response) -> bool:
    """Whether the body is compressed, so that its length is not the file's."""
    return answer.headers.get("content-encoding", "identity") != "identity"


def _validator(answer: Response) -> str:
    """Return the file's strong ETag, or nothing; that of a compressed body is another one's."""
    tag = answer.headers.get("etag", "").strip()
    return tag if _STRONG_ETAG.fullmatch(tag) and not _encoded(answer) else ""


def _download_url(answer: Response, asked: str, location: str) -> str:
    """Return a link's URL, if it is one that a download may follow."""
    url = linked(asked, location)
    if url is None:
        raise _unexpected(answer, "its link is no http or https URL")
    return url


def _unexpected(answer: Response, why: str) -> exceptions.VeoUnexpectedAnswerError:
    error = exceptions.VeoUnexpectedAnswerError(
        f"The answer ({answer.status}, {answer.content_type or 'no content type'}) is not the API's: {why}; "
        f"it begins with {answer.snippet()!r}.",
        status=answer.status,
    )
    error.money = CONTENT_MONEY
    return error
