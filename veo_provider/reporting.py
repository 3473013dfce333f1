"""The rows that tasks leave in Airflow for people: as XComs, which never fail a task."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import VeoError
from veo_provider.receipts.attempt import task_instance_name
from veo_provider.receipts.video_row import ROW_KEY, small_row, video_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.providers.common.compat.sdk import Context

    from veo_provider.batch.report.summary import Summary
    from veo_provider.batch.spec import BatchSpec
    from veo_provider.receipts.receipt import Receipt
    from veo_provider.receipts.store import ReceiptStore

log = logging.getLogger(__name__)


def push_row(context: Context, row: Mapping[str, Any]) -> None:
    """Leave a row as the XCom ``veo``; an error is only logged, since the video is paid for already."""
    instance = context.get("ti")
    if instance is None:
        return
    try:
        instance.xcom_push(key=ROW_KEY, value=dict(row))
    # Airflow's API server or database: each has errors of its own.
    except Exception as error:  # noqa: BLE001 - whatever it is, the task goes on
        log.warning("The row for the page of videos was not written: %s", error)


def push_video(
    context: Context, run: str, receipt: Receipt, receipt_uri: str | None, *, part: str = ""
) -> None:
    """Leave the row of a video as its receipt is now.

    :param run: the task instance, see :class:`~veo_provider.receipts.attempt.Attempt`.
    :param receipt_uri: where the receipt is; None if it is not in S3.
    :param part: what the task does of it: ``submit``, or everything.
    """
    from veo_provider.batch.outcome import outcome_of_receipt

    outcome, cause = outcome_of_receipt(receipt, run)
    row = video_row(outcome.value, run, receipt, receipt_uri=in_s3(receipt_uri), cause=cause)
    push_row(context, {**row, "part": part} if part else row)


def task_instance_of(context: Context) -> str:
    """Return the name of the task instance, as receipts have it; empty outside of Airflow."""
    instance = context.get("ti")
    if instance is None:
        return ""
    map_index = getattr(instance, "map_index", -1)
    return task_instance_name(instance.dag_id, instance.run_id, instance.task_id, map_index)


@contextmanager
def reporting_failure(
    context: Context,
    run: str,
    asked: Callable[[], Mapping[str, Any]],
    receipts: Callable[[], ReceiptStore | None] = lambda: None,
    **fields: Any,
) -> Iterator[None]:
    """Leave the row of a failure, whatever it is, before the error goes on.

    :param asked: returns what the task asked for.
    :param receipts: returns the store of the receipt; None if there is none.
    :param fields: of the row, beside those.
    """
    from veo_provider.batch.outcome import outcome_of_error

    try:
        yield
    except Exception as error:
        failure = error if isinstance(error, VeoError) else VeoError(f"{type(error).__name__}: see the log.")
        receipt, uri = _read(receipts)
        row = video_row(
            outcome_of_error(failure).value,
            run,
            receipt,
            receipt_uri=in_s3(uri),
            cause=f"{failure.what} {failure.money}" if failure is error else failure.what,
            advice=failure.advice,
            asked=asked(),
        )
        push_row(context, {**row, **fields})
        raise


def push_batch(
    context: Context,
    spec: BatchSpec,
    folder: str,
    summary: Summary | None = None,
    sheet: str | None = None,
) -> None:
    """Leave the row of a batch: where its progress is, and at its end what came of it.

    :param sheet: the URI of its contact sheet, if it has one.
    """
    row = {
        "kind": "batch",
        "state": "finished" if summary else "running",
        "folder": folder,
        "model": spec.fields.get("model"),
        "account": spec.veo_conn_id,
        "max_cost_usd": spec.max_cost_usd,
    }
    if summary is not None:
        row |= {
            "summary": summary.uri,
            "sheet": sheet,
            "counts": summary.counts,
            "cost_usd": summary.cost_usd,
            "unknown_usd": summary.unknown_usd,
            "told_usd": summary.told_usd,
        }
    push_row(context, small_row(row))


def in_s3(uri: str | None) -> str | None:
    """Return the URI of a receipt if that is in S3, where a page can read it."""
    return uri if uri and uri.startswith("s3://") else None


def _read(receipts: Callable[[], ReceiptStore | None]) -> tuple[Receipt | None, str | None]:
    """Return the receipt and where it is, as far as that can be found out now."""
    try:
        store = receipts()
        stored = store.read() if store else None
    except Exception as error:  # noqa: BLE001 - the error that ends the task is the one to raise
        log.debug("The receipt cannot be read for the row: %s", error)
        return None, None
    return (stored.receipt, store.uri) if store and stored else (None, None)
