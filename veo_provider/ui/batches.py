"""The rows of one batch, from the summary beside its videos; and its progress while it runs."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException

from veo_provider.batch.report.contact_sheet import NAME as SHEET
from veo_provider.batch.report.run_folder import run_folder
from veo_provider.exceptions import VeoError
from veo_provider.receipts.attempt import task_instance_name
from veo_provider.receipts.receipt import SUFFIX
from veo_provider.s3.uri import S3Uri
from veo_provider.ui import ledger, media

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_BYTES = 64 * 1024 * 1024
_kept: OrderedDict[str, tuple[str, list[dict[str, Any]]]] = OrderedDict()
_MAX_KEPT = 4
_lock = threading.Lock()


def summary_rows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a batch's summary; each version is parsed once.

    :param row: of the batch.
    :raises HTTPException: 404 or 502.
    """
    where = _own(row, "summary", "summary.jsonl")
    with _lock:
        known = _kept.get(str(where))
    condition = {"IfNoneMatch": known[0]} if known else {}
    answer = _get(where, condition)
    if answer is None:
        return known[1] if known else []
    rows = [_row(json.loads(line)) for line in answer["Body"].iter_lines()]
    with _lock:
        _kept[str(where)] = (answer["ETag"], rows)
        _kept.move_to_end(str(where))
        while len(_kept) > _MAX_KEPT:
            _kept.popitem(last=False)
    return rows


def images(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a batch's images, each with the task instance; none before its summary is written.

    :param batch: its row.
    :raises HTTPException: 404 or 502.
    """
    if not batch.get("summary"):
        return []
    own = {name: batch[name] for name in ("dag_id", "run_id", "task_id", "map_index")}
    own |= {name: batch[name] for name in ("account", "model") if batch.get(name)}
    run = task_instance_name(own["dag_id"], own["run_id"], own["task_id"], own["map_index"])
    found = []
    for one in summary_rows(batch):
        row = {**one, **own, "in_batch": True}
        if row.get("paid_by") == run:
            del row["paid_by"]  # as rows of single videos have it: only if another task pays
        found.append(row)
    return found


def progress(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a batch has come; empty before it has said so.

    :param row: of the batch.
    """
    try:
        answer = _get(_own(row, "folder", "progress.json"), {})
        found = json.loads(answer["Body"].read()) if answer else {}
    except (HTTPException, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sheet(row: Mapping[str, Any]) -> S3Uri | None:
    """Return the contact sheet of a batch; None if it has none, or its row names another's.

    :param row: of the batch.
    """
    try:
        return _own(row, "sheet", SHEET) if row.get("sheet") else None
    except HTTPException:
        return None


def _own(row: Mapping[str, Any], name: str, file: str) -> S3Uri:
    """Return a file of a batch's own folder: an XCom that was edited may name no other's.

    :raises HTTPException: 404.
    """
    run = task_instance_name(row["dag_id"], row["run_id"], row["task_id"], row["map_index"])
    uri = str(row.get(name, ""))
    uri = uri if uri.endswith(file) else f"{uri}{file}"
    try:
        found = S3Uri.parse(uri, name)
    except VeoError:
        found = None
    if found is None or not f"/{found.key}".endswith(f"/{run_folder('', run)}{file}"):
        raise HTTPException(404, "There is no such batch.")
    return found


def _get(where: S3Uri, condition: dict[str, str]) -> Any:
    """Return an object's answer; None if it has not changed."""
    found = media.get(where, "There is no summary yet.", **condition)
    if found is not None and found["ContentLength"] > _MAX_BYTES:
        raise HTTPException(413, "The summary is too long for the page: open it in S3.")
    return found


def _row(given: Mapping[str, Any]) -> dict[str, Any]:
    row = ledger.cleaned({**given, "kind": "video", "state": given.get("outcome")})
    row["cause"] = str(given.get("reason") or "")
    row["at"] = str(given.get("changed_at") or "")
    row["day"] = row["at"][:10]
    if row.get("output") and row.get("paid_by"):  # only an image with a receipt has this
        row["receipt"] = row["output"] + SUFFIX
    ledger.judge(row)
    return row
