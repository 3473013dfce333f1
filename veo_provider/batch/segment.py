"""Runs a segment of a batch from its spec and a checkpoint, as operator and trigger call it."""

from __future__ import annotations

import asyncio
import copy
import logging
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async

from veo_provider.batch.engine.feeder import ItemFeeder
from veo_provider.batch.engine.monitors.balance import BalanceMonitor
from veo_provider.batch.engine.monitors.progress import ProgressReporter
from veo_provider.batch.engine.runner import BatchRunner
from veo_provider.batch.engine.state import SegmentState
from veo_provider.batch.jobs import ItemJobs
from veo_provider.batch.manifest import Manifest, Outputs, open_manifest
from veo_provider.batch.prompts import prompts_of
from veo_provider.batch.report.journal import ResultJournal
from veo_provider.batch.report.orphans import OrphanFinder
from veo_provider.batch.report.run_folder import run_folder
from veo_provider.batch.spec import BatchSpec, BatchTuning
from veo_provider.exceptions import VeoReceiptUnavailableError
from veo_provider.generation.fallbacks import Route
from veo_provider.generation.look_up import LookUps
from veo_provider.generation.state_machine import GenerationPolicy
from veo_provider.hooks.veo import VeoHook, wait_for_airflow
from veo_provider.polling.session import shared_session
from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import SUFFIX
from veo_provider.receipts.s3_store import S3ReceiptStore
from veo_provider.s3.client import s3_client
from veo_provider.s3.credentials import look_up_in_loop
from veo_provider.s3.uri import S3Uri, split_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.report.row import SummaryRow
    from veo_provider.hooks.veo import VeoSettings

log = logging.getLogger(__name__)

DEFAULT_TUNING = BatchTuning()
"""The tuning of a segment that is given no other. Only tests replace it."""


async def run_segment(
    spec: BatchSpec,
    checkpoint: Checkpoint,
    *,
    store_videos: bool,
    may_defer: bool = True,
    tuning: BatchTuning | None = None,
    on_start: Callable[[BatchRunner], None] = lambda _: None,
) -> Checkpoint:
    """Run one segment of a batch, and return the checkpoint at which the next one starts.

    :param spec: of the batch.
    :param checkpoint: of the segment before; it stays as it is.
    :param store_videos: whether to store completed videos, as a worker does.
    :param may_defer: on a worker: whether to defer once only polling is left.
    :param tuning: of the engine; None for :data:`DEFAULT_TUNING`.
    :param on_start: called with the runner, which can be cancelled.
    :raises VeoError: the batch cannot go on.
    """
    tuning = tuning or DEFAULT_TUNING
    settings, s3 = await _read_connections(spec, tuning)
    clients = await asyncio.to_thread(lambda: [each.client() for each in settings])
    try:
        manifest, jobs = await asyncio.to_thread(lambda: (manifest_of(spec, s3), jobs_of(spec, clients, s3)))
        await asyncio.to_thread(check_receipts, spec, s3)
        journal = journal_of(spec, s3, tuning)
        checkpoint = await asyncio.to_thread(_prepare_checkpoint, checkpoint, manifest, journal)
        # Later segments have counted what the cached rows cost, if there are any.
        is_first = not checkpoint.total and not checkpoint.legs
        replay = await asyncio.to_thread(journal.start_try) if is_first else None
        async with AsyncExitStack() as stack:
            first, *others = [
                await stack.enter_async_context(shared_session(conn_id)) for conn_id in spec.conn_ids
            ]
            state = SegmentState.start(
                spec, checkpoint, jobs.attempt.id, first, tuning, store_videos=store_videos, others=others
            )
            feeder = ItemFeeder(
                state,
                manifest,
                jobs,
                OrphanFinder(spec, manifest, journal, s3),
                replay=replay,
                orphans_first=store_videos and spec.try_number > 1 and not checkpoint.legs,
            )
            reporter = ProgressReporter(state, manifest, journal, s3, folder_of(spec))
            # With another route, an empty account does not end the batch: its refusal tells.
            watched = settings[0].account_token and not spec.fallbacks
            monitor = BalanceMonitor(state, clients[0].balance) if watched else None
            runner = BatchRunner(state, feeder, journal, s3, reporter, monitor, may_defer=may_defer)
            on_start(runner)
            checkpoint = await runner.run()
        # Images without their entries would count as not started: an error here ends the try.
        await asyncio.to_thread(journal.flush)
        return checkpoint
    finally:
        for client in clients:
            await asyncio.to_thread(client.close)


LIST_SECONDS = 60.0
"""Seconds for which one list of a gateway serves all items with lost submissions."""


