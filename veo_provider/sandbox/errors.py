"""What the service answers when it says no: two shapes of error, and one that hides in the second."""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus
from typing import Any

from aiohttp import web


class Refusal(Exception):  # noqa: N818 - it is an answer of the service, not an error of the sandbox
    """
    An error answer, raised where it is found out and sent by the middleware.

    :param status: HTTP status.
    :param body: JSON body.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body

    def response(self) -> web.Response:
        """The answer that carries it."""
        return web.json_response(self.body, status=self.status)


def gateway(
    status: int,
    message: str,
    code: str = "invalid_request",
    kind: str = "invalid_request_error",
) -> Refusal:
    """The first shape, used by the gateway's front: ``{"error": {"message", "type", "code"}}``."""
    return Refusal(status, {"error": {"message": message, "type": kind, "code": code}})


def relay(status: int, code: str, message: str) -> Refusal:
    """The second shape, used where the gateway handles tasks: ``{"code", "message", "data"}``."""
    return Refusal(status, {"code": code, "message": message, "data": None})


def upstream(message: str, *, status: int = 400, name: str = "INVALID_ARGUMENT") -> Refusal:
    """The second shape around an answer of the model's own API, whose message is itself JSON text."""
    inner = {"error": {"code": status, "message": message, "status": name}}
    return relay(status, "fail_to_fetch_task", json.dumps(inner))


def retired(model: str, status: int = HTTPStatus.NOT_FOUND) -> Refusal:
    """
    What is left of a model that has been shut: the words of Google's API in the gateway's second shape.

    :param model: what was asked for.
    :param status: of the answer; the one inside is always 404.
    """
    message = (
        f"This model models/{model} is no longer available. "
        "Please update your code to use a newer model for the latest features and improvements."
    )
    inner = {"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}
    return relay(status, "fail_to_fetch_task", json.dumps(inner))


def no_channel(model: str, status: int = HTTPStatus.SERVICE_UNAVAILABLE) -> Refusal:
    """
    What the gateway says by itself, before it relays anything, when no channel serves a model.

    The words are those of new-api: its distributor (``middleware/distributor.go``) answers 503, and its
    relay (``getChannel`` in ``controller/relay.go``) 500.

    :param model: what was asked for.
    :param status: 503, or 500.
    """
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        # ruff takes its full-width parentheses for a mistake.
        message = f"分组 default 下模型 {model} 的可用渠道不存在（retry）"  # noqa: RUF001
        return relay(status, "get_channel_failed", message)
    request = secrets.token_hex(16)
    message = (
        f"No available channel for model {model} under group default (distributor) (request id: {request})"
    )
    return gateway(status, message, "model_not_found", "new_api_error")
