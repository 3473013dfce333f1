"""The HTTP server: routes, errors in the gateway's shape, CORS headers."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

from aiohttp import ClientError, multipart, web

from veo_provider.sandbox.admin import AdminApi
from veo_provider.sandbox.body_parser import FIELD_LIMIT
from veo_provider.sandbox.errors import ApiError, gateway_error

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

    from veo_provider.sandbox.service import Handler, Service

_logger = logging.getLogger(__name__)
_SHUTDOWN_SECONDS = 1.0
# aiohttp parses this header three times for each field of a form, for a fifth of a millisecond each.
_parse_once = functools.lru_cache(maxsize=256)(multipart.parse_content_disposition)
_LOG_FORMAT = '%a "%r" %s %b bytes %Tf s "%{User-Agent}i"'


async def start(service: Service, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start to listen.

    :param service: what handles the calls.
    :param host: address to listen on.
    :param port: 0 picks a free one.
    :returns: the runner, to be stopped with ``cleanup()``, and the port.
    """
    runner = web.AppRunner(
        create_app(service), shutdown_timeout=_SHUTDOWN_SECONDS, access_log_format=_LOG_FORMAT
    )
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner, int(runner.addresses[0][1])


def create_app(service: Service) -> web.Application:
    """Return the aiohttp application of a service."""
    multipart.parse_content_disposition = _parse_once
    app = web.Application(middlewares=[_error_handler(service)], client_max_size=FIELD_LIMIT)
    app.add_routes([*service.routes(), *AdminApi(service).routes()])
    app.on_response_prepare.append(_add_cors_headers)
    return app


def _error_handler(service: Service) -> Middleware:
    """Return the middleware that turns exceptions into error responses of the gateway that is played."""

    def response(error: ApiError) -> web.Response:
        return web.json_response(service.face.error(error), status=error.status)

    @web.middleware
    async def handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(status=204)
        try:
            return await handler(request)
        except ApiError as error:
            return response(error)
        except web.HTTPException as error:
            return response(_api_error(request, error))
        except (ConnectionError, ClientError):
            # The client disconnected during its request: nothing was accepted, and nobody reads this.
            return web.Response(status=499)
        except Exception:
            _logger.exception("%s %s", request.method, request.path)
            return response(
                gateway_error(500, "the sandbox has failed: see its log", "internal", "server_error")
            )

    return handle_errors


def _api_error(request: web.Request, error: web.HTTPException) -> ApiError:
    """Return aiohttp's error in the gateway's shape, where a wrong method is a wrong URL."""
    if error.status in (404, 405):
        return gateway_error(404, f"Invalid URL ({request.method} {request.path})", "invalid_url")
    return gateway_error(error.status, error.reason)


async def _add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Allow pages of any origin the headers they ask for; a wildcard would not cover Authorization."""
    requested = request.headers.get("Access-Control-Request-Headers", "Authorization, Content-Type, Range")
    response.headers.update(
        {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": requested,
            "Access-Control-Allow-Private-Network": "true",
            "Access-Control-Expose-Headers": "Content-Length, Content-Range, ETag, Retry-After",
            "Access-Control-Max-Age": "600",
        }
    )
