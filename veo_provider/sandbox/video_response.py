"""Streams an MP4 from disk as the service does, with the changes that fault rules ask for."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import zlib
from typing import TYPE_CHECKING

from aiohttp import web

from veo_provider.sandbox.action import Action

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import BinaryIO

    from aiohttp.abc import AbstractStreamWriter

_CHUNK = 1 << 18
_TICK = 0.1  # seconds between the chunks of a throttled response
_LARGEST_SHORT_BOX = 2**32 - 1
_versions = itertools.count(1)


class VideoResponse(web.StreamResponse):
    """Response with an MP4 as its body, with Content-Length and support for Range.

    :param path: the file.
    :param action: the changes that fault rules make.
    :param suffix: bytes sent after the file's own, before those of a rule.
    """

    def __init__(self, path: Path, action: Action | None = None, suffix: bytes = b"") -> None:
        super().__init__(headers={"Content-Type": "video/mp4"})
        self._path = path
        self._action = action or Action()
        self._suffix = suffix + _padding_header(self._action.pad)
        self._size = path.stat().st_size
        self._total = self._size + len(suffix) + self._action.pad
        # Makes each response of these two a different file.
        self._version = next(_versions) if self._action.etag in ("new", "mixed") else 0

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send headers and body; aiohttp's own ``write_eof`` after this has nothing left to send."""
        start, stop = self._byte_range(request)
        self.content_length = stop - start
        writer = await super().prepare(request)
        if self.status != web.HTTPRequestRangeNotSatisfiable.status_code:
            await self._send(request, start, stop)
        return writer

    def _byte_range(self, request: web.BaseRequest) -> tuple[int, int]:
        """Return start and stop of the bytes to send; sets status and headers to match."""
        etag = self._etag()
        if etag is not None:
            self.headers["ETag"] = etag
        if not self._action.ranges:
            return 0, self._total
        self.headers["Accept-Ranges"] = "bytes"
        if "Range" not in request.headers or not self._if_range_holds(request.headers.get("If-Range"), etag):
            return 0, self._total
        try:
            start, stop, _ = request.http_range.indices(self._total)
        except ValueError:
            start = stop = 0
        if start >= stop:
            self.set_status(416)
            self.headers["Content-Range"] = f"bytes */{self._total}"
            return 0, 0
        self.set_status(206)
        self.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{self._total}"
        return start, stop

    def _etag(self) -> str | None:
        """Return the ETag of this response, or None."""
        if self._action.etag == "none":
            return None
        etag = f'"{self._path.stem}-{zlib.crc32(self._suffix):x}-{self._version}"'
        return f"W/{etag}" if self._action.etag == "weak" else etag

    def _if_range_holds(self, if_range: str | None, etag: str | None) -> bool:
        """Return whether a range may be sent; a weak ETag never matches (RFC 9110, 13.1.5)."""
        if if_range is None or self._action.etag == "mixed":
            return True
        return if_range == etag and not if_range.startswith("W/")

    async def _send(self, request: web.BaseRequest, start: int, stop: int) -> None:
        end = min(stop, start + self._bytes_to_send(stop - start))
        async for chunk in self._chunks(start, end):
            await self.write(chunk)
            if self._action.drip is not None:
                await asyncio.sleep(len(chunk) / self._action.drip)
        if end < stop or self._action.reset:
            _close(request, reset=bool(self._action.reset))
        else:
            await self.write_eof()

    def _bytes_to_send(self, length: int) -> int:
        """Return how many bytes are sent at most."""
        limit = self._action.truncate
        if limit is None:
            return length
        return int(length * limit if 0 < limit < 1 else limit)

    async def _chunks(self, start: int, stop: int) -> AsyncIterator[bytes]:
        step = _CHUNK if self._action.drip is None else max(1, int(self._action.drip * _TICK))
        with self._path.open("rb") as file:
            while start < stop:
                chunk = self._read(file, start, min(step, stop - start))
                start += len(chunk)
                yield chunk

    def _read(self, file: BinaryIO, start: int, size: int) -> bytes:
        """Return bytes of the file, then of the suffix, then padding: one byte value, repeated."""
        file.seek(start)
        if chunk := file.read(size):
            return chunk
        offset = start - self._size
        return self._suffix[offset : offset + size] or bytes([self._version % 256]) * size


def free_box(content: bytes) -> bytes:
    """Return an MP4 box of the type ``free``, which players skip."""
    return struct.pack(">I4s", 8 + len(content), b"free") + content


def _padding_header(size: int) -> bytes:
    """Return the header of a ``free`` box of that size in all, without its content."""
    if not size:
        return b""
    if size > _LARGEST_SHORT_BOX:
        return struct.pack(">I4sQ", 1, b"free", size)
    return struct.pack(">I4s", size, b"free")


def _close(request: web.BaseRequest, *, reset: bool) -> None:
    """Close or reset the connection in the middle of a response."""
    if reset:
        reset_connection(request)
    elif request.transport is not None:
        request.transport.close()


def reset_connection(request: web.BaseRequest) -> None:
    """Send a TCP reset: the client gets a connection error instead of the rest."""
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
