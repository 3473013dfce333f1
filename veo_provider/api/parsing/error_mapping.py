"""Which exception an error response becomes; that depends on the phase in which it came.

* *Submitting*: only what is on a closed list is a refusal (:func:`refusal`). Everything else leaves open
  whether the generation was accepted.
* *Polling*: the generation has been accepted, so nothing can refuse it any more (:func:`poll_error`).
* *Downloading*: the generation has completed and was charged (:func:`content_error`).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from veo_provider import exceptions
from veo_provider.api.parsing.relayed_error import relayed_error, unrelayed
from veo_provider.api.parsing.service_error import describes_task, parse_service_error

if TYPE_CHECKING:
    from veo_provider.api.http.response import Response
    from veo_provider.api.parsing.service_error import ServiceError

REFUSAL_STATUSES = frozenset({400, 401, 402, 403, 404, 405, 410, 411, 413, 414, 415, 422, 429, 431, 451})
"""Statuses about the request itself (RFC 9110 15.5, RFC 6585, RFC 7725), sent before anything is generated.

Not in the list are those that may come after the work began or from an intermediary: 407, 408, 421, 425, 499;
409 (a conflict with the very generation that an earlier copy of the request started); 424 (something else
failed); and those that no server should send in response to a POST (406, 412, 416, 417, 423, 426, 428)."""

NO_CHANNEL_ERRORS = frozenset({(503, "model_not_found"), (500, "get_channel_failed")})
"""new-api's own errors for a model without a channel, as (status, code).

``model_not_found``: ``Distribute`` in middleware/distributor.go, before any relay. ``get_channel_failed``:
``getChannel`` in controller/relay.go, where no channel is left to relay to; ``RelayTask`` refunds the quota
of the request. An earlier channel that failed may have generated a video, which the gateway pays for."""

_RETIRED_MODEL_STATUSES = REFUSAL_STATUSES | {500}
_UNKNOWN_TASK_STATUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
_NOT_READY_STATUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY)
_GONE_STATUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_TRANSIENT_STATUSES = frozenset({408, 425, 499, *range(500, 1000)})
_WRONG_HOST_STATUSES = frozenset({*range(300, 400), 404, 405})
_HOST_HINT = " This server may not be the API: check the host in the connection."

POLL_MONEY = "Polling costs nothing and does not affect the generation."
CONTENT_MONEY = "Downloading costs nothing, but the generation itself has been charged."


def refusal(response: Response) -> exceptions.VeoAPIError | None:
    """Return the refusal of a submission if the response certainly is one; None leaves its fate open.

    Certain are: a status of :data:`REFUSAL_STATUSES` with a well-formed error that is not about trouble
    upstream; :data:`NO_CHANNEL_ERRORS`; and a model that has ended. A body that describes a task never is.
    Nor is an error that LiteLLM relays, unless upstream's own error is one and no other model was asked.
    """
    found = _error_in(response)
    if not found.well_formed or found.is_success or describes_task(unrelayed(response.json())):
        return None
    if not _is_status_of_all(response, found):
        return None
    if _is_retired_model(response.status, found):
        return _exception(exceptions.VeoModelRetiredError, response, found)
    if (response.status, found.outer_code) in NO_CHANNEL_ERRORS:
        return _exception(exceptions.VeoNoChannelError, response, found)
    if response.status not in REFUSAL_STATUSES or found.upstream_trouble:
        return None
    return _exception(_refusal_class(response.status, found), response, found)


def relayed_fallbacks(response: Response) -> int:
    """Return how many other models an error says that LiteLLM's proxy has asked as well."""
    relayed = relayed_error(response.json())
    return relayed.fallbacks if relayed else 0


def _is_status_of_all(response: Response, error: ServiceError) -> bool:
    """Whether the status holds for all that a proxy has done with a submission.

    LiteLLM reports the first model's error where its fallbacks failed as well, one of them perhaps after it
    was accepted. It turns any status into 429 if upstream's text speaks of a rate limit.
    """
    relayed = relayed_error(response.json())
    if relayed is None:
        return True
    if not relayed.alone or relayed.body is None:
        return False
    by_words = response.status == HTTPStatus.TOO_MANY_REQUESTS and relayed.speaks_of_rate_limit
    return not by_words or error.names_rate_limit


def undecided_sentence(response: Response) -> str:
    """Describe a response that does not say whether a submission was accepted."""
    found = _error_in(response)
    wrong_host = not found.well_formed and response.status in _WRONG_HOST_STATUSES
    return f"{_sentence(response, found)}{_HOST_HINT if wrong_host else ''}"


