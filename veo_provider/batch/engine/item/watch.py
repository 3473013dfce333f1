"""Polls one generation of a batch until it is finished.

Once a generation is accepted, no response to a poll ends it: it is paid for when it completes. So an error
that would end a single wait leaves the generation to the next try of the batch.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from veo_provider.batch.engine.submission_gate import STOPPERS
from veo_provider.exceptions import (
    VeoError,
    VeoNotFetchedError,
    VeoRequestError,
    VeoTaskNotFoundError,
    VeoWaitTimeoutError,
)
from veo_provider.metrics import time_taken
from veo_provider.polling.poller import Finished, Patience, PollAgain, Poller, Refused, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.api.video import Video
    from veo_provider.batch.engine.state import SegmentState
    from veo_provider.polling.poller import Decision
    from veo_provider.polling.session import PollingSession
    from veo_provider.receipts.receipt import Receipt

log = logging.getLogger(__name__)

IN_BATCH = Patience(ends_when_permanent=False, repeated=(*STOPPERS, VeoTaskNotFoundError, VeoRequestError))
"""A wrong key or host, no such task, no such connection: polling for hours makes no sense, but a refusal may
be temporary, and the batch still has other generations in flight."""


async def watch(
    state: SegmentState,
    session: PollingSession,
    receipt: Receipt,
    *,
    fresh: bool,
    polled: Callable[[], None],
) -> Video:
    """Poll a generation until it is finished, and return it.

    :param state: what the items of the segment share.
    :param session: of the connection that has accepted the generation.
    :param receipt: the generation's receipt.
    :param fresh: whether it was submitted just now.
    :param polled: called after each poll that found it unfinished or failed.
    :raises VeoWaitTimeoutError: it was not finished in time, as of the last poll.
    :raises VeoNotFetchedError: it may be finished or not: the last polls failed.
    """
    veo_task_id = receipt.veo_task_id or ""
    submitted_at = receipt.submitted_at or time.time()
    poller = Poller(
        state.spec.poll_interval,
        deadline=submitted_at + state.spec.timeout,
        patience=IN_BATCH,
        model=receipt.request.get("model", ""),
        resolution=receipt.request.get("resolution", ""),
        submitted_at=receipt.submitted_at,
        mean=state.throughput.mean_seconds,
    )
    if fresh:
        await state.waits.sleep(poller.next_delay())
    while True:
        match await _poll(state, session, veo_task_id, poller):
            case PollAgain(seconds):
                polled()
                await state.waits.sleep(seconds)
            case Finished(video):
                # Otherwise, it may have been finished long before this segment started.
                if fresh or poller.seen_unfinished:
                    _record_duration(state, time.time() - submitted_at)
                return video
            case TimedOut(trouble):
                polled()
                raise _not_finished(veo_task_id, trouble, state.spec.timeout)
            case Refused(error):
                polled()
                raise _not_finished(veo_task_id, error.what, state.spec.timeout)


async def _poll(state: SegmentState, session: PollingSession, veo_task_id: str, poller: Poller) -> Decision:
    """Poll once; a wrong key also stops submissions."""
    try:
        with state.waits.cancel_at_end():
            video = await session.get(veo_task_id, until=poller.permit_deadline)
    except VeoError as error:
        if isinstance(error, STOPPERS):
            state.gate.stop(error)
        decision = poller.on_error(error)
        if poller.has_news:
            log.warning("%s: %s Polling again.", veo_task_id, error)
        return decision
    if video is not None:
        state.throughput.on_success()
    return poller.on_video(video)


def _record_duration(state: SegmentState, seconds: float) -> None:
    state.throughput.on_completed(seconds)
    time_taken("generation_seconds", seconds)


def _not_finished(veo_task_id: str, trouble: str, timeout: float) -> VeoError:
    if not trouble:
        return VeoWaitTimeoutError(f"The generation {veo_task_id} was not finished within {timeout:.0f} s.")
    return VeoNotFetchedError(
        f"Whether the generation {veo_task_id} is finished is not known, as the last polls failed: {trouble}"
    )
