"""The operators of one video: one submits it, the other also waits for it and stores it in S3.

Both loop over the steps that :mod:`veo_provider.generation.state_machine` decides from the receipt.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import assert_never

from veo_provider import reporting
from veo_provider.exceptions import VeoError
from veo_provider.links import VeoPageLink, VeoTaskLogLink, VeoVideoLink
from veo_provider.operators.base import VeoImageRequestOperator, VeoRequestOperator, attempt_of
from veo_provider.operators.fallbacks import VeoFallbackOperator
from veo_provider.operators.template_fields import TemplateFields
from veo_provider.operators.waiting import VeoWaitingOperator
from veo_provider.outlets import report_to_outlets
from veo_provider.parameters import as_bool, as_place, is_nothing
from veo_provider.receipts.video_row import small_row
from veo_provider.retry_policy import fail_on_permanent_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context
    from airflow.providers.openlineage.extractors import OperatorLineage
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.gateways.gateway import Charging
    from veo_provider.api.video import Video
    from veo_provider.generation.fallbacks import Route
    from veo_provider.generation.lifecycle import VideoJob
    from veo_provider.generation.routed_job import RoutedVideoJob
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.store import ReceiptStore, VersionedReceipt
    from veo_provider.s3.uri import S3Uri

# VeoRequestOperator lived here once, and is still imported from here.
__all__ = ["VeoImageToVideoOperator", "VeoRequestOperator", "VeoSubmitOperator"]


class VeoSubmitOperator(VeoImageRequestOperator):
    """Submit an image and a prompt to Veo, and return the API's task id.

    The XCom value is that id, a string. The image is streamed into the request and never current whole.
    The parameters and the image are checked before any money is spent. The submission is repeated only if it
    provably was not accepted; if its answer was lost, the task fails without a retry
    (:class:`~veo_provider.exceptions.VeoSubmissionUnknown`) and says what to check.

    A receipt records what was submitted, so that a retry returns the same id and pays nothing. It is kept in
    S3 if ``receipt`` is given. Without ``receipt``, Airflow 3.3 and later keep it in the task state store,
    and discard it when the task is cleared: a cleared task pays again. Earlier versions keep none: a retry
    after a crash pays again as well.

    The other parameters are those of
    :class:`~veo_provider.operators.base.VeoImageRequestOperator`.

    :param receipt: where to keep the receipt, ``s3://bucket/key``. (templated)
    """

    template_fields: Sequence[str] = (*VeoImageRequestOperator.template_fields, "receipt")

    def __init__(self, *, receipt: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.receipt = receipt
        # A template that renders to nothing is an error, and does not mean "no receipt".
        self._has_receipt = receipt is not None
        self._submitted: tuple[Receipt, str | None] | None = None
        self._unrecorded: tuple[str | None, float | None] = None, None
        """Task id and price of a submission without a receipt."""

    def execute(self, context: Context) -> str:
        """Submit the generation, unless the receipt knows of one, and return the API's task id."""
        from veo_provider.generation import submission
        from veo_provider.hooks.veo import VeoHook

        attempt = attempt_of(context)
        run, receipts_of = attempt.task_instance, partial(self._receipt_store, context)
        failures = reporting.reporting_failure(context, run, self._asked_for, receipts_of, part="submit")
        with fail_on_permanent_errors(), failures:
            self._freeze_request(context)
            with VeoHook(self.veo_conn_id).get_conn() as client:
                receipts = self._receipt_store(context)
                if receipts is not None:
                    veo_task_id, receipt = self._submit(client, receipts, attempt)
                    self._submitted = receipt, reporting.in_s3(receipts.uri)
                    reporting.push_video(context, attempt.task_instance, receipt, receipts.uri, part="submit")
                    return veo_task_id
                self._warn_of_paying_again("No receipt is kept. A retry after a crash or a cleared task")
                image = self._image()
                # An image that changes after it was hashed is not sent.
                request = self._request(client.gateway, image.hashed() if image else None)
                video = submission.submit(client, request)
                self._log_submission(video.id, request.price_usd, client.gateway.charging)
                self._unrecorded = video.id, request.price_usd
                self._report_without_receipt(context, video.id, request.price_usd, client.gateway.name)
                return video.id

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Return what the task has read, and what its submission costs; called by OpenLineage's provider."""
        from veo_provider.lineage import events

        if self._submitted is None:
            return events.of_submission(self.image, *self._unrecorded)
        receipt, uri = self._submitted
        run = reporting.task_instance_of({"ti": task_instance})
        return events.of_receipt(receipt, run, image=self.image, receipt_uri=uri)

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete

    def _receipt_store(self, context: Context) -> ReceiptStore | None:
        from veo_provider.receipts.s3_store import S3ReceiptStore
        from veo_provider.receipts.task_state_store import TaskStateReceiptStore
        from veo_provider.s3.client import s3_client
        from veo_provider.s3.uri import S3Uri

        # The attribute may have been set after construction, too.
        if self._has_receipt or not is_nothing(self.receipt):
            self.receipt = as_place("receipt", self.receipt)
            s3 = s3_client(self.aws_conn_id, extra_args=self.s3_extra_args)
            unconditional = as_bool("allow_unconditional_writes", self.allow_unconditional_writes)
            return S3ReceiptStore(
                s3, S3Uri.parse(self.receipt, "receipt"), allow_unconditional_writes=unconditional
            )
        state = context.get("task_state_store")
        return None if state is None else TaskStateReceiptStore(state)

    def _warn_of_short_memory(self, attempt: Attempt, *, found_none: bool) -> None:
        """Warn that the task state store, unlike S3, keeps no receipt for ever.

        :param found_none: whether a retry has found none of the tries before it.
        """
        if self.receipt:
            return
        self._warn_of_paying_again(
            f"{attempt} finds no receipt of the earlier tries, so that it"
            if found_none
            else "Airflow discards the receipt when the task is cleared. A cleared task"
        )

    def _warn_of_paying_again(self, what: str) -> None:
        self.log.warning("%s may pay again. Set receipt=s3://… to rule that out.", what)

    def _log_submission(self, veo_task_id: str, price_usd: float | None, charging: Charging) -> str:
        """Log what was submitted, before anything else can go wrong."""
        price = f"${price_usd:.2f}" if price_usd is not None else "an unknown price"
        when = {"completion": f"costs {price} when it completes", "submission": f"costs {price} from now on"}
        self.log.info("Submitted as %s; it %s.", veo_task_id, when.get(charging.at, "is not charged"))
        return veo_task_id

    def _report_without_receipt(
        self, context: Context, veo_task_id: str, price_usd: float | None, gateway: str
    ) -> None:
        """Leave the row of a submission that no receipt records."""
        money = {"price_usd": price_usd, "cost_usd": price_usd}
        row = {
            "state": "under way",
            "part": "submit",
            "veo_task_id": veo_task_id,
            "gateway": gateway,
            **money,
        }
        reporting.push_row(context, small_row({**row, **self._asked_for()}))

    def _submit(self, client: VeoClient, receipts: ReceiptStore, attempt: Attempt) -> tuple[str, Receipt]:
        """Return the generation's id, and its receipt: submitted now, or found and not failed."""
        from veo_provider.generation import state_machine as steps
        from veo_provider.generation.fallbacks import Route
        from veo_provider.generation.lifecycle import GenerationJob, require_receipt
        from veo_provider.generation.look_up import look_up_patiently
        from veo_provider.generation.retries import submit_retries

        route = Route(self.veo_conn_id, self._model(client.gateway), client)
        prepare = partial(self._prepare, attempt, route)
        job = GenerationJob(receipts, client, attempt, self._policy(), prepare=prepare)
        current = job.read()
        self._warn_of_short_memory(attempt, found_none=current is None and attempt.try_number > 1)
        while True:
            step = job.decide(current)
            match step:
                case steps.NeedsImage():
                    job.prepare(current)
                case steps.Submit():
                    current = submit_retries()(job.submit_once)
                case steps.Verify():
                    current = job.verify(require_receipt(current))
                case steps.LookUp():
                    current = look_up_patiently(job, require_receipt(current))
                case steps.WaitForClaim(holder):
                    self.log.info("%s is submitting this video. Waiting for it.", holder)
                    time.sleep(steps.CLAIM_POLL_SECONDS)
                    current = job.read()
                case steps.Attach(veo_task_id):
                    current = require_receipt(current)
                    if job.submitted_by_this_attempt(current):
                        price, charging = current.receipt.price_usd, client.gateway.charging
                        return self._log_submission(veo_task_id, price, charging), current.receipt
                    failed = self._failed(client, veo_task_id)
                    if failed is None:
                        self.log.info("Submitted before, by %s: nothing is paid.", current.receipt.claimed_by)
                        return veo_task_id, current.receipt
                    current = job.record_failure(current, failed)
                case steps.Done():
                    receipt = require_receipt(current).receipt
                    return receipt.veo_task_id or "", receipt
                case steps.Refuse(error):
                    raise error
                case _:
                    assert_never(step)

    def _failed(self, client: VeoClient, veo_task_id: str) -> Video | None:
        """Return the generation if it has failed; None if it has not, or its status cannot be read now."""
        try:
            video = client.get(veo_task_id)
        except VeoError as error:
            self.log.warning("The status of %s cannot be read now: %s", veo_task_id, error.what)
            return None
        return video if video.status is video.status.FAILED else None


