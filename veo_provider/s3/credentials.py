"""Credentials that expire while a client is in use: the connection is looked up again.

A role that the connection assumes renews its credentials by itself. A session token that stands in the
connection, or in boto3's own configuration, does not: somebody renews it there, and a client that was made
before would go on with the old one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from threading import RLock
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials, ReadOnlyCredentials
    from mypy_boto3_s3 import S3Client

    LookUp = Callable[[], Credentials | None]

log = logging.getLogger(__name__)

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidTokenId", "TokenRefreshRequired"})
"""What S3, STS and MinIO say of a session token that was good once."""
_REPLACED = EXPIRED | {"InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken", "SignatureDoesNotMatch"}
"""What they may say besides once it was replaced by another one."""
_BAD_REQUEST = "400"
"""All that S3 says of an expired token to a HEAD, whose answer has no body."""

_REPEATED = "veo_repeated"
"""Marks a call that was repeated with other credentials: once is enough."""
LOOK_UP_PAUSE = 15.0
"""Seconds between two look-ups, at least: many calls meet the same old token at once."""
LOOK_UP_PATIENCE = 60.0
"""Seconds that a look-up in the event loop's care may take."""


class RenewedCredentials:
    """The credentials of one client, looked up again when they are refused; for many threads.

    Each call is repeated once, and only with other credentials than those that were refused.

    :param current: those that the client was made with.
    :param look_up: returns what the connection says now.
    """

    def __init__(self, current: Credentials, look_up: LookUp) -> None:
        self._current = current
        self._look_up = look_up
        # A signal may interrupt a look-up in its own thread, and lead to a call of S3 there.
        self._lock = RLock()
        self._next_look_up = 0.0

    def serve(self, client: S3Client) -> None:
        """Sign each request of a client with the credentials of the moment."""
        client.meta.events.register("before-sign.s3", self._sign_with_current)
        # First, since botocore takes the first handler's word.
        again = cast("Callable[..., None]", self._pause_before_retry)  # the stubs know of no answers
        client.meta.events.register_first("needs-retry.s3", again)

    def _sign_with_current(self, request: AWSRequest, **_: object) -> None:
        signing = request.context.setdefault("signing", {})
        used = self._current
        code = _trouble(used)
        if code in _REPLACED and self._renew(used, code):  # a role cannot be assumed with an old token
            used = self._current
        signing["request_credentials"] = used

    def _pause_before_retry(
        self, response: tuple[Any, dict[str, Any]] | None, request_dict: dict[str, Any], **_: object
    ) -> float | None:
        """Return after how many seconds botocore is to try again; None leaves that to it."""
        signing = request_dict["context"].get("signing", {})
        used = signing.get("request_credentials")
        code = str(response[1].get("Error", {}).get("Code", "")) if response else ""
        expired = code in _REPLACED or (code == _BAD_REQUEST and request_dict["method"] == "HEAD")
        if not used or not expired or signing.get(_REPEATED) or not self._renew(used, code):
            return None
        signing[_REPEATED] = True
        return 0.0

    def _renew(self, used: Credentials, code: str) -> bool:
        """Whether there are other credentials by now than those that were refused."""
        with self._lock:
            now = time.monotonic()
            if self._current is not used or now < self._next_look_up:
                return self._current is not used
            self._next_look_up = now + LOOK_UP_PAUSE
            try:
                found = self._look_up()
                changed = found is not None and _frozen(found) not in (None, _frozen(used))
            # The database, the API server, a secrets backend, STS: each has errors of its own.
            except Exception as error:  # noqa: BLE001
                log.warning("The connection to S3 cannot be looked up again (%s).", type(error).__name__)
                return False
            if found is None or not changed:
                log.warning("S3 refuses the credentials (%s), and the connection has no other ones.", code)
                return False
            log.info(
                "S3 refused the credentials (%s): going on with those that the connection has now.", code
            )
            self._current = found
            return True


def in_care_of(loop: asyncio.AbstractEventLoop) -> Callable[[LookUp], Credentials | None]:
    """Return what looks up for a thread that Airflow does not know, such as a batch has in the triggerer.

    Airflow before 3.2 allows a look-up in a thread only if its event loop has started it.
    """

    def through(look_up: LookUp) -> Credentials | None:
        from asgiref.sync import sync_to_async

        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - documented, and raises nothing
            raise RuntimeError("A signal has led here: the event loop cannot be waited for.")
        found = asyncio.run_coroutine_threadsafe(sync_to_async(look_up)(), loop)
        return found.result(LOOK_UP_PATIENCE)

    return through


def _frozen(credentials: Credentials) -> ReadOnlyCredentials | None:
    """Return what a request would be signed with; None where that is not to be had any more."""
    return None if _trouble(credentials) else credentials.get_frozen_credentials()


def _trouble(credentials: Credentials) -> str:
    """Say why credentials that renew themselves do not; empty if they do, or need not."""
    from botocore.exceptions import ClientError

    try:
        credentials.get_frozen_credentials()
    except ClientError as error:
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""
