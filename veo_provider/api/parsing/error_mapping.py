"""What an error answer means, judged by the phase in which it came.

* *Submitting*: a refusal is what stands in a closed list (:func:`refusal`). All else leaves open whether the
  generation was accepted.
* *Waiting*: the generation has been accepted, so that nothing can be refused any more (:func:`poll_error`).
* *Downloading*: it has completed and was charged (:func:`content_error`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from veo_provider import exceptions
from veo_provider.api.http.response import one_line
from veo_provider.api.video import VideoStatus, is_moderation_message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from veo_provider.api.http.response import Response

REFUSING_STATUSES = frozenset({400, 401, 402, 403, 404, 405, 410, 411, 413, 414, 415, 422, 429, 431, 451})
"""Answers about the request itself (RFC 9110 15.5, RFC 6585, RFC 7725), given before anything is generated.

Left out are those that may come after the work began or from somebody on the way: 407, 408, 421, 425, 499;
409 (a conflict with the very generation that an earlier copy of the request began); 424 (something else
failed); and what no server has to say to a POST (406, 412, 416, 417, 423, 426, 428)."""

NO_CHANNEL = frozenset({(503, "model_not_found"), (500, "get_channel_failed")})
"""new-api's own words for a model without a channel, as (status, code).

``model_not_found``: ``Distribute`` in middleware/distributor.go, before any relay. ``get_channel_failed``:
``getChannel`` in controller/relay.go, where no channel is left to relay to; ``RelayTask`` gives the quota of
the request back. Where a first channel failed before, that one may have generated, and the gateway pays."""

_RETIRED = "is no longer available"
"""Google's words for a model that has ended, as APIYI announced them: 404, or in ``fail_to_fetch_task``."""
_RETIRED_STATUSES = REFUSING_STATUSES | {500}
_TROUBLE = re.compile(
    # google.rpc.Code: those that leave open whether the call took effect.
    r"internal|unavailable|deadline_exceeded|unknown|aborted|cancell?ed|data_loss"
    # The same in other gateways' words.
    r"|internal_(?:server_)?error|server_error|service_unavailable|unknown_error|upstream_error"
    r"|bad_gateway|gateway_timeout|(?:request_|upstream_|read_)?time_?out|timed_out"
    # new-api's types/error.go: what is said after the relay began.
    r"|do_request_failed|read_response_body_failed|bad_response(?:_status_code|_body)?|empty_response"
    r"|unmarshal_response_body_failed|aws_invoke_error|channel:response_time_exceeded",
    re.IGNORECASE,
)
_TROUBLE_TYPES = re.compile(r"server_error|internal_(?:server_)?error|timeout_error", re.IGNORECASE)
_SUCCESS = frozenset({"success", "ok"})
"""new-api's code of an answer that is no error; something on the way may have changed its status."""
_RATE_CODES = frozenset(
    {
        "upstream_load_saturated",  # new-api
        "rate_limit",
        "rate_limit_exceeded",  # OpenAI
        "rate_limit_error",
        "throttled",
        "too_many_requests",
        "resource_exhausted",  # google.rpc.Code
    }
)
_QUOTA_CODES = frozenset(
    {
        "insufficient_user_quota",  # new-api's types/error.go, as the next
        "pre_consume_token_quota_failed",
        "insufficient_quota",  # OpenAI
        "billing_hard_limit_reached",
        "budget_exceeded",  # LiteLLM, as a code or a type, with status 400
        "insufficient_balance",
        "insufficient_credits",
    }
)
_QUOTA_PHRASES = re.compile(
    r"\bquota is not enough\b|\bbudget has been exceeded\b|余额不足|额度不足"
    # APIYI's documentation: "balance" in a 403 or 429. A load balancer's troubles are none of the account's.
    r"|(?<!load )(?<!load-)\bbalance\b",
    re.IGNORECASE,
)
_QUOTA_STATUSES = frozenset({400, 402, 403, 429})
_NO_ROUTE = re.compile(r"invalid url \(", re.IGNORECASE)
"""new-api's answer to a path that it does not have: ``RelayNotFound`` in controller/relay.go."""
_UNKNOWN_TASK_CODES = frozenset({"task_not_exist", "task_not_found", "video_not_found", "not_found"})
_UNKNOWN_TASK = re.compile(
    r"task_not_exist|no such (?:task|video)\b|(?:the )?(?:task|video)\b.{0,250}\bnot (?:exist|found)\b",
    re.IGNORECASE,
)
_UNKNOWN_TASK_STATUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
_FIREWALL = re.compile(
    r"\b(?:firewall|waf|cloudflare|captcha|blocked|bot|security polic\w+)\b", re.IGNORECASE
)
_NOT_READY = (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY)
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_NO_SUCH_ROUTE = frozenset({*range(300, 400), 404, 405})
_HOST_HINT = " What answers may not be the API: check the host in the connection."
_DEEPEST = 4
"""Errors in errors are looked into so far."""

