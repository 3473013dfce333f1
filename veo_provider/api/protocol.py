"""The API's protocol, without any I/O: paths, and what each response to a JSON call means.

Both clients are shells around this module, so each quirk of the service is handled in one place.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

from veo_provider import exceptions
from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.http.json_path import dig
from veo_provider.api.http.response import Response, one_line
from veo_provider.api.parsing.error_mapping import (
    POLL_MONEY,
    check_error,
    poll_error,
    refusal,
    relayed_fallbacks,
    undecided_sentence,
)
from veo_provider.api.parsing.service_error import describes_task, parse_service_error
from veo_provider.api.parsing.task_ids import (
    PLAIN_ID,
    can_be_id,
    candidate_id,
    check_task_id,
    id_of,
    names_other_task,
    names_task,
)
from veo_provider.api.video import Video, VideoStatus, is_resubmittable, status_word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from veo_provider.api.gateways.gateway import Gateway
    from veo_provider.api.parsing.task_ids import Aliases
    from veo_provider.api.request import VeoRequest

QUOTA_PER_USD = 500_000
"""The account's quota is counted in units of 1/500000 USD."""

_IN_FLIGHT = (VideoStatus.QUEUED, VideoStatus.IN_PROGRESS)
_CALL_FAILED_WORDS = ("error", "fail")
"""With an HTTP error, these describe the call rather than the task (https://github.com/omniti-labs/jsend)."""
_MOST_USD = 1e6
"""An amount above this is not the cost of a video."""
_MAX_WRAPPERS = 3
"""How many nested ``{"code": …, "data": {…}}`` are unwrapped."""


def video_path(veo_task_id: str, gateway: Gateway = APIYI) -> str:
    """Return the path of a video below the base URL."""
    return gateway.video_path.replace("{id}", quote(check_task_id(veo_task_id), safe=""))


def authorization(gateway: Gateway, api_key: str) -> str:
    """Return the value of the header that carries the key."""
    return gateway.authorization.replace("{key}", api_key)


def submission_headers(gateway: Gateway, idempotency_key: str) -> dict[str, str]:
    """Return the headers of a submission that only this gateway knows.

    :param idempotency_key: by which it recognises a repeated submission; empty for none.
    """
    headers = dict(gateway.submission_headers)
    if gateway.idempotency_header and idempotency_key:
        headers[gateway.idempotency_header] = idempotency_key
    return headers


def require_gateway(request: VeoRequest, gateway: Gateway) -> None:
    """Refuse a request that was made for another gateway, whose fields have other names.

    :raises VeoRequestError: it was; nothing was sent.
    """
    if request.gateway.name != gateway.name:
        raise exceptions.VeoRequestError(
            f"The request was made for the gateway {request.gateway.name!r}, but the connection is one to "
            f"{gateway.name!r}. Make it with gateway=client.gateway."
        )


@contextmanager
def in_words_of(gateway: Gateway) -> Iterator[None]:
    """Let an error say of this gateway what it says of APIYI: where to look, which key, which host."""
    try:
        yield
    except exceptions.VeoError as error:
        error.tell_in(gateway.words)
        raise


def account_url(base_url: str) -> str:
    """Return the URL that returns the balance: on the API's host, but not below its base URL."""
    return urljoin(base_url, "/api/user/self")


def parse_submission(response: Response, *, whole: bool = True, gateway: Gateway = APIYI) -> Video:
    """Return the video that a submission created.

    :param whole: whether the whole request had been sent when the response came.
    :raises VeoSubmissionUnknown: the response does not say whether the submission was accepted. The error
        carries the task id as a candidate if the response names one nevertheless.
    :raises VeoNotSentError: the same, but the request had not been sent completely.
    :raises VeoAPIError: the service refused it (:func:`~veo_provider.api.parsing.error_mapping.refusal`);
        nothing was charged.
    """
    if response.ok:
        return _with_told(_parse_acceptance(response, gateway), response, gateway)
    refused, extra = refusal(response), _extra_generations(response, gateway)
    # A gateway that submits by itself may have been accepted before it was refused.
    if refused is not None and not extra:
        raise refused
    what = undecided_sentence(response)
    candidate = _candidate(response) if describes_task(response.json()) else None
    if not whole and not candidate:
        raise exceptions.VeoNotSentError(f"A response came before the submission was sent completely: {what}")
    naming = f" It names the task {candidate}." if candidate else ""
    raise exceptions.VeoSubmissionUnknown(
        f"The response to the submission is an error that leaves open whether it was accepted: "
        f"{what}{naming}",
        veo_task_id=candidate,
        extra_generations=extra,
    )


