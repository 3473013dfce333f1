"""The operators of one video: submit it, or submit it and store it, and pay for it once."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import assert_never

from veo_provider.exceptions import (
    VeoError,
)
from veo_provider.generation.state_machine import (
    CLAIM_POLL_SECONDS,
    Attach,
    Done,
    NeedsImage,
    Refuse,
    Submit,
    Verify,
    WaitForClaim,
)
from veo_provider.links import VeoTaskLogLink, VeoVideoLink
from veo_provider.operators.base import VeoImageRequestOperator, VeoRequestOperator, attempt_of
from veo_provider.operators.outlets import report_to_outlets
from veo_provider.operators.template_fields import TemplateFields
from veo_provider.operators.waiting import VeoWaitingOperator
from veo_provider.parameters import as_bool, as_place, is_nothing
from veo_provider.retry_policy import fail_on_permanent_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.api.video import Video
    from veo_provider.generation.lifecycle import VideoJob
    from veo_provider.receipts.receipt import Attempt, Receipt, ReceiptStore, VersionedReceipt
    from veo_provider.s3.uri import S3Uri

__all__ = ["VeoImageToVideoOperator", "VeoRequestOperator", "VeoSubmitOperator"]


class VeoSubmitOperator(VeoImageRequestOperator):
    """Submit an image and a prompt to Veo, and return the API's task id.

    The XCom value is that id, a string. The image is streamed into the request and never held whole.
    Everything that can be checked is checked before any money is spent. The submission is tried again only
    if it provably was not accepted; where its answer was lost, the task fails without a retry
    (:class:`~veo_provider.exceptions.VeoSubmissionUnknown`) and says what to check.

    What was submitted is kept in a receipt, so that a retry returns the same id and pays nothing: in
    Airflow's task state store (Airflow 3.3 and later), or in S3 where ``receipt`` says. Without ``receipt``,
    newer versions of Airflow discard it when the task is cleared, and the clear submits and pays again; on
    versions before 3.3, a retry after a crash does so, too.

    The other parameters are those of
    :class:`~veo_provider.operators.base.VeoImageRequestOperator`.

    :param receipt: where to keep the receipt, ``s3://bucket/key``. (templated)
    """

    template_fields: Sequence[str] = (*VeoImageRequestOperator.template_fields, "receipt")

    def __init__(self, *, receipt: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.receipt = receipt
        # One that was given and renders to nothing is no wish for none.
        self._has_receipt = receipt is not None

    def execute(self, context: Context) -> str:
        """Submit the generation, unless the receipt knows of one, and return the API's task id."""
        from veo_provider.generation import submission
        from veo_provider.hooks.veo import VeoHook

        with fail_on_permanent_errors():
            self._fix_request(context)
            with VeoHook(self.veo_conn_id).get_conn() as client:
                receipts = self._receipt_store(context)
                if receipts is not None:
                    return self._submit(client, receipts, attempt_of(context))
                self._warn_of_paying_again("No receipt is kept: a retry after a crash, and a clear,")
                image = self._image()
                # With its digest it is sent as it is now, or not at all.
                request = self._request(image.hashed() if image else None)
                return self._tell(submission.submit(client, request).id, request.price_usd)

    def _receipt_store(self, context: Context) -> ReceiptStore | None:
        from veo_provider.receipts.receipt import S3ReceiptStore, TaskStateReceiptStore
        from veo_provider.s3.client import s3_client
        from veo_provider.s3.uri import S3Uri

        if self._has_receipt or not is_nothing(self.receipt):
            self.receipt = as_place("receipt", self.receipt)
            s3 = s3_client(self.aws_conn_id, extra_args=self.s3_extra_args)
            unconditional = as_bool("allow_unconditional_writes", self.allow_unconditional_writes)
            return S3ReceiptStore(s3, S3Uri.parse(self.receipt, "receipt"), unconditional=unconditional)
        state = context.get("task_state_store")
        return None if state is None else TaskStateReceiptStore(state)

    def _warn_of_paying_again(self, who: str) -> None:
        self.log.warning(
            "%s may pay again. Keep the receipt in S3, where receipt= says, to rule that out.", who
        )

    def _tell(self, veo_task_id: str, price_usd: float | None) -> str:
        """Log what was bought, before anything else can go wrong."""
        price = f"${price_usd:.2f}" if price_usd is not None else "an unknown price"
        self.log.info("Submitted as %s; it costs %s when it completes.", veo_task_id, price)
        return veo_task_id

    def _submit(self, client: VeoClient, receipts: ReceiptStore, attempt: Attempt) -> str:
        """Return the id of the one generation: submitted now, or found in the receipt and not failed."""
        from veo_provider.generation.lifecycle import GenerationJob, require_receipt
        from veo_provider.generation.retries import submit_retries

        prepare = partial(self._prepare, client, attempt)
        job = GenerationJob(receipts, client, attempt, self._policy(), prepare=prepare)
        held = job.read()
        if not self.receipt:
            found_none = held is None and attempt.try_number > 1
            self._warn_of_paying_again(
                f"{attempt} finds no receipt, though there were earlier tries. This submission"
                if found_none
                else "Newer versions of Airflow discard the receipt when a task is cleared. A clear"
            )
        while True:
            step = job.decide(held)
            match step:
                case NeedsImage():
                    job.prepare(held)
                case Submit():
                    held = submit_retries()(job.submit_once)
                case Verify():
                    held = job.verify(require_receipt(held))
                case WaitForClaim(by):
                    self.log.info("%s is submitting this video. Waiting for it.", by)
                    time.sleep(CLAIM_POLL_SECONDS)
                    held = job.read()
                case Attach(veo_task_id):
                    held = require_receipt(held)
                    if job.submitted_by_this_attempt(held):
                        return self._tell(veo_task_id, held.receipt.price_usd)
                    video = self._look(client, veo_task_id)
                    if video is None or video.status is not video.status.FAILED:
                        self.log.info("Submitted before, by %s: nothing is paid.", held.receipt.claimed_by)
                        return veo_task_id
                    held = job.record_failure(held, video)
                case Done():
                    return require_receipt(held).receipt.veo_task_id or ""
                case Refuse(error):
                    raise error
                case _:
                    assert_never(step)

    def _look(self, client: VeoClient, veo_task_id: str) -> Video | None:
        """Return the generation as it is, or None: the id is good, whatever its status says now."""
        try:
            return client.get(veo_task_id)
        except VeoError as error:
            self.log.warning("The status of %s cannot be read now: %s", veo_task_id, error.what)
            return None


