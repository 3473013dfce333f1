"""The transport of the client for triggers: ``aiohttp``, whose parser gets each head normalised."""

from __future__ import annotations

from functools import partial
from http.client import HTTPException
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from veo_provider.api.http.response_head import INFORMATIONAL, normalised, split_head, status_of


class _NormalisingHandler(ResponseHandler):
    """A connection that collects the head of each response and normalises it, as for ``requests``.

    aiohttp's parser refuses heads that real gateways send, and has no setting for that.
    """

    _head: bytes | None = None

    def set_response_params(self, **params: Any) -> None:
        """Start a response."""
        self._head = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the socket."""
        while self._head is not None and data:
            collected = self._head + data
            try:
                parts = split_head(collected)
            except HTTPException as error:
                self._fail(error)
                return
            if parts is None:
                self._head = collected
                return
            head, data = parts
            self._head = b"" if status_of(head) in INFORMATIONAL else None
            super().data_received(normalised(head))
            if not data:
                return
        super().data_received(data)

    def _fail(self, error: HTTPException) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(aiohttp.ClientConnectionError(str(error)))


def lenient(connector: aiohttp.TCPConnector) -> aiohttp.TCPConnector:
    """Return a connector whose connections normalise heads.

    It sets the attribute with which aiohttp (3.9 to 3.14) creates connections; there is no public API. In a
    release without it, aiohttp would parse heads strictly: polls would be repeated, and nothing paid twice.
    """
    factory: Any = partial(_NormalisingHandler, loop=connector._loop)  # noqa: SLF001 - see above
    connector._factory = factory  # noqa: SLF001
    return connector
