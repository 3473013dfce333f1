"""Answers that aiohttp would not write: informational heads, statuses unknown to HTTP, broken framing."""

from __future__ import annotations

from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.abc import AbstractStreamWriter

_MISSING = 1000  # bytes that are promised and never sent


def inform(request: web.BaseRequest, statuses: Iterable[int]) -> None:
    """
    Send informational answers; the final one is still to come.

    :param request: what they answer.
    :param statuses: from 100 to 199.
    """
    for status in statuses:
        if request.transport is not None:
            request.transport.write(_head(status, {"Link": "</>; rel=preload"}))


def is_ordinary(status: int) -> bool:
    """Whether aiohttp sends an answer of this status as it should."""
    return 200 <= status <= 599  # noqa: PLR2004 - the final statuses of HTTP


class Raw(web.StreamResponse):
    """
    An answer written byte by byte, after which the connection closes.

    :param answer: status, headers and body of it. A status from 100 to 199 has no body: its head is all.
    :param framing: how it breaks, one of :data:`veo_provider.sandbox.rule_schema.FRAMINGS`; None: not at all.
    """

    def __init__(self, answer: web.Response, framing: str | None = None) -> None:
        super().__init__(status=answer.status, headers=answer.headers)
        self._whole = answer.body if isinstance(answer.body, bytes) else b""
        self._framing = framing

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything and close."""
        if request.transport is not None:
            request.transport.write(self._bytes())
            request.transport.close()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: all has been sent."""

    def _bytes(self) -> bytes:
        if HTTPStatus.CONTINUE <= self.status < HTTPStatus.OK:
            return _head(self.status, {})
        framing, body = _framed(self._whole, self._framing)
        return _head(self.status, {**self.headers, **framing, "Connection": "close"}) + body


def _framed(whole: bytes, framing: str | None) -> tuple[dict[str, str], bytes]:
    """The headers that frame a body, and what is sent of it."""
    if framing == "chunk":
        return {"Transfer-Encoding": "chunked"}, b"%x\r\n%b\r\n" % (len(whole), whole)
    if framing == "length":
        return {"Content-Length": str(len(whole) + _MISSING)}, whole
    if framing == "cut":
        return {"Content-Length": str(len(whole))}, whole[: len(whole) // 2]
    headers = {"Content-Length": str(len(whole))}
    return {**headers, "Content-Encoding": "gzip"} if framing == "encoding" else headers, whole


def _head(status: int, headers: dict[str, str]) -> bytes:
    """Status line and headers; a status that has no name has none here."""
    first = f"HTTP/1.1 {status:03} {responses.get(status, '')}"
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
