"""The transport of the blocking client: ``requests``, reading past informational answers to the final one."""

from __future__ import annotations

import io
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from veo_provider.api.deadline import DeadlineReader, current_deadline
from veo_provider.api.head import INFORMATIONAL, cleaned, read_head, status_of

if TYPE_CHECKING:
    from urllib3 import PoolManager

_MOST_INFORMATIONAL = 100


class _FinalResponse(HTTPResponse):
    """A response that begins with the final head, cleaned, where ``http.client`` stops at a 103.

    It is read within the call's deadline, which counts from here: http.client makes it once all is sent.
    """

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if deadline := current_deadline():
            deadline.start()
            self.fp = io.BufferedReader(DeadlineReader(self.fp, sock, deadline))

    def begin(self) -> None:
        stream = self.fp
        try:
            self.fp = io.BufferedReader(io.BytesIO(cleaned(self._final_head())))
            super().begin()
        finally:
            self.fp = stream

    def _final_head(self) -> bytes:
        for _ in range(_MOST_INFORMATIONAL):
            head = read_head(self.fp)
            if status_of(head) not in INFORMATIONAL:
                return head
        raise HTTPException(f"more than {_MOST_INFORMATIONAL} informational answers, and no final one")


class _Connection(HTTPConnection):
    response_class = _FinalResponse


class _TlsConnection(HTTPSConnection):
    response_class = _FinalResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Opens connections whose responses are final, directly and through a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_own_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # whose pools open connections of their own kind
            _use_own_pools(manager)
        return manager


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - requests' signature
        """Name no target: requests would read the body of a redirect whole, though it does not follow it."""
        return None


def new_session(**headers: str) -> requests.Session:
    """Return a session that follows no redirects, and reads past informational answers.

    :param headers: sent with each request; an underscore stands for a hyphen.
    """
    session = _Session()
    session.mount("http://", _Adapter())
    session.mount("https://", _Adapter())
    session.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return session


def _use_own_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
