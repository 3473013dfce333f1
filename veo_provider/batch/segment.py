"""What a batch is asked to do: all that a trigger or a worker needs to go one leg of it, and no secret."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from veo_provider.batch.engine.orphans import leftovers
from veo_provider.batch.engine.runner import BatchRunner
from veo_provider.batch.limits import Terms
from veo_provider.batch.manifest import Outputs, open_manifest
from veo_provider.batch.prompts import prompts_of
from veo_provider.batch.report.journal import ResultJournal
from veo_provider.batch.report.summary import get, put, run_folder, write_progress
from veo_provider.batch.requests import ItemJobs
from veo_provider.concurrency.executors import CALLING_THREADS, STORING_THREADS
from veo_provider.exceptions import VeoReceiptUnavailableError, VeoSummaryUnavailableError
from veo_provider.generation.fingerprint import account_of
from veo_provider.generation.state_machine import GenerationPolicy
from veo_provider.receipts.receipt import SUFFIX, Attempt, ReceiptState, S3ReceiptStore
from veo_provider.s3.client import s3_client
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client
    from typing_extensions import Self

    from veo_provider.api.client import VeoClient
    from veo_provider.batch.checkpoint import Checkpoint
    from veo_provider.batch.manifest import Manifest, ManifestItem
    from veo_provider.batch.report.summary import SummaryRow
    from veo_provider.hooks.veo import VeoSettings
    from veo_provider.receipts.receipt import Receipt

log = logging.getLogger(__name__)

CONNECTIONS = CALLING_THREADS + 3 * STORING_THREADS
"""To S3: a storing thread has two more beside it, which send the parts."""
LOOK_UP_PAUSE = 8.0
"""Seconds between two attempts to look connections up, while Airflow's own API or database is away."""
LOOK_UPS = 40


