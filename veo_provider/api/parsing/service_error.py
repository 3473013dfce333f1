"""What the body of an error response says, in whatever shape a gateway writes it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from veo_provider.api.http.response import one_line
from veo_provider.api.parsing.relayed_error import unrelayed
from veo_provider.api.video import VideoStatus, is_moderation_message

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DEPTH = 4
"""How deep errors inside errors are parsed."""
_RETIRED_PHRASE = "is no longer available"
"""Google's words for a model that has ended, as APIYI announced them: 404, or in ``fail_to_fetch_task``."""
_TROUBLE_CODES = re.compile(
    # google.rpc.Code: those that leave open whether the call took effect.
    r"internal|unavailable|deadline_exceeded|unknown|aborted|cancell?ed|data_loss"
    # The same in other gateways' words.
    r"|internal_(?:server_)?error|server_error|service_unavailable|unknown_error|upstream_error"
    r"|bad_gateway|gateway_timeout|(?:request_|upstream_|read_)?time_?out|timed_out"
    # new-api's types/error.go: errors after the relay began.
    r"|do_request_failed|read_response_body_failed|bad_response(?:_status_code|_body)?|empty_response"
    r"|unmarshal_response_body_failed|aws_invoke_error|channel:response_time_exceeded",
    re.IGNORECASE,
)
_TROUBLE_TYPES = re.compile(r"server_error|internal_(?:server_)?error|timeout_error", re.IGNORECASE)
_SUCCESS_CODES = frozenset({"success", "ok"})
"""new-api's code of a response that is not an error; a proxy may have changed its status."""
_RATE_LIMIT_CODES = frozenset(
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
    # APIYI's documentation: "balance" in a 403 or 429. A load balancer's trouble is not about the account.
    r"|(?<!load )(?<!load-)\bbalance\b",
    re.IGNORECASE,
)
_QUOTA_STATUSES = frozenset({400, 402, 403, 429})
_NO_ROUTE = re.compile(r"invalid url \(", re.IGNORECASE)
"""new-api's response to a path that it does not have: ``RelayNotFound`` in controller/relay.go."""
_UNKNOWN_TASK_CODES = frozenset({"task_not_exist", "task_not_found", "video_not_found", "not_found"})
_UNKNOWN_TASK_MESSAGE = re.compile(
    r"task_not_exist|no such (?:task|video)\b|(?:the )?(?:task|video)\b.{0,250}\bnot (?:exist|found)\b",
    re.IGNORECASE,
)
_NO_DATABASE = "no_db_connection"
"""LiteLLM without a database answers any key but its own so: 400, "No connected db." (run, 1.108.7)."""
_FIREWALL = re.compile(
    r"\b(?:firewall|waf|cloudflare|captcha|blocked|bot|security polic\w+)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class ServiceError:
    """The error in the body of a response.

    :param code: the innermost code.
    :param message: the innermost message.
    :param outer_code: the gateway's own code, in lower case.
    :param outer_message: the gateway's own message.
    :param codes: all codes and types from the outermost to the innermost error, in lower case.
    :param numbers: all codes that are numbers.
    :param well_formed: whether the body has the API's form of an error.
    :param upstream_trouble: whether a code or a type is about trouble upstream.
    :param detail: the text in FastAPI's form of an error, ``{"detail": text}``, which decides about no
        submission.
    """

    code: str = ""
    message: str = ""
    outer_code: str = ""
    outer_message: str = ""
    codes: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()
    well_formed: bool = False
    upstream_trouble: bool = False
    detail: str = ""

    @property
    def is_success(self) -> bool:
        """Whether its code says success, so that it is not an error."""
        return bool(self.codes & _SUCCESS_CODES)

    @property
    def is_moderation(self) -> bool:
        """Whether a safety filter refused the image or the prompt."""
        return is_moderation_message(self.message, self.code)

    @property
    def is_retired_model(self) -> bool:
        """Whether the model has ended."""
        return _RETIRED_PHRASE in self.message

    @property
    def is_rate_limit(self) -> bool:
        """Whether a code is about too many requests."""
        return bool(self.codes & _RATE_LIMIT_CODES)

    @property
    def names_rate_limit(self) -> bool:
        """Whether a code is about too many requests, be it a word or a number."""
        return self.is_rate_limit or HTTPStatus.TOO_MANY_REQUESTS in self.numbers

    @property
    def is_key_without_database(self) -> bool:
        """Whether a LiteLLM proxy without a database does not know the key."""
        return _NO_DATABASE in self.codes

    @property
    def has_quota_code(self) -> bool:
        """Whether a code is about the account's money."""
        return bool(self.codes & _QUOTA_CODES)

    @property
    def is_unknown_route(self) -> bool:
        """Whether the gateway does not have the requested path."""
        return bool(_NO_ROUTE.match(self.outer_message))

    @property
    def is_unknown_task(self) -> bool:
        """Whether the gateway itself does not know the task; what it repeats from upstream may pass."""
        if _UNKNOWN_TASK_MESSAGE.match(self.detail):
            return True  # vLLM-Omni and SGLang
        if not self.well_formed or self.upstream_trouble or self.is_retired_model:
            return False
        return self.outer_code in _UNKNOWN_TASK_CODES or bool(_UNKNOWN_TASK_MESSAGE.match(self.outer_message))

    @property
    def is_missing_file(self) -> bool:
        """Whether the API says that there is no file; for a filtered video it says so in a "server_error"."""
        upstream = any(number >= HTTPStatus.INTERNAL_SERVER_ERROR for number in self.numbers)
        return self.well_formed and not upstream and not self.is_unknown_route

    def is_empty_account(self, status: int) -> bool:
        """Whether the account has no money left.

        :param status: the response's HTTP status.
        """
        if status == HTTPStatus.PAYMENT_REQUIRED or self.has_quota_code:
            return True
        return status in _QUOTA_STATUSES and bool(_QUOTA_PHRASES.search(self.message))

    def is_refused_key(self, status: int) -> bool:
        """Whether a 403 is about the key, rather than from a firewall or about a filter or the account."""
        return (
            self.well_formed
            and not self.upstream_trouble
            and not self.is_moderation
            and not self.is_empty_account(status)
            and not self.is_rate_limit
            and not _FIREWALL.search(self.message)
        )


def parse_service_error(data: Any) -> ServiceError:
    """Parse either form of an error, and an error whose message is the JSON text of another.

    Of an error that LiteLLM relays, upstream's own one counts.
    """
    data = unrelayed(data)
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
        # A type or a status is a class of errors, and decides nothing by itself.
        outer_code=one_line(layers[0].get("code")).lower(),
        outer_message=messages[0],
        codes=frozenset(each.lower() for each in (*named, *types) if each),
        numbers=numbers,
        well_formed=_is_well_formed(data),
        upstream_trouble=any(_TROUBLE_CODES.fullmatch(each) for each in named)
        or any(_TROUBLE_TYPES.fullmatch(each) for each in types)
        or any(number >= HTTPStatus.INTERNAL_SERVER_ERROR for number in numbers),
        detail=one_line(data["detail"]) if isinstance(data, dict) and _is_text(data.get("detail")) else "",
    )


def describes_task(data: Any, depth: int = 0) -> bool:
    """Whether a body contains a task that was created and has not failed, whatever error comes with it."""
    if isinstance(data, list):
        return any(describes_task(each, depth + 1) for each in data[:_MAX_DEPTH])
    if not isinstance(data, dict) or depth > _MAX_DEPTH:
        return False
    status = data.get("status")
    has_status = isinstance(status, str)
    named = data.get("task_id") or (data.get("id") and (has_status or data.get("object") == "video"))
    if named and not (has_status and VideoStatus(status) is VideoStatus.FAILED):
        return True
    return any(describes_task(each, depth + 1) for each in data.values())


def _is_well_formed(data: Any) -> bool:
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
    """Yield an error and the errors inside its message, from the outermost to the innermost."""
    if isinstance(data, list) and len(data) == 1:
        data = data[0]  # Google's streaming APIs wrap an error in a list
    if not isinstance(data, dict) or depth == _MAX_DEPTH:
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
    # Google's own form: the code is a number, and the status is the word.
    return one_line(layer["status"]) if code.isdigit() and layer.get("status") else code