POLL_MONEY = "Asking costs nothing, and changes nothing about the generation."
CONTENT_MONEY = "Downloading costs nothing, but the generation itself has been charged."


@dataclass(frozen=True)
class ServiceError:
    """What the body of an error answer says.

    :param code: the innermost code.
    :param message: the innermost message.
    :param outer_code: the code of the gateway itself, in lower case.
    :param outer_message: its message.
    :param codes: all codes and types on the way, in lower case.
    :param numbers: all codes that are numbers.
    :param shaped: whether the body has the API's shape of an error.
    :param troubled: whether a code or a type speaks of trouble upstream.
    """

    code: str = ""
    message: str = ""
    outer_code: str = ""
    outer_message: str = ""
    codes: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()
    shaped: bool = False
    troubled: bool = False

    @property
    def moderated(self) -> bool:
        """Whether it says that a safety filter refused the image or the prompt."""
        return is_moderation_message(self.message, self.code)

    @property
    def retired(self) -> bool:
        """Whether it says that a model has ended."""
        return _RETIRED in self.message

    def says_empty_account(self, status: int) -> bool:
        """Whether it says that the account has no money left."""
        if status == HTTPStatus.PAYMENT_REQUIRED or self.codes & _QUOTA_CODES:
            return True
        return status in _QUOTA_STATUSES and bool(_QUOTA_PHRASES.search(self.message))


def service_error(data: Any) -> ServiceError:
    """Read either shape of error, and one whose message is the JSON text of another."""
    layers = list(_layers(data))
    if not layers:
        return ServiceError()
    codes = [_code_of(layer) for layer in layers]
    messages = [one_line(layer.get("message")) for layer in layers]
    named = [one_line(layer.get(name)) for layer in layers for name in ("code", "status")]
    types = [one_line(layer.get("type")) for layer in layers]
    numbers = frozenset(int(each) for each in named if re.fullmatch(r"[0-9]{1,9}", each))
    return ServiceError(
        code=next((code for code in reversed(codes) if code), ""),
        message=next((message for message in reversed(messages) if message), ""),
        outer_code=codes[0].lower(),
        outer_message=messages[0],
        codes=frozenset(each.lower() for each in (*named, *types) if each),
        numbers=numbers,
        shaped=_is_shaped(data),
        troubled=any(_TROUBLE.fullmatch(each) for each in named)
        or any(_TROUBLE_TYPES.fullmatch(each) for each in types)
        or any(number >= HTTPStatus.INTERNAL_SERVER_ERROR for number in numbers),
    )


def said_in(answer: Response) -> ServiceError:
    """Return what an answer's error says."""
    return service_error(answer.json())


def refusal(answer: Response) -> exceptions.VeoAPIError | None:
    """Return the refusal of a submission, if the answer is one for certain; None leaves its fate open.

    Certain are: a status of :data:`REFUSING_STATUSES` with the API's shape of an error that does not speak of
    trouble upstream; :data:`NO_CHANNEL`; and a model that has ended. A body that describes a task is none.
    """
    said = said_in(answer)
    if not said.shaped or said.codes & _SUCCESS or describes_task(answer.json()):
        return None
    if _says_retired(answer.status, said):
        return _error(exceptions.VeoModelRetiredError, answer, said)
    if (answer.status, said.outer_code) in NO_CHANNEL:
        return _error(exceptions.VeoNoChannelError, answer, said)
    if answer.status not in REFUSING_STATUSES or said.troubled:
        return None
    return _error(_refusal_kind(answer.status, said), answer, said)


