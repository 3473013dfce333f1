"""The API's rules of conversation, without any I/O: an HTTP answer in, a video or the right error out.

Both clients are shells around this module, so a quirk of the service is known in one place.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from veo_provider import __version__
from veo_provider.api import errors
from veo_provider.api.video import Video, VideoStatus, speaks_of_moderation

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BASE_URL = "https://api.apiyi.com/v1"
USER_AGENT = f"airflow-provider-veo/{__version__}"
DEFAULT_TIMEOUT = 60.0
"""Seconds without a byte from the server before a call is given up."""
SUBMIT_TIMEOUT = 300.0
"""The same for a submission: giving up on one early leaves its fate unknown."""
MIN_BYTES_PER_TIMEOUT = 64 * 1024
"""A download that brings fewer within a timeout has stalled, though a byte comes now and then."""
CONNECT_TIMEOUT = 15.0
MAX_ANSWER_BYTES = 1024 * 1024
"""The API's JSON has some hundred bytes; a page of a stray proxy is read no further than this."""
MAX_RETRY_AFTER = 600.0
QUOTA_PER_USD = 500_000
"""The account's quota is counted in units of 1/500000 USD."""

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:~+=-]{0,1999}")
_TASK_NOT_FOUND = re.compile(r"task_not_exist|\b(task|video)\b.{0,250}\bnot (exist|found)|\bnot_found\b")
_EMPTY_ACCOUNT = re.compile(r"insufficient_user_quota|\bbalance\b")
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_TROUBLE = frozenset({408, 425, 499})
"""Answers below 500 that a proxy gives for trouble on the way, and that say nothing about the request."""
_UNTOUCHED = frozenset({307, 308, 404, 405})
"""Answers of a server that did not even look at a request, when they carry no error of the API."""
_REFUSED = (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
_NO_SUCH_ROUTE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
_UNDER_WAY = (VideoStatus.QUEUED, VideoStatus.IN_PROGRESS)
_HTTP_OK = range(200, 300)
_HTTP_REDIRECT = range(300, 400)
_ABOUT_RANGES = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_LENGTH = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_NO_VIDEO_TYPES = ("application/json", "text/")
"""Anything else may be the video: the walk over its boxes tells."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer to a JSON call.

    :param status: HTTP status.
    :param body: the body, up to :data:`MAX_ANSWER_BYTES`.
    :param headers: the headers, with names in lower case.
    :param secrets: what must not be repeated from the answer: some gateways put the key into their errors.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def received(
        cls, status: int, body: bytes, headers: Mapping[str, str], *, secrets: tuple[str, ...] = ()
    ) -> Answer:
        """Return the answer as an HTTP library has it."""
        return cls(status, body, {name.lower(): value for name, value in headers.items()}, secrets)

    @property
    def ok(self) -> bool:
        """Whether the status says that the call succeeded."""
        return self.status in _HTTP_OK

    @property
    def content_type(self) -> str:
        """The media type, in lower case and without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asked to wait: from a number or a date, at most ten minutes."""
        value = self.headers.get("retry-after", "").strip()
        try:
            seconds = float(value) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value) else _seconds_until(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return min(max(seconds, 0.0), MAX_RETRY_AFTER)

    def printable(self, text: str) -> str:
        """Return a part of the answer as it may be shown to people."""
        for secret in filter(None, self.secrets):
            text = text.replace(secret, "***")
        return text

    def snippet(self) -> str:
        """Return the begin of the body, for a log line."""
        text = self.body[:1000].decode("utf-8", "replace")
        return self.printable(_text("".join(char if char.isprintable() else " " for char in text)))[:300]

    def json(self) -> Any:
        """Return the parsed body, or None if it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class Place:
    """A place in a video file on the server, where a download begins or goes on.

    :param start: bytes of the file that stand before it.
    :param total: bytes of the whole file; None where the server did not say.
    :param validator: what changes when the file does, its ETag or date; empty where the server gave none.
    """

    start: int = 0
    total: int | None = None
    validator: str = ""

    @property
    def inside(self) -> bool:
        """Whether it lies inside of a file that would be known again: a download may go on there."""
        return self.start > 0 and (self.total is not None or bool(self.validator))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that ask for the file from there on; none where only its begin can be asked for."""
        if not self.inside:
            return {}
        condition = {"If-Range": self.validator} if self.validator else {}
        return {"Range": f"bytes={self.start}-", **condition}


BEGIN = Place()
"""Where the first download of a video starts."""


def check_task_id(veo_task_id: object) -> str:
    """Return the task id if it can be one, before it becomes a part of a URL.

    :raises VeoRequestError: it is empty, no text, or has characters that no id has.
    """
    if not isinstance(veo_task_id, str) or not _TASK_ID.fullmatch(veo_task_id):
        raise errors.VeoRequestError(
            f"veo_task_id={veo_task_id!r} is not a task id of the API, like task_ and 32 characters."
        )
    return veo_task_id


def video_path(veo_task_id: str) -> str:
    """Return the path of a video below the base URL."""
    return f"/videos/{quote(check_task_id(veo_task_id), safe='')}"


def account_url(base_url: str) -> str:
    """Return the URL that tells the balance, which stands beside the API and not below it."""
    return urljoin(base_url, "/api/user/self")


def without_credentials(text: str) -> str:
    """Return a text whose URLs carry no user and no password, as those of a proxy may."""
    return _CREDENTIALS.sub("//***@", text)


def read_submission(answer: Answer, *, whole: bool = True) -> Video:
    """Return the video that a submission created.

    :param whole: whether the request had left to its last byte when the answer came.
    :raises VeoSubmissionUnknown: the answer does not say whether the submission was accepted.
    :raises VeoAPIError: the service refused it; nothing was charged.
    """
    if answer.ok:
        try:
            return read_video(answer)
        except errors.VeoUnexpectedAnswerError as error:
            raise errors.VeoSubmissionUnknown(
                f"The service took the submission ({answer.status}) but named no task id: {error.what}"
            ) from error
    refusal = read_error(answer)
    if isinstance(refusal, errors.VeoUnexpectedAnswerError) and answer.status in _UNTOUCHED:
        raise errors.VeoWrongHostError(refusal.what, status=answer.status)
    definite = isinstance(refusal, errors.VeoRateLimitError) or not refusal.temporary
    if definite and (answer.status not in _HTTP_REDIRECT or answer.status in _UNTOUCHED):
        raise refusal
    if not whole:
        raise errors.VeoNotSentError(
            f"The submission was cut short by an answer: {refusal.what}"
        ) from refusal
    raise errors.VeoSubmissionUnknown(
        f"The service answered the submission with an error that leaves its fate open: {refusal.what}"
    ) from refusal


def read_video(answer: Answer, veo_task_id: str | None = None) -> Video:
    """Return the video that an answer describes.

    :param veo_task_id: the id that was asked for; without it, the answer must carry one.
    :raises VeoAPIError: the answer is an error, or no answer of this API.
    """
    if not answer.ok:
        raise read_error(answer)
    data = answer.json()
    if not isinstance(data, dict):
        raise _unexpected(answer, "it is no JSON object")
    found = veo_task_id or data.get("id") or data.get("task_id")
    if not isinstance(found, str) or not _TASK_ID.fullmatch(found):
        raise _unexpected(answer, "it carries no task id")
    # A submission is taken by its id: without a status, it has just been queued.
    if "status" not in data and veo_task_id is not None:
        raise _unexpected(answer, "it carries no status")
    status = VideoStatus(data.get("status", VideoStatus.QUEUED))
    code = message = ""
    if status not in _UNDER_WAY:  # most answers are about one that is, and have nothing to say
        code, message = (answer.printable(part) for part in _error_of(data))
    return Video(
        id=found,
        status=status,
        progress=_integer(data.get("progress")) or 0,
        model=_text(data.get("model")),
        created_at=_integer(data.get("created_at")),
        completed_at=_integer(data.get("completed_at")),
        error_code=code,
        error_message=message,
    )


def read_check(answer: Answer) -> None:
    """Judge the answer to a question for a task that cannot exist: that it does not proves host and key.

    :raises VeoAuthenticationError: the key is refused.
    :raises VeoWrongHostError: the host answers, but is not the API.
    :raises VeoAPIError: the service has another trouble.
    """
    try:
        read_video(answer)
    except errors.VeoTaskNotFoundError:
        return
    except (errors.VeoBadRequestError, errors.VeoUnexpectedAnswerError) as error:
        raise errors.VeoWrongHostError(error.what, status=error.status, code=error.code) from error


def read_content(
    answer: Answer, asked: str = "", *, own_host: bool = True, wanted: Place = BEGIN
) -> str | None:
    """Judge an answer to a download by its head: None for the video itself, or the URL where it lies.

    :param answer: with its body only where :func:`is_video` says that it is none.
    :param asked: the URL that was asked for, which a link may be relative to.
    :param own_host: whether that is the API's; on another, a refusal says nothing about the key.
    :param wanted: the place in the file that was asked for.
    :raises VeoIncompleteVideoError: the server does not go on there, so that a download must start over.
    :raises VeoAPIError: there is no video in this answer.
    """
    if wanted.inside and answer.status in _ABOUT_RANGES and not _goes_on(answer, wanted):
        raise errors.VeoIncompleteVideoError(
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
    raise _content_error(answer, own_host=own_host)


def is_video(answer: Answer) -> bool:
    """Whether the answer's body is the video itself."""
    return answer.ok and not answer.content_type.startswith(_NO_VIDEO_TYPES)


def video_place(answer: Answer, wanted: Place = BEGIN) -> Place:
    """Return where in the file the video in an answer starts, with what the answer says of the file.

    :param wanted: the place that was asked for; a server may give the file from its begin all the same.
    """
    length = "" if _encoded(answer) else answer.headers.get("content-length", "")
    whole = Place(0, int(length) if _LENGTH.fullmatch(length) else None, _validator(answer))
    return (_partial_place(answer) or whole) if wanted.inside else whole


def _goes_on(answer: Answer, wanted: Place) -> bool:
    """Whether an answer carries the wanted rest of the very same file."""
    found = _partial_place(answer)
    return (
        found is not None
        and found.start == wanted.start
        and wanted.total in (None, found.total)
        and (not wanted.validator or found.validator in ("", wanted.validator))
    )


def _partial_place(answer: Answer) -> Place | None:
    """Return where in the file an answer with its rest starts; None if it is no such answer."""
    span = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if answer.status != HTTPStatus.PARTIAL_CONTENT or not span or _encoded(answer):
        return None
    start, last, total = (int(number) for number in span.groups())
    return Place(start, total, _validator(answer)) if start <= last == total - 1 else None


def _encoded(answer: Answer) -> bool:
    """Whether the body is compressed, so that its length is not the file's."""
    return answer.headers.get("content-encoding", "identity") != "identity"


def _validator(answer: Answer) -> str:
    """Return what If-Range may carry, which is no weak ETag."""
    tag = answer.headers.get("etag", "")
    return tag if tag.startswith('"') else answer.headers.get("last-modified", "")


def read_balance(answer: Answer) -> float:
    """Return the account's balance in USD.

    :raises VeoAPIError: the answer is an error, or carries no quota.
    """
    if not answer.ok:
        raise read_error(answer)
    data = answer.json()
    quota = (
        data["data"].get("quota") if isinstance(data, dict) and isinstance(data.get("data"), dict) else None
    )
    if isinstance(quota, bool) or not isinstance(quota, (int, float)):
        raise _unexpected(answer, "it carries no quota")
    try:
        return float(quota / QUOTA_PER_USD)
    except OverflowError as error:
        raise _unexpected(answer, "its quota is no number of dollars") from error


def read_error(answer: Answer) -> errors.VeoAPIError:
    """Return the error that an answer means: by its code and message first, then by its status."""
    code, message = (answer.printable(part) for part in _error_of(answer.json()))
    kind = _kind(answer.status, code, message)
    reason = ": ".join(part for part in (code, message or answer.snippet()) if part)
    what = f"The service answered {answer.status}: {reason or 'without a reason'}."
    return kind(what, status=answer.status, code=code, retry_after=answer.retry_after)


def _kind(status: int, code: str, message: str) -> type[errors.VeoAPIError]:  # noqa: PLR0911 - a table
    text = f"{code} {message}".lower()
    if status in _REFUSED and "upstream_load_saturated" in text:
        return errors.VeoRateLimitError
    if status == HTTPStatus.PAYMENT_REQUIRED or (status in _REFUSED and _EMPTY_ACCOUNT.search(text)):
        return errors.VeoQuotaError
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return errors.VeoRateLimitError
    if status == HTTPStatus.UNAUTHORIZED:
        return errors.VeoAuthenticationError
    # Upstream's own word for moderation: whatever status a gateway gives it.
    if message.startswith("PUBLIC_") or code.startswith("PUBLIC_"):
        return errors.VeoModerationError
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TROUBLE or code.upper() == "INTERNAL":
        return errors.VeoServerError
    if speaks_of_moderation(code) or speaks_of_moderation(message):
        return errors.VeoModerationError
    if _TASK_NOT_FOUND.search(text):
        return errors.VeoTaskNotFoundError
    if status == HTTPStatus.FORBIDDEN:
        return errors.VeoAuthenticationError
    if status in _HTTP_REDIRECT or (status in _NO_SUCH_ROUTE and not text.strip()):
        return errors.VeoUnexpectedAnswerError
    return errors.VeoBadRequestError


def _content_error(answer: Answer, *, own_host: bool) -> errors.VeoAPIError:
    """Return the error of a download: its 400 and 404 mean other things than elsewhere."""
    error = read_error(answer)
    kind: type[errors.VeoAPIError] = type(error)
    if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        kind = errors.VeoContentGoneError
    elif kind is errors.VeoServerError or (kind is errors.VeoAuthenticationError and not own_host):
        kind = errors.VeoContentServerError
    elif kind is errors.VeoBadRequestError and answer.status == HTTPStatus.BAD_REQUEST:
        kind = errors.VeoContentNotReadyError
    return kind(error.what, status=error.status, code=error.code, retry_after=error.retry_after)


def _error_of(data: Any) -> tuple[str, str]:
    """Return code and message of either error shape, and of an error whose message is JSON text itself."""
    if not isinstance(data, dict):
        return "", ""
    error = data.get("error")
    if isinstance(error, str):
        return "", _text(error)
    if not isinstance(error, dict):
        error = data
    code, message = _text(error.get("code") or error.get("type")), _text(error.get("message"))
    if code.isdigit() and "status" in error:
        # Google's own shape: the code is a number, and the status the word.
        code = _text(error["status"])
    if message.lstrip().startswith("{"):
        try:
            inner_code, inner_message = _error_of(json.loads(message))
        except (ValueError, RecursionError):
            return code, message
        return inner_code or code, inner_message or message
    return code, message


def _download_url(answer: Answer, asked: str, location: str) -> str:
    """Return a link's URL, if it is one that a download may follow."""
    try:
        url = urljoin(asked, location)
        known = urlsplit(url).scheme in ("http", "https")
    except ValueError:
        known = False
    if not known:
        raise _unexpected(answer, "its link is no http or https URL")
    return url


def _unexpected(answer: Answer, why: str) -> errors.VeoUnexpectedAnswerError:
    return errors.VeoUnexpectedAnswerError(
        f"The answer ({answer.status}, {answer.content_type or 'no content type'}) is not the API's: {why}; "
        f"it begins with {answer.snippet()!r}.",
        status=answer.status,
    )


def _seconds_until(date: str) -> float:
    return (parsedate_to_datetime(date) - datetime.now(timezone.utc)).total_seconds()


def _text(value: object) -> str:
    """Return a value as one line of text that can be printed, logged and stored."""
    return "" if value is None else " ".join(str(value)[:2000].encode("utf-8", "replace").decode().split())


def _integer(value: object) -> int | None:
    """Return a number that a gateway may have written as a text, or with a percent sign."""
    if type(value) is int:
        return value
    try:
        return int(float(str(value).strip().removesuffix("%")))
    except (ValueError, OverflowError):
        return None
