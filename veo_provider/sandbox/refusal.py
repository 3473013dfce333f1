"""What the service answers when it says no: two shapes of error, and one that hides in the second."""

from __future__ import annotations

import json
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