class VeoImageToVideoOperator(VeoFallbackOperator, VeoWaitingOperator):
    """Turn an image into a video in S3, paid for exactly once, in one deferrable task.

    The task claims the output, submits, waits in the triggerer without a worker slot, and streams the video
    into S3. The receipt is the object beside the video (``clip.mp4.veo.json``) and is read first: a retry, a
    cleared task, another run or a backfill finds there what was submitted and what is done, and pays for
    nothing twice. A generation that the service fails is free, and is submitted again, up to
    ``max_generations`` times.

    The XCom value is a dict: ``uri``, ``receipt_uri``, ``veo_task_id``, ``bytes``, ``sha256``,
    ``duration_seconds``, ``width``, ``height`` and ``price_usd``. The events of the task's ``outlets`` carry
    it as their extra.

    The other parameters are those of
    :class:`~veo_provider.operators.waiting.VeoWaitingOperator` and
    :class:`~veo_provider.operators.fallbacks.VeoFallbackOperator`.

    :param output: where the video goes, ``s3://bucket/key.mp4``. (templated)
    :param replace: overwrite an object at ``output`` that has no receipt; default is to fail before any money
        is spent.
    """

    template_fields: Sequence[str] = TemplateFields(
        (*VeoWaitingOperator.template_fields, "fallbacks", "output_uri"), ("output",)
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (VeoPageLink(), VeoVideoLink(), VeoTaskLogLink())

    def __init__(
        self,
        *,
        output: str,
        replace: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # BaseOperator has an attribute `output` of its own.
        self.output_uri = output
        self.replace = replace
        self._job: RoutedVideoJob | None = None
        self._made: Receipt | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Bring the video into S3, or defer until there is something to do."""
        with fail_on_permanent_errors(), self._reporting(context):
            self._freeze_request(context)
            return self._run(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Resume after the trigger. The receipt is read again: it decides, not the trigger's event."""
        with fail_on_permanent_errors(), self._reporting(context):
            self._freeze_request(context, event.get("request"))
            current, completed = self._resume(event, self._receipts())
            return self._run(context, current, completed, resumed=True)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Return what the task has read, made and paid; called by OpenLineage's provider."""
        from veo_provider.lineage import events
        from veo_provider.receipts.receipt import SUFFIX

        run = reporting.task_instance_of({"ti": task_instance})
        place = {"output": self.output_uri, "receipt_uri": f"{self.output_uri}{SUFFIX}"}
        return events.of_receipt(self._made, run, image=self.image, **place)

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete

    def on_kill(self) -> None:
        """Abort the upload; the generation itself cannot be cancelled."""
        if self._job is not None:
            self._job.cancel()

    def _run(
        self,
        context: Context,
        current: VersionedReceipt | None = None,
        completed: Video | None = None,
        *,
        resumed: bool = False,
    ) -> dict[str, Any]:
        """Do what the receipt demands, step by step, until the video is stored.

        To wait, a deferrable task leaves this method by Airflow's ``TaskDeferred``. Each segment between two
        deferrals has the whole ``timeout``.

        :param current: the receipt, if it has been read already.
        :param completed: the generation, if the trigger has seen it completed.
        :param resumed: whether the task has been deferred before.
        """
        from veo_provider.generation import routed_job
        from veo_provider.generation import state_machine as steps
        from veo_provider.generation.lifecycle import require_receipt
        from veo_provider.generation.look_up import look_up_patiently

        deadline = time.time() + self.timeout
        with self._open_routes() as routes:
            job = self._job = self._video_job(routes, attempt_of(context), completed)
            current = current or job.read()
            while True:
                step = job.decide(current)
                match step:
                    case steps.NeedsImage():
                        job.prepare(current)
                    case steps.Submit():
                        awaited = self._let_others_finish(job, deadline, resumed=resumed)
                        current = routed_job.submit(job, may_replace=partial(_is_of, awaited))
                        self._report(context, job, current)
                    case steps.Verify():
                        current = job.verify(require_receipt(current))
                    case steps.LookUp():
                        current = look_up_patiently(job, require_receipt(current))
                    case steps.WaitForClaim(holder):
                        self._wait_for_claim(holder, deadline)
                        current = job.read()
                    case steps.Attach(veo_task_id):
                        current = require_receipt(current)
                        if completed is None or completed.id != veo_task_id:
                            route = job.route_of(current.receipt)
                            completed = self._wait_for_video(route, current.receipt, deadline)
                        current = self._store_or_record_failure(completed, job, current)
                        completed = None
                    case steps.Done():
                        return self._done(context, job, require_receipt(current))
                    case steps.Refuse(error):
                        raise error
                    case _:
                        assert_never(step)

    def _video_job(
        self, routes: tuple[Route, ...], attempt: Attempt, completed: Video | None
    ) -> RoutedVideoJob:
        """Return the steps of this task's video.

        The image is read and hashed first, or a changed image would go unnoticed. Only to store the video of
        the generation that was just awaited, the receipt is trusted without that.

        :param completed: that generation, as the trigger has seen it.
        """
        from veo_provider.generation.routed_job import RoutedVideoJob
        from veo_provider.receipts.receipt import ReceiptState

        def trust(receipt: Receipt) -> bool:
            may_be_replaced = (
                self.on_changed_request == "regenerate" and receipt.claimant != attempt.task_instance
            )
            awaited = receipt.state is ReceiptState.SUBMITTED and not may_be_replaced
            return awaited and completed is not None and receipt.veo_task_id == completed.id

        target, s3 = self._output()
        return RoutedVideoJob(
            s3,
            target,
            routes,
            attempt,
            self._policy(),
            prepare=partial(self._prepare, attempt),
            fallback_on_moderation=as_bool("fallback_on_moderation", self.fallback_on_moderation),
            trust=trust,
            replace=as_bool("replace", self.replace),
            allow_unconditional_writes=as_bool("allow_unconditional_writes", self.allow_unconditional_writes),
        )

    def _output(self) -> tuple[S3Uri, S3Client]:
        """Return where the video goes, and the client for it."""
        from veo_provider.s3.client import s3_client
        from veo_provider.s3.uri import S3Uri

        target = S3Uri.parse(as_place("output", self.output_uri), "output")
        return target, s3_client(self.aws_conn_id, extra_args=self.s3_extra_args)

    def _receipts(self) -> ReceiptStore:
        """Return the store of the receipt, to read it before there is a job."""
        from veo_provider.receipts.s3_store import S3ReceiptStore, sidecar_of

        target, s3 = self._output()
        return S3ReceiptStore(s3, sidecar_of(target))

    def _store_or_record_failure(
        self, video: Video, job: VideoJob, current: VersionedReceipt
    ) -> VersionedReceipt:
        from veo_provider.api.video import VideoStatus

        if video.status is VideoStatus.COMPLETED:
            return job.store(current, video)
        self.log.warning("The generation %s failed: %s", video.id, video.error_message)
        return job.record_failure(current, video)

    def _done(self, context: Context, job: VideoJob, current: VersionedReceipt) -> dict[str, Any]:
        """Return the result of the task, and send it to the outlets."""
        from veo_provider.receipts.receipt import describe

        self.log.info("%s", describe(current.receipt))
        if not job.stored_by_this_attempt(current):
            self.log.info("%s exists already: nothing to do, nothing to pay.", job.target)
        job.clean_up()
        video = current.receipt.video or {}
        result = {**video, "receipt_uri": job.receipts.uri, "price_usd": current.receipt.price_usd}
        report_to_outlets(context, self.outlets, result)
        self._report(context, job, current)
        return result

    def _report(self, context: Context, job: VideoJob, current: VersionedReceipt | None) -> None:
        """Leave the row of the video as it is now."""
        if current is not None:
            self._made = current.receipt
            reporting.push_video(context, job.attempt.task_instance, current.receipt, job.receipts.uri)

    def _reporting(self, context: Context) -> AbstractContextManager[None]:
        """Leave a row if the task fails."""
        run = attempt_of(context).task_instance
        return reporting.reporting_failure(context, run, self._asked_for, self._receipts)


def _is_of(veo_task_id: str | None, receipt: Receipt) -> bool:
    """Whether a receipt is of this generation."""
    return receipt.veo_task_id == veo_task_id
