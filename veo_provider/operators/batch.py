"""The operator for archives: many images, one task, one budget."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider.api.request import VeoRequest
from veo_provider.batch.outcome import RETRYABLE, is_failure, parse_fail_on
from veo_provider.configuration import default_deferrable
from veo_provider.exceptions import VeoBatchError, VeoBatchUnfinishedError, VeoError, VeoRequestError
from veo_provider.links import FOLDER_KEY, VeoArchiveLink, VeoTaskLogLink
from veo_provider.operators import fixed_request
from veo_provider.operators.base import VeoRequestOperator, attempt_of, seconds_of
from veo_provider.operators.outlets import report_to_outlets
from veo_provider.operators.template_fields import TemplateFields
from veo_provider.parameters import as_bool, as_places, as_positive, as_prompts, as_usd
from veo_provider.retry_policy import fail_on_permanent_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.engine.runner import BatchRunner
    from veo_provider.batch.report.summary import Summary
    from veo_provider.batch.spec import BatchSpec


class VeoBatchOperator(VeoRequestOperator):
    """Turn an archive of images into videos in S3, each paid for once, within a budget, in one task.

    Each image is claimed, submitted, waited for and stored as :class:`VeoImageToVideoOperator` does it, with
    a receipt beside its video: a retry, a cleared task, another run or a backfill goes on where it was. What
    waits, waits in the triggerer, which also submits; a worker is launched when there is a lot to store. An
    image that cannot be used is a row in the summary, and the rest goes on.

    The XCom value is a small dict: ``counts``, ``cost_usd``, ``unknown_usd`` (what may be charged besides,
    for submissions of unknown fate), ``summary_uri``, ``seconds``. The events of the task's ``outlets``
    carry it as their extra. The XCom ``folder``, and a link to it, say from the beginning where
    ``progress.json`` is, and the summary in the end.

    What a try is asked for is fixed when it begins. Airflow renders templates anew whenever a task resumes;
    what differs then is logged and ignored until the next try.

    The parameters of a request, and those for receipts, are those of
    :class:`~veo_provider.operators.base.VeoRequestOperator`.

    :param images: ``s3://bucket/prefix/``, the same with wildcards (``s3://bucket/2026/**/*.jpg``), or a list
        of URIs and paths. (templated)
    :param output_prefix: where the videos go, ``s3://bucket/prefix/``; each is named after its image's path
        with ``.mp4`` behind. (templated)
    :param prompt: what happens in the videos: a text with ``$name``, ``$stem``, ``$key`` and ``$metadata_…``
        for each image, or a mapping from an image's name, path, key or URI to its prompt; each may be a file,
        ``.txt`` or ``.md``, in the DAG's folder or its ``template_searchpath``. (templated)
    :param prompt_suffix: instead of ``prompt``: the suffix of a text beside each image, such as ``.txt``.
    :param aspect_ratio: ``16:9`` (the default), ``9:16``, or ``auto`` for what fits each picture. (templated)
    :param convert: make JPEGs of images that the API would not take: HEIC, TIFF, huge ones and so on. Needs
        the extra ``pictures``.
    :param max_in_flight: generations under way at once, at most; fewer after the service refused one.
    :param max_cost_usd: what this run may be charged at most, in USD, submissions of unknown fate included;
        default no ceiling. One that renders to nothing is refused. (templated)
    :param dry_run: submit nothing, and tell what would be made, skipped, rejected and paid.
        (templated)
    :param fail_on: when the task fails, after everything was tried: ``any`` image without a video (the
        default), ``all``, ``never``, or more than a fraction from 0 to 1. But for ``never``, it is tried
        again also while a video that was submitted is not stored.
    :param poll_interval: seconds, or a ``timedelta``, between two looks at a generation; default is a
        schedule that is learned from what generations take.
    :param timeout: seconds, or a ``timedelta``, from its submission for which a video is waited for; default
        two hours. The next attempt waits on for the same one.
    :param deferrable: wait in the triggerer (the default, unless Airflow's ``[operators] default_deferrable``
        says otherwise) instead of on a worker.
    """

    template_fields: Sequence[str] = TemplateFields(
        (
            "images",
            "output_prefix",
            "max_cost_usd",
            "only_estimate",
            "prompt",
            *VeoRequestOperator.template_fields,
        ),
        ("dry_run",),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"negative_prompt": "md", "s3_extra_args": "json"}
    operator_extra_links: Sequence[BaseOperatorLink] = (VeoArchiveLink(), VeoTaskLogLink())

    def __init__(
        self,
        *,
        images: str | Sequence[str],
        output_prefix: str,
        prompt: str | dict[str, str] | None = None,
        prompt_suffix: str | None = None,
        convert: bool = False,
        max_in_flight: int = 10,
        max_cost_usd: float | str | None = None,
        dry_run: bool | str = False,
        fail_on: str | float = "any",
        poll_interval: timedelta | float | None = None,
        timeout: timedelta | float = 2 * 60 * 60,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.images = images
        self.output_prefix = output_prefix
        self.prompt_suffix = prompt_suffix
        self.convert = convert
        self.max_in_flight = max_in_flight
        self.max_cost_usd = max_cost_usd
        # A ceiling that was given and renders to nothing is no wish for none.
        self._has_ceiling = max_cost_usd is not None
        self.only_estimate = dry_run
        self.fail_on = fail_on
        self.poll_interval = None if poll_interval is None else seconds_of(poll_interval)
        self.timeout = seconds_of(timeout)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._batch: BatchRunner | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the archive's videos, or defer until there is something to store."""
        from veo_provider.batch.checkpoint import Checkpoint
        from veo_provider.batch.report.run_folder import run_folder

        with fail_on_permanent_errors():
            self._fix_request(context)
            job = self._job(context)
            estimate = as_bool("dry_run", self.only_estimate)
            if not estimate:
                job = self._first(context, job)
            context["ti"].xcom_push(key=FOLDER_KEY, value=run_folder(job.output_prefix, job.run))
            return self._estimate(job) if estimate else self._go(context, job, Checkpoint(began=time.time()))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Carry on after the trigger: store what is completed."""
        from veo_provider.batch.checkpoint import Checkpoint

        with fail_on_permanent_errors():
            if event["status"] == "error":
                if event["temporary"]:
                    raise VeoBatchUnfinishedError(event["message"])
                raise AirflowFailException(event["message"])
            progress = Checkpoint.from_dict(event["progress"])
            return self._go(context, self._resumed(context, event, progress), progress)

    def on_kill(self) -> None:
        """Take back what was uploaded so far; generations under way cannot be cancelled."""
        if self._batch is not None:
            self._batch.cancel()

    def _first(self, context: Context, job: BatchSpec) -> BatchSpec:
        """Return what was asked for when the task was started or cleared last, as far as that is known.

        Airflow before 3.3 has no task state store for it: there it is kept beside the summary.
        """
        from veo_provider.batch.report.run_folder import first_request, run_folder
        from veo_provider.s3.client import s3_client

        by = fixed_request.tries_of(context)
        if by is None or context.get("task_state_store") is not None:
            return job
        now = fixed_request.plain(self._rendered())
        s3 = s3_client(job.aws_conn_id, extra_args=job.s3_extra_args)
        first = first_request(s3, run_folder(job.output_prefix, job.run), now, by)
        changed = sorted(name for name, value in first.items() if now.get(name) != value)
        if not changed:
            return job
        self.log.warning(
            "These are not what they were in the first try, and stay as they were until the task is cleared: "
            "%s.",
            ", ".join(changed),
        )
        for name in changed:
            setattr(self, name, first[name])
        return self._job(context)

    def _resumed(self, context: Context, event: dict[str, Any], progress: Checkpoint) -> BatchSpec:
        """Return what this try was asked for when it began: Airflow has rendered all templates anew since."""
        from veo_provider.batch.spec import BatchSpec

        if "job" not in event:  # of an earlier release
            return self._job(context)
        job = BatchSpec.from_dict(event["job"])
        try:
            changed = job.difference(self._job(context))
        except VeoError:
            changed = ["all, for what they are now is not possible"]
        if changed and changed != progress.ignored:
            said = "These are not what they were when this try began, and stay as they were: %s."
            self.log.warning(said, ", ".join(changed))
            progress.ignored = changed
        return job

    def _rendered(self) -> dict[str, Any]:
        """Return the fields that have templates, as JSON can carry them.

        :raises VeoRequestError: the images are neither a text nor a list.
        """
        fields = {name: getattr(self, name) for name in self.template_fields}
        return {**fields, "images": as_places("images", self.images)}

    def _job(self, context: Context) -> BatchSpec:
        """Return what is asked for, checked as far as that is possible without looking at the images.

        :raises VeoRequestError: a parameter is not possible.
        """
        from veo_provider.batch.spec import BatchSpec

        rendered = self._rendered()
        for name, value in rendered.items():
            setattr(self, name, value)
        self._require_connections()
        parse_fail_on(self.fail_on)
        fit = self.aspect_ratio == "auto"
        fields = {**self._fields(), **({"aspect_ratio": None} if fit else {})}
        price = VeoRequest(prompt="any", **fields).price_usd
        given = self._has_ceiling or self.max_cost_usd is not None
        ceiling = as_usd("max_cost_usd", self.max_cost_usd) if given else None
        if price is None and ceiling is not None:
            raise VeoRequestError(f"The price of {self.model} is not known, so max_cost_usd cannot be kept.")
        if fit and self.size:
            raise VeoRequestError('aspect_ratio="auto" and a size contradict each other.')
        by = attempt_of(context)
        return BatchSpec(
            run=by.task_instance,
            try_number=by.try_number,
            images=rendered["images"],
            output_prefix=self.output_prefix,
            prompt=as_prompts("prompt", self.prompt),
            prompt_suffix=self.prompt_suffix,
            fields=fields,
            price_usd=price or 0.0,
            veo_conn_id=self.veo_conn_id,
            aws_conn_id=self.aws_conn_id,
            s3_extra_args=self.s3_extra_args or None,
            policy=asdict(self._policy()),
            convert=as_bool("convert", self.convert),
            fit=fit,
            unconditional=as_bool("allow_unconditional_writes", self.allow_unconditional_writes),
            max_in_flight=as_positive("max_in_flight", self.max_in_flight),
            max_cost_usd=ceiling,
            poll_interval=self.poll_interval,
            timeout=self.timeout,
        )

    def _go(self, context: Context, job: BatchSpec, progress: Checkpoint) -> dict[str, Any]:
        """Run a segment; then defer, or finish."""
        from veo_provider.batch.segment import run_segment
        from veo_provider.triggers.batch import VeoBatchTrigger

        segment = run_segment(
            job, progress, store_videos=True, may_defer=self.deferrable, on_start=self._started
        )
        progress = asyncio.run(segment)
        if self._batch is not None and self._batch.cancelled:
            raise VeoBatchUnfinishedError("The task was killed.")
        if not progress.done:
            trigger = VeoBatchTrigger(job.to_dict(), progress.to_dict())
            self.defer(trigger=trigger, method_name="execute_complete")
        return self._finish(context, job, progress)

    def _started(self, batch: BatchRunner) -> None:
        self._batch = batch

    def _finish(self, context: Context, job: BatchSpec, progress: Checkpoint) -> dict[str, Any]:
        """Write the summary, and succeed or fail by it."""
        from veo_provider.batch.report.summary import write_summary
        from veo_provider.batch.segment import folder_of, journal_of, summary_rows
        from veo_provider.s3.client import s3_client

        s3 = s3_client(job.aws_conn_id, extra_args=job.s3_extra_args)
        summary = write_summary(summary_rows(job, s3, progress.stopped), s3, folder_of(job))
        # From here on the receipts tell: whoever clears the task may have changed things meanwhile.
        journal_of(job, s3).clear()
        self.log.info(
            "%s: %s, $%.2f, and $%.2f of unknown fate",
            summary.uri,
            summary.counts,
            summary.cost_usd,
            summary.unknown_usd,
        )
        self._warn_if_empty(job, summary)
        self._require_success(summary, progress)
        result = self._result(summary, time.time() - progress.began)
        report_to_outlets(context, self.outlets, result)
        return result

    def _require_success(self, summary: Summary, progress: Checkpoint) -> None:
        fail_on = parse_fail_on(self.fail_on)
        # A paid video that nobody fetches is gone after two days: no share of images allows for that.
        unfinished = summary.to_fetch > 0 and fail_on != "never"
        if not unfinished and not is_failure(summary.counts, fail_on):
            return
        said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(summary.counts.items()))
        what = f"Images by outcome: {said}. {progress.stopped} The summary is {summary.uri}."
        may_pass = progress.stopped_for_now or any(summary.counts.get(one.value) for one in RETRYABLE)
        raise (VeoBatchUnfinishedError if may_pass else VeoBatchError)(what.replace("  ", " "))

    def _estimate(self, job: BatchSpec) -> dict[str, Any]:
        """Look at everything, submit nothing, and write the summary of what would be."""
        from veo_provider.batch.dry_run import estimate
        from veo_provider.batch.report.summary import write_summary
        from veo_provider.batch.segment import check_receipts, folder_of, jobs_of, manifest_of
        from veo_provider.hooks.veo import VeoHook
        from veo_provider.s3.client import s3_client

        began, s3 = time.time(), s3_client(job.aws_conn_id, extra_args=job.s3_extra_args)
        check_receipts(job, s3)
        with VeoHook(self.veo_conn_id).get_conn() as client:
            rows = estimate(manifest_of(job, s3), jobs_of(job, client, s3), job.price_usd)
            summary = write_summary(rows, s3, f"{folder_of(job)}dry-run/")
        self.log.info("A dry run: %s, it would cost $%.2f.", summary.counts, summary.cost_usd)
        self._warn_if_empty(job, summary)
        return self._result(summary, time.time() - began)

    def _warn_if_empty(self, job: BatchSpec, summary: Summary) -> None:
        if not summary.counts:
            self.log.warning("There is no image in %s, so there is nothing to make.", job.images)

    def _result(self, summary: Summary, seconds: float) -> dict[str, Any]:
        return {
            "counts": summary.counts,
            "cost_usd": summary.cost_usd,
            "unknown_usd": summary.unknown_usd,
            "summary_uri": summary.uri,
            "seconds": round(seconds, 1),
        }
