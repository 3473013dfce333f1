"""The HTTP server around the service: errors in the gateway's shape, and browsers let in."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

from aiohttp import ClientError, multipart, web

from veo_provider.sandbox.admin import Control
from veo_provider.sandbox.errors import Refusal, gateway
from veo_provider.sandbox.submission import FIELD_LIMIT

if TYPE_CHECKING:
    from veo_provider.sandbox.service import Handler, Service

_logger = logging.getLogger(__name__)
_SHUTDOWN_SECONDS = 1.0
# aiohttp parses this header three times for each field of a form, for a fifth of a millisecond each.
_parse_once = functools.lru_cache(maxsize=256)(multipart.parse_content_disposition)
_LOG_FORMAT = '%a "%r" %s %b bytes %Tf s "%{User-Agent}i"'


async def start(service: Service, host: str, port: int) -> tuple[web.AppRunner, int]:
    """
    Listen, and answer for a service.

    :param service: the service.
    :param host: address to listen on.
    :param port: 0 picks a free one.
    :returns: what to ``cleanup()`` in the end, and the port.
    """
    runner = web.AppRunner(
        application(service), shutdown_timeout=_SHUTDOWN_SECONDS, access_log_format=_LOG_FORMAT
    )
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner, int(runner.addresses[0][1])


def application(service: Service) -> web.Application:
    """The whole of the HTTP side as an aiohttp application."""
    multipart.parse_content_disposition = _parse_once
    app = web.Application(middlewares=[_answer_errors], client_max_size=FIELD_LIMIT)
    app.add_routes([*service.routes(), *Control(service).routes()])
    app.on_response_prepare.append(_let_browsers_in)
    return app


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into an answer of the gateway."""
    if request.method == "OPTIONS":
        return web.Response(status=204)
    try:
        return await handler(request)
    except Refusal as refusal:
        return refusal.response()
    except web.HTTPException as error:
        return _refusal(request, error).response()
    except (ConnectionError, ClientError):
        # The client left in the middle of its request: nothing was accepted, and nobody listens.
        return web.Response(status=499)
    except Exception:
        _logger.exception("%s %s", request.method, request.path)
        return gateway(500, "the sandbox has failed: see its log", "internal", "server_error").response()


def _refusal(request: web.Request, error: web.HTTPException) -> Refusal:
    """An error of aiohttp in the gateway's shape; there, a wrong method is a wrong URL."""
    if error.status in (404, 405):
        return gateway(404, f"Invalid URL ({request.method} {request.path})", "invalid_url")
    return gateway(error.status, error.reason)


async def _let_browsers_in(request: web.Request, response: web.StreamResponse) -> None:
    """Allow pages of any origin what they ask for; a wildcard would not cover Authorization."""
    asked = request.headers.get("Access-Control-Request-Headers", "Authorization, Content-Type, Range")
    response.headers.update(
        {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": asked,
            "Access-Control-Allow-Private-Network": "true",
            "Access-Control-Expose-Headers": "Content-Length, Content-Range, ETag, Retry-After",
            "Access-Control-Max-Age": "600",
        }
    )