@dataclass(frozen=True, kw_only=True)
class BatchSpec(Terms):
    """A batch, as JSON can carry it: its :class:`~veo_provider.batch.limits.Terms`, and what to make how.

    :param try_number: Airflow's number of the try.
    :param images: a prefix, a pattern or a list, see :func:`~veo_provider.batch.manifest.open_manifest`.
    :param prompt: a template, a mapping, or None for sidecars, see
        :func:`~veo_provider.batch.prompts.prompts_of`.
    :param prompt_suffix: what makes the name of a sidecar.
    :param fields: further fields of each request: model, seconds, resolution and so on.
    :param aws_conn_id: connection for S3.
    :param policy: what to do where a receipt leaves a choice: the fields of
        :class:`~veo_provider.generation.state_machine.GenerationPolicy`.
    :param convert: make images that the API takes of others.
    :param fit: choose the aspect ratio by the image.
    :param unconditional: go on where the receipts' store ignores conditional writes.
    :param s3_extra_args: options of every object that is written.
    """

    try_number: int
    images: str | list[str]
    prompt: str | dict[str, str] | None
    prompt_suffix: str | None
    fields: dict[str, Any]
    aws_conn_id: str | None = "aws_default"
    policy: dict[str, Any] = field(default_factory=dict)
    convert: bool = False
    fit: bool = False
    unconditional: bool = False
    s3_extra_args: dict[str, str | bool] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can carry."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` returned, of this release or an earlier one."""
        names = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})

    @property
    def folder(self) -> str:
        """Where the run keeps its summary and the like."""
        return run_folder(self.output_prefix, self.run)

    def archive(self, s3: S3Client) -> Manifest:
        """Return the images.

        :raises VeoRequestError: a parameter is not of its form.
        """
        return open_manifest(self.images, self.output_prefix, s3, prompt_suffix=self.prompt_suffix)

    def notes(self, s3: S3Client) -> ResultJournal:
        """Return the notes of the run."""
        return ResultJournal(s3, self.folder, self.run, self._request, self.try_number)

    def leftovers(
        self, s3: S3Client, outputs: Outputs | None = None
    ) -> Iterator[tuple[ManifestItem, Receipt]]:
        """Yield what the run has paid for images that are in the archive no more; this call blocks.

        :param outputs: of the archive, as they are when the first one is asked for; default is to list it.
        :raises VeoError: it cannot be told now.
        """
        began = self.notes(s3).began(fresh=False)
        outputs = Outputs(self.archive(s3).items()) if outputs is None else outputs
        return leftovers(outputs, s3, self.output_prefix, self.run, began)

    def rows(self, s3: S3Client, why_not_started: str) -> Iterator[SummaryRow]:
        """Yield the rows of the summary: of each image, and of what was paid for images of before.

        :param why_not_started: the reason for those that nothing is known of.
        :raises VeoError: they cannot be told now.
        """
        # One listing for both: an image that comes or goes meanwhile has one row, and not two or none.
        told = Outputs()
        items = told.of(self.archive(s3).items())
        return self.notes(s3).rows(items, why_not_started, self.leftovers(s3, told))

    def first_request(self, s3: S3Client, now: dict[str, Any], first_try: int) -> dict[str, Any]:
        """Return what the templates were when the task was started or cleared last, and keep it for retries.

        It is found where ``output_prefix`` is what it was.

        :param now: what they are now, as JSON carries it.
        :param first_try: Airflow's number of the first try since.
        :raises VeoSummaryUnavailableError: it cannot be read or kept now.
        """
        place = S3Uri.parse(f"{self.folder}request.json", "folder")
        found = get(s3, place)
        kept = json.loads(found) if found else {}
        if kept.get("first_try") == first_try:
            return {**now, **kept["fields"]}
        put(s3, place, json.dumps({"first_try": first_try, "fields": now}).encode(), "application/json")
        return now

    def difference(self, other: BatchSpec) -> list[str]:
        """Return the names of the fields in which another job asks for something else."""
        mine, others = self.to_dict(), {**other.to_dict(), "try_number": self.try_number}
        return sorted(name for name, value in mine.items() if value != others[name])

    @property
    def _request(self) -> str:
        """A digest of what was asked for, whichever the try."""
        asked = json.dumps({**self.to_dict(), "try_number": None}, sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()[:16]

    def jobs(self, client: VeoClient, s3: S3Client) -> ItemJobs:
        """Return what makes the jobs of the videos.

        :raises VeoRequestError: a parameter is not of its form.
        """
        return ItemJobs(
            client=client,
            s3=s3,
            prompts=prompts_of(self.prompt, self.prompt_suffix, s3),
            # A thread of a leg that was broken off may be submitting still.
            attempt=Attempt(self.run, self.try_number, alone=False),
            policy=GenerationPolicy(**self.policy),
            fields=self.fields,
            account=account_of(self.veo_conn_id, client),
            aws_conn_id=self.aws_conn_id,
            convert=self.convert,
            fit=self.fit,
            unconditional=self.unconditional,
        )

    async def go(
        self,
        progress: Checkpoint,
        *,
        stores: bool,
        defers: bool = True,
        started: Callable[[BatchRunner], None] = lambda _: None,
    ) -> Checkpoint:
        """Go one leg, and return how far that has led.

        :param progress: how far the legs before have come.
        :param stores: whether to store what is completed, see
            :class:`~veo_provider.batch.engine.runner.BatchRunner`.
        :param defers: whether to leave off when there is nothing but waiting to do.
        :param started: called with the batch, to cancel it by.
        :raises VeoError: the batch cannot go on.
        """
        settings, s3 = await self._look_up()
        client = await asyncio.to_thread(settings.client)
        try:
            archive, jobs = await asyncio.to_thread(lambda: (self.archive(s3), self.jobs(client, s3)))
            await asyncio.to_thread(self._check_receipts, s3)
            notes = self.notes(s3)
            progress = await asyncio.to_thread(_ready, progress, archive, notes)
            # Later legs have counted what the rows cost, as far as there are any.
            begins = not progress.total and not progress.legs
            known = await asyncio.to_thread(notes.begin) if begins else None

            def tell(figures: dict[str, Any]) -> None:
                write_progress(s3, self.folder, figures)
                with suppress(VeoSummaryUnavailableError):  # they are kept until the next time
                    notes.flush()

            batch = BatchRunner(
                archive,
                jobs,
                self,
                progress,
                stores=stores,
                defers=defers,
                known=known,
                leftovers=lambda: self._to_fetch(s3),
                again=stores and self.try_number > 1 and not progress.legs,
                note=lambda item, ending: notes.add(item, *ending),
                tell=tell,
                balance=client.balance if settings.account_token else None,
            )
            started(batch)
            await batch.run()
            # Without their notes, the images would count as not looked at: an error here ends the try.
            await asyncio.to_thread(notes.flush)
            return batch.progress
        finally:
            await asyncio.to_thread(client.close)

    def _check_receipts(self, s3: S3Client) -> None:
        """Stop where no receipt can be kept: one error says so, before any image does.

        :raises VeoReceiptError: the store refuses receipts, or ignores conditional writes.
        """
        place = S3Uri.parse(f"{self.output_prefix}{SUFFIX}", "output_prefix")
        with suppress(VeoReceiptUnavailableError):  # which may pass, and each image waits for that by itself
            S3ReceiptStore(s3, place, unconditional=self.unconditional).check()

    def _to_fetch(self, s3: S3Client) -> list[ManifestItem]:
        """Return what is paid and not stored of images that are in the archive no more.

        What another run has generated anew since is that run's to store.
        """
        found = self.leftovers(s3)
        return [
            item
            for item, receipt in found
            if receipt.state is ReceiptState.SUBMITTED and receipt.claimant == self.run
        ]

    async def _look_up(self) -> tuple[VeoSettings, S3Client]:
        """Look both connections up, patiently while Airflow's own API or database is away."""
        from airflow.providers.common.compat.sdk import AirflowNotFoundException
        from asgiref.sync import sync_to_async

        from veo_provider.exceptions import VeoError
        from veo_provider.hooks.veo import VeoHook

        for left in reversed(range(LOOK_UPS)):
            try:
                settings = await VeoHook(self.veo_conn_id).get_async_settings()
                # Airflow before 3.2 allows a look-up in a thread only if it is started in this way.
                return settings, await sync_to_async(s3_client)(
                    self.aws_conn_id, CONNECTIONS, self.s3_extra_args
                )
            # The database, the API server, a secrets backend, AWS's STS: each has errors of its own.
            except Exception as error:
                lasting = isinstance(error, AirflowNotFoundException) or (
                    isinstance(error, VeoError) and not error.retryable
                )
                if lasting or not left:
                    raise
                log.warning("The connections are not to be had now (%s).", type(error).__name__)
                await asyncio.sleep(LOOK_UP_PAUSE)
        raise AssertionError("the last attempt raises")


def _ready(progress: Checkpoint, archive: Manifest, notes: ResultJournal) -> Checkpoint:
    """Return the progress as a leg can go on from it; the one given stays as it is.

    :raises VeoSummaryUnavailableError: it cannot be told when the run began.
    """
    progress = copy.deepcopy(progress)
    if not archive.has_places(filter(None, (progress.cursor, *progress.finished))):
        log.warning("It is not known where the batch was, so it starts over: what is done is found.")
        progress = progress.restarted()
    if not progress.at:
        progress.at = notes.began(fresh=not progress.legs)
    return progress
