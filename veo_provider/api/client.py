"""VeoClient: the client for code that may block, such as operators and scripts."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import requests
import urllib3

from veo_provider.api import config, protocol
from veo_provider.api.body import encode, submission_deadline
from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.gateways.gateway import LookUp
from veo_provider.api.http.addresses import leads_inside
from veo_provider.api.http.deadline import ResponseDeadline, apply_deadline
from veo_provider.api.http.response import ACCEPT_ENCODING, MAX_BODY_BYTES, Response
from veo_provider.api.http.transport import new_session
from veo_provider.api.http.urls import same_host, without_credentials
from veo_provider.api.parsing import listing
from veo_provider.api.parsing.download import (
    START,
    ResumePoint,
    inner_link,
    is_video,
    parse_content,
    too_many_links,
    video_position,
)
from veo_provider.api.parsing.task_ids import Aliases
from veo_provider.exceptions import (
    VeoAPIError,
    VeoAuthenticationError,
    VeoConnectionError,
    VeoSubmissionUnknown,
    VeoWrongTokenError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

    from veo_provider.api.gateways.gateway import Gateway
    from veo_provider.api.parsing.listing import Listing
    from veo_provider.api.request import VeoRequest
    from veo_provider.api.video import Video

_DOWNLOAD_CHUNK_BYTES = 256 * 1024
_CHUNK_BYTES = 16 * 1024
_MAX_LINKS = 4
_TRANSPORT_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class Download:
    """A video, or the rest of one, as a stream of bytes from the service.

    :param position: position of the first byte in the file.
    :param length: bytes of the whole file, as announced by the server; None if it did not say.
    """

    def __init__(self, response: requests.Response, position: ResumePoint, timeout: float) -> None:
        self.position = position
        self.length = position.total
        self._response = response
        self._timeout = timeout

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes as they arrive.

        :raises VeoConnectionError: the connection broke or stalled: fewer bytes arrived within the client's
            timeout than :data:`~veo_provider.api.config.MIN_BYTES_PER_TIMEOUT`.
        """
        waited, received, waited_in_total = 0.0, 0, 0.0
        with _translate_transport_errors("The download of the video"):
            while True:
                started = time.monotonic()
                # Read what is there: waiting for a full chunk would hide a trickle from both timeouts.
                chunk = self._response.raw.read1(_DOWNLOAD_CHUNK_BYTES, decode_content=True)
                # Only waiting counts: the consumer may be slower than the server.
                waited += time.monotonic() - started
                if not chunk:
                    return
                yield chunk
                received += len(chunk)
                if waited >= self._timeout:
                    if received < config.MIN_BYTES_PER_TIMEOUT:
                        raise TimeoutError(f"only {received} bytes arrived within {waited:.0f} s")
                    waited_in_total += waited
                    if waited_in_total >= config.DOWNLOAD_TIMEOUT:
                        raise TimeoutError(f"it was not complete within {waited_in_total:.0f} s")
                    waited, received = 0.0, 0


