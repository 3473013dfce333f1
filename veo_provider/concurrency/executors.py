"""Threads for the calls that block: few, so that memory and connections are few."""

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

CALLING_THREADS = 8
"""For receipts, images and submissions."""
STORING_THREADS = 4
"""For downloads into S3: each may hold 15 MB."""


class Executors:
    """Makes calls that block; what is stored takes long, and has threads of its own.

    :param calling: threads for receipts, images and submissions.
    :param storing: threads for downloads into S3.
    """

    def __init__(self, calling: int = CALLING_THREADS, storing: int = STORING_THREADS) -> None:
        self._callers = ThreadPoolExecutor(calling, "veo-batch")
        self._storers = ThreadPoolExecutor(storing, "veo-batch-store")

    async def call(self, call: Callable[..., T], *args: Any) -> T:
        """Read a receipt or an image, submit, and the like."""
        return await _in(self._callers, call, *args)

    async def store(self, call: Callable[..., T], *args: Any) -> T:
        """Download into S3."""
        return await _in(self._storers, call, *args)

    def close(self) -> None:
        """Begin no further call.

        One that is submitting cannot be stopped, and must not be: its receipt will tell the rest.
        """
        self._callers.shutdown(wait=False, cancel_futures=True)
        self._storers.shutdown(wait=False, cancel_futures=True)


def map_ordered(
    call: Callable[[S], T], items: Iterable[S], *, threads: int, ahead: int, name: str
) -> Iterator[T]:
    """Yield what a call makes of each item, in the order of the items, some of them before they are due.

    :param ahead: how many items are taken up before their results are due.
    """
    with ThreadPoolExecutor(threads, name) as pool:
        due: deque[Future[T]] = deque()
        for item in items:
            due.append(pool.submit(call, item))
            if len(due) > ahead:
                yield due.popleft().result()
        while due:
            yield due.popleft().result()


async def _in(threads: ThreadPoolExecutor, call: Callable[..., T], *args: Any) -> T:
    """Make a call in the context of this task: by it, Airflow knows whose log lines are."""
    return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, call, *args)
