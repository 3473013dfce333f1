"""The transport of the client for triggers: ``aiohttp``, whose parser gets each head cleaned."""

from __future__ import annotations

from functools import partial
from http.client import HTTPException
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from veo_provider.api.http.head import INFORMATIONAL, cleaned, split_head, status_of


class _CleaningHandler(ResponseHandler):
    """A connection that collects the head of each answer, and hands it on as ``requests`` gets it.

    aiohttp's parser refuses heads that people's gateways send, and has no settings for that.
    """

    _head: bytes | None = None

    def set_response_params(self, **params: Any) -> None:
        """Begin an answer."""
        self._head = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Take what has come from the socket."""
        while self._head is not None and data:
            collected = self._head + data
            try:
                parts = split_head(collected)
            except HTTPException as error:
                self._give_up(error)
                return
            if parts is None:
                self._head = collected
                return
            head, data = parts
            self._head = b"" if status_of(head) in INFORMATIONAL else None
            super().data_received(cleaned(head))
            if not data:
                return
        super().data_received(data)

    def _give_up(self, error: HTTPException) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(aiohttp.ClientConnectionError(str(error)))


def lenient(connector: aiohttp.TCPConnector) -> aiohttp.TCPConnector:
    """Return a connector whose connections clean the heads.

    By the attribute with which aiohttp (3.9 to 3.14) makes connections; there is no public way. In a release
    without it, heads would be read as strictly as aiohttp does: a poll waits on, and nothing is paid twice.
    """
    factory: Any = partial(_CleaningHandler, loop=connector._loop)  # noqa: SLF001 - as told above
    connector._factory = factory  # noqa: SLF001
    return connector
