"""Feeds a segment with items: in the order of the manifest, as many as there is room for."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from veo_provider.batch.engine.item.task import ItemTask
from veo_provider.batch.engine.state import Phase
from veo_provider.batch.manifest import ManifestItem
from veo_provider.batch.report.orphans import refusal
from veo_provider.exceptions import VeoError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.batch.jobs import ItemJobs
    from veo_provider.batch.manifest import Manifest
    from veo_provider.batch.report.journal import JournalReplay
    from veo_provider.batch.report.orphans import OrphanFinder
    from veo_provider.batch.report.row import SummaryRow

log = logging.getLogger(__name__)


class ItemFeeder:
    """Yields the items of a segment, and moves the checkpoint's cursor as they finish.

    Generations that were in flight at the checkpoint come first. Submissions start once they are attached.

    :param state: of the segment.
    :param manifest: the images.
    :param jobs: makes the job of each video.
    :param orphans: finds paid videos of images that are no longer in the manifest.
    :param replay: cached rows of items with a video, whose receipts are not read again.
    :param orphans_first: whether an earlier try may have left orphans.
    """

    def __init__(
        self,
        state: SegmentState,
        manifest: Manifest,
        jobs: ItemJobs,
        orphans: OrphanFinder,
        *,
        replay: JournalReplay | None = None,
        orphans_first: bool = False,
    ) -> None:
        self._state = state
        self._checkpoint = state.checkpoint
        self._manifest = manifest
        self._jobs = jobs
        self._orphans = orphans
        self._replay = replay
        self._orphans_first = orphans_first
        self._orphan_keys: set[str] = set()
        self._open_keys: deque[str] = deque()
        self._started = 0

    @property
    def open_items(self) -> int:
        """Number of items after the cursor that were started and are not finished."""
        return len(self._open_keys) - len(self._checkpoint.finished)

    def is_orphan(self, item: ManifestItem) -> bool:
        """Whether an item's image is no longer in the manifest."""
        return item.key in self._orphan_keys

    def has_room(self) -> bool:
        """Whether another item may be started."""
        state, tuning = self._state, self._state.tuning
        waiting = state.phases[Phase.READY] + state.phases[Phase.SUBMITTING]
        return not state.reattached.is_set() or (
            waiting < 2 * tuning.io_threads
            and len(state.running) < state.spec.max_in_flight + 4 * tuning.store_batch_size
            and len(self._open_keys) < tuning.max_open_keys
        )

    def finish(self, item: ManifestItem) -> None:
        """Record in the checkpoint that an item of the manifest is finished."""
        self._checkpoint.finished.add(item.key)
        self._advance_cursor()

    async def items(self) -> AsyncGenerator[ItemTask, None]:
        """Yield each item that is not finished, its receipt read, when there is room for it.

        :raises VeoError: the manifest or the orphans can never be listed.
        """
        carried = self._checkpoint.leftovers.items()
        for task in await self._prepare_orphans(
            ManifestItem(output, image, output, output) for output, image in carried
        ):
            yield task
        if self._orphans_first:
            for task in await self._find_orphans():
                yield task
        self._note_reattached()
        async for task in self._manifest_items():
            yield task
        if self._state.store_videos:
            for task in await self._find_orphans():
                yield task

    async def _find_orphans(self) -> list[ItemTask]:
        while True:
            try:
                return await self._prepare_orphans(await self._state.executors.run_io(self._orphans.to_fetch))
            except VeoError as error:
                await self._pause_after(error)

    async def _prepare_orphans(self, orphans: Iterable[ManifestItem]) -> list[ItemTask]:
        running = {task.item.output for task in self._state.running.values()}
        new = [item for item in orphans if item.output not in running]
        tasks = [ItemTask(item, self._jobs.fetch_only(item, refusal), self._state) for item in new]
        self._orphan_keys.update(item.key for item in new)
        await asyncio.gather(*(task.read_receipt() for task in tasks))
        return tasks

    async def _manifest_items(self) -> AsyncGenerator[ItemTask, None]:
        """Yield the items of the manifest; start the listing again after an error that may pass."""
        while True:
            try:
                items = self._manifest.items(
                    self._open_keys[-1] if self._open_keys else self._checkpoint.cursor
                )
                while chunk := await self._state.executors.run_io(self._next_chunk, items):
                    await self._until_room()
                    async for task in self._start_chunk(chunk):
                        yield task
            except VeoError as error:
                await self._pause_after(error)
            else:
                return

    def _next_chunk(self, items: Iterator[ManifestItem]) -> list[tuple[ManifestItem, SummaryRow | None]]:
        """Return the next items, with their cached rows; this call blocks."""
        chunk = islice(items, 2 * self._state.tuning.io_threads)
        return [(item, self._replay.pop(item) if self._replay else None) for item in chunk]

    async def _start_chunk(
        self, chunk: list[tuple[ManifestItem, SummaryRow | None]]
    ) -> AsyncGenerator[ItemTask, None]:
        """Read the receipts of a chunk at once, and yield its unfinished items one by one."""
        finished = self._checkpoint.finished
        tasks = [ItemTask(item, self._jobs.job_for(item), self._state, row) for item, row in chunk]
        unknown = [task for task in tasks if task.item.key not in finished and task.item.outcome is None]
        await asyncio.gather(*(task.read_receipt() for task in unknown))
        for task in tasks:
            await self._until_room()
            self._open_keys.append(task.item.key)
            if task.item.key in finished:
                self._advance_cursor()
                continue
            self._started += 1
            self._note_reattached()
            yield task

    async def _until_room(self) -> None:
        """Wait while too many items are open; the end of the segment cancels it here."""
        while not self.has_room():
            self._state.room.clear()
            self._state.news.set()
            await self._state.room.wait()

    async def _pause_after(self, error: VeoError) -> None:
        if not error.retryable:
            raise error
        pause = self._state.tuning.list_pause
        log.warning("%s Trying again in %.0f s.", error, pause)
        await asyncio.sleep(pause)

    def _note_reattached(self) -> None:
        """Let submissions start once all generations that were in flight are attached."""
        if self._started >= self._checkpoint.open:
            self._state.reattached.set()

    def _advance_cursor(self) -> None:
        checkpoint = self._checkpoint
        while self._open_keys and self._open_keys[0] in checkpoint.finished:
            checkpoint.cursor = self._open_keys.popleft()
            checkpoint.finished.discard(checkpoint.cursor)