def open_question(answer: Response) -> str:
    """Return in words an answer that does not say whether a submission was accepted."""
    said = said_in(answer)
    lost = not said.shaped and answer.status in _NO_SUCH_ROUTE
    return f"{_sentence(answer, said)}{_HOST_HINT if lost else ''}"


def poll_error(answer: Response) -> exceptions.VeoAPIError:
    """Return the error of a poll: all but a wrong key and an unknown task is tried again."""
    said = said_in(answer)
    error = _error(_poll_kind(answer.status, said), answer, said)
    error.money = POLL_MONEY
    if isinstance(error, exceptions.VeoServerError) and not said.shaped and answer.status in _NO_SUCH_ROUTE:
        error.what += _HOST_HINT
    return error


def check_error(answer: Response) -> exceptions.VeoAPIError:
    """Return the error of a call that is about no generation: the connection test, or the balance."""
    said = said_in(answer)
    kind = _poll_kind(answer.status, said)
    trouble = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in (408, 425, 499)
    if kind is exceptions.VeoServerError and not trouble and not said.troubled:
        kind = exceptions.VeoUnexpectedAnswerError
    return _error(kind, answer, said)


def content_error(answer: Response, *, own_host: bool) -> exceptions.VeoAPIError:
    """Return the error of a download.

    :param own_host: whether the API's own host answered; what another says about a link, such as that it has
        expired, is tried again with a new link.
    """
    said = said_in(answer)
    error = _error(_content_kind(answer.status, said, own_host=own_host), answer, said)
    error.money = CONTENT_MONEY
    return error


def _refusal_kind(status: int, said: ServiceError) -> type[exceptions.VeoAPIError]:  # noqa: PLR0911 - a table
    if status == HTTPStatus.NOT_FOUND and (
        said.outer_code == "invalid_url" or _NO_ROUTE.match(said.outer_message)
    ):
        return exceptions.VeoWrongHostError
    if said.codes & _RATE_CODES and not said.codes & _QUOTA_CODES:
        return exceptions.VeoRateLimitError
    if said.says_empty_account(status):
        return exceptions.VeoQuotaError
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return exceptions.VeoRateLimitError
    if status == HTTPStatus.UNAUTHORIZED:
        return exceptions.VeoAuthenticationError
    if said.moderated:
        return exceptions.VeoModerationError
    if status == HTTPStatus.FORBIDDEN:
        return exceptions.VeoAuthenticationError
    return exceptions.VeoBadRequestError


def _poll_kind(status: int, said: ServiceError) -> type[exceptions.VeoAPIError]:
    if status == HTTPStatus.TOO_MANY_REQUESTS or (said.codes & _RATE_CODES and said.shaped):
        return exceptions.VeoRateLimitError
    if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and _is_about_key(status, said)):
        return exceptions.VeoAuthenticationError
    if status in _UNKNOWN_TASK_STATUSES and _names_no_task(said):
        return exceptions.VeoTaskNotFoundError
    return exceptions.VeoServerError


def _content_kind(  # noqa: PLR0911 - a table
    status: int, said: ServiceError, *, own_host: bool
) -> type[exceptions.VeoAPIError]:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return exceptions.VeoRateLimitError
    if not own_host:
        return exceptions.VeoContentServerError
    if said.shaped and said.moderated:
        return exceptions.VeoContentFilteredError
    if status == HTTPStatus.UNAUTHORIZED and said.shaped:
        return exceptions.VeoAuthenticationError
    if status == HTTPStatus.FORBIDDEN and _is_about_key(status, said):
        return exceptions.VeoAuthenticationError
    if status in _GONE and _names_no_file(said):
        return exceptions.VeoContentGoneError
    if status == HTTPStatus.BAD_REQUEST and _names_no_task(said):
        return exceptions.VeoTaskNotFoundError
    return exceptions.VeoContentNotReadyError if status in _NOT_READY else exceptions.VeoContentServerError


