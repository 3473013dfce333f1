"""The small row about a video that a task leaves in Airflow, so that a page need not list a bucket.

A row is a copy for people: receipts stay the truth, and nothing is submitted or stored because of a row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from veo_provider.receipts.charges import charges_of, told_charges
from veo_provider.receipts.receipt import ReceiptState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from veo_provider.receipts.receipt import Receipt

ROW_KEY = "veo"
"""Key of the XCom with the row."""
ROW_VERSION = 1
MAX_BYTES = 2048
"""The maximum size of a row as JSON."""
MAX_PROMPT = 300
"""The maximum length of the prompt in a row, in characters."""

_MAX_TEXT = 500
_SHORTENED = ("prompt", "cause", "advice", "negative_prompt", "image", "account")
"""What a row that is too long loses, in this order."""
_REQUEST = ("image", "prompt", "model", "account", "seconds", "resolution", "aspect_ratio")
_VIDEO = ("bytes", "duration_seconds", "width", "height")


def video_row(
    state: str,
    run: str,
    receipt: Receipt | None,
    *,
    receipt_uri: str | None = None,
    cause: str = "",
    advice: str = "",
    asked: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the row of one attempt to make a video.

    :param state: the value of an :class:`~veo_provider.batch.outcome.Outcome`.
    :param run: the task instance, whose charges are counted.
    :param receipt: of the video; None if there is none.
    :param receipt_uri: where the receipt is; None if it is not in S3.
    :param cause: why there is no video.
    :param advice: what to do next.
    :param asked: what the task asked for, where there is no receipt.
    """
    asked = receipt.request if receipt else asked or {}
    row: dict[str, Any] = {"state": state, **{name: asked.get(name) for name in _REQUEST}}
    row |= {"cause": cause, "advice": advice}
    if receipt is not None:
        row |= _money(receipt, run)
        row |= {"receipt": receipt_uri, "veo_task_id": receipt.veo_task_id, "gateway": receipt.gateway}
        video = receipt.video if receipt.state is ReceiptState.STORED and receipt.video else {}
        row |= {name: video.get(name) for name in _VIDEO}
    return small_row(row)


def _money(receipt: Receipt, run: str) -> dict[str, Any]:
    """Return what the run pays, since when, and who pays otherwise."""
    paid = charges_of(receipt, run)
    own = [one for one in receipt.submissions if one.task_instance == run]
    return {
        "price_usd": receipt.price_usd,
        "cost_usd": round(paid.charged, 6),
        "unknown_usd": round(paid.unknown, 6),
        "told_usd": told_charges(receipt, run),
        "spent_at": own[-1].steps[0][0].get("at") if own else None,
        "paid_by": None if receipt.claimant == run else receipt.claimant,
    }


def small_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without what is empty, and with its texts cut until it has at most :data:`MAX_BYTES`."""
    small = {
        "version": ROW_VERSION,
        **{name: value for name, value in row.items() if value not in (None, "")},
    }
    for name in _SHORTENED:
        if name in small:
            small[name] = _shorten(str(small[name]), MAX_PROMPT if name == "prompt" else _MAX_TEXT)
    for name in _SHORTENED:
        while name in small and _size(small) > MAX_BYTES:
            small[name] = _shorten(small[name], len(small[name]) // 2)
            if not small[name]:
                del small[name]
    if _size(small) > MAX_BYTES:
        small.pop("receipt", None)  # a name of a thousand bytes: the page shows the row, and not its video
    return small


def _shorten(text: str, most: int) -> str:
    # A service's message may contain a lone surrogate, which UTF-8 cannot encode.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= most else f"{text[: most - 1]}…" if most > 1 else ""


def _size(row: Mapping[str, Any]) -> int:
    return len(json.dumps(row))