class VeoClient:
    """Calls the API with ``requests``; each call is made once; retries are the caller's decision.

    :param api_key: the key, sent as a Bearer token, and only to the API's host.
    :param base_url: the API's base URL; empty for the gateway's own.
    :param gateway: the interface that is spoken there.
    :param account_token: the separate token that :meth:`balance` and APIYI's task list need.
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
        account_token: str | None = None,
        timeout: float = config.DEFAULT_TIMEOUT,
    ) -> None:
        self.base_url = (base_url or gateway.base_url).rstrip("/")
        self.gateway = gateway
        self._api_key = api_key
        self._account_token = account_token
        self._timeout = timeout
        self._aliases = Aliases()
        self._session = _new_session()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.public_base_url!r})"

    @property
    def public_base_url(self) -> str:
        """The base URL without a user and password, to be shown."""
        return without_credentials(self.base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def submit(
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
        body = encode(request, submission_deadline(deadline))
        headers = protocol.submission_headers(self.gateway, idempotency_key)
        response_deadline = ResponseDeadline(config.SUBMIT_TIMEOUT)
        with protocol.in_words_of(self.gateway):
            try:
                # A new connection: one that was kept alive may be dead, which shows only after the body was
                # sent.
                with closing(body), apply_deadline(response_deadline), _new_session() as session:
                    response = session.post(
                        self.base_url + self.gateway.submit_path,
                        data=body,
                        headers={**headers, "Content-Type": body.content_type},
                        auth=self._auth_for(self.base_url),
                        timeout=(config.CONNECT_TIMEOUT, config.SUBMIT_TIMEOUT),
                        stream=True,
                        allow_redirects=False,
                    )
                    return protocol.parse_submission(
                        self._read(response), whole=body.complete, gateway=self.gateway
                    )
            except (VeoAPIError, VeoSubmissionUnknown):
                raise
            # Also if Airflow's execution_timeout or a signal interrupts the wait for the response.
            except BaseException as error:
                is_transport_error = isinstance(error, (VeoConnectionError, *_TRANSPORT_ERRORS))
                failure = body.classify_failure(error, _reason(error), is_transport_error=is_transport_error)
                if failure is error:
                    raise
                raise failure from error

    def get(self, veo_task_id: str) -> Video:
        """Poll a generation. Costs nothing.

        :raises VeoAPIError: the service returned an error.
        :raises VeoConnectionError: no response came.
        """
        with protocol.in_words_of(self.gateway):
            response = self._get_response(veo_task_id)
            return protocol.parse_video(response, veo_task_id, self._aliases, self.gateway)

    @contextmanager
    def download(self, veo_task_id: str, wanted: ResumePoint = START) -> Iterator[Download]:
        """Open the video of a completed generation as a stream. Costs nothing.

        :param wanted: the position at which an earlier download broke off, to resume there. A server may
            start at the first byte nevertheless: see :attr:`Download.position`.
        :raises VeoIncompleteVideoError: the server does not resume there, so the download must start over.
        :raises VeoContentNotReadyError: the video is not there yet, which is usual right after completion.
        :raises VeoContentGoneError: the video is not there any more, or was filtered.
        :raises VeoAPIError: the service returned another error.
        :raises VeoConnectionError: no response came.
        """
        url = self._content_url(veo_task_id)
        headers = {"Accept-Encoding": "identity", **wanted.headers}
        for _ in range(_MAX_LINKS):
            deadline = self._new_deadline()
            with self._open(url, self._auth_for(url), headers, deadline) as response:
                head = self._read_unless_video(response)
                with protocol.in_words_of(self.gateway):
                    link = parse_content(
                        head,
                        url,
                        own_host=self._is_own(url),
                        wanted=wanted,
                        link_keys=self.gateway.content_url,
                    )
                if link is None:
                    deadline.remove()
                    yield Download(response, video_position(head, wanted), self._timeout)
                    return
                if leads_inside(link, self.base_url):
                    raise inner_link(veo_task_id, head.status)
                url = link
        raise too_many_links(veo_task_id, _MAX_LINKS)

    def has_content(self, veo_task_id: str) -> bool:
        """Start the download of a completed generation's video, and stop after the head of the response.

        :raises VeoAPIError: there is no video, see :meth:`download`.
        :raises VeoConnectionError: no response came.
        """
        with self.download(veo_task_id):
            return True

    def balance(self) -> float:
        """Return the account's balance in USD; generations in flight lower it.

        :raises VeoAPIError: the service returned an error.
        :raises VeoConnectionError: no response came.
        """
        url = protocol.account_url(self.base_url)
        with self._open(url, _Authorization(self._account_token)) as response:
            return protocol.parse_balance(self._read(response))

    @property
    def can_look_up(self) -> bool:
        """Whether the gateway lists the generations that it has accepted, and this client may read that."""
        has_token = self.gateway.look_up is LookUp.TASK_LOG and bool(self._account_token)
        return has_token or self.gateway.look_up is LookUp.LIST

    def generations(self, since: float) -> Listing:
        """Return the generations that the gateway has accepted, newest first. Costs nothing.

        :param since: Unix seconds by the gateway's clock; older ones need not be listed.
        :raises VeoWrongTokenError: the account token is refused.
        :raises VeoAPIError: the service returned an error, or no list.
        :raises VeoConnectionError: no response came.
        """
        with protocol.in_words_of(self.gateway):
            if self.gateway.look_up is LookUp.LIST:
                return listing.read_videos(self._get_own, self.gateway.submit_path, since)
            try:
                return listing.read_tasks(self._get_of_account, since, self.gateway.models)
            except VeoAuthenticationError as error:
                raise VeoWrongTokenError(
                    f"The list of tasks cannot be read by the account token: {error.what}"
                ) from error

    def check(self) -> str:
        """Check key and host without spending money, and return a sentence that says what was learned.

        It asks for a video that cannot exist, or for the list of models, as the gateway allows: with a right
        key the service answers that, and it refuses a wrong one.

        :raises VeoAPIError: the key is wrong, or the host is not the API's.
        :raises VeoConnectionError: the host cannot be reached.
        """
        with protocol.in_words_of(self.gateway):
            learned = self._models_sentence() if self.gateway.check == "models" else ""
            if not learned:
                protocol.parse_check(self._get_response("task_connection_test"))
        return f"{self.public_base_url} accepts the key.{learned}{self._balance_sentence()}"

    def _models_sentence(self) -> str:
        """Return a sentence about the list of models, which only a right key may read."""
        url = f"{self.base_url}/models"
        with self._open(url, self._auth_for(url)) as response:
            names = protocol.parse_models(self._read(response))
        missing = [name for name in self.gateway.models if name not in names]
        if missing:
            return f" It lists {len(names)} models, but not {', '.join(missing)}."
        return f" It lists {len(names)} models."

    def _balance_sentence(self) -> str:
        """Return a sentence about the balance; a wrong account token is not a wrong key."""
        if not self._account_token:
            return ""
        try:
            return f" The balance is ${self.balance():.2f}."
        except VeoAuthenticationError as error:
            raise VeoWrongTokenError(
                f"The key is right, but the account token is not: {error.what}"
            ) from error

    def _content_url(self, veo_task_id: str) -> str:
        """Return where the video is, or its status, which says where."""
        content = "" if self.gateway.content_url else "/content"
        return self.base_url + protocol.video_path(veo_task_id, self.gateway) + content

    def _get_own(self, path: str) -> Response:
        """Call a path below the base URL."""
        url = self.base_url + path
        with self._open(url, self._auth_for(url)) as response:
            return self._read(response)

    def _get_of_account(self, path: str) -> Response:
        """Call a path of the account, which is on the API's host, but not below its base URL."""
        url = urljoin(self.base_url, path)
        with self._open(url, _Authorization(self._account_token)) as response:
            return self._read(response)

    def _get_response(self, veo_task_id: str) -> Response:
        url = self.base_url + protocol.video_path(veo_task_id, self.gateway)
        with self._open(url, self._auth_for(url)) as response:
            return self._read(response)

    def _auth_for(self, url: str) -> _Authorization:
        """Return the authorization for a URL: the key is sent to the API's own host only."""
        return _Authorization(
            protocol.authorization(self.gateway, self._api_key) if self._is_own(url) else None
        )

    def _is_own(self, url: str) -> bool:
        return same_host(url, self.base_url)

    def _new_deadline(self) -> ResponseDeadline:
        return ResponseDeadline(config.MAX_TIMEOUTS * self._timeout)

    def _open(
        self,
        url: str,
        auth: _Authorization,
        headers: Mapping[str, str] | None = None,
        deadline: ResponseDeadline | None = None,
    ) -> requests.Response:
        timeout = (config.CONNECT_TIMEOUT, self._timeout)
        what = f"The call to {without_credentials(urljoin(url, '/'))}"
        with _translate_transport_errors(what), apply_deadline(deadline or self._new_deadline()):
            return self._session.get(
                url, auth=auth, headers=headers, timeout=timeout, stream=True, allow_redirects=False
            )

    def _read(self, response: requests.Response) -> Response:
        """Read the response to a JSON call, up to :data:`MAX_BODY_BYTES`.

        If it breaks off, the received part is kept: it may name a paid task.
        """
        secrets = (self._api_key, self._account_token or "")
        body, broken = bytearray(), ""
        try:
            # Raw, because a wrong Content-Encoding would lose the body.
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
                body += chunk
                if len(body) >= MAX_BODY_BYTES:
                    broken = f"it is longer than {MAX_BODY_BYTES} bytes"
                    break
        except _TRANSPORT_ERRORS as error:
            broken = _reason(error)
        return Response.received(
            response.status_code, bytes(body), response.headers, secrets=secrets, broken=broken
        )

    def _read_unless_video(self, response: requests.Response) -> Response:
        """Read the body, unless it is the video."""
        head = Response.received(response.status_code, b"", response.headers)
        return head if is_video(head) else self._read(response)


class _Authorization:
    """Sends an Authorization header, or none. Used as ``auth``, because a ~/.netrc would replace a header."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def _new_session() -> requests.Session:
    return new_session(User_Agent=config.USER_AGENT, Accept_Encoding=ACCEPT_ENCODING)


@contextmanager
def _translate_transport_errors(what: str) -> Iterator[None]:
    """Raise VeoConnectionError for a failed connection of a call that costs nothing."""
    try:
        yield
    except _TRANSPORT_ERRORS as error:
        raise VeoConnectionError(f"{what} failed: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    """Return the reason, without the URL and the exceptions that requests wraps around it."""
    while isinstance(error, _TRANSPORT_ERRORS) and error.args and isinstance(error.args[-1], BaseException):
        error = error.args[-1]
    text = str(getattr(error, "reason", None) or error).strip() or "no reason given"
    return without_credentials(f"{type(error).__name__}: {text}").rstrip(".")
