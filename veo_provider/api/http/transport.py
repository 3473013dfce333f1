"""The transport of the blocking client: ``requests``, skipping informational responses."""

from __future__ import annotations

import io
from contextvars import ContextVar
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from veo_provider.api.http.deadline import DeadlineReader, current_deadline
from veo_provider.api.http.response_head import INFORMATIONAL, normalised, read_head, status_of
from veo_provider.api.http.urls import exact_target

if TYPE_CHECKING:
    from urllib3 import PoolManager

_MAX_INFORMATIONAL = 100


_target: ContextVar[str | None] = ContextVar("target", default=None)
"""The path of the current call: neither library passes it on unchanged."""


class _FinalResponse(HTTPResponse):
    """A response that starts at the final head, normalised; ``http.client`` would stop at a 103.

    The call's deadline counts from here: ``http.client`` creates the response once the request has been sent.
    """

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if deadline := current_deadline():
            deadline.start()
            self.fp = io.BufferedReader(DeadlineReader(self.fp, sock, deadline))

    _status_lines = 0

    def _read_status(self) -> tuple[str, int, str]:
        """Read a status line; ``http.client`` would read for ever if each status were 100."""
        self._status_lines += 1
        if self._status_lines > _MAX_INFORMATIONAL:
            raise HTTPException(f"{_MAX_INFORMATIONAL} informational responses and no final one")
        line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # no part of its type stub
        return line

    def begin(self) -> None:
        stream = self.fp
        try:
            self.fp = io.BufferedReader(io.BytesIO(normalised(self._final_head())))
            super().begin()
        finally:
            self.fp = stream

    def _final_head(self) -> bytes:
        for _ in range(_MAX_INFORMATIONAL):
            head = read_head(self.fp)
            if status_of(head) not in INFORMATIONAL:
                return head
        raise HTTPException(f"more than {_MAX_INFORMATIONAL} informational responses and no final one")


class _Connection(HTTPConnection):
    response_class = _FinalResponse

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        super().putrequest(method, _request_target(url), *args, **kwargs)


class _TlsConnection(HTTPSConnection):
    response_class = _FinalResponse

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        super().putrequest(method, _request_target(url), *args, **kwargs)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Opens connections, direct or through a proxy, with final responses and unchanged URLs."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        token = _target.set(getattr(request, "exact_target", None))
        try:
            return super().send(request, *args, **kwargs)
        finally:
            _target.reset(token)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_own_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # their pools open connections of their own class
            _use_own_pools(manager)
        return manager


class _Session(requests.Session):
    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Record the exact path: requests and urllib3 would each quote it again."""
        prepared = super().prepare_request(request)
        prepared.exact_target = exact_target(str(request.url))  # type: ignore[attr-defined]  # for the adapter
        return prepared

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - requests' signature
        """Return no target: requests would read the whole body of a redirect that it does not follow."""
        return None


def new_session(**headers: str) -> requests.Session:
    """Return a session that follows no redirects and skips informational responses.

    :param headers: sent with each request; underscores become hyphens.
    """
    session = _Session()
    session.mount("http://", _Adapter())
    session.mount("https://", _Adapter())
    session.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return session


def _request_target(url: str) -> str:
    """Return the request target, for a server or a proxy, with the unchanged path."""
    target = _target.get()
    if target is None:
        return url
    if url.startswith("/"):
        return target
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}{target}"


def _use_own_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
