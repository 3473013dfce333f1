"""The batch operator: many images, one task, one budget."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider import reporting
from veo_provider.airflow_config import default_deferrable, makes_posters
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoBatchError, VeoBatchUnfinishedError, VeoError, VeoRequestError
from veo_provider.links import FOLDER_KEY, VeoArchiveLink, VeoPageLink, VeoTaskLogLink
from veo_provider.operators import frozen_request
from veo_provider.operators.base import attempt_of, seconds_of
from veo_provider.operators.fallbacks import VeoFallbackOperator, require_new
from veo_provider.operators.template_fields import TemplateFields
from veo_provider.outlets import report_to_outlets
from veo_provider.parameters import as_bool, as_places, as_positive, as_prompts, as_usd
from veo_provider.retry_policy import fail_on_permanent_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from veo_provider.api.gateways.gateway import Gateway
    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.engine.runner import BatchRunner
    from veo_provider.batch.report.summary import Summary
    from veo_provider.batch.spec import BatchSpec


class VeoBatchOperator(VeoFallbackOperator):
    """Turn an archive of images into videos in S3, each paid for once, within a budget, in one task.

    Each image is claimed, submitted, polled and stored as :class:`VeoImageToVideoOperator` does it, with a
    receipt beside its video: a retry, a cleared task, another run or a backfill continues from there. The
    triggerer submits and polls; a worker is launched when there are enough videos to store. An image that
    cannot be used is a row in the summary, and does not stop the others.

    The XCom value is a small dict: ``counts``, ``cost_usd``, ``unknown_usd`` (what may be charged on top, for
    submissions of unknown fate), ``summary_uri``, ``seconds``. The events of the task's ``outlets``
    carry it as their extra. The XCom ``folder``, and a link to it, name the folder of ``progress.json`` from
    the start, and of the summary at the end.

    A try keeps the request that it started with. Airflow renders templates again whenever a task resumes; a
    difference is logged, and ignored until the next try.

    The parameters of a request, and those for receipts, are those of
    :class:`~veo_provider.operators.base.VeoRequestOperator`, and those for other routes are those of
    :class:`~veo_provider.operators.fallbacks.VeoFallbackOperator`. A ceiling and a dry run count the price of
    the most expensive route. Once a route has refused an image as it would refuse every other one, the
    following images do not ask it for ten minutes.

    :param images: ``s3://bucket/prefix/``, the same with wildcards (``s3://bucket/2026/**/*.jpg``), or a list
        of URIs and paths. (templated)
    :param output_prefix: where the videos go, ``s3://bucket/prefix/``; each is named after its image's path,
        followed by ``.mp4``. (templated)
    :param prompt: what happens in the videos: a text with ``$name``, ``$stem``, ``$key`` and ``$metadata_…``
        for each image, or a mapping from an image's name, path, key or URI to its prompt; each may be a file,
        ``.txt`` or ``.md``, in the DAG's folder or its ``template_searchpath``. (templated)
    :param prompt_suffix: instead of ``prompt``: the suffix of a text beside each image, such as ``.txt``.
    :param aspect_ratio: ``16:9`` (the default), ``9:16``, or ``auto`` for what fits each image. (templated)
    :param convert: convert images that the API would not take into JPEGs: HEIC, TIFF, huge ones and so on.
        Needs the extra ``pictures``.
    :param max_in_flight: maximum number of generations in flight; lowered for a while after the service
        refused one.
    :param max_cost_usd: maximum that this run may be charged, in USD, including submissions of unknown fate;
        default is no ceiling. A template that renders to nothing is refused. (templated)
    :param dry_run: submit nothing, and report what would be made, skipped, rejected and paid. (templated)
    :param fail_on: when the task fails, after everything was tried: ``any`` image without a video (the
        default), ``all``, ``never``, or more than a fraction from 0 to 1. Except with ``never``, it also
        fails for a retry while a video that was submitted is not stored.
    :param poll_interval: seconds, or a ``timedelta``, between two polls of a generation; default is a
        schedule that is learned from how long generations take.
    :param timeout: seconds, or a ``timedelta``, from its submission for which a video is awaited; default
        two hours. The next attempt continues to wait for it.
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
            *VeoFallbackOperator.template_fields,
        ),
        ("dry_run",),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"negative_prompt": "md", "s3_extra_args": "json"}
    operator_extra_links: Sequence[BaseOperatorLink] = (
        VeoPageLink(),
        VeoArchiveLink(),
        VeoTaskLogLink(),
    )

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
        # A template that renders to nothing is an error, and does not mean "no ceiling".
        self._has_ceiling = max_cost_usd is not None
        self.only_estimate = dry_run
        self.fail_on = fail_on
        self.poll_interval = None if poll_interval is None else seconds_of(poll_interval)
        self.timeout = seconds_of(timeout)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._runner: BatchRunner | None = None
        self._made: dict[str, Any] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the videos, or defer until there are some to store."""
        from veo_provider.batch.checkpoint import Checkpoint
        from veo_provider.batch.report.run_folder import run_folder

        with fail_on_permanent_errors():
            self._freeze_request(context)
            spec = self._spec(context)
            estimate = as_bool("dry_run", self.only_estimate)
            if not estimate:
                spec = self._of_first_try(context, spec)
            context["ti"].xcom_push(key=FOLDER_KEY, value=run_folder(spec.output_prefix, spec.run))
            if estimate:
                return self._estimate(spec)
            reporting.push_batch(context, spec, run_folder(spec.output_prefix, spec.run))
            return self._run_segment(context, spec, Checkpoint(began=time.time()))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Resume after the trigger: store what is completed."""
        from veo_provider.batch.checkpoint import Checkpoint

        with fail_on_permanent_errors():
            if event["status"] == "error":
                if event["temporary"]:
                    raise VeoBatchUnfinishedError(event["message"])
                raise AirflowFailException(event["message"])
            self._name_map_index(context)
            checkpoint = Checkpoint.from_dict(event["progress"])
            return self._run_segment(context, self._of_this_try(context, event, checkpoint), checkpoint)

    def on_kill(self) -> None:
        """Abort the uploads; generations in flight cannot be cancelled."""
        if self._runner is not None:
            self._runner.cancel()

    def _map_index_name(self) -> str:
        """Return the folder of the videos."""
        return str(self.output_prefix)[-100:]

    def _of_first_try(self, context: Context, spec: BatchSpec) -> BatchSpec:
        """Return the request of the first try since the task was started or cleared, as far as it is known.

        Airflow before 3.3 has no task state store to keep it in: there it is kept beside the summary.
        """
        from veo_provider.batch.report.run_folder import first_request, run_folder
        from veo_provider.s3.client import s3_client

        by = frozen_request.tries_of(context)
        if by is None or context.get("task_state_store") is not None:
            return spec
        now = frozen_request.plain(self._rendered())
        s3 = s3_client(spec.aws_conn_id, extra_args=spec.s3_extra_args)
        first = first_request(s3, run_folder(spec.output_prefix, spec.run), now, by)
        changed = sorted(name for name, value in first.items() if now.get(name) != value)
        if not changed:
            return spec
        self.log.warning(
            "These parameters differ from those of the first try, whose values are used until the task is "
            "cleared: %s.",
            ", ".join(changed),
        )
        for name in changed:
            setattr(self, name, first[name])
        return self._spec(context)

    def _of_this_try(self, context: Context, event: dict[str, Any], checkpoint: Checkpoint) -> BatchSpec:
        """Return the request that this try started with: Airflow has rendered all templates again since."""
        from veo_provider.batch.spec import BatchSpec

        if "job" not in event:  # of an earlier release
            return self._spec(context)
        spec = BatchSpec.from_dict(event["job"])
        try:
            changed = spec.difference(self._spec(context))
        except VeoError:
            changed = ["all, since their values are invalid now"]
        if changed and changed != checkpoint.ignored:
            self.log.warning(
                "These parameters differ from those that this try started with, whose values are used: %s.",
                ", ".join(changed),
            )
            checkpoint.ignored = changed
        return spec

    def _rendered(self) -> dict[str, Any]:
        """Return the templated fields, in a form that JSON can carry.

        :raises VeoRequestError: the images are neither a text nor a list.
        """
        fields = {name: getattr(self, name) for name in self.template_fields}
        return {**fields, "images": as_places("images", self.images)}

    def _spec(self, context: Context) -> BatchSpec:
        """Return the request, checked as far as that is possible without the images.

        :raises VeoRequestError: a parameter is invalid.
        """
        from veo_provider.batch.outcome import parse_fail_on
        from veo_provider.batch.spec import BatchSpec

        rendered = self._rendered()
        for name, value in rendered.items():
            setattr(self, name, value)
        self._require_connections()
        parse_fail_on(self.fail_on)
        fit = self.aspect_ratio == "auto"
        given = self._has_ceiling or self.max_cost_usd is not None
        ceiling = as_usd("max_cost_usd", self.max_cost_usd) if given else None
        fields, fallbacks, prices = self._fields_by_route(fit=fit)
        for model, price in prices:
            if price is None and ceiling is not None:
                raise VeoRequestError(
                    f"The price of {model} is not known, so max_cost_usd cannot be enforced."
                )
        if fit and self.size:
            raise VeoRequestError('aspect_ratio="auto" and a size contradict each other.')
        attempt = attempt_of(context)
        return BatchSpec(
            run=attempt.task_instance,
            try_number=attempt.try_number,
            images=rendered["images"],
            output_prefix=self.output_prefix,
            prompt=as_prompts("prompt", self.prompt),
            prompt_suffix=self.prompt_suffix,
            fields=fields,
            price_usd=max(price or 0.0 for _, price in prices),
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
            fallbacks=fallbacks,
            fallback_on_moderation=as_bool("fallback_on_moderation", self.fallback_on_moderation),
        )

    def _fields_by_route(
        self, *, fit: bool
    ) -> tuple[dict[str, Any], list[dict[str, Any]], list[tuple[str, float | None]]]:
        """Return the fields of a request, those that differ by a fallback, and each model with its price.

        :param fit: whether the aspect ratio depends on the image.
        :raises VeoRequestError: a route cannot make such a video.
        """
        from veo_provider.hooks.veo import VeoHook

        gateway = VeoHook(self.veo_conn_id).get_settings().gateway
        fields = self._fields(gateway, self._model(gateway)) | ({"aspect_ratio": None} if fit else {})
        prices = [_price_of(gateway, fields)]
        before = [(self.veo_conn_id, fields["model"])]
        fallbacks = []
        for number, (veo_conn_id, model) in enumerate(self._pairs()):
            where = f"fallbacks[{number}]"
            require_new(where, (veo_conn_id, model), before)
            before.append((veo_conn_id, model))
            try:
                gateway = VeoHook(veo_conn_id).get_settings().gateway
                differing = {name: self._fields(gateway, model)[name] for name in ("model", "seconds")}
                prices.append(_price_of(gateway, fields | differing))
            except VeoError as error:
                raise VeoRequestError(f"{where} cannot make these videos: {error.what}") from error
            fallbacks.append({"veo_conn_id": veo_conn_id, "fields": differing})
        return fields, fallbacks, prices

    def _run_segment(self, context: Context, spec: BatchSpec, checkpoint: Checkpoint) -> dict[str, Any]:
        """Run a segment; then defer, or finish."""
        from veo_provider.batch.segment import run_segment
        from veo_provider.triggers.batch import VeoBatchTrigger

        segment = run_segment(
            spec, checkpoint, store_videos=True, may_defer=self.deferrable, on_start=self._keep_runner
        )
        checkpoint = asyncio.run(segment)
        if self._runner is not None and self._runner.cancelled:
            raise VeoBatchUnfinishedError("The task was killed.")
        if not checkpoint.done:
            trigger = VeoBatchTrigger(spec.to_dict(), checkpoint.to_dict())
            self.defer(trigger=trigger, method_name="execute_complete")
        return self._finish(context, spec, checkpoint)

    def _keep_runner(self, runner: BatchRunner) -> None:
        self._runner = runner

    def _finish(self, context: Context, spec: BatchSpec, checkpoint: Checkpoint) -> dict[str, Any]:
        """Write the summary, and return its result or fail."""
        from veo_provider.batch.report.contact_sheet import ContactSheet
        from veo_provider.batch.report.summary import write_summary
        from veo_provider.batch.segment import folder_of, journal_of, summary_rows
        from veo_provider.s3.client import s3_client

        s3 = s3_client(spec.aws_conn_id, extra_args=spec.s3_extra_args)
        sheet = ContactSheet()
        rows = sheet.watch(summary_rows(spec, s3, checkpoint.stopped))
        summary = write_summary(rows, s3, folder_of(spec))
        drawn = sheet.write(s3, folder_of(spec)) if makes_posters() else None
        # A cleared task reads the receipts: anything may have been changed in the meantime.
        journal_of(spec, s3).clear()
        self.log.info(
            "%s: %s, $%.2f, and $%.2f of unknown fate",
            summary.uri,
            summary.counts,
            summary.cost_usd,
            summary.unknown_usd,
        )
        self._warn_if_empty(spec, summary)
        reporting.push_batch(context, spec, folder_of(spec), summary, drawn)
        self._made = self._result(summary, time.time() - checkpoint.began)
        self._require_success(summary, checkpoint)
        report_to_outlets(context, self.outlets, self._made)
        return self._made

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> OperatorLineage:
        """Return archive and output folder, and what was paid; called by OpenLineage's provider."""
        from veo_provider.lineage import events

        made_in = None if as_bool("dry_run", self.only_estimate) else self.output_prefix
        return events.of_batch(self.images, made_in, self._made)

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete

    def _require_success(self, summary: Summary, checkpoint: Checkpoint) -> None:
        from veo_provider.batch.outcome import RETRYABLE, is_failure, parse_fail_on

        fail_on = parse_fail_on(self.fail_on)
        # A paid video that nobody fetches is deleted after two days: no fraction of images allows for that.
        unfinished = summary.to_fetch > 0 and fail_on != "never"
        if not unfinished and not is_failure(summary.counts, fail_on):
            return
        said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(summary.counts.items()))
        what = f"Images by outcome: {said}. {checkpoint.stopped} The summary is {summary.uri}."
        may_pass = checkpoint.stopped_for_now or any(summary.counts.get(one.value) for one in RETRYABLE)
        raise (VeoBatchUnfinishedError if may_pass else VeoBatchError)(what.replace("  ", " "))

    def _estimate(self, spec: BatchSpec) -> dict[str, Any]:
        """Check every image, submit nothing, and write the summary of what a run would do."""
        from veo_provider.batch.dry_run import estimate
        from veo_provider.batch.report.summary import write_summary
        from veo_provider.batch.segment import check_receipts, folder_of, jobs_of, manifest_of
        from veo_provider.hooks.veo import VeoHook
        from veo_provider.s3.client import s3_client

        began, s3 = time.time(), s3_client(spec.aws_conn_id, extra_args=spec.s3_extra_args)
        check_receipts(spec, s3)
        with ExitStack() as stack:
            clients = [stack.enter_context(VeoHook(conn_id).get_conn()) for conn_id in spec.conn_ids]
            rows = estimate(manifest_of(spec, s3), jobs_of(spec, clients, s3), spec.price_usd)
            summary = write_summary(rows, s3, f"{folder_of(spec)}dry-run/")
        self.log.info("Dry run: %s; it would cost $%.2f.", summary.counts, summary.cost_usd)
        self._warn_if_empty(spec, summary)
        return self._result(summary, time.time() - began)

    def _warn_if_empty(self, spec: BatchSpec, summary: Summary) -> None:
        if not summary.counts:
            self.log.warning("There are no images in %s: nothing to do.", spec.images)

    def _result(self, summary: Summary, seconds: float) -> dict[str, Any]:
        return {
            "counts": summary.counts,
            "cost_usd": summary.cost_usd,
            "unknown_usd": summary.unknown_usd,
            "told_usd": summary.told_usd,
            "summary_uri": summary.uri,
            "seconds": round(seconds, 1),
        }


def _price_of(gateway: Gateway, fields: dict[str, Any]) -> tuple[str, float | None]:
    """Return the model of a request and the price of its video; None if that is unknown.

    :raises VeoRequestError: the model does not make such a video.
    """
    request = VeoRequest(prompt="any", gateway=gateway, **fields)
    return request.model, request.price_with(images=1)
