"""AsyncVeoClient: the client for triggers, which must never block."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from yarl import URL

from veo_provider.api import config, protocol
from veo_provider.api.body import CHUNK_BYTES, SubmissionBody, encode, submission_deadline
from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.http.async_transport import lenient
from veo_provider.api.http.response import ACCEPT_ENCODING, MAX_BODY_BYTES, Response
from veo_provider.api.http.response_head import MAX_FIELD_BYTES
from veo_provider.api.http.urls import exact_target, without_credentials
from veo_provider.api.parsing.task_ids import Aliases
from veo_provider.exceptions import VeoAPIError, VeoConnectionError, VeoSubmissionUnknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Self

    from veo_provider.api.gateways.gateway import Gateway
    from veo_provider.api.request import VeoRequest
    from veo_provider.api.video import Video

_TRANSPORT_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class AsyncVeoClient:
    """Calls the API with ``aiohttp``; each call is made once; retries are the caller's decision.

    :param api_key: the key, sent as a Bearer token, and only to the API's host.
    :param base_url: the API's base URL; empty for the gateway's own.
    :param gateway: the interface that is spoken there.
    :param timeout: seconds without a byte from the server after which a call fails; it also fails if the
        response takes longer than twice this. For a submission the limit is
        :data:`~veo_provider.api.config.SUBMIT_TIMEOUT`.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = "",
        *,
        gateway: Gateway = APIYI,
        timeout: float = config.DEFAULT_TIMEOUT,
    ) -> None:
        self.base_url = (base_url or gateway.base_url).rstrip("/")
        self.gateway = gateway
        self._api_key = api_key
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._aliases = Aliases()
        self._opening = asyncio.Lock()
        self._proxy = _proxy_for(self.base_url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={without_credentials(self.base_url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def submit(
        self, request: VeoRequest, *, deadline: float | None = None, idempotency_key: str = ""
    ) -> Video:
        """Submit a generation, once. This is the call that spends money.

        :param deadline: Unix seconds after which the rest of the request is not sent; at the latest
            :data:`~veo_provider.api.config.SUBMIT_TIMEOUT` from now.
        :param idempotency_key: by which a gateway that has such a header recognises a repeated submission.
        :raises VeoRequestError: the request was made for another gateway.
        :raises VeoNotSentError: the request was not sent completely; submitting again is safe.
        :raises VeoSubmissionUnknown: it may have been accepted.
        :raises VeoAPIError: the service refused it.
        :raises VeoImageUnavailableError: the image could not be read completely; nothing was accepted.
        :raises VeoInterruptedError: a timeout or a signal came before the request was sent completely.
        """
        protocol.require_gateway(request, self.gateway)
        deadline = submission_deadline(deadline)
        body = encode(request, deadline)
        headers = {
            **protocol.submission_headers(self.gateway, idempotency_key),
            "Content-Type": body.content_type,
            "Content-Length": str(len(body)),
        }
        # From the start of the request to the end of the response.
        total = max(0.0, deadline - time.time()) + config.SUBMIT_TIMEOUT
        with protocol.in_words_of(self.gateway):
            try:
                # A new connection: one that was kept alive may be dead, which shows only after the body was
                # sent.
                async with await self._new_session(config.SUBMIT_TIMEOUT, total) as session:
                    with closing(body):
                        url = self.base_url + self.gateway.submit_path
                        response = await self._call(session, "POST", url, data=_chunks(body), headers=headers)
                        return protocol.parse_submission(response, whole=body.complete, gateway=self.gateway)
            except (VeoAPIError, VeoSubmissionUnknown):
                raise
            # Also if the wait for the response is cancelled or exceeds a timeout.
            except BaseException as error:
                is_transport_error = isinstance(error, VeoConnectionError)
                failure = body.classify_failure(error, _reason(error), is_transport_error=is_transport_error)
                if failure is error:
                    raise
                raise failure from error

    async def get(self, veo_task_id: str) -> Video:
        """Poll a generation. Costs nothing.

        :raises VeoAPIError: the service returned an error.
        :raises VeoConnectionError: no response came.
        """
        session = self._session or await self._open()
        url = self.base_url + protocol.video_path(veo_task_id, self.gateway)
        with protocol.in_words_of(self.gateway):
            response = await self._call(session, "GET", url)
            return protocol.parse_video(response, veo_task_id, self._aliases, self.gateway)

    async def _open(self) -> aiohttp.ClientSession:
        """Return the session that all calls share, even if many of them start together."""
        async with self._opening:
            if self._session is None:
                self._session = await self._new_session(self._timeout, config.MAX_TIMEOUTS * self._timeout)
        return self._session

    async def _call(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        *,
        data: AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        try:
            async with session.request(
                method, _exact(url), data=data, headers=headers, proxy=self._proxy, allow_redirects=False
            ) as response:
                body, broken = await _read_limited(response)
        except _TRANSPORT_ERRORS as error:
            base_url = without_credentials(self.base_url)
            raise VeoConnectionError(f"The call to {base_url} failed: {_reason(error)}.") from error
        return Response.received(
            response.status, body, response.headers, secrets=(self._api_key,), broken=broken
        )

    async def _new_session(self, timeout: float, total: float) -> aiohttp.ClientSession:
        """Return a session with the certificates of ``requests``, so both clients reach the same hosts.

        aiohttp's ``trust_env`` stays off: it reads ~/.netrc for each call, and then refuses our header.
        """
        connector = lenient(aiohttp.TCPConnector(ssl=await asyncio.to_thread(_tls_context)))
        limits = aiohttp.ClientTimeout(
            total=total,
            connect=2 * config.CONNECT_TIMEOUT,
            sock_connect=config.CONNECT_TIMEOUT,
            sock_read=timeout,
        )
        headers = {
            "Authorization": protocol.authorization(self.gateway, self._api_key),
            "User-Agent": config.USER_AGENT,
            "Accept-Encoding": ACCEPT_ENCODING,
        }
        # Decompressed by Response, because a wrong Content-Encoding would lose the body.
        return aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            headers=headers,
            auto_decompress=False,
            max_line_size=MAX_FIELD_BYTES + 100,
            max_field_size=MAX_FIELD_BYTES + 100,
        )


@cache
def _tls_context() -> ssl.SSLContext:
    """Return the certificates that ``requests`` would use; reading them takes some milliseconds."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    bundle = named or DEFAULT_CA_BUNDLE_PATH
    if Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)


def _exact(url: str) -> URL:
    """Return a URL that is not quoted again, so both clients send the same."""
    parts = URL(url)
    return URL(f"{parts.origin()}{exact_target(url)}", encoded=True)


def _proxy_for(url: str) -> str | None:
    """Return the proxy for a URL from the environment, as ``requests`` does."""
    return select_proxy(url, get_environ_proxies(url))


async def _chunks(body: SubmissionBody) -> AsyncIterator[bytes]:
    """Read the body in a thread: the image may come from a disk or from S3."""
    while chunk := await asyncio.to_thread(body.read, CHUNK_BYTES):
        yield chunk


async def _read_limited(response: aiohttp.ClientResponse) -> tuple[bytes, str]:
    """Read a response up to :data:`MAX_BODY_BYTES`; return the body, and why it is incomplete.

    If it breaks off, the received part is kept: it may name a paid task.
    """
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) >= MAX_BODY_BYTES:
                return bytes(body), f"it is longer than {MAX_BODY_BYTES} bytes"
    except _TRANSPORT_ERRORS as error:
        return bytes(body), _reason(error)
    return bytes(body), ""


def _reason(error: BaseException) -> str:
    if isinstance(error, VeoConnectionError):
        return error.what.rstrip(".")
    text = f"{type(error).__name__}: {str(error) or 'no reason given'}"
    return without_credentials(text).rstrip(".")
