"""Credentials that expire while a client is in use: the connection is read again.

boto3 renews the credentials of a role that the connection assumes. It does not renew a session token in the
connection, or in boto3's own configuration: somebody replaces it there, and a client that was made before
would continue to use the old one.
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
"""The codes of S3, STS and MinIO for a session token that has expired."""
_REPLACED = EXPIRED | {"InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken", "SignatureDoesNotMatch"}
"""The codes that they may also return once the token was replaced."""
_BAD_REQUEST = "400"
"""S3's response to a HEAD with an expired token: it has no body, so only the status is known."""

_RETRIED = "veo_retried"
"""Marks a request that was retried with other credentials: each is retried once."""
LOOK_UP_PAUSE = 15.0
"""Minimum seconds between two look-ups: many calls fail with the same token at the same time."""
LOOK_UP_PATIENCE = 60.0
"""Maximum seconds of a look-up that the event loop runs."""


class RenewedCredentials:
    """The credentials of one client, looked up again when S3 rejects them. Thread-safe.

    Each request is retried once, and only if the look-up returns other credentials.

    :param current: the credentials that the client was made with.
    :param look_up: returns the connection's current credentials.
    """

    def __init__(self, current: Credentials, look_up: LookUp) -> None:
        self._current = current
        self._look_up = look_up
        # Reentrant: a signal handler that interrupts a look-up may call S3 in the same thread.
        self._lock = RLock()
        self._next_look_up = 0.0

    def attach_to(self, client: S3Client) -> None:
        """Sign each request of a client with the current credentials."""
        client.meta.events.register("before-sign.s3", self._sign_with_current)
        # First, since botocore uses the first result that is not None; its stubs know of no results.
        handler = cast("Callable[..., None]", self._delay_before_retry)
        client.meta.events.register_first("needs-retry.s3", handler)

    def _sign_with_current(self, request: AWSRequest, **_: object) -> None:
        signing = request.context.setdefault("signing", {})
        used = self._current
        code = _renewal_error(used)
        if code in _REPLACED and self._renew(used, code):  # the role cannot be assumed with an expired token
            used = self._current
        signing["request_credentials"] = used

    def _delay_before_retry(
        self, response: tuple[Any, dict[str, Any]] | None, request_dict: dict[str, Any], **_: object
    ) -> float | None:
        """Return the seconds after which botocore retries the request; None lets botocore decide."""
        signing = request_dict["context"].get("signing", {})
        used = signing.get("request_credentials")
        code = str(response[1].get("Error", {}).get("Code", "")) if response else ""
        expired = code in _REPLACED or (code == _BAD_REQUEST and request_dict["method"] == "HEAD")
        if not used or not expired or signing.get(_RETRIED) or not self._renew(used, code):
            return None
        signing[_RETRIED] = True
        return 0.0

    def _renew(self, used: Credentials, code: str) -> bool:
        """Whether there are now other credentials than the ones that were rejected."""
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - documented, and does not raise
            # Only a signal handler calls S3 in an event loop's thread, and a look-up may need that loop.
            return False
        with self._lock:
            now = time.monotonic()
            if self._current is not used or now < self._next_look_up:
                return self._current is not used
            self._next_look_up = now + LOOK_UP_PAUSE
            try:
                found = self._look_up()
                changed = found is not None and _frozen(found) not in (None, _frozen(used))
            # The database, the API server, a secrets backend and STS each raise errors of their own.
            except Exception as error:  # noqa: BLE001
                log.warning("The connection for S3 cannot be looked up again (%s).", type(error).__name__)
                return False
            if found is None or not changed:
                log.warning("S3 rejects the credentials (%s), and the connection has no other ones.", code)
                return False
            log.info("S3 rejected the credentials (%s): continuing with the connection's current ones.", code)
            self._current = found
            return True


def look_up_in_loop(loop: asyncio.AbstractEventLoop) -> Callable[[LookUp], Credentials | None]:
    """Return a function that runs a look-up in the triggerer's event loop, for threads that a batch starts.

    Airflow before 3.2 lets a thread read a connection only if the event loop has started that thread.
    """

    def run(look_up: LookUp) -> Credentials | None:
        from asgiref.sync import sync_to_async

        found = asyncio.run_coroutine_threadsafe(sync_to_async(look_up)(), loop)
        return found.result(LOOK_UP_PATIENCE)

    return run


def _frozen(credentials: Credentials) -> ReadOnlyCredentials | None:
    """Return the keys that sign a request; None if they can no longer be renewed."""
    return None if _renewal_error(credentials) else credentials.get_frozen_credentials()


def _renewal_error(credentials: Credentials) -> str:
    """Return the code of the error that prevents a role's renewal; empty if there is none."""
    from botocore.exceptions import ClientError

    try:
        credentials.get_frozen_credentials()
    except ClientError as error:
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""