class VeoImageToVideoOperator(VeoWaitingOperator):
    """Turn an image into a video in S3, paid for exactly once, in one deferrable task.

    Claims the output, submits, waits in the triggerer without a worker slot, and streams the video into S3.
    Its receipt is beside the video (``clip.mp4.veo.json``) and is read first: a retry, a cleared task,
    another run or a backfill finds there what was submitted and what is done, and pays for nothing twice.

    The XCom value is a dict: ``uri``, ``receipt_uri``, ``veo_task_id``, ``bytes``, ``sha256``,
    ``duration_seconds``, ``width``, ``height`` and ``price_usd``. The events of the task's ``outlets`` carry
    it as their extra.

    The other parameters are those of
    :class:`~veo_provider.operators.waiting.VeoWaitingOperator`.

    :param output: where the video goes, ``s3://bucket/key.mp4``. (templated)
    :param replace: overwrite an object at ``output`` that has no receipt; default is to fail before any money
        is spent.
    """

    template_fields: Sequence[str] = TemplateFields(
        (*VeoWaitingOperator.template_fields, "output_uri"), ("output",)
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (VeoVideoLink(), VeoTaskLogLink())

    def __init__(
        self,
        *,
        output: str,
        replace: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # `output` is BaseOperator's own attribute: the XComArg of the task.
        self.output_uri = output
        self.replace = replace
        self._job: VideoJob | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Bring the video into S3, or defer until there is something to do."""
        with fail_on_permanent_errors():
            self._fix_request(context)
            return self._run(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Carry on after the trigger; what matters is read from the receipt again."""
        with fail_on_permanent_errors():
            self._fix_request(context, event.get("request"))
            held, completed = self._resume(event, self._receipts())
            return self._run(context, held, completed, resumed=True)

    def on_kill(self) -> None:
        """Abort the upload; the generation itself cannot be cancelled."""
        if self._job is not None:
            self._job.cancel()

    def _run(
        self,
        context: Context,
        held: VersionedReceipt | None = None,
        completed: Video | None = None,
        *,
        resumed: bool = False,
    ) -> dict[str, Any]:
        """Do what the receipt demands, step by step, until the video is stored.

        :param held: the receipt, if it has been read already.
        :param completed: the generation that the trigger has seen completed.
        :param resumed: whether the task has waited before.
        """
        from veo_provider.generation.lifecycle import require_receipt
        from veo_provider.generation.retries import submit_retries
        from veo_provider.hooks.veo import VeoHook

        deadline = time.time() + self.timeout
        with VeoHook(self.veo_conn_id).get_conn() as client:
            job = self._job = self._video_job(client, attempt_of(context), completed)
            held = held or job.read()
            while True:
                step = job.decide(held)
                match step:
                    case NeedsImage():
                        job.prepare(held)
                    case Submit():
                        self._let_others_finish(client, job, held, deadline, resumed=resumed)
                        held = submit_retries()(job.submit_once)
                    case Verify():
                        held = job.verify(require_receipt(held))
                    case WaitForClaim(by):
                        self._wait_for_claim(by, deadline)
                        held = job.read()
                    case Attach(veo_task_id):
                        held = require_receipt(held)
                        if completed is None or completed.id != veo_task_id:
                            completed = self._wait_for_video(client, held.receipt, deadline)
                        held, completed = self._end_of(completed, job, held), None
                    case Done():
                        return self._done(context, job, require_receipt(held))
                    case Refuse(error):
                        raise error
                    case _:
                        assert_never(step)

    def _video_job(self, client: VeoClient, attempt: Attempt, completed: Video | None) -> VideoJob:
        """Return the steps of this task's video.

        :param completed: the generation that the trigger has seen completed: to store its video takes no
            image. All others are known by their image only, or a changed one would go unnoticed.
        """
        from veo_provider.generation.lifecycle import VideoJob
        from veo_provider.receipts.receipt import ReceiptState

        def trust(receipt: Receipt) -> bool:
            may_be_replaced = (
                self.on_changed_request == "regenerate" and receipt.claimant != attempt.task_instance
            )
            awaited = receipt.state is ReceiptState.SUBMITTED and not may_be_replaced
            return awaited and completed is not None and receipt.veo_task_id == completed.id

        target, s3 = self._output()
        return VideoJob(
            s3,
            target,
            client,
            attempt,
            self._policy(),
            prepare=partial(self._prepare, client, attempt),
            trust=trust,
            replace=as_bool("replace", self.replace),
            unconditional=as_bool("allow_unconditional_writes", self.allow_unconditional_writes),
        )

    def _output(self) -> tuple[S3Uri, S3Client]:
        """Return where the video goes, and the client for it."""
        from veo_provider.s3.client import s3_client
        from veo_provider.s3.uri import S3Uri

        target = S3Uri.parse(as_place("output", self.output_uri), "output")
        return target, s3_client(self.aws_conn_id, extra_args=self.s3_extra_args)

    def _receipts(self) -> ReceiptStore:
        from veo_provider.receipts.receipt import S3ReceiptStore, sidecar_of

        target, s3 = self._output()
        return S3ReceiptStore(s3, sidecar_of(target))

    def _end_of(self, video: Video, job: VideoJob, held: VersionedReceipt) -> VersionedReceipt:
        """Store the video of a finished generation, or record that it failed."""
        if video.status is video.status.COMPLETED:
            return job.store(held, video)
        self.log.warning("The generation %s failed: %s", video.id, video.error_message)
        return job.record_failure(held, video)

    def _done(self, context: Context, job: VideoJob, held: VersionedReceipt) -> dict[str, Any]:
        """Return the result of the task, and send the same to its outlets."""
        if not job.stored_by_this_attempt(held):
            self.log.info("%s is there already: nothing to do, nothing to pay.", job.target)
        job.clean_up()
        video = held.receipt.video or {}
        result = {**video, "receipt_uri": job.receipts.uri, "price_usd": held.receipt.price_usd}
        report_to_outlets(context, self.outlets, result)
        return result
