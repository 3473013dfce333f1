"""One wait of a triggerer: sleep and poll until the generation is finished or the deadline has passed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoError
from veo_provider.polling.poller import Finished, PollAgain, Refused, TimedOut
from veo_provider.polling.session import shared_session

if TYPE_CHECKING:
    from veo_provider.api.video import Video
    from veo_provider.polling.poller import Decision, Poller
    from veo_provider.polling.session import PollingSession

# Airflow's ``self.log`` keeps three objects for each wait, all of which a full garbage collection visits.
log = logging.getLogger(__name__)


async def wait_for_video(
    veo_task_id: str, veo_conn_id: str, poller: Poller, *, earliest: float
) -> Video | None:
    """Return the finished video, or None if the deadline has passed.

    :param veo_conn_id: connection of type ``veo``, whose session all its waits share.
    :param earliest: seconds before which the first poll is not sent.
    :raises VeoError: an error that waiting cannot fix.
    """
    # The task polled just before it deferred.
    await asyncio.sleep(max(earliest, poller.next_delay()))
    async with shared_session(veo_conn_id) as session:
        while True:
            match await _poll(veo_task_id, session, poller):
                case PollAgain(seconds):
                    await asyncio.sleep(seconds)
                case Finished(video):
                    return video
                case TimedOut():
                    return None
                case Refused(error):
                    raise error


async def _poll(veo_task_id: str, session: PollingSession, poller: Poller) -> Decision:
    """Poll once, and log what is new."""
    try:
        video = await session.get(veo_task_id, until=poller.permit_deadline)
    except VeoError as error:
        decision = poller.on_error(error)
        if poller.has_news and isinstance(decision, PollAgain):
            log.warning("%s Polling again.", error)
        return decision
    decision = poller.on_video(video)
    if poller.has_news and video is not None:
        log.info("%s is %s (%d %%).", video.id, video.status.value, video.progress)
    return decision
