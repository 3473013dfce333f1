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

from veo_provider.archive import Outputs, archive_of
from veo_provider.batch import Batch
from veo_provider.generation import Policy, account_of
from veo_provider.leftovers import leftovers
from veo_provider.maker import Making
from veo_provider.notes import Notes
from veo_provider.prompts import prompts_of
from veo_provider.receipts import (
    SUFFIX,
    Attempt,
    ReceiptState,
    S3ReceiptStore,
    VeoReceiptUnavailableError,
)
from veo_provider.s3.client import s3_client
from veo_provider.s3.uri import S3Uri
from veo_provider.summary import VeoSummaryUnavailableError, folder_of, get, put, write_progress
from veo_provider.terms import Terms
from veo_provider.threads import CALLING_THREADS, STORING_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client
    from typing_extensions import Self

    from veo_provider.api.client import VeoClient
    from veo_provider.archive import Archive, Item
    from veo_provider.hooks.veo import VeoSettings
    from veo_provider.progress import Progress
    from veo_provider.receipts import Receipt
    from veo_provider.summary import Row

log = logging.getLogger(__name__)

CONNECTIONS = CALLING_THREADS + 3 * STORING_THREADS
"""To S3: a storing thread has two more beside it, which send the parts."""
LOOK_UP_PAUSE = 8.0
"""Seconds between two attempts to look connections up, while Airflow's own API or database is away."""
LOOK_UPS = 40


@dataclass(frozen=True, kw_only=True)
class Job(Terms):
    """A batch, as JSON can carry it: its terms, see :class:`~veo_provider.terms.Terms`, and what to make how.

    :param try_number: Airflow's number of the try.
    :param images: a prefix, a pattern or a list, see :func:`~veo_provider.archive.archive_of`.
    :param prompt: a template, a mapping, or None for sidecars, see :func:`~veo_provider.prompts.prompts_of`.
    :param prompt_suffix: what makes the name of a sidecar.
    :param fields: further fields of each request: model, seconds, resolution and so on.
    :param aws_conn_id: connection for S3.
    :param policy: what to do where a receipt leaves a choice: the fields of
        :class:`~veo_provider.generation.Policy`.
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
        return folder_of(self.output_prefix, self.run)

    def archive(self, s3: S3Client) -> Archive:
        """Return the images.

        :raises VeoRequestError: a parameter is not of its form.
        """
        return archive_of(self.images, self.output_prefix, s3, prompt_suffix=self.prompt_suffix)

    def notes(self, s3: S3Client) -> Notes:
        """Return the notes of the run."""
        return Notes(s3, self.folder, self.run, self._request, self.try_number)

    def leftovers(self, s3: S3Client, outputs: Outputs | None = None) -> Iterator[tuple[Item, Receipt]]:
        """Yield what the run has paid for images that are in the archive no more; this call blocks.

        :param outputs: of the archive, as they are when the first one is asked for; default is to list it.
        :raises VeoError: it cannot be told now.
        """
        began = self.notes(s3).began(fresh=False)
        outputs = Outputs(self.archive(s3).items()) if outputs is None else outputs
        return leftovers(outputs, s3, self.output_prefix, self.run, began)

    def rows(self, s3: S3Client, why_not_started: str) -> Iterator[Row]:
        """Yield the rows of the summary: of each image, and of what was paid for images of before.

        :param why_not_started: the reason for those that nothing is known of.
        :raises VeoError: they cannot be told now.
        """
        # One listing for both: an image that comes or goes meanwhile has one row, and not two or none.
        told = Outputs()
        items = told.of(self.archive(s3).items())
        return self.notes(s3).rows(items, why_not_started, self.leftovers(s3, told))

    def first_request(self, s3: S3Client, now: dict[str, Any], by: Attempt) -> dict[str, Any]:
        """Return what the templates were when the task was started or cleared last, and keep it for retries.

        It is found where ``output_prefix`` is what it was.

        :param now: what they are now, as JSON carries it.
        :param by: which try asks.
        :raises VeoSummaryUnavailableError: it cannot be read or kept now.
        """
        place = S3Uri.parse(f"{self.folder}request.json", "folder")
        found = get(s3, place)
        kept = json.loads(found) if found else {}
        if kept and by.goes_on_with(kept["first_try"], kept.get("most_tries")):
            return {**now, **kept["fields"]}
        mark = {"first_try": by.try_number, "most_tries": by.most_tries}
        put(s3, place, json.dumps({**mark, "fields": now}).encode(), "application/json")
        return now

    def difference(self, other: Job) -> list[str]:
        """Return the names of the fields in which another job asks for something else."""
        mine, others = self.to_dict(), {**other.to_dict(), "try_number": self.try_number}
        return sorted(name for name, value in mine.items() if value != others[name])

    @property
    def _request(self) -> str:
        """A digest of what was asked for, whichever the try."""
        asked = json.dumps({**self.to_dict(), "try_number": None}, sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()[:16]

    def making(self, client: VeoClient, s3: S3Client) -> Making:
        """Return how the videos are made.

        :raises VeoRequestError: a parameter is not of its form.
        """
        return Making(
            client=client,
            s3=s3,
            prompts=prompts_of(self.prompt, self.prompt_suffix, s3),
            # A thread of a leg that was broken off may be submitting still.
            by=Attempt(self.run, self.try_number, alone=False),
            policy=Policy(**self.policy),
            fields=self.fields,
            account=account_of(self.veo_conn_id, client),
            aws_conn_id=self.aws_conn_id,
            convert=self.convert,
            fit=self.fit,
            unconditional=self.unconditional,
        )

    async def go(
        self,
        progress: Progress,
        *,
        stores: bool,
        defers: bool = True,
        started: Callable[[Batch], None] = lambda _: None,
    ) -> Progress:
        """Go one leg, and return how far that has led.

        :param progress: how far the legs before have come.
        :param stores: whether to store what is completed, see :class:`~veo_provider.batch.Batch`.
        :param defers: whether to leave off when there is nothing but waiting to do.
        :param started: called with the batch, to cancel it by.
        :raises VeoError: the batch cannot go on.
        """
        settings, s3 = await self._look_up()
        client = await asyncio.to_thread(settings.client)
        try:
            archive, making = await asyncio.to_thread(lambda: (self.archive(s3), self.making(client, s3)))
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

            batch = Batch(
                archive,
                making,
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

    def _to_fetch(self, s3: S3Client) -> list[Item]:
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

        from veo_provider.api.errors import VeoError
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
                    isinstance(error, VeoError) and not error.temporary
                )
                if lasting or not left:
                    raise
                log.warning("The connections are not to be had now (%s).", type(error).__name__)
                await asyncio.sleep(LOOK_UP_PAUSE)
        raise AssertionError("the last attempt raises")


def _ready(progress: Progress, archive: Archive, notes: Notes) -> Progress:
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
