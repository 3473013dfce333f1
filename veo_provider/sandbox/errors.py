"""Error responses of the API: the gateway's two JSON shapes, and Google's error as text inside one."""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """An error response, raised where it is detected and sent by the middleware.

    :param status: HTTP status.
    :param body: JSON body.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body

    @property
    def code(self) -> str:
        """Return the error's code."""
        return str(self.body.get("error", self.body)["code"])

    @property
    def message(self) -> str:
        """Return the error's message; of one inside another, the inner one's."""
        message = str(self.body.get("error", self.body)["message"])
        return str(json.loads(message)["error"]["message"]) if message.startswith("{") else message


def gateway_error(
    status: int,
    message: str,
    code: str = "invalid_request",
    kind: str = "invalid_request_error",
) -> ApiError:
    """Return an error of the gateway's front end: ``{"error": {"message", "type", "code"}}``."""
    return ApiError(status, {"error": {"message": message, "type": kind, "code": code}})


def relay_error(status: int, code: str, message: str) -> ApiError:
    """Return an error of the gateway's task handler: ``{"code", "message", "data"}``."""
    return ApiError(status, {"code": code, "message": message, "data": None})


def upstream_error(message: str, *, status: int = 400, name: str = "INVALID_ARGUMENT") -> ApiError:
    """Return an error of the model's own API: one of the task handler, whose message is JSON text."""
    inner = {"error": {"code": status, "message": message, "status": name}}
    return relay_error(status, "fail_to_fetch_task", json.dumps(inner))


def retired_model_error(model: str, status: int = HTTPStatus.NOT_FOUND) -> ApiError:
    """Return the error for a model that was shut down: Google's message in the task handler's error.

    :param model: the requested model.
    :param status: of the response; the one inside the message is always 404.
    """
    message = (
        f"This model models/{model} is no longer available. "
        "Please update your code to use a newer model for the latest features and improvements."
    )
    inner = {"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}
    return relay_error(status, "fail_to_fetch_task", json.dumps(inner))


def no_channel_error(model: str, status: int = HTTPStatus.SERVICE_UNAVAILABLE) -> ApiError:
    """Return the gateway's own error when no channel serves a model; nothing was relayed.

    The messages are those of new-api: its distributor (``middleware/distributor.go``) answers 503, and its
    relay (``getChannel`` in ``controller/relay.go``) 500.

    :param model: the requested model.
    :param status: 503, or 500.
    """
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        message = f"分组 default 下模型 {model} 的可用渠道不存在（retry）"  # noqa: RUF001 - its own parentheses
        return relay_error(status, "get_channel_failed", message)
    request = secrets.token_hex(16)
    message = (
        f"No available channel for model {model} under group default (distributor) (request id: {request})"
    )
    return gateway_error(status, message, "model_not_found", "new_api_error")
