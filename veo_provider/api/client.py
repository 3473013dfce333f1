"""The client for code that may block: operators, scripts, tests. A shell around the protocol."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import requests
import urllib3

from veo_provider.api import protocol
from veo_provider.api.body import encode
from veo_provider.api.http.address import same_host
from veo_provider.api.http.deadline import AnswerDeadline, answered_by
from veo_provider.api.http.response import ACCEPT_ENCODING, MAX_ANSWER_BYTES, Response
from veo_provider.api.http.transport import new_session
from veo_provider.api.parsing.download import (
    START,
    ResumePoint,
    is_video,
    read_content,
    too_many_links,
    video_place,
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

    from veo_provider.api.request import VeoRequest
    from veo_provider.api.video import Video

_DOWNLOAD_CHUNK_BYTES = 256 * 1024
_ANSWER_CHUNK_BYTES = 16 * 1024
_MAX_LINKS = 4
_TRANSPORT_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class Download:
    """A video on its way from the service, or the rest of one.

    :param place: where in the file the first byte stands, and what is known of the file.
    :param length: bytes of the whole file, as the server promised; None where it did not say.
    """

    def __init__(self, response: requests.Response, place: ResumePoint, timeout: float) -> None:
        self.place = place
        self.length = place.total
        self._response = response
        self._timeout = timeout

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes as they come.

        :raises VeoConnectionError: the connection broke or stalled: within the client's timeout, less came
            than :data:`~veo_provider.api.protocol.MIN_BYTES_PER_TIMEOUT`.
        """
        waited, came, in_all = 0.0, 0, 0.0
        with _free_call("The download of the video"):
            while True:
                asked = time.monotonic()
                # What has come: to wait for a full chunk would hide a trickle from both timeouts.
                chunk = self._response.raw.read1(_DOWNLOAD_CHUNK_BYTES, decode_content=True)
                # Only waiting counts: who takes the bytes may be slower than the server.
                waited += time.monotonic() - asked
                if not chunk:
                    return
                yield chunk
                came += len(chunk)
                if waited >= self._timeout:
                    if came < protocol.MIN_BYTES_PER_TIMEOUT:
                        raise TimeoutError(f"only {came} bytes came within {waited:.0f} s")
                    in_all += waited
                    if in_all >= protocol.DOWNLOAD_TIMEOUT:
                        raise TimeoutError(f"it was not complete within {in_all:.0f} s")
                    waited, came = 0.0, 0