def _names_no_file(said: ServiceError) -> bool:
    """Whether it is the API's word that there is no file: a filtered video's comes as a "server_error"."""
    upstream = any(number >= HTTPStatus.INTERNAL_SERVER_ERROR for number in said.numbers)
    return said.shaped and not upstream and not _NO_ROUTE.match(said.outer_message)


def _is_about_key(status: int, said: ServiceError) -> bool:
    """Whether a 403 is the API's word about the key: no firewall's, no filter's, no empty account's."""
    return (
        said.shaped
        and not said.troubled
        and not said.moderated
        and not said.says_empty_account(status)
        and not said.codes & _RATE_CODES
        and not _FIREWALL.search(said.message)
    )


def _names_no_task(said: ServiceError) -> bool:
    """Whether the gateway itself says that it has no such task; what it repeats from upstream may pass."""
    if not said.shaped or said.troubled or _RETIRED in said.message:
        return False
    return said.outer_code in _UNKNOWN_TASK_CODES or bool(_UNKNOWN_TASK.match(said.outer_message))


def _says_retired(status: int, said: ServiceError) -> bool:
    if not said.retired:
        return False
    if said.outer_code == "fail_to_fetch_task" and status in _RETIRED_STATUSES:
        return bool(said.numbers & {400, 404})
    return status in _UNKNOWN_TASK_STATUSES and not said.troubled


def describes_task(data: Any, depth: int = 0) -> bool:
    """Whether a body holds a task that was made and has not failed, whatever error stands beside it."""
    if isinstance(data, list):
        return any(describes_task(each, depth + 1) for each in data[:_DEEPEST])
    if not isinstance(data, dict) or depth > _DEEPEST:
        return False
    status = data.get("status")
    has_status = isinstance(status, str)
    named = data.get("task_id") or (data.get("id") and (has_status or data.get("object") == "video"))
    if named and not (has_status and VideoStatus(status) is VideoStatus.FAILED):
        return True
    return any(describes_task(each, depth + 1) for each in data.values())


def _is_shaped(data: Any) -> bool:
    """Whether a body is ``{"error": {"message" or "code": text}}`` or ``{"code": text, "message": text}``."""
    if not isinstance(data, dict):
        return False
    error = data.get("error")
    if isinstance(error, dict):
        return _is_text(error.get("message")) or _is_text(error.get("code"))
    return _is_text(data.get("code")) and _is_text(data.get("message"))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _layers(data: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield an error, and the errors inside of its message, from the outermost on."""
    if isinstance(data, list) and len(data) == 1:
        data = data[0]  # Google's APIs wrap an error so where they stream
    if not isinstance(data, dict) or depth == _DEEPEST:
        return
    error = data.get("error")
    if isinstance(error, dict):
        layer = error
    else:
        layer = {**data, "message": error} if isinstance(error, str) else data
    yield layer
    message = layer.get("message")
    if isinstance(message, str) and message.lstrip().startswith(("{", "[")):
        try:
            inner = json.loads(message)
        except (ValueError, RecursionError):
            return
        yield from _layers(inner, depth + 1)


def _code_of(layer: dict[str, Any]) -> str:
    code = one_line(layer.get("code") or layer.get("type"))
    # Google's own shape: the code is a number, and the status the word.
    return one_line(layer["status"]) if code.isdigit() and layer.get("status") else code


def _error(
    kind: type[exceptions.VeoAPIError], answer: Response, said: ServiceError
) -> exceptions.VeoAPIError:
    return kind(
        _sentence(answer, said),
        status=answer.status,
        code=answer.printable(said.code),
        retry_after=answer.retry_after,
    )


def _sentence(answer: Response, said: ServiceError) -> str:
    code, message = answer.printable(said.code), answer.printable(said.message)
    reason = ": ".join(part for part in (code, message or answer.snippet()) if part)
    return f"The service answered {answer.status}: {reason or 'without a reason'}."
