"""Sends an MP4 as the service does, or as the fault rules would have it, without holding it in memory."""

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
_TICK = 0.1  # seconds between the pieces of a slow answer
_LARGEST_SHORT_BOX = 2**32 - 1
_versions = itertools.count(1)


class Delivery(web.StreamResponse):
    """
    An MP4 as an answer: Content-Length always, and Range where it is asked for.

    :param path: the file.
    :param action: how it is disturbed.
    :param ending: bytes behind the file's own, before those of a rule.
    """

    def __init__(self, path: Path, action: Action | None = None, ending: bytes = b"") -> None:
        super().__init__(headers={"Content-Type": "video/mp4"})
        self._path = path
        self._action = action or Action()
        self._behind = ending + _padding(self._action.pad)
        self._size = path.stat().st_size
        self._total = self._size + len(ending) + self._action.pad
        # Where the file is another one in each answer, this tells them apart.
        self._version = next(_versions) if self._action.etag in ("new", "mixed") else 0

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers and the body; what aiohttp does after that finds nothing left to do."""
        start, stop = self._span(request)
        self.content_length = stop - start
        writer = await super().prepare(request)
        if self.status != web.HTTPRequestRangeNotSatisfiable.status_code:
            await self._send(request, start, stop)
        return writer

    def _span(self, request: web.BaseRequest) -> tuple[int, int]:
        """Which bytes to send; sets status and headers to match."""
        tag = self._tag()
        if tag is not None:
            self.headers["ETag"] = tag
        if not self._action.ranges:
            return 0, self._total
        self.headers["Accept-Ranges"] = "bytes"
        if "Range" not in request.headers or not self._is_same(request.headers.get("If-Range"), tag):
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

    def _tag(self) -> str | None:
        """The ETag of this answer."""
        if self._action.etag == "none":
            return None
        tag = f'"{self._path.stem}-{zlib.crc32(self._behind):x}-{self._version}"'
        return f"W/{tag}" if self._action.etag == "weak" else tag

    def _is_same(self, wanted: str | None, tag: str | None) -> bool:
        """Whether a part may be sent: of the same file, which a weak tag does not say (RFC 9110, 13.1.5)."""
        if wanted is None or self._action.etag == "mixed":
            return True
        return wanted == tag and not wanted.startswith("W/")

    async def _send(self, request: web.BaseRequest, start: int, stop: int) -> None:
        end = min(stop, start + self._limit(stop - start))
        async for chunk in self._chunks(start, end):
            await self.write(chunk)
            if self._action.drip is not None:
                await asyncio.sleep(len(chunk) / self._action.drip)
        if end < stop or self._action.reset:
            _cut(request, reset=bool(self._action.reset))
        else:
            await self.write_eof()

    def _limit(self, length: int) -> int:
        """How many bytes are sent at most."""
        cut = self._action.truncate
        if cut is None:
            return length
        return int(length * cut if 0 < cut < 1 else cut)

    async def _chunks(self, start: int, stop: int) -> AsyncIterator[bytes]:
        step = _CHUNK if self._action.drip is None else max(1, int(self._action.drip * _TICK))
        with self._path.open("rb") as file:
            while start < stop:
                chunk = self._piece(file, start, min(step, stop - start))
                start += len(chunk)
                yield chunk

    def _piece(self, file: BinaryIO, start: int, size: int) -> bytes:
        """Bytes of the file, then of the boxes behind it; the last one holds the same byte all over."""
        file.seek(start)
        if piece := file.read(size):
            return piece
        offset = start - self._size
        return self._behind[offset : offset + size] or bytes([self._version % 256]) * size


def free_box(content: bytes) -> bytes:
    """An MP4 box that players skip."""
    return struct.pack(">I4s", 8 + len(content), b"free") + content


def _padding(size: int) -> bytes:
    """The header of such a box, whose content is not here."""
    if not size:
        return b""
    if size > _LARGEST_SHORT_BOX:
        return struct.pack(">I4sQ", 1, b"free", size)
    return struct.pack(">I4s", size, b"free")


def _cut(request: web.BaseRequest, *, reset: bool) -> None:
    """End the connection in the middle of an answer."""
    if reset:
        hang_up(request)
    elif request.transport is not None:
        request.transport.close()


def hang_up(request: web.BaseRequest) -> None:
    """Reset the connection: the client hears of it at once, and hears nothing else."""
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
