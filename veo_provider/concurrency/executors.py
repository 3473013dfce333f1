"""Thread pools for blocking calls: few threads, to bound memory and connections."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from typing import TypeVar

    S = TypeVar("S")
    T = TypeVar("T")

IO_THREADS = 8
"""Threads for receipts, images and submissions."""
TRANSFER_THREADS = 4
"""Threads for downloads into S3, each of which may hold 15 MB."""


class Executors:
    """Runs blocking calls in two thread pools, so that long transfers do not delay short calls.

    :param io_threads: threads for short calls.
    :param transfer_threads: threads for transfers.
    """

    def __init__(self, io_threads: int = IO_THREADS, transfer_threads: int = TRANSFER_THREADS) -> None:
        self._io = ThreadPoolExecutor(io_threads, "veo-batch")
        self._transfers = ThreadPoolExecutor(transfer_threads, "veo-batch-store")

    async def run_io(self, call: Callable[..., T], *args: Any) -> T:
        """Run a short call: read a receipt or an image, submit, and the like."""
        return await _run(self._io, call, *args)

    async def run_transfer(self, call: Callable[..., T], *args: Any) -> T:
        """Run a download into S3."""
        return await _run(self._transfers, call, *args)

    def close(self) -> None:
        """Start no further call.

        A submission that is running cannot be stopped and must not be: its receipt records how it ends.
        """
        self._io.shutdown(wait=False, cancel_futures=True)
        self._transfers.shutdown(wait=False, cancel_futures=True)


def map_ordered(
    call: Callable[[S], T], items: Iterable[S], *, threads: int, ahead: int, name: str
) -> Iterator[T]:
    """Yield the result of a call for each item, in the order of the items.

    :param ahead: how many items to start before their results are requested.
    """
    with ThreadPoolExecutor(threads, name) as pool:
        pending: deque[Future[T]] = deque()
        for item in items:
            pending.append(pool.submit(call, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


async def _run(pool: ThreadPoolExecutor, call: Callable[..., T], *args: Any) -> T:
    """Run a call in the current task's context, by which Airflow assigns log lines to the task."""
    return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, call, *args)
