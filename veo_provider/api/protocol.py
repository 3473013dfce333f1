"""The API's rules of conversation, without any I/O: an HTTP answer in, a video or the right error out.

Both clients are shells around this module, so a quirk of the service is known in one place.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin

from veo_provider import __version__, exceptions
from veo_provider.api.http.response import Response, one_line
from veo_provider.api.parsing.error_mapping import (
    POLL_MONEY,
    check_error,
    describes_task,
    open_question,
    poll_error,
    refusal,
    service_error,
)
from veo_provider.api.video import Video, VideoStatus, is_resubmittable, status_word

if TYPE_CHECKING:
    from veo_provider.api.parsing.task_ids import Aliases

DEFAULT_BASE_URL = "https://api.apiyi.com/v1"
USER_AGENT = f"airflow-provider-veo/{__version__}"
DEFAULT_TIMEOUT = 60.0
"""Seconds without a byte from the server before a call is given up."""
MOST_TIMEOUTS = 2
"""An answer that is not complete after so many timeouts is given up, though a byte comes now and then."""
SUBMIT_TIMEOUT = 300.0
"""Seconds within which a submission has to be sent, and the same again for its answer to be complete: giving
up on one early leaves its fate unknown."""
DOWNLOAD_TIMEOUT = 24 * 60 * 60.0
"""Seconds that a download may wait for its bytes in all; a video has some 10 MB."""
MIN_BYTES_PER_TIMEOUT = 64 * 1024
"""A download that brings fewer within a timeout has stalled, though a byte comes now and then."""
CONNECT_TIMEOUT = 15.0
QUOTA_PER_USD = 500_000
"""The account's quota is counted in units of 1/500000 USD."""

