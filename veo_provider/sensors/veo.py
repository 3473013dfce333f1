"""The sensor that waits for a generation, by default without a worker slot."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from veo_provider.api.errors import VeoError
from veo_provider.api.video import Video

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context


_TRIGGERER_GRACE = timedelta(minutes=5)


class VeoTaskSensor(BaseSensorOperator):
    """Wait until a generation is completed.

    Waiting costs nothing and survives any outage of the API or the network until ``timeout``. A timeout
    says nothing about the generation: clear the task, and it waits on for the same id. A generation that
    failed ends the task at once with the reason, because no retry of a sensor can mend it.

    The XCom value is a small dict: ``veo_task_id``, ``status``, ``created_at`` and ``completed_at`` (Unix
    seconds).

    :param veo_task_id: the API's task id, as ``VeoSubmitOperator`` returns it. (templated)
    :param veo_conn_id: connection of type ``veo``. (templated)
    :param poll_interval: seconds between two looks at the status; 8 is what the API's documentation
        recommends.
    :param poke_interval: the name that sensors have for the same; it wins where both are given.
    :param timeout: seconds, or a ``timedelta``, until the task gives up; default two hours.
    :param deferrable: wait in the triggerer (the default) instead of on a worker, where ``mode`` says
        whether to ``poke`` or to ``reschedule``.
    """

    template_fields: Sequence[str] = ("veo_task_id", "veo_conn_id")
    ui_color = "#d7e8ff"

    def __init__(
        self,
        *,
        veo_task_id: str,
        veo_conn_id: str = "veo_default",
        poll_interval: timedelta | float = 8,
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = 2 * 60 * 60,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        interval = poll_interval if poke_interval is None else poke_interval
        super().__init__(poke_interval=interval, timeout=timeout, **kwargs)
        self.veo_task_id = veo_task_id
        self.veo_conn_id = veo_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Look once, and defer if there is more to wait for."""
        if self.deferrable:
            looked = self.poke(context)
            if looked:
                return looked.xcom_value
            self._defer()
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            self._time_out()

    def poke(self, context: Context) -> PokeReturnValue:
        """Look at the status; an outage counts as not finished."""
        from veo_provider.hooks.veo import VeoHook

        try:
            with VeoHook(self.veo_conn_id).get_conn() as client:
                video = client.get(self.veo_task_id)
        except VeoError as error:
            if not error.temporary:
                self._fail(str(error))
            self.log.warning("%s Waiting on.", error)
            return PokeReturnValue(is_done=False)
        return self._judge(video)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Carry on after the trigger: return the result, or raise what the trigger could not."""
        if event["status"] == "timeout":
            self._time_out()
        if event["status"] == "error":
            self._fail(event["message"])
        return self._judge(Video.from_dict(event["video"])).xcom_value

    def _defer(self) -> NoReturn:
        from veo_provider.triggers.veo import VeoTaskTrigger

        self.defer(
            trigger=VeoTaskTrigger(
                veo_task_id=self.veo_task_id,
                veo_conn_id=self.veo_conn_id,
                poll_interval=self.poke_interval,
                deadline=time.time() + self.timeout,
            ),
            method_name="execute_complete",
            # For a triggerer that is not there: the trigger keeps its own deadline.
            timeout=timedelta(seconds=self.timeout) + _TRIGGERER_GRACE,
        )
        raise AssertionError("defer() has raised TaskDeferred")

    def _judge(self, video: Video) -> PokeReturnValue:
        """Return whether the video is there, and what to tell about it."""
        self.log.info("%s is %s (%d %%).", self.veo_task_id, video.status.value, video.progress)
        try:
            video.raise_if_failed()
        except VeoError as error:
            self._fail(str(error))
        return PokeReturnValue(
            is_done=video.finished,
            xcom_value={
                "veo_task_id": video.id,
                "status": video.status.value,
                "created_at": video.created_at,
                "completed_at": video.completed_at,
            },
        )

    def _fail(self, message: str) -> NoReturn:
        """End the task without a retry, as failed or as the sensor's soft_fail wants it."""
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(message)
        raise AirflowFailException(message)

    def _time_out(self) -> NoReturn:
        message = (
            f"{self.veo_task_id} was not finished within {self.timeout:.0f} s. It may still complete, and be "
            "charged once. Do not submit it again: clear this task to wait on for the same id."
        )
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(message)
        raise AirflowSensorTimeout(message)
