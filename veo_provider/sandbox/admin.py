"""Endpoints under ``/_sandbox``: submissions, charges, latency and fault rules of the sandbox itself."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from aiohttp import web

from veo_provider.sandbox.errors import gateway_error
from veo_provider.sandbox.faults import FaultError
from veo_provider.sandbox.latency import Latency
from veo_provider.sandbox.service import parse_json

if TYPE_CHECKING:
    from veo_provider.sandbox.service import Service


class AdminApi:
    """Handlers that inspect and configure a service.

    :param service: the service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints; none of them needs a key."""
        return [
            web.get("/_sandbox/charges", self._charges),
            web.get("/_sandbox/summary", self._summary),
            web.get("/_sandbox/tasks", self._tasks),
            web.get("/_sandbox/latency", self._latency),
            web.post("/_sandbox/latency", self._set_latency),
            web.get("/_sandbox/faults", self._faults),
            web.post("/_sandbox/faults", self._add_faults),
            web.delete("/_sandbox/faults", self._clear_faults),
            web.post("/_sandbox/reset", self._reset),
        ]

    async def _charges(self, _request: web.Request) -> web.Response:
        return web.json_response(self._service.ledger.charges(time.time()))

    async def _summary(self, _request: web.Request) -> web.Response:
        return web.json_response(self._service.ledger.summary(time.time()))

    async def _tasks(self, request: web.Request) -> web.Response:
        after, limit = _query_number(request, "after"), _query_number(request, "limit")
        return web.json_response(self._service.ledger.record(time.time(), after or 0, limit))

    async def _latency(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self._service.latency))

    async def _set_latency(self, request: web.Request) -> web.Response:
        try:
            self._service.latency = Latency(**parse_json(await request.text()))
        except (TypeError, ValueError) as error:
            raise gateway_error(400, f"latency: {error}") from error
        return await self._latency(request)

    async def _faults(self, _request: web.Request) -> web.Response:
        return web.json_response(self._service.faults.record())

    async def _add_faults(self, request: web.Request) -> web.Response:
        try:
            self._service.faults.add(parse_json(await request.text()))
        except FaultError as error:
            raise gateway_error(400, str(error)) from error
        return await self._faults(request)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._service.faults.clear()
        return await self._faults(request)

    async def _reset(self, request: web.Request) -> web.Response:
        self._service.reset()
        return await self._faults(request)


def _query_number(request: web.Request, name: str) -> int | None:
    """Return a number from 0 of the query, or None if it is absent."""
    text = request.query.get(name)
    if text is not None and not text.isdecimal():
        raise gateway_error(400, f"`{name}` is a number from 0, not {text!r}")
    return None if text is None else int(text)
