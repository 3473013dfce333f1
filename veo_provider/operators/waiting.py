"""How an operator waits for a generation: in the triggerer, or blocking on a worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn

from veo_provider.airflow_config import default_deferrable
from veo_provider.exceptions import (
    VeoError,
    VeoNotFetchedError,
    VeoReceiptDeniedError,
    VeoReceiptError,
    VeoReceiptUnavailableError,
    VeoWaitTimeoutError,
)
from veo_provider.operators.base import VeoImageRequestOperator, seconds_of

if TYPE_CHECKING:
    from datetime import timedelta

    from veo_provider.api.video import Video
    from veo_provider.generation.fallbacks import Route
    from veo_provider.generation.routed_job import RoutedVideoJob
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.store import ReceiptStore, VersionedReceipt

_STORING_SECONDS = 600.0
"""How long after its completion another task's video is expected to be stored, in seconds."""
_STORING_PAUSE = 60.0
"""Seconds between two reads of the receipt until it is."""


class VeoWaitingOperator(VeoImageRequestOperator):
    """Ask for one video, and wait for it.

    The other parameters are those of :class:`~veo_provider.operators.base.VeoImageRequestOperator`.

    :param poll_interval: seconds, or a ``timedelta``, between two polls of the status; default is a schedule
        that is learned from what generations take.
    :param timeout: seconds, or a ``timedelta``, that one attempt waits for the generation; default two hours.
        The next attempt waits on for the same one.
    :param deferrable: wait in the triggerer (the default, unless Airflow's ``[operators] default_deferrable``
        says otherwise) instead of on a worker.
    """

    def __init__(
        self,
        *,
        poll_interval: timedelta | float | None = None,
        timeout: timedelta | float = 2 * 60 * 60,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.poll_interval = None if poll_interval is None else seconds_of(poll_interval)
        self.timeout = seconds_of(timeout)
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    def _let_others_finish(
        self,
        job: RoutedVideoJob,
        deadline: float,
        *,
        resumed: bool,
    ) -> str | None:
        """Let the task whose video is to be replaced finish and store it first: it is paid for.

        It gets :data:`_STORING_SECONDS` after the completion for that.

        :param resumed: whether the task has been deferred before.
        :returns: the task id of a generation in flight that need not be awaited any longer; None if there is
            none.
        """
        from veo_provider.api.video import VideoStatus
        from veo_provider.generation.state_machine import CLAIM_POLL_SECONDS
        from veo_provider.triggers.veo import VeoClaimTrigger

        # Read again: while the image was read, another task may have submitted.
        while (receipt := job.receipt_to_replace(job.read())) is not None:
            self.log.info(
                "%s has not stored its video yet, which is to be replaced. Waiting for it.",
                receipt.claimed_by,
            )
            route = job.route_of(receipt)
            video = self._wait_for_video(route, receipt, deadline)
            ended = video.completed_at or receipt.submitted_at or 0.0
            if video.status is VideoStatus.FAILED or time.time() > ended + _STORING_SECONDS:
                return receipt.veo_task_id
            if self.deferrable and not resumed:
                kind = {"model": receipt.request.get("model", ""), "submitted_at": receipt.submitted_at}
                self._defer(route.veo_conn_id, video.id, deadline, kind)
            if self.deferrable:
                trigger = VeoClaimTrigger(_STORING_PAUSE, self._asked)
                self.defer(trigger=trigger, method_name="execute_complete")
            time.sleep(CLAIM_POLL_SECONDS)
        return None

    def _wait_for_claim(self, by: str, deadline: float) -> None:
        """Wait a little while another attempt submits; a deferrable task is deferred."""
        from veo_provider.generation.state_machine import CLAIM_POLL_SECONDS
        from veo_provider.triggers.veo import VeoClaimTrigger

        self.log.info("%s is submitting this video. Waiting for it.", by)
        if time.time() >= deadline:
            self._time_out()
        if self.deferrable:
            trigger = VeoClaimTrigger(CLAIM_POLL_SECONDS, self._asked)
            self.defer(trigger=trigger, method_name="execute_complete")
        time.sleep(CLAIM_POLL_SECONDS)

    def _wait_for_video(self, route: Route, receipt: Receipt, deadline: float) -> Video:
        """Return the finished generation; a deferrable task that has to wait for it is deferred.

        :param route: that has accepted it.
        """
        from veo_provider.polling.poller import Finished, PollAgain, Poller, Refused, TimedOut

        veo_task_id = receipt.veo_task_id or ""
        kind: dict[str, Any] = {
            "model": receipt.request.get("model", ""),
            "resolution": receipt.request.get("resolution", ""),
            "submitted_at": receipt.submitted_at,
        }
        poller = Poller(self.poll_interval, deadline=deadline, **kind)
        while True:
            try:
                decision = poller.on_video(route.client.get(veo_task_id))
            except VeoError as error:
                decision = poller.on_error(error)
                self.log.warning("%s", error)
            match decision:
                case Finished(video):
                    return video
                case Refused(refusal):
                    raise VeoNotFetchedError.of(veo_task_id, refusal) from refusal
                case _ if self.deferrable:
                    self._defer(route.veo_conn_id, veo_task_id, deadline, kind)
                case TimedOut():
                    self._time_out()
                case PollAgain(seconds):
                    time.sleep(seconds)

    def _defer(self, veo_conn_id: str, veo_task_id: str, deadline: float, kind: dict[str, Any]) -> NoReturn:
        from veo_provider.triggers.veo import VeoTaskTrigger, defer_to

        trigger = VeoTaskTrigger(
            veo_task_id, veo_conn_id, self.poll_interval, deadline, **kind, request=self._asked
        )
        defer_to(trigger, self, self.timeout)

    def _resume(
        self, event: dict[str, Any], receipts: ReceiptStore
    ) -> tuple[VersionedReceipt | None, Video | None]:
        """Return the receipt, and the generation if the trigger has seen it completed.

        :raises VeoReceiptError: the receipt was deleted or replaced: the generation would be paid again.
        :raises VeoWaitTimeoutError: the generation was not finished in time.
        :raises VeoNotFetchedError: it could not be polled, or the receipt cannot be read now.
        """
        from veo_provider.api.video import Video, VideoStatus

        if event["status"] == "claim":
            return None, None
        try:
            current = receipts.read()
        except (VeoReceiptDeniedError, VeoReceiptUnavailableError) as error:
            raise VeoNotFetchedError(f"{error.what} A generation was submitted by it.") from error
        if current is None:
            raise VeoReceiptError(f"The receipt {receipts.uri} is gone, though its generation was in flight.")
        if event["status"] == "timeout":
            self._time_out()
        if event["status"] == "error":
            said = event.get("what") or event["message"]
            raise VeoNotFetchedError(
                f"The video of {current.receipt.veo_task_id} is still to be fetched: {said}"
            )
        video = Video.from_dict(event["video"])
        if video.status is not VideoStatus.COMPLETED:
            return current, None
        if not current.receipt.has_task(video.id):
            raise VeoReceiptError(
                f"The receipt {receipts.uri} does not name {video.id}, which was submitted by it and charged."
            )
        return current, video

    def _time_out(self) -> NoReturn:
        raise VeoWaitTimeoutError(f"The generation was not finished within {self.timeout:.0f} s.")