def folder_of(spec: BatchSpec) -> str:
    """Return the folder where the run keeps its summary, its journal and its progress."""
    return run_folder(spec.output_prefix, spec.run)


def manifest_of(spec: BatchSpec, s3: S3Client) -> Manifest:
    """Return the images of a batch.

    :raises VeoRequestError: a parameter is not of its form.
    """
    return open_manifest(spec.images, spec.output_prefix, s3, prompt_suffix=spec.prompt_suffix)


def jobs_of(spec: BatchSpec, clients: Sequence[VeoClient], s3: S3Client) -> ItemJobs:
    """Return what makes the jobs of the videos of a batch.

    :param clients: one for each route.
    :raises VeoRequestError: a parameter is not of its form.
    """
    fields_by_route = spec.fields_by_route
    return ItemJobs(
        routes=[
            Route(conn_id, fields.get("model") or client.gateway.default_model, client)
            for conn_id, fields, client in zip(spec.conn_ids, fields_by_route, clients, strict=True)
        ],
        s3=s3,
        prompts=prompts_of(spec.prompt, spec.prompt_suffix, s3),
        # A thread of an earlier segment of this try may still be submitting.
        attempt=Attempt(spec.run, spec.try_number, alone=False),
        policy=GenerationPolicy(**spec.policy),
        fields=fields_by_route,
        aws_conn_id=spec.aws_conn_id,
        convert=spec.convert,
        fit=spec.fit,
        allow_unconditional_writes=spec.unconditional,
        fallback_on_moderation=spec.fallback_on_moderation,
        look_ups=LookUps(s3, split_uri(spec.output_prefix)[1], max_age=LIST_SECONDS),
    )


def journal_of(spec: BatchSpec, s3: S3Client, tuning: BatchTuning | None = None) -> ResultJournal:
    """Return the journal of a run."""
    return ResultJournal(
        s3,
        folder_of(spec),
        spec.run,
        spec.request_digest,
        spec.try_number,
        tuning=tuning or DEFAULT_TUNING,
    )


def summary_rows(spec: BatchSpec, s3: S3Client, why_not_started: str) -> Iterator[SummaryRow]:
    """Yield the rows of the summary: one for each image, then one for each orphan that was paid.

    :param why_not_started: the reason for images of which nothing is known.
    :raises VeoError: the images or their receipts cannot be listed or read now.
    """
    manifest, journal = manifest_of(spec, s3), journal_of(spec, s3)
    # One listing for both: an image that comes or goes meanwhile has one row, not two or none.
    outputs = Outputs()
    items = outputs.of(manifest.items())
    orphans = OrphanFinder(spec, manifest, journal, s3).paid(outputs)
    return journal.rows(items, why_not_started, orphans)


def check_receipts(spec: BatchSpec, s3: S3Client) -> None:
    """Stop if no receipt can be kept: with one error, before any image.

    :raises VeoReceiptError: the store refuses receipts, or ignores conditional writes.
    """
    target = S3Uri.parse(f"{spec.output_prefix}{SUFFIX}", "output_prefix")
    with suppress(VeoReceiptUnavailableError):  # that may pass, and each image waits for it by itself
        S3ReceiptStore(s3, target, allow_unconditional_writes=spec.unconditional).check()


def _prepare_checkpoint(checkpoint: Checkpoint, manifest: Manifest, journal: ResultJournal) -> Checkpoint:
    """Return a copy of a checkpoint that a segment can start at.

    :raises VeoSummaryUnavailableError: S3 cannot say when the run started.
    """
    checkpoint = copy.deepcopy(checkpoint)
    if not manifest.has_places(filter(None, (checkpoint.cursor, *checkpoint.finished))):
        log.warning("The checkpoint is not in the list of images, so the batch starts over by its receipts.")
        checkpoint = checkpoint.restarted()
    if not checkpoint.at:
        checkpoint.at = journal.run_started_at(fresh=not checkpoint.legs)
    return checkpoint


async def _read_connections(spec: BatchSpec, tuning: BatchTuning) -> tuple[list[VeoSettings], S3Client]:
    """Read the connection of each route and that of S3, waiting until Airflow responds."""
    attempts = tuning.connection_attempts
    settings = [await VeoHook(conn_id).wait_for_settings(max_attempts=attempts) for conn_id in spec.conn_ids]
    # Airflow before 3.2 reads a connection in a thread only if the thread was started in this way.
    client_in_thread = partial(
        sync_to_async(s3_client),
        spec.aws_conn_id,
        tuning.s3_connections,
        spec.s3_extra_args,
        look_up_in_loop(asyncio.get_running_loop()),
    )
    return settings, await wait_for_airflow(client_in_thread, spec.aws_conn_id, max_attempts=attempts)