def parse_video(
    response: Response,
    veo_task_id: str | None = None,
    aliases: Aliases | None = None,
    gateway: Gateway = APIYI,
) -> Video:
    """Return the video that the response to a poll describes.

    An object with the task's id and a known status is believed whatever the HTTP status is: vLLM-Omni reports
    a failed job with 4xx or 5xx and the object. A failure is believed only if the response names the task,
    because a new submission may follow: many APIs also say "error" or "fail" of the call itself (JSend).

    :param veo_task_id: the requested id; without it, the response must carry one.
    :param aliases: other ids that earlier responses named.
    :raises VeoAuthenticationError: the key is refused.
    :raises VeoTaskNotFoundError: the service does not know the task.
    :raises VeoConnectionError: the response broke off.
    :raises VeoAPIError: any other response. It is retryable: the generation continues.
    """
    data = _task_in(response, gateway)
    if response.ok and response.broken and data is None:
        raise exceptions.VeoConnectionError(f"The response broke off: {response.broken}.")
    if not response.ok and not _is_about(data, veo_task_id):
        raise poll_error(response)
    if not isinstance(data, dict):
        raise _unexpected(response, "it is not a JSON object")
    if veo_task_id is None:
        return _parse_named_video(response, data)
    is_other = names_other_task(data, veo_task_id)
    if is_other and not _is_alias(data, veo_task_id, aliases):
        raise _unexpected(response, f"it names the task {id_of(data) or '?'} instead of {veo_task_id}")
    _require_status(response, data)
    video = _build_video(response, data, veo_task_id)
    if video.status is VideoStatus.FAILED and not names_task(data, veo_task_id):
        raise _unexpected(response, f"it says {video.word!r} but names no task, so the call may be meant")
    if aliases is not None and not is_other:
        aliases.record_own(video)
    return replace(video, cost_usd=_amount(dig(data, gateway.cost_keys)))


def parse_check(response: Response) -> None:
    """Check the response to a poll of a task that cannot exist: if it says so, host and key are right.

    :raises VeoAuthenticationError: the key is refused.
    :raises VeoWrongHostError: the host responds, but is not the API.
    :raises VeoAPIError: the service has another problem.
    """
    error: exceptions.VeoAPIError
    if response.ok:
        try:
            parse_video(response)
        except exceptions.VeoUnexpectedAnswerError as unexpected:
            error = unexpected
        else:
            return
    else:
        error = check_error(response)
    if isinstance(error, exceptions.VeoTaskNotFoundError):
        return
    if isinstance(error, exceptions.VeoUnexpectedAnswerError):
        raise _wrong_host(error) from error
    raise error


def parse_models(response: Response) -> list[str]:
    """Return the names in a list of models: whoever may read it has the right key.

    :raises VeoAuthenticationError: the key is refused.
    :raises VeoWrongHostError: the host responds, but is not such a gateway.
    :raises VeoAPIError: the service has another problem.
    """
    if not response.ok:
        error = check_error(response)
        if isinstance(error, (exceptions.VeoUnexpectedAnswerError, exceptions.VeoTaskNotFoundError)):
            raise _wrong_host(error) from error
        raise error
    data = response.json()
    models = data.get("data") if isinstance(data, dict) else None
    if not isinstance(models, list):
        raise exceptions.VeoWrongHostError(
            f"The response ({response.status}) is not a list of models: it begins with "
            f"{response.snippet()!r}.",
            status=response.status,
        )
    names = (each.get("id") for each in models if isinstance(each, dict))
    return [one_line(name) for name in names if isinstance(name, str)]


