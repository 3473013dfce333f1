"""The small row about a video: bounded, and with the money of its own task."""

from __future__ import annotations

import json

import pytest

from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import ReceiptState, claim
from veo_provider.receipts.video_row import MAX_BYTES, MAX_PROMPT, small_row, video_row

RUN = "clips / monday / make"
REQUEST = {
    "image": "s3://images/rocket.jpg",
    "prompt": "It lifts off",
    "model": "veo",
    "account": "veo_default",
}


def submitted(run=RUN):
    attempt = Attempt(run)
    claimed = claim("f", REQUEST, 0.3, attempt, seconds=60)
    return claimed.transition(ReceiptState.SUBMITTED, attempt, veo_task_id="task_1")


@pytest.mark.parametrize("character", ["a", '"', "\n", "é", "😀", "\ud800"])
def test_a_row_has_at_most_two_kibibytes(character):
    """Whatever is in the prompt, the cause and the names, the row stays small, and is JSON in UTF-8."""
    long = character * 5000
    row = small_row(
        {"prompt": long, "cause": long, "advice": long, "image": long, "receipt": long, "state": "x"}
    )
    assert len(json.dumps(row)) <= MAX_BYTES
    json.dumps(row, ensure_ascii=False).encode()
    assert row["state"] == "x"


def test_a_prompt_is_cut():
    """A prompt of more than 300 characters ends in an ellipsis."""
    row = small_row({"prompt": "a" * 400})
    assert row["prompt"] == "a" * (MAX_PROMPT - 1) + "…"


def test_a_row_has_the_price_and_the_cost_of_its_run():
    """The run that submitted pays, and the row says since when."""
    row = video_row("under way", RUN, submitted(), receipt_uri="s3://videos/one.mp4.veo.json")
    assert (row["price_usd"], row["cost_usd"], row["unknown_usd"]) == (0.3, 0.3, 0.0)
    assert row["spent_at"].startswith("20")
    assert "paid_by" not in row
    assert row["receipt"] == "s3://videos/one.mp4.veo.json"
    assert (row["image"], row["prompt"]) == (REQUEST["image"], REQUEST["prompt"])


def test_a_row_of_anothers_video_costs_nothing():
    """A run that found the video pays nothing, and names who does."""
    row = video_row("skipped", "clips / tuesday / make", submitted())
    assert row["cost_usd"] == 0.0
    assert row["paid_by"] == RUN
    assert "spent_at" not in row


def test_a_lost_response_is_an_unknown_charge():
    """What may be charged is not counted as spent."""
    lost = submitted().transition(ReceiptState.UNKNOWN, Attempt(RUN))
    row = video_row("unknown", RUN, lost, cause="The response was lost.")
    assert row["unknown_usd"] == 0.3
    assert row["cost_usd"] == 0.0
