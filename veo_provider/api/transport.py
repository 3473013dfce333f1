"""The transport of the blocking client: ``requests``, reading past informational answers to the final one."""

from __future__ import annotations

from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from urllib3 import PoolManager

_INFORMATIONAL = range(102, 200)
"""A client must read past any 1xx (RFC 9110 15.2). 100 is known to ``http.client``, and after 101 the
connection speaks another protocol, so that there is no final answer."""
_MOST_INFORMATIONAL = 100


class _FinalResponse(HTTPResponse):
    """A response that begins with the final status line, where ``http.client`` stops at a 103."""

    _status_lines = 0

    def _read_status(self) -> tuple[str, int, str]:
        """Read a status line, of which ``http.client`` would read on for ever, if all of them say 100."""
        self._status_lines += 1
        if self._status_lines > _MOST_INFORMATIONAL:
            raise HTTPException(f"{_MOST_INFORMATIONAL} informational answers, and no final one")
        line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # no part of its type stub
        return line

    def begin(self) -> None:
        for _ in range(_MOST_INFORMATIONAL):
            super().begin()
            if self.status not in _INFORMATIONAL:
                return
            # Headers that are known keep the parent from reading the next status line.
            self.headers = self.msg = None  # type: ignore[assignment]  # as before the first begin
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
