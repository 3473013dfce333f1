"""The transfer operator, which streams a completed video from the service into S3."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from veo_provider.exceptions import VeoContentNotReadyError, VeoRequestError, VeoStorageDeniedError
from veo_provider.links import VeoPageLink, VeoVideoLink
from veo_provider.outlets import report_to_outlets
from veo_provider.parameters import as_bool, as_connection, as_place, as_seconds, as_task_id, as_text
from veo_provider.receipts.video_row import small_row
from veo_provider.reporting import push_row, reporting_failure, task_instance_of
from veo_provider.retry_policy import fail_on_permanent_errors, with_retry_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.generation.storage import StoredVideo
    from veo_provider.s3.multipart_upload import MultipartUpload
    from veo_provider.s3.uri import S3Uri


class VeoToS3Operator(BaseOperator):
    """Stream the video of a completed generation into S3.

    This is free, and never leads to another generation. The object appears only once the whole MP4 has
    arrived: a download that breaks off is resumed, and an interrupted upload is aborted. The content type is
    ``video/mp4``, and the user metadata are ``veo_task_id``, ``veo_model`` and ``veo_stored_by``, the task
    instance. If the video is already there, it is not downloaded again.

    The XCom value is a dict: ``uri``, ``veo_task_id``, ``bytes``, ``sha256``, ``duration_seconds``,
    ``width`` and ``height``.

    :param veo_task_id: the API's task id, as ``VeoSubmitOperator`` returns it. (templated)
    :param s3_key: where the video goes, ``s3://bucket/key.mp4``. (templated)
    :param replace: whether to overwrite another object at ``s3_key`` (the default), or to fail.
    :param seconds: the requested length of the video, such as ``"8"``. With it, a truncated video is detected
        even if the file does not say where it ends; without it, the service is believed. (templated)
    :param model: the value of ``veo_model``; default is the model that the API reports. (templated)
    :param veo_conn_id: connection of type ``veo``. (templated)
    :param aws_conn_id: connection for S3; None uses boto3's own credentials. (templated)
    :param s3_extra_args: options of the object, named as in S3's ``PutObject``, such as
        ``{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "…"}``; default are the connection's. (templated)
    """

    template_fields: Sequence[str] = (
        "veo_task_id",
        "s3_key",
        "seconds",
        "model",
        "veo_conn_id",
        "aws_conn_id",
        "s3_extra_args",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"s3_extra_args": "json"}
    operator_extra_links = (VeoPageLink(), VeoVideoLink())
    ui_color = "#d7e8ff"

    def __init__(
        self,
        *,
        veo_task_id: str,
        s3_key: str,
        replace: bool = True,
        seconds: str | int | None = None,
        model: str | None = None,
        veo_conn_id: str = "veo_default",
        aws_conn_id: str | None = "aws_default",
        s3_extra_args: dict[str, str | bool] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_retry_policy(self, kwargs))
        self.veo_task_id = veo_task_id
        self.s3_key = s3_key
        self.replace = replace
        self.seconds = seconds
        self.model = model
        self.veo_conn_id = veo_conn_id
        self.aws_conn_id = aws_conn_id
        self.s3_extra_args = s3_extra_args
        self._upload: MultipartUpload | None = None
        self._task_instance = ""
        self._stored: dict[str, Any] = {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Store the video, and return the description of the stored object. This is free.

        :raises AirflowFailException: a retry would not help: a parameter is wrong, the generation has failed,
            the video is gone, or another object may not be overwritten.
        :raises VeoError: a temporary error of the service or of S3; Airflow retries the task.
        """
        from veo_provider.generation import storage
        from veo_provider.hooks.veo import VeoHook
        from veo_provider.s3.client import s3_client
        from veo_provider.s3.multipart_upload import abort_stale_uploads
        from veo_provider.s3.uri import S3Uri

        self._task_instance = task_instance_of(context)
        asked_id = str(self.veo_task_id)
        failures = reporting_failure(context, self._task_instance, dict, part="store", veo_task_id=asked_id)
        with fail_on_permanent_errors(), failures:
            self._read_parameters()
            target = S3Uri.parse(self.s3_key, "s3_key")
            s3 = s3_client(self.aws_conn_id, extra_args=self.s3_extra_args)
            stored = storage.find_stored_video(s3, target, self.veo_task_id)
            if stored is None:
                self._require_may_write(s3, target)
                with VeoHook(self.veo_conn_id).get_conn() as client:
                    stored = self._store(client, s3, target)
            abort_stale_uploads(s3, target)
        self.log.info("%s holds %d bytes, %.1f s.", target, stored.bytes, stored.duration_seconds)
        self._stored = stored.to_dict()
        row = {"state": "stored", "part": "store", "object": stored.uri, **self._stored}
        push_row(context, small_row({**row, "uri": None, "sha256": None}))
        # The fields that VeoImageToVideoOperator gives; this task knows neither receipt nor price.
        unknown = {"receipt_uri": None, "price_usd": None}
        report_to_outlets(context, self.outlets, {**self._stored, **unknown})
        return self._stored

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> OperatorLineage:
        """Return what the task has stored; called by OpenLineage's provider."""
        from veo_provider.lineage import events

        return events.of_object(self._stored, str(self.veo_task_id), self.s3_key)

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete

    def on_kill(self) -> None:
        """Abort the upload."""
        if self._upload is not None:
            self._upload.cancel()

    def _read_parameters(self) -> None:
        """Convert the parameters, whose templates may have rendered to other types.

        :raises VeoRequestError: a parameter is invalid.
        """
        self.veo_task_id = as_task_id(self.veo_task_id)
        self.s3_key = as_place("s3_key", self.s3_key)
        self.seconds = as_seconds("seconds", self.seconds)
        self.model = as_text("model", self.model)
        self.veo_conn_id = as_connection("veo_conn_id", self.veo_conn_id) or ""
        self.aws_conn_id = as_connection("aws_conn_id", self.aws_conn_id, optional=True)

    def _require_may_write(self, s3: S3Client, target: S3Uri) -> None:
        """Check that no other object is overwritten, unless ``replace`` allows that.

        :raises VeoRequestError: there is another object.
        """
        from veo_provider.s3.client import head_object

        if as_bool("replace", self.replace):
            return
        try:
            found = head_object(s3, target)
        except VeoStorageDeniedError as error:
            # Without s3:ListBucket, S3 answers 403 for a missing object, too. The upload checks once more.
            self.log.warning("%s The video is stored only if there is no such object.", error.what)
            return
        if found is not None:
            raise VeoRequestError(
                f"{target} exists and is not the video of {self.veo_task_id}, and replace=False."
            )

    def _store(self, client: VeoClient, s3: S3Client, target: S3Uri) -> StoredVideo:
        from veo_provider.generation import retries, storage
        from veo_provider.polling.unknown_ids import until_known

        # Just after a submission, the service may not know its id yet.
        video = until_known(partial(retries.store_retries(), client.get), self.veo_task_id)
        video.raise_if_failed(client.gateway)
        if not video.finished:
            raise VeoContentNotReadyError(
                f"{self.veo_task_id} is {video.status.value}: wait for it with VeoTaskSensor first."
            )
        model = self.model or video.model
        self._upload = storage.open_upload(
            s3,
            target,
            self.veo_task_id,
            model,
            replace=as_bool("replace", self.replace),
            stored_by=self._task_instance,
        )
        return storage.transfer_video(
            client,
            self.veo_task_id,
            str(target),
            self._upload,
            asked_seconds=as_text("seconds", self.seconds),
        )