class VeoClient:
    """Calls the API with ``requests``; each call is made once, retries are the caller's decision.

    :param api_key: the key, sent as a Bearer token and to no other host than the API's.
    :param base_url: where the three calls stand, any gateway of this shape.
    :param account_token: the separate token that :meth:`balance` needs.
    :param timeout: seconds without a byte from the server before a call is given up; after twice as long, it
        is, whatever comes. A submission waits for :data:`~veo_provider.api.protocol.SUBMIT_TIMEOUT` in all.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = protocol.DEFAULT_BASE_URL,
        *,
        account_token: str | None = None,
        timeout: float = protocol.DEFAULT_TIMEOUT,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._account_token = account_token
        self._timeout = timeout
        self._aliases = Aliases()
        self._session = _new_session()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.public_base_url!r})"

    @property
    def public_base_url(self) -> str:
        """The base URL as it may be shown: without a user and a password, where it has them."""
        return protocol.without_credentials(self.base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def submit(self, request: VeoRequest, *, send_before: float | None = None) -> Video:
        """Submit a generation, once. This is the call that spends money.

        :param send_before: Unix seconds after which the request is not sent to its end any more; at the
            latest :data:`~veo_provider.api.protocol.SUBMIT_TIMEOUT` from now.
        :raises VeoNotSentError: the request did not reach the server whole; submitting again is safe.
        :raises VeoSubmissionUnknown: it may have been accepted.
        :raises VeoAPIError: the service refused it.
        :raises VeoImageUnavailableError: the image could not be read to its end; nothing was accepted.
        :raises VeoInterruptedError: a timeout or a signal came before the request was sent whole.
        """
        body = encode(request, protocol.sent_by(send_before))
        deadline = AnswerDeadline(protocol.SUBMIT_TIMEOUT)
        try:
            # A connection of its own: one kept alive may be dead, which shows only after the body was sent.
            with closing(body), answered_by(deadline), _new_session() as session:
                response = session.post(
                    f"{self.base_url}/videos",
                    data=body,
                    headers={"Content-Type": body.content_type},
                    auth=self._auth_for(self.base_url),
                    timeout=(protocol.CONNECT_TIMEOUT, protocol.SUBMIT_TIMEOUT),
                    stream=True,
                    allow_redirects=False,
                )
                return protocol.read_submission(self._read(response), whole=body.complete)
        except (VeoAPIError, VeoSubmissionUnknown):
            raise
        # Also when Airflow's execution_timeout or a signal interrupts the wait for the answer.
        except BaseException as error:
            transport = isinstance(error, (VeoConnectionError, *_TRANSPORT_ERRORS))
            meaning = body.explain(error, _reason(error), transport=transport)
            if meaning is error:
                raise
            raise meaning from error

    def get(self, veo_task_id: str) -> Video:
        """Ask how a generation stands. Costs nothing.

        :raises VeoAPIError: the service answered with an error.
        :raises VeoConnectionError: no answer came.
        """
        return protocol.read_video(self._get_answer(veo_task_id), veo_task_id, self._aliases)

    @contextmanager
    def download(self, veo_task_id: str, wanted: ResumePoint = START) -> Iterator[Download]:
        """Open the video of a completed generation as a stream. Costs nothing.

        :param wanted: where an earlier download of it broke off, to go on from there. A server may start
            from the begin all the same, as :attr:`Download.place` tells.
        :raises VeoIncompleteVideoError: the server does not go on there, so that a download must start over.
        :raises VeoContentNotReadyError: not there yet, which is usual right after completion.
        :raises VeoContentGoneError: not there any more, or filtered.
        :raises VeoAPIError: the service answered with another error.
        :raises VeoConnectionError: no answer came.
        """
        url = self.base_url + protocol.video_path(veo_task_id) + "/content"
        headers = {"Accept-Encoding": "identity", **wanted.headers}
        for _ in range(_MAX_LINKS):
            deadline = self._new_deadline()
            with self._open(url, self._auth_for(url), headers, deadline) as response:
                head = self._head_or_answer(response)
                link = read_content(head, url, own_host=self._is_own(url), wanted=wanted)
                if link is None:
                    deadline.lift()
                    yield Download(response, video_place(head, wanted), self._timeout)
                    return
                url = link
        raise too_many_links(veo_task_id, _MAX_LINKS)

    def has_content(self, veo_task_id: str) -> bool:
        """Begin the download of a completed generation's video, and leave it at that.

        :raises VeoAPIError: there is no video, see :meth:`download`.
        :raises VeoConnectionError: no answer came.
        """
        with self.download(veo_task_id):
            return True

    def balance(self) -> float:
        """Return the account's balance in USD; low while generations are under way.

        :raises VeoAPIError: the service answered with an error.
        :raises VeoConnectionError: no answer came.
        """
        url = protocol.account_url(self.base_url)
        with self._open(url, _Authorization(self._account_token)) as response:
            return protocol.read_balance(self._read(response))

    def check(self) -> str:
        """Prove key and host without spending money, and return a sentence that says so.

        Asks for a task that cannot exist: a right key is told so, a wrong one is refused.

        :raises VeoAPIError: the key is wrong, or the host is not the API's.
        :raises VeoConnectionError: the host cannot be reached.
        """
        protocol.read_check(self._get_answer("task_connection_test"))
        return f"{self.public_base_url} accepts the key.{self._balance_sentence()}"

    def _balance_sentence(self) -> str:
        """Return what there is to say of the balance; a wrong account token is not a wrong key."""
        if not self._account_token:
            return ""
        try:
            return f" The balance is ${self.balance():.2f}."
        except VeoAuthenticationError as error:
            raise VeoWrongTokenError(
                f"The key is right, but the account token is not: {error.what}"
            ) from error

    def _get_answer(self, veo_task_id: str) -> Response:
        url = self.base_url + protocol.video_path(veo_task_id)
        with self._open(url, self._auth_for(url)) as response:
            return self._read(response)

    def _auth_for(self, url: str) -> _Authorization:
        """Return the key for the API's own host; another host never sees it."""
        return _Authorization(f"Bearer {self._api_key}") if self._is_own(url) else _Authorization(None)

    def _is_own(self, url: str) -> bool:
        return same_host(url, self.base_url)

    def _new_deadline(self) -> AnswerDeadline:
        return AnswerDeadline(protocol.MOST_TIMEOUTS * self._timeout)

    def _open(
        self,
        url: str,
        auth: _Authorization,
        headers: Mapping[str, str] | None = None,
        deadline: AnswerDeadline | None = None,
    ) -> requests.Response:
        timeout = (protocol.CONNECT_TIMEOUT, self._timeout)
        what = f"The call to {protocol.without_credentials(urljoin(url, '/'))}"
        with _free_call(what), answered_by(deadline or self._new_deadline()):
            return self._session.get(
                url, auth=auth, headers=headers, timeout=timeout, stream=True, allow_redirects=False
            )

    def _read(self, response: requests.Response) -> Response:
        """Read an answer to a JSON call, but no more of it than the API would ever send.

        Where it breaks off, what has come is kept: it may name a task that is paid for.
        """
        secrets = (self._api_key, self._account_token or "")
        body, broken = bytearray(), ""
        try:
            # Raw, because a wrong label of the encoding would cost what has come.
            while chunk := response.raw.read1(_ANSWER_CHUNK_BYTES, decode_content=False):
                body += chunk
                if len(body) >= MAX_ANSWER_BYTES:
                    broken = f"it is longer than {MAX_ANSWER_BYTES} bytes"
                    break
        except _TRANSPORT_ERRORS as error:
            broken = _reason(error)
        return Response.received(
            response.status_code, bytes(body), response.headers, secrets=secrets, broken=broken
        )

    def _head_or_answer(self, response: requests.Response) -> Response:
        """Read the body only where it is not the video."""
        head = Response.received(response.status_code, b"", response.headers)
        return head if is_video(head) else self._read(response)


class _Authorization:
    """Sends a value as Authorization, or nothing. As ``auth``, because a ~/.netrc would replace a header."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def _new_session() -> requests.Session:
    return new_session(User_Agent=protocol.USER_AGENT, Accept_Encoding=ACCEPT_ENCODING)


@contextmanager
def _free_call(what: str) -> Iterator[None]:
    """Turn a broken connection into our error, for a call that costs nothing."""
    try:
        yield
    except _TRANSPORT_ERRORS as error:
        raise VeoConnectionError(f"{what} failed: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    """Return what went wrong, without the URL and the objects that requests wraps around it."""
    while isinstance(error, _TRANSPORT_ERRORS) and error.args and isinstance(error.args[-1], BaseException):
        error = error.args[-1]
    text = str(getattr(error, "reason", None) or error).strip() or "no reason given"
    return protocol.without_credentials(f"{type(error).__name__}: {text}").rstrip(".")