_MAX_ID_LENGTH = 2000
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:~+=-]*")
_JSON_OR_EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]|(?:event|id|retry)?:[^\n]*\n|data:)*[{\[]")
"""JSON, or server-sent events of it, with which some gateways answer though nobody asked for them
(https://github.com/openclaw/openclaw/pull/97474)."""
_ID_IN_TEXT = re.compile(rb'"(id|task_id)"\s*:\s*("(?:[^"\\]|\\.)*"|[0-9]+(?=\s*[,}]))')
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_UNDER_WAY = (VideoStatus.QUEUED, VideoStatus.IN_PROGRESS)
_OF_THE_CALL = ("error", "fail")
"""Beside an HTTP error, these say more of the call than of the task (https://github.com/omniti-labs/jsend)."""
_WRAPPERS = 3
"""So many ``{"code": …, "data": {…}}`` are taken off an answer."""


def check_task_id(veo_task_id: object) -> str:
    """Return the task id if it can be one, before it becomes a part of a URL.

    Any text of one word can: some gateways hand out Google's operation names, with slashes.

    :raises VeoRequestError: it is empty, no text, too long, has spaces or control characters, or is a path.
    """
    if not _can_be_id(veo_task_id):
        raise exceptions.VeoRequestError(
            f"veo_task_id={veo_task_id!r} is not a task id of the API, like task_ and 32 characters."
        )
    return str(veo_task_id)


def video_path(veo_task_id: str) -> str:
    """Return the path of a video below the base URL."""
    return f"/videos/{quote(check_task_id(veo_task_id), safe='')}"


def account_url(base_url: str) -> str:
    """Return the URL that tells the balance, which stands beside the API and not below it."""
    return urljoin(base_url, "/api/user/self")


def without_credentials(text: str) -> str:
    """Return a text whose URLs carry no user and no password, as those of a proxy may."""
    return _CREDENTIALS.sub("//***@", text)


def sent_by(send_before: float | None) -> float:
    """Return the Unix seconds after which a submission that begins now is not sent to its end any more.

    :param send_before: what the caller asks for; None for no such time.
    """
    latest = time.time() + SUBMIT_TIMEOUT
    return latest if send_before is None else min(send_before, latest)


def read_submission(answer: Response, *, whole: bool = True) -> Video:
    """Return the video that a submission created.

    :param whole: whether the request had left to its last byte when the answer came.
    :raises VeoSubmissionUnknown: the answer does not say whether the submission was accepted. It carries the
        task id as a candidate where the answer names one all the same.
    :raises VeoNotSentError: the same, but the request had not left whole.
    :raises VeoAPIError: the service refused it (:func:`~veo_provider.api.parsing.error_mapping.refusal`); nothing was
        charged.
    """
    if answer.ok:
        return _accepted(answer)
    refused = refusal(answer)
    if refused is not None:
        raise refused
    what = open_question(answer)
    candidate = _candidate(answer) if describes_task(answer.json()) else None
    if not whole and not candidate:
        raise exceptions.VeoNotSentError(f"The submission was cut short by an answer: {what}")
    raise exceptions.VeoSubmissionUnknown(
        f"The service answered the submission with an error that leaves its fate open: {what}"
        f"{_naming(candidate)}",
        veo_task_id=candidate,
    )


def read_video(answer: Response, veo_task_id: str | None = None, aliases: Aliases | None = None) -> Video:
    """Return the video that the answer to a poll describes.

    An object with the task's id and a known status is believed whatever the HTTP status is: vLLM-Omni answers
    a failed job with 4xx or 5xx and the object. That a task has failed is believed only where it is named,
    as a submission may follow: many an API also says "error" or "fail" of the call itself (JSend).

    :param veo_task_id: the id that was asked for; without it, the answer must carry one.
    :param aliases: what the client has been told of other ids before.
    :raises VeoAuthenticationError: the key is refused.
    :raises VeoTaskNotFoundError: the service does not know the task.
    :raises VeoConnectionError: the answer broke off.
    :raises VeoAPIError: any other answer, which is temporary: the generation goes on.
    """
    data = _unwrapped(answer.json())
    if answer.ok and answer.broken and data is None:
        raise exceptions.VeoConnectionError(f"The answer broke off: {answer.broken}.")
    if not answer.ok and not _is_about(data, veo_task_id):
        raise poll_error(answer)
    if not isinstance(data, dict):
        raise _unexpected(answer, "it is no JSON object")
    found = _id_of(data)
    if veo_task_id is None and not found:
        raise _unexpected(answer, "it carries no task id")
    other = veo_task_id is not None and _names_another(data, veo_task_id)
    if other and not _is_alias(data, veo_task_id or "", found, aliases):
        raise _unexpected(answer, f"it is about the task {found or '?'}, and not about {veo_task_id}")
    if "status" not in data:
        raise _unexpected(answer, _without_status(answer))
    video = _video(answer, data, veo_task_id or found)
    if video.status is VideoStatus.FAILED and veo_task_id is not None and not _names(data, veo_task_id):
        raise _unexpected(answer, f"it says {video.word!r}, but names no task, so that the call may be meant")
    if aliases is not None and not other:
        aliases.note_own(video)
    return video


def read_check(answer: Response) -> None:
    """Judge the answer to a question for a task that cannot exist: that it does not proves host and key.

    :raises VeoAuthenticationError: the key is refused.
    :raises VeoWrongHostError: the host answers, but is not the API.
    :raises VeoAPIError: the service has another trouble.
    """
    error: exceptions.VeoAPIError
    if answer.ok:
        try:
            read_video(answer)
        except exceptions.VeoUnexpectedAnswerError as unexpected:
            error = unexpected
        else:
            return
    else:
        error = check_error(answer)
    if isinstance(error, exceptions.VeoTaskNotFoundError):
        return
    if isinstance(error, exceptions.VeoUnexpectedAnswerError):
        raise exceptions.VeoWrongHostError(error.what, status=error.status, code=error.code) from error
    raise error


def read_balance(answer: Response) -> float:
    """Return the account's balance in USD.

    :raises VeoAPIError: the answer is an error, or carries no quota.
    """
    if not answer.ok:
        raise check_error(answer)
    data = answer.json()
    quota = (
        data["data"].get("quota") if isinstance(data, dict) and isinstance(data.get("data"), dict) else None
    )
    if isinstance(quota, bool) or not isinstance(quota, (int, float)):
        raise _unexpected(answer, "it carries no quota", money=exceptions.VeoAPIError.money)
    try:
        return float(quota / QUOTA_PER_USD)
    except OverflowError as error:
        why = "its quota is no number of dollars"
        raise _unexpected(answer, why, money=exceptions.VeoAPIError.money) from error


def candidate_id(body: bytes) -> str | None:
    """Return the task id in a body of JSON or of events, which may be cut after it; None if there is none.

    No more than a candidate: a free poll tells whether there is such a generation.
    """
    if not _JSON_OR_EVENTS.match(body):
        return None
    found: dict[str, Any] = {}
    for name, value in _ID_IN_TEXT.findall(body):
        try:
            found.setdefault(name.decode(), json.loads(value))
        except ValueError:
            continue
    return _id_of(found) or None


def _accepted(answer: Response) -> Video:
    """Return the video of a submission that was answered with success."""
    data = _unwrapped(answer.json())
    # A submission is taken by its id: without a status, it has just been queued. An error in place of the
    # status may come with the id of the call.
    if isinstance(data, dict) and (found := _id_of(data)) and ("status" in data or not data.get("error")):
        return _video(answer, data, found)
    candidate = _candidate(answer)
    named = f", but it names the task {candidate}" if candidate else ""
    if answer.broken:
        what = (
            f"The answer to the submission broke off ({answer.broken}){named or ' before it named a task'}."
        )
    else:
        what = _no_id(answer, named)
    raise exceptions.VeoSubmissionUnknown(what, veo_task_id=candidate)


def _candidate(answer: Response) -> str | None:
    """Return what may be the task id in an answer that is no plain acceptance."""
    data = answer.json()
    # new-api's route for music answers {"code": "success", "data": id} (relay/channel/task/suno).
    alone = data.get("data") if isinstance(data, dict) else None
    candidate = candidate_id(answer.body)
    if not candidate and isinstance(alone, str) and _can_be_id(alone) and _PLAIN_ID.fullmatch(alone):
        candidate = alone
    if candidate and answer.printable(candidate) != candidate:
        return None  # a key is no id
    return candidate


def _naming(candidate: str | None) -> str:
    return f" It names the task {candidate}." if candidate else ""


def _no_id(answer: Response, named: str) -> str:
    why = "it is no whole JSON" if answer.json() is None else "it carries no task id"
    said = service_error(answer.json())
    reason = f"it says {answer.printable(said.message)!r}" if said.message else f"it is {answer.snippet()!r}"
    return f"The service took the submission ({answer.status}) but named no task id: {why}{named}; {reason}."


def _video(answer: Response, data: dict[str, Any], veo_task_id: str) -> Video:
    value = data.get("status", VideoStatus.QUEUED.value)
    status, word = VideoStatus(value), status_word(value)
    code, message = (answer.printable(part) for part in _video_error(data, status))
    finished = status in (VideoStatus.COMPLETED, VideoStatus.FAILED)
    return Video(
        id=veo_task_id,
        status=status,
        progress=_integer(data.get("progress")) or 0,
        model=one_line(data.get("model")),
        created_at=_integer(data.get("created_at")),
        completed_at=_integer(data.get("completed_at")),
        error_code=code,
        error_message=message,
        word=answer.printable(one_line(value))[:100],
        final_word=word if finished else "",
        resubmittable=status is not VideoStatus.FAILED or is_resubmittable(word),
    )


def _video_error(data: dict[str, Any], status: VideoStatus) -> tuple[str, str]:
    """Return code and message of a video's error; most answers are about one under way, and have none."""
    error = data.get("error")
    if status in _UNDER_WAY:
        return "", ""
    if error:
        said = service_error({"error": error})
        return said.code, said.message
    if status is VideoStatus.COMPLETED:
        return "", ""
    # new-api's own task has ``fail_reason`` (its model/task.go), which holds the URL once it is completed.
    reason = data.get("fail_reason") or data.get("failure_reason") or data.get("error_message")
    said = service_error(data if not reason else {"message": reason})
    return said.code, said.message


def _unwrapped(data: Any) -> Any:
    """Return what an answer is about, out of ``{"code": …, "data": {…}}``, as new-api answers elsewhere.

    What carries an id is the answer itself: its ``data`` may hold upstream's own object.
    """
    for _ in range(_WRAPPERS):
        inner = data.get("data") if isinstance(data, dict) else None
        if not isinstance(inner, dict) or _id_of(data):
            return data
        if not (_id_of(inner) or "status" in inner or isinstance(inner.get("data"), dict)):
            return data
        data = inner
    return data


def _can_be_id(value: object) -> bool:
    """Whether a value can be an id: a text of one word, and no step in a path."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_ID_LENGTH
        and value.isprintable()
        and " " not in value
        and value not in (".", "..")
    )


def _id_of(data: dict[str, Any]) -> str:
    """Return the id that an object names, or nothing: a plain text first, then any text, then a number."""
    values = [data.get("id"), data.get("task_id")]
    texts = [value for value in values if isinstance(value, str) and _can_be_id(value)]
    numbers = [str(value) for value in values if type(value) is int and 0 < value < 10**18]
    plain = [text for text in texts if _PLAIN_ID.fullmatch(text)]
    return next(iter([*plain, *texts, *numbers]), "")


def _names(data: dict[str, Any], veo_task_id: str) -> bool:
    """Whether an answer names the task that was asked for."""
    values = (data.get("id"), data.get("task_id"))
    texts = [str(value) for value in values if isinstance(value, str) or type(value) is int]
    return any(unquote(text) == unquote(veo_task_id) for text in texts)


def _names_another(data: dict[str, Any], veo_task_id: str) -> bool:
    """Whether an answer is about another task than the one that was asked for.

    A number beside a text is a gateway's own row number.
    """
    values = (data.get("id"), data.get("task_id"))
    texts = [value for value in values if isinstance(value, str) and value]
    if not texts and veo_task_id.isdigit():
        texts = [str(value) for value in values if type(value) is int]
    same = unquote(veo_task_id)
    return bool(texts) and all(unquote(text) != same for text in texts)


def _is_alias(data: dict[str, Any], veo_task_id: str, found: str, aliases: Aliases | None) -> bool:
    """Whether an answer names the generation by the id that the gateway has always called it by."""
    status = VideoStatus(data.get("status", VideoStatus.UNKNOWN.value))
    return aliases is not None and bool(found) and aliases.believe(veo_task_id, found, status)


def _is_about(data: Any, veo_task_id: str | None) -> bool:
    """Whether an answer is an object with the task's own id and a status that is known."""
    if not isinstance(data, dict) or not isinstance(data.get("status"), str) or not _id_of(data):
        return False
    if VideoStatus(data["status"]) is VideoStatus.UNKNOWN or status_word(data["status"]) in _OF_THE_CALL:
        return False
    return veo_task_id is None or not _names_another(data, veo_task_id)


def _without_status(answer: Response) -> str:
    said = service_error(answer.json())
    return f"it carries no status, but says {said.message!r}" if said.message else "it carries no status"


def _unexpected(
    answer: Response, why: str, *, money: str = POLL_MONEY
) -> exceptions.VeoUnexpectedAnswerError:
    error = exceptions.VeoUnexpectedAnswerError(
        f"The answer ({answer.status}, {answer.content_type or 'no content type'}) is not the API's: "
        f"{answer.printable(why)}; it begins with {answer.snippet()!r}.",
        status=answer.status,
    )
    error.money = money
    return error


def _integer(value: object) -> int | None:
    """Return a number that a gateway may have written as a text, or with a percent sign."""
    if type(value) is int:
        return value
    try:
        return int(float(str(value).strip().removesuffix("%")))
    except (ValueError, OverflowError):
        return None