def _wrong_host(error: exceptions.VeoAPIError) -> exceptions.VeoWrongHostError:
    """Return the error of a host that responds, but not as the API does."""
    return exceptions.VeoWrongHostError(error.what, status=error.status, code=error.code)


def parse_balance(response: Response) -> float:
    """Return the account's balance in USD.

    :raises VeoAPIError: the response is an error, or carries no quota.
    """
    if not response.ok:
        raise check_error(response)
    data = response.json()
    account = data.get("data") if isinstance(data, dict) else None
    quota = account.get("quota") if isinstance(account, dict) else None
    if isinstance(quota, bool) or not isinstance(quota, (int, float)):
        raise _unexpected(response, "it carries no quota", money=exceptions.VeoAPIError.money)
    try:
        return float(quota / QUOTA_PER_USD)
    except OverflowError as error:
        why = "its quota is not an amount of dollars"
        raise _unexpected(response, why, money=exceptions.VeoAPIError.money) from error


def _parse_acceptance(response: Response, gateway: Gateway) -> Video:
    """Return the video that a successful response to a submission names."""
    data = _task_in(response, gateway)
    # A submission is accepted if there is an id: without a status, it has just been queued. An error in place
    # of the status may come with the id of the call.
    if isinstance(data, dict) and (found := id_of(data)) and ("status" in data or not data.get("error")):
        return _build_video(response, data, found)
    candidate = _candidate(response)
    named = f", but it names the task {candidate}" if candidate else ""
    if response.broken:
        what = (
            f"The response to the submission broke off ({response.broken})"
            f"{named or ' before it named a task'}."
        )
    else:
        what = _no_id_sentence(response, named)
    raise exceptions.VeoSubmissionUnknown(what, veo_task_id=candidate)


def _with_told(video: Video, response: Response, gateway: Gateway) -> Video:
    """Return an accepted video with what the gateway's headers tell about money."""
    headers = response.headers
    return replace(
        video,
        cost_usd=_amount(headers.get(gateway.cost_header)),
        call_id=response.printable(one_line(headers.get(gateway.call_id_header, "")))[:200],
        extra_generations=_extra_generations(response, gateway),
    )


def _extra_generations(response: Response, gateway: Gateway) -> int:
    """Return how many further submissions the gateway says that it has made by itself."""
    values = (response.headers.get(name, "") for name in gateway.extra_generations_headers)
    told = sum(int(value) for value in values if re.fullmatch(r"\d{1,4}", value.strip()))
    # LiteLLM's errors have no such header, but say it in words.
    return told or relayed_fallbacks(response)


