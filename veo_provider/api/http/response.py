"""An HTTP response to a JSON call, as both clients hand it on: status, headers, and what came of the body."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ANSWER_BYTES = 1024 * 1024
"""The API's JSON has some hundred bytes; a page of a stray proxy is read no further than this."""
MAX_RETRY_AFTER = 600.0
ACCEPT_ENCODING = "gzip, deflate"
"""What :func:`decoded` can read; both clients ask for nothing else."""

_HTTP_OK = range(200, 300)
_DEFLATED = {"gzip": (47,), "x-gzip": (47,), "deflate": (47, -15)}
"""``wbits`` of zlib for each Content-Encoding; some servers send ``deflate`` without zlib's header."""


@dataclass(frozen=True)
class Response:
    """An HTTP answer to a JSON call.

    :param status: HTTP status.
    :param body: the body, up to :data:`MAX_ANSWER_BYTES`.
    :param headers: the headers, with names in lower case.
    :param secrets: what must not be repeated from the answer: some gateways put the key into their errors.
    :param broken: why the body is not whole, in words; empty where it is.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    broken: str = ""

    @classmethod
    def received(
        cls,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        *,
        secrets: tuple[str, ...] = (),
        broken: str = "",
    ) -> Response:
        """Return the answer as an HTTP library has it, with its body decoded.

        :param body: the bytes as they came, compressed where the headers say so.
        """
        lower = {name.lower(): _as_text(value) for name, value in headers.items()}
        return cls(status, decoded(body, lower.get("content-encoding", "")), lower, secrets, broken)

    @property
    def ok(self) -> bool:
        """Whether the status says that the call succeeded."""
        return self.status in _HTTP_OK

    @property
    def content_type(self) -> str:
        """The media type, in lower case and without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asked to wait: from a number or a date, at most ten minutes."""
        value = self.headers.get("retry-after", "").strip()
        try:
            seconds = float(value) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value) else _seconds_until(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return min(max(seconds, 0.0), MAX_RETRY_AFTER)

    def printable(self, text: str) -> str:
        """Return a part of the answer as it may be shown to people."""
        for secret in filter(None, self.secrets):
            text = text.replace(secret, "***")
        return text

    def snippet(self) -> str:
        """Return the first part of the body, for a log line."""
        text = self.body[:1000].decode("utf-8", "replace")
        return self.printable(one_line("".join(char if char.isprintable() else " " for char in text)))[:300]

    def json(self) -> Any:
        """Return the parsed body, or None if it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def decoded(body: bytes, encoding: str) -> bytes:
    """Return a body without its compression; as it came, where the label is unknown or wrong.

    Of a body that was cut, what can be decompressed is returned: it may name the task id.

    :param encoding: the Content-Encoding header.
    """
    if body.lstrip().startswith((b"{", b"[")):
        return body  # JSON as it is, under a wrong label: no compressed JSON starts so
    for wbits in _DEFLATED.get(encoding.strip().lower(), ()):
        try:
            text = zlib.decompressobj(wbits).decompress(body, MAX_ANSWER_BYTES)
        except zlib.error:
            continue
        if text:
            return text
    return body


def one_line(value: object) -> str:
    """Return a value as one line of text that can be printed, logged and stored."""
    return "" if value is None else " ".join(str(value)[:2000].encode("utf-8", "replace").decode().split())


def _as_text(value: str) -> str:
    """Return a header that is UTF-8, and that ``http.client`` has read as Latin-1, as ``requests`` does."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _seconds_until(date: str) -> float:
    return (parsedate_to_datetime(date) - datetime.now(timezone.utc)).total_seconds()