def poll_error(response: Response) -> exceptions.VeoAPIError:
    """Return the error of a poll; all except a wrong key and an unknown task are retryable."""
    found = _error_in(response)
    error = _exception(_poll_class(response.status, found), response, found)
    error.money = POLL_MONEY
    wrong_host = not found.well_formed and response.status in _WRONG_HOST_STATUSES
    if isinstance(error, exceptions.VeoServerError) and wrong_host:
        error.what += _HOST_HINT
    return error


def check_error(response: Response) -> exceptions.VeoAPIError:
    """Return the error of a call that is about no generation: the connection test, or the balance."""
    found = _error_in(response)
    exception_class = _poll_class(response.status, found)
    if found.is_key_without_database:
        exception_class = exceptions.VeoAuthenticationError
    transient = response.status in _TRANSIENT_STATUSES or found.upstream_trouble
    if exception_class is exceptions.VeoServerError and not transient:
        exception_class = exceptions.VeoUnexpectedAnswerError
    return _exception(exception_class, response, found)


def content_error(response: Response, *, own_host: bool) -> exceptions.VeoAPIError:
    """Return the error of a download.

    :param own_host: whether the API's own host responded. An error of another host, such as an expired link,
        is retried with a new link.
    """
    found = _error_in(response)
    error = _exception(_content_class(response.status, found, own_host=own_host), response, found)
    error.money = CONTENT_MONEY
    return error


def _error_in(response: Response) -> ServiceError:
    return parse_service_error(response.json())


def _refusal_class(  # noqa: PLR0911 - a table
    status: int, error: ServiceError
) -> type[exceptions.VeoAPIError]:
    if status == HTTPStatus.NOT_FOUND and (error.outer_code == "invalid_url" or error.is_unknown_route):
        return exceptions.VeoWrongHostError
    if error.is_rate_limit and not error.has_quota_code:
        return exceptions.VeoRateLimitError
    if error.is_empty_account(status):
        return exceptions.VeoQuotaError
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return exceptions.VeoRateLimitError
    if status == HTTPStatus.UNAUTHORIZED or error.is_key_without_database:
        return exceptions.VeoAuthenticationError
    if error.is_moderation:
        return exceptions.VeoModerationError
    if status == HTTPStatus.FORBIDDEN:
        return exceptions.VeoAuthenticationError
    return exceptions.VeoBadRequestError


def _poll_class(status: int, error: ServiceError) -> type[exceptions.VeoAPIError]:
    if status == HTTPStatus.TOO_MANY_REQUESTS or (error.is_rate_limit and error.well_formed):
        return exceptions.VeoRateLimitError
    if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and error.is_refused_key(status)):
        return exceptions.VeoAuthenticationError
    if status in _UNKNOWN_TASK_STATUSES and error.is_unknown_task:
        return exceptions.VeoTaskNotFoundError
    return exceptions.VeoServerError


def _content_class(  # noqa: PLR0911 - a table
    status: int, error: ServiceError, *, own_host: bool
) -> type[exceptions.VeoAPIError]:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return exceptions.VeoRateLimitError
    if not own_host:
        return exceptions.VeoContentServerError
    if error.well_formed and error.is_moderation:
        return exceptions.VeoContentFilteredError
    if status == HTTPStatus.UNAUTHORIZED and error.well_formed:
        return exceptions.VeoAuthenticationError
    if status == HTTPStatus.FORBIDDEN and error.is_refused_key(status):
        return exceptions.VeoAuthenticationError
    if status in _GONE_STATUSES and error.is_missing_file:
        return exceptions.VeoContentGoneError
    if status == HTTPStatus.BAD_REQUEST and error.is_unknown_task:
        return exceptions.VeoTaskNotFoundError
    return (
        exceptions.VeoContentNotReadyError
        if status in _NOT_READY_STATUSES
        else exceptions.VeoContentServerError
    )


def _is_retired_model(status: int, error: ServiceError) -> bool:
    if not error.is_retired_model:
        return False
    relayed = error.outer_code == "fail_to_fetch_task" and status in _RETIRED_MODEL_STATUSES
    if relayed and error.numbers & {400, 404}:
        return True
    return status in _UNKNOWN_TASK_STATUSES and not error.upstream_trouble


def _exception(
    exception_class: type[exceptions.VeoAPIError], response: Response, error: ServiceError
) -> exceptions.VeoAPIError:
    return exception_class(
        _sentence(response, error),
        status=response.status,
        code=response.printable(error.code),
        retry_after=response.retry_after,
    )


def _sentence(response: Response, error: ServiceError) -> str:
    code, message = response.printable(error.code), response.printable(error.message)
    reason = ": ".join(part for part in (code, message or response.snippet()) if part)
    return f"The service answered {response.status}: {reason or 'without a reason'}."