def _amount(value: object) -> float | None:
    """Return an amount of dollars, or None if a value is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if 0 <= amount < _MOST_USD else None


def _candidate(response: Response) -> str | None:
    """Return what may be the task id in a response that is not a plain acceptance."""
    data = response.json()
    # new-api's route for music returns {"code": "success", "data": id} (relay/channel/task/suno).
    alone = data.get("data") if isinstance(data, dict) else None
    candidate = candidate_id(response.body)
    if not candidate and isinstance(alone, str) and can_be_id(alone) and PLAIN_ID.fullmatch(alone):
        candidate = alone
    if candidate and response.printable(candidate) != candidate:
        return None  # it contains the key
    return candidate


def _no_id_sentence(response: Response, named: str) -> str:
    why = "it is not complete JSON" if response.json() is None else "it carries no task id"
    message = parse_service_error(response.json()).message
    reason = f"it says {response.printable(message)!r}" if message else f"it is {response.snippet()!r}"
    return (
        f"The service took the submission ({response.status}) but named no task id: {why}{named}; {reason}."
    )


def _parse_named_video(response: Response, data: dict[str, Any]) -> Video:
    """Return the video in a response to a poll, under the id that the response names."""
    found = id_of(data)
    if not found:
        raise _unexpected(response, "it carries no task id")
    _require_status(response, data)
    return _build_video(response, data, found)


def _require_status(response: Response, data: dict[str, Any]) -> None:
    if "status" not in data:
        message = parse_service_error(response.json()).message
        reason = f", but says {message!r}" if message else ""
        raise _unexpected(response, f"it carries no status{reason}")


def _build_video(response: Response, data: dict[str, Any], veo_task_id: str) -> Video:
    value = data.get("status", VideoStatus.QUEUED.value)
    status, word = VideoStatus(value), status_word(value)
    code, message = (response.printable(part) for part in _video_error(data, status))
    finished = status in (VideoStatus.COMPLETED, VideoStatus.FAILED)
    return Video(
        id=veo_task_id,
        status=status,
        progress=_as_int(data.get("progress")) or 0,
        model=one_line(data.get("model")),
        created_at=_as_int(data.get("created_at")),
        completed_at=_as_int(data.get("completed_at")),
        error_code=code,
        error_message=message,
        word=response.printable(one_line(value))[:100],
        final_word=word if finished else "",
        resubmittable=status is not VideoStatus.FAILED or is_resubmittable(word),
    )


def _video_error(data: dict[str, Any], status: VideoStatus) -> tuple[str, str]:
    """Return code and message of a video's error; a video in flight has none."""
    error = data.get("error")
    if status in _IN_FLIGHT:
        return "", ""
    if error:
        parsed = parse_service_error({"error": error})
        return parsed.code, parsed.message
    if status is VideoStatus.COMPLETED:
        return "", ""
    # new-api's own task has ``fail_reason`` (its model/task.go), which holds the URL once it is completed.
    reason = data.get("fail_reason") or data.get("failure_reason") or data.get("error_message")
    parsed = parse_service_error(data if not reason else {"message": reason})
    return parsed.code, parsed.message


def _task_in(response: Response, gateway: Gateway) -> Any:
    """Return the object that describes a task, with its id under ``id``."""
    data = _unwrap(response.json())
    if isinstance(data, dict) and not id_of(data):
        found = next((data[key] for key in gateway.id_keys if data.get(key)), None)
        return data if found is None else {**data, "id": found}
    return data


def _unwrap(data: Any) -> Any:
    """Return the object inside ``{"code": …, "data": {…}}``, the form of new-api's other responses.

    An object with an id is not a wrapper: its ``data`` may hold upstream's own object.
    """
    for _ in range(_MAX_WRAPPERS):
        inner = data.get("data") if isinstance(data, dict) else None
        if not isinstance(inner, dict) or id_of(data):
            return data
        if not (id_of(inner) or "status" in inner or isinstance(inner.get("data"), dict)):
            return data
        data = inner
    return data


def _is_alias(data: dict[str, Any], veo_task_id: str, aliases: Aliases | None) -> bool:
    """Whether the other id in a response is the one that the gateway has always used for this task."""
    found = id_of(data)
    status = VideoStatus(data.get("status", VideoStatus.UNKNOWN.value))
    return aliases is not None and bool(found) and aliases.believe(veo_task_id, found, status)


def _is_about(data: Any, veo_task_id: str | None) -> bool:
    """Whether a response is an object with the task's own id and a known status."""
    if not isinstance(data, dict) or not isinstance(data.get("status"), str) or not id_of(data):
        return False
    if (
        VideoStatus(data["status"]) is VideoStatus.UNKNOWN
        or status_word(data["status"]) in _CALL_FAILED_WORDS
    ):
        return False
    return veo_task_id is None or not names_other_task(data, veo_task_id)


def _unexpected(
    response: Response, why: str, *, money: str = POLL_MONEY
) -> exceptions.VeoUnexpectedAnswerError:
    error = exceptions.VeoUnexpectedAnswerError(
        f"The response ({response.status}, {response.content_type or 'no content type'}) is not the API's: "
        f"{response.printable(why)}; it begins with {response.snippet()!r}.",
        status=response.status,
    )
    error.money = money
    return error


def _as_int(value: object) -> int | None:
    """Return a number that a gateway may have written as a text, or with a percent sign."""
    if type(value) is int:
        return value
    try:
        return int(float(str(value).strip().removesuffix("%")))
    except (ValueError, OverflowError):
        return None
