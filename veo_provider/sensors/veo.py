"""The sensor that waits for a generation, by default without a worker slot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from veo_provider.airflow_config import default_deferrable
from veo_provider.api.video import Video, VideoStatus
from veo_provider.exceptions import (
    VeoAuthenticationError,
    VeoContentGoneError,
    VeoContentNotReadyError,
    VeoContentServerError,
    VeoError,
    VeoNotFetchedError,
    VeoTaskNotFoundError,
    VeoVideoLostError,
)
from veo_provider.links import VeoPageLink, VeoTaskLogLink
from veo_provider.parameters import as_connection, as_task_id
from veo_provider.polling.poller import DEFAULT_INTERVAL, Poller, Refused
from veo_provider.receipts.video_row import small_row
from veo_provider.reporting import push_row
from veo_provider.retry_policy import fail_on_permanent_errors, log_failure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from veo_provider.api.client import VeoClient
    from veo_provider.api.gateways.gateway import Gateway


class VeoTaskSensor(BaseSensorOperator):
    """Wait until a generation is completed.

    Waiting costs nothing and survives any outage of the API or the network until ``timeout``. A timeout
    does not mean that the generation has failed: clear the task to continue waiting for the same id. A failed
    generation ends the task at once with the reason, because no retry of a sensor can fix it.

    The XCom value is a small dict: ``veo_task_id``, ``status``, ``created_at`` and ``completed_at`` (Unix
    seconds).

    :param veo_task_id: the API's task id, as ``VeoSubmitOperator`` returns it. (templated)
    :param veo_conn_id: connection of type ``veo``. (templated)
    :param poll_interval: seconds, or a ``timedelta``, between two polls of the status; default is a schedule
        that is learned from how long generations take in the triggerer, and 8 seconds on a worker.
    :param poke_interval: Airflow's name for the same; it takes precedence if both are given.
    :param timeout: seconds, or a ``timedelta``, until the task gives up; default two hours.
    :param deferrable: wait in the triggerer (the default, unless Airflow's ``[operators] default_deferrable``
        says otherwise) instead of on a worker, where ``mode`` says whether to ``poke`` or to ``reschedule``.
    """

    template_fields: Sequence[str] = ("veo_task_id", "veo_conn_id")
    operator_extra_links: Sequence[BaseOperatorLink] = (VeoPageLink(), VeoTaskLogLink())
    ui_color = "#d7e8ff"

    def __init__(
        self,
        *,
        veo_task_id: str,
        veo_conn_id: str = "veo_default",
        poll_interval: timedelta | float | None = None,
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = 2 * 60 * 60,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        interval = poll_interval if poke_interval is None else poke_interval
        super().__init__(
            poke_interval=DEFAULT_INTERVAL if interval is None else interval, timeout=timeout, **kwargs
        )
        self.poll_interval = None if interval is None else self.poke_interval
        self.veo_task_id = veo_task_id
        self.veo_conn_id = veo_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._client: VeoClient | None = None
        self._trouble: Exception | None = None
        self._failure: VeoError | None = None
        self._poller = Poller(self.poll_interval)

    def execute(self, context: Context) -> Any:
        """Poll once, and defer if the generation is not finished."""
        with fail_on_permanent_errors():
            self.veo_task_id = as_task_id(self.veo_task_id)
            self.veo_conn_id = as_connection("veo_conn_id", self.veo_conn_id) or ""
        try:
            if self.deferrable:
                video = self._poll()
                if video is not None and (result := self._judge(video)):
                    return result.xcom_value
                self._defer(video)
            return super().execute(context)
        except AirflowSensorTimeout:
            self._time_out()
        except AirflowSkipException:
            # Airflow skips a soft sensor on any error; a wrong connection must not be hidden by a green run.
            if self._trouble is not None:
                raise self._trouble from None
            raise
        finally:
            self._disconnect()
            self._report_failure(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll the status; an outage counts as not finished."""
        try:
            video = self._poll()
        except Exception as error:
            self._trouble = error
            raise
        return PokeReturnValue(is_done=False) if video is None else self._judge(video)

    def _poll(self) -> Video | None:
        """Poll once; None during an outage, or while the id may be too new to be known."""
        fresh = self._client is None
        try:
            video = self._get()
        except VeoError as error:
            # The connection may have changed.
            self._disconnect()
            if isinstance(error, VeoAuthenticationError) and not fresh:
                return self._poll()
            denied = self._polls_once and isinstance(error, VeoTaskNotFoundError)
            if denied or isinstance(self._poller.on_error(error), Refused):
                self._give_up(f"{error.what} {error.advice}")
            self.log.warning("%s Polling again.", error)
            return None
        self._poller.on_video(video)
        return video

    def _get(self) -> Video:
        """Poll the status; patiently where no later poll of this process can continue the count."""
        from veo_provider.polling.unknown_ids import until_known

        client = self._connected()
        return until_known(client.get, self.veo_task_id) if self._polls_once else client.get(self.veo_task_id)

    @property
    def _polls_once(self) -> bool:
        """Whether each poll is made by a process of its own."""
        return self.mode == "reschedule" and not self.deferrable

    def _connected(self) -> VeoClient:
        """Return the client that all polls of one run share."""
        from veo_provider.hooks.veo import VeoHook

        if self._client is None:
            self._client = VeoHook(self.veo_conn_id).get_conn()
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Carry on after the trigger, and say what Airflow makes a skip of.

        It skips a soft sensor on any error here: of a trigger that crashed, or never found its connection.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout:
            self._time_out()
        except AirflowSkipException as skip:
            if isinstance(skip.__cause__, AirflowSensorTimeout):
                self._time_out()
            raise skip.__cause__ or skip from None

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> OperatorLineage:
        """Return which generation was waited for; called by OpenLineage's provider."""
        from veo_provider.lineage import events

        return events.of_task_id(str(self.veo_task_id))

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Resume after the trigger: return the result, or raise the error that its event carries."""
        if event["status"] == "timeout":
            self._time_out()
        if event["status"] == "error":
            self._give_up(event.get("what") or event["message"])
        try:
            return self._judge(Video.from_dict(event["video"])).xcom_value
        finally:
            self._report_failure(context)

    def _report_failure(self, context: Context) -> None:
        """Leave a row that the generation failed, for the page with its submission."""
        from veo_provider.batch.outcome import outcome_of_error

        if self._failure is None:
            return
        state, cause = outcome_of_error(self._failure).value, f"{self._failure.what} {self._failure.money}"
        row = {"state": state, "part": "wait", "cause": cause, "advice": self._failure.advice}
        push_row(context, small_row({**row, "veo_task_id": self.veo_task_id}))

    def _defer(self, video: Video | None) -> NoReturn:
        from veo_provider.triggers.veo import VeoTaskTrigger, defer_to

        trigger = VeoTaskTrigger(
            veo_task_id=self.veo_task_id,
            veo_conn_id=self.veo_conn_id,
            poll_interval=self.poll_interval,
            deadline=time.time() + self.timeout,
            model=video.model if video else "",
            submitted_at=video.created_at if video else None,
        )
        defer_to(trigger, self, self.timeout)

    def _judge(self, video: Video) -> PokeReturnValue:
        """Return whether the generation is finished, and the XCom value; fail if the generation has."""
        if video.status is VideoStatus.FAILED:
            self.log.warning("%s has failed.", self.veo_task_id)
        else:
            self.log.info("%s is %s (%d %%).", self.veo_task_id, video.status.value, video.progress)
        try:
            if video.status is VideoStatus.FAILED:
                video.raise_if_failed(self._gateway())
        except VeoError as error:
            log_failure(error)
            self._failure = error
            self._fail(str(error))
        if video.completed_with_error:
            self._require_content(video)
        return PokeReturnValue(
            is_done=video.finished,
            xcom_value={
                "veo_task_id": video.id,
                "status": video.status.value,
                "created_at": video.created_at,
                "completed_at": video.completed_at,
            },
        )

    def _require_content(self, video: Video) -> None:
        """Check by a download that a completion with an error message has a video."""
        from veo_provider.generation import retries
        from veo_provider.hooks.veo import VeoHook

        with VeoHook(self.veo_conn_id).get_conn() as client:
            try:
                retries.store_retries()(client.has_content, video.id)
            except (VeoContentGoneError, VeoContentNotReadyError, VeoContentServerError) as error:
                lost = VeoVideoLostError(
                    f"The generation {video.id} was completed, but it has no video: its status says "
                    f"{video.failure_reason}; {error.what}"
                )
                raise AirflowFailException(str(lost.tell_in(client.gateway.words))) from None
            except VeoError as error:
                # After an outage or a wrong key the video may still exist: a soft sensor must not skip it.
                self._trouble = VeoNotFetchedError.of(video.id, error)
                raise self._trouble from error
        self.log.warning("%s has a video, though its status says %s.", video.id, video.failure_reason)

    def _gateway(self) -> Gateway:
        """Return the gateway, which says whether failures are charged."""
        from veo_provider.hooks.veo import VeoHook

        return VeoHook(self.veo_conn_id).get_settings().gateway

    def _give_up(self, reason: str) -> NoReturn:
        """Fail the task without a retry, even a soft sensor: nothing is wrong with the generation."""
        raise AirflowFailException(
            f"The video of {self.veo_task_id} is still to be fetched: {reason.strip()} "
            f"{VeoNotFetchedError.money} When it is fixed, clear the task to go on waiting for the same id."
        ) from None

    def _fail(self, message: str) -> NoReturn:
        """End the task without a retry: skipped if the sensor is soft, else failed."""
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(message)
        raise AirflowFailException(message)

    def _time_out(self) -> NoReturn:
        message = (
            f"{self.veo_task_id} was not finished within {self.timeout:.0f} s. It may still complete, and is "
            "then charged once. Do not submit it again: clear this task to continue waiting for the same id."
        )
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(message)
        raise AirflowSensorTimeout(message)
