"""An id that the service does not know yet, polled by a process that polls once."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoTaskNotFoundError
from veo_provider.polling.poller import REFUSED_POLLS, REFUSED_SECONDS, Poller, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from veo_provider.api.video import Video

log = logging.getLogger(__name__)


def until_known(poll: Callable[[str], Video], veo_task_id: str) -> Video:
    """Return a status; poll again for up to a minute while the service denies that it knows the id.

    A process that polls once cannot leave the counting to a later poll.

    :raises VeoTaskNotFoundError: the service has denied it as often and for as long as is believed.
    :raises VeoError: another error of the poll, at once.
    """
    poller = Poller(None)
    while True:
        try:
            return poll(veo_task_id)
        except VeoTaskNotFoundError as error:
            if isinstance(poller.on_error(error), Refused):
                raise
            log.warning("%s Polling again.", error)
        time.sleep(REFUSED_SECONDS / (REFUSED_POLLS - 1))
