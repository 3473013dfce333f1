"""Responses that aiohttp does not send: informational ones, unknown status codes, broken framing."""

from __future__ import annotations

from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.abc import AbstractStreamWriter

_MISSING = 1000  # bytes announced in Content-Length and never sent


def send_informational(request: web.BaseRequest, statuses: Iterable[int]) -> None:
    """Send informational responses, before the final one.

    :param request: the request they belong to.
    :param statuses: from 100 to 199.
    """
    for status in statuses:
        if request.transport is not None:
            request.transport.write(_head(status, {"Link": "</>; rel=preload"}))


def is_final(status: int) -> bool:
    """Return whether this is a final status of HTTP, which aiohttp can send."""
    return 200 <= status <= 599  # noqa: PLR2004 - HTTP's own numbers


class RawResponse(web.StreamResponse):
    """A response written to the socket as raw bytes; the connection is closed after it.

    :param response: its status, headers and body. For a status from 100 to 199 only the head is sent.
    :param framing: one of :data:`veo_provider.sandbox.rule_schema.FRAMINGS` to break it, or None.
    """

    def __init__(self, response: web.Response, framing: str | None = None) -> None:
        super().__init__(status=response.status, headers=response.headers)
        self._content = response.body if isinstance(response.body, bytes) else b""
        self._framing = framing

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the whole response and close the connection."""
        if request.transport is not None:
            request.transport.write(self._bytes())
            request.transport.close()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: ``prepare`` sent everything."""

    def _bytes(self) -> bytes:
        if HTTPStatus.CONTINUE <= self.status < HTTPStatus.OK:
            return _head(self.status, {})
        framing, body = _frame(self._content, self._framing)
        return _head(self.status, {**self.headers, **framing, "Connection": "close"}) + body


def _frame(content: bytes, framing: str | None) -> tuple[dict[str, str], bytes]:
    """Return the headers that frame a body, and the bytes to send."""
    if framing == "chunk":
        return {"Transfer-Encoding": "chunked"}, b"%x\r\n%b\r\n" % (len(content), content)
    if framing == "length":
        return {"Content-Length": str(len(content) + _MISSING)}, content
    if framing == "cut":
        return {"Content-Length": str(len(content))}, content[: len(content) // 2]
    headers = {"Content-Length": str(len(content))}
    return {**headers, "Content-Encoding": "gzip"} if framing == "encoding" else headers, content


def _head(status: int, headers: dict[str, str]) -> bytes:
    """Return status line and headers; an unknown status has no reason phrase."""
    first = f"HTTP/1.1 {status:03} {responses.get(status, '')}"
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
