"""An HTTP response to a JSON call, the same from both clients: status, headers, and the received body."""

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

MAX_BODY_BYTES = 1024 * 1024
"""The API's JSON has a few hundred bytes; of anything longer, such as a proxy's page, no more is read."""
MAX_RETRY_AFTER = 600.0
ACCEPT_ENCODING = "gzip, deflate"
"""What :func:`decoded` can decompress; both clients accept nothing else."""

_HTTP_OK = range(200, 300)
_DEFLATED = {"gzip": (47,), "x-gzip": (47,), "deflate": (47, -15)}
"""``wbits`` of zlib for each Content-Encoding; some servers send ``deflate`` without zlib's header."""


@dataclass(frozen=True)
class Response:
    """An HTTP response to a JSON call.

    :param status: HTTP status.
    :param body: the body, up to :data:`MAX_BODY_BYTES`.
    :param headers: the headers, with names in lower case.
    :param secrets: texts to mask when the response is shown: some gateways repeat the key in their errors.
    :param broken: why the body is incomplete, in words; empty if it is complete.
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
        """Return the response of an HTTP library, with its body decompressed.

        :param body: the bytes as received, compressed if the headers say so.
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
        """Seconds to wait, as the server requested by a number or a date; at most ten minutes."""
        value = self.headers.get("retry-after", "").strip()
        try:
            seconds = float(value) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value) else _seconds_until(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return min(max(seconds, 0.0), MAX_RETRY_AFTER)

    def printable(self, text: str) -> str:
        """Return a part of the response with its secrets masked."""
        for secret in filter(None, self.secrets):
            text = text.replace(secret, "***")
        return text

    def snippet(self) -> str:
        """Return the start of the body, for a message in a log."""
        text = self.body[:1000].decode("utf-8", "replace")
        return self.printable(one_line("".join(char if char.isprintable() else " " for char in text)))[:300]

    def json(self) -> Any:
        """Return the parsed body, or None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def decoded(body: bytes, encoding: str) -> bytes:
    """Return a decompressed body; unchanged, if the encoding is unknown or wrong.

    Of a truncated body, as much as possible is decompressed: it may name the task id.

    :param encoding: the Content-Encoding header.
    """
    if body.lstrip().startswith((b"{", b"[")):
        return body  # plain JSON with a wrong encoding: no compressed body starts like this
    for wbits in _DEFLATED.get(encoding.strip().lower(), ()):
        try:
            text = zlib.decompressobj(wbits).decompress(body, MAX_BODY_BYTES)
        except zlib.error:
            continue
        if text:
            return text
    return body


def one_line(value: object) -> str:
    """Return a value as one line of printable text."""
    return "" if value is None else " ".join(str(value)[:2000].encode("utf-8", "replace").decode().split())


def _as_text(value: str) -> str:
    """Return a header that is UTF-8 but was read as Latin-1, as ``http.client`` does."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _seconds_until(date: str) -> float:
    return (parsedate_to_datetime(date) - datetime.now(timezone.utc)).total_seconds()
