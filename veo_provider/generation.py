"""The step that spends money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veo_provider import retrying

if TYPE_CHECKING:
    from veo_provider.api.client import VeoClient
    from veo_provider.api.request import VeoRequest
    from veo_provider.api.video import Video


def submit(client: VeoClient, request: VeoRequest) -> Video:
    """Submit a generation, again only as long as no server can have accepted it.

    :raises VeoSubmissionUnknown: it may have been accepted; it is not tried again.
    :raises VeoError: it was refused, or not accepted for
        :data:`~veo_provider.retrying.SUBMIT_PATIENCE` seconds.
    """
    return retrying.of_submission()(client.submit, request)
