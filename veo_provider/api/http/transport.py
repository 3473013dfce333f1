"""The transport of the blocking client: ``requests``, reading past informational answers to the final one."""

from __future__ import annotations

import io
from contextvars import ContextVar
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from veo_provider.api.http.address import exact_target
from veo_provider.api.http.deadline import DeadlineReader, current_deadline
from veo_provider.api.http.head import INFORMATIONAL, cleaned, read_head, status_of

if TYPE_CHECKING:
    from urllib3 import PoolManager

_MOST_INFORMATIONAL = 100


_target: ContextVar[str | None] = ContextVar("target", default=None)
"""The path of the call that is being made: neither library hands it through as it is."""


class _FinalResponse(HTTPResponse):
    """A response that begins with the final head, cleaned, where ``http.client`` stops at a 103.

    It is read within the call's deadline, which counts from here: http.client makes it once all is sent.
    """

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if deadline := current_deadline():
            deadline.start()
            self.fp = io.BufferedReader(DeadlineReader(self.fp, sock, deadline))

    _status_lines = 0

    def _read_status(self) -> tuple[str, int, str]:
        """Read a status line, of which ``http.client`` would read on for ever, if all of them say 100."""
        self._status_lines += 1
        if self._status_lines > _MOST_INFORMATIONAL:
            raise HTTPException(f"{_MOST_INFORMATIONAL} informational answers, and no final one")
        line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # no part of its type stub
        return line

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

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        super().putrequest(method, _exactly(url), *args, **kwargs)


class _TlsConnection(HTTPSConnection):
    response_class = _FinalResponse

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        super().putrequest(method, _exactly(url), *args, **kwargs)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Opens connections whose responses are final, directly and through a proxy, for exact URLs."""

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
        if not proxy.lower().startswith("socks"):  # whose pools open connections of their own kind
            _use_own_pools(manager)
        return manager


class _Session(requests.Session):
    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Note the exact path that is asked for: requests and urllib3 each quote it anew."""
        prepared = super().prepare_request(request)
        prepared.exact_target = exact_target(str(request.url))  # type: ignore[attr-defined]  # for the adapter
        return prepared

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


def _exactly(url: str) -> str:
    """Return what to ask a server for, or a proxy: with the path that was given."""
    target = _target.get()
    if target is None:
        return url
    if url.startswith("/"):
        return target
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}{target}"


def _use_own_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
