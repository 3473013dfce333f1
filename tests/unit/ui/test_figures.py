"""What rows mean together: sums, groups, filters and CSV. Needs Airflow 3, as the page does."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

if not AIRFLOW_V_3_0_PLUS:
    pytest.skip("Airflow 2 has no page.", allow_module_level=True)

from veo_provider.ui import figures, ledger


def video(**fields):
    row = ledger.cleaned({"state": "stored", "cost_usd": 0.3, "model": "fast", **fields})
    row |= {"dag_id": "clips", "run_id": "one", "task_id": "make", "map_index": -1, "ti_state": "success"}
    row |= {"at": "2026-01-01T00:00:00+00:00", "day": "2026-01-01", **fields}
    if row["kind"] == "video":
        ledger.judge(row)
    return row


BATCH = {"kind": "batch", "counts": {"stored": 3, "unknown": 1, "rejected": 2}, "unknown_usd": 0.3}


def test_the_figures_count_videos_and_batches():
    """A batch counts by its outcomes, and its money is added to that of the videos."""
    rows = [video(), video(state="failed", cost_usd=0.0), video(**BATCH, cost_usd=0.9)]
    totals = figures.totals(rows)
    assert (totals["videos"], totals["failed"], totals["needs_a_person"]) == (4, 3, 1)
    assert (totals["cost_usd"], totals["unknown_usd"]) == (1.2, 0.3)


def test_ten_thousand_prices_add_up_to_the_cent():
    """The sum of many prices that no binary number holds is right to the cent."""
    rows = [video()] * 10_000
    assert figures.totals(rows)["cost_usd"] == 3000.0
    assert figures.spend(rows)["day"][0]["cost_usd"] == 3000.0


def test_submit_wait_and_store_are_one_video():
    """Three tasks of one video are one row, with the cost of the submission and the file that was stored."""
    submit = video(part="submit", veo_task_id="task_1", state="under way", task_id="submit")
    store = video(part="store", veo_task_id="task_1", cost_usd=0.0, object="s3://videos/1.mp4", bytes=5)
    (row,) = ledger.merged([store, submit])
    assert (row["group"], row["cost_usd"], row["object"], row["bytes"]) == (
        "made",
        0.3,
        "s3://videos/1.mp4",
        5,
    )


def test_a_failed_generation_costs_nothing():
    """What the sensor saw fail is not charged, though its submission had a price."""
    submit = video(part="submit", veo_task_id="task_1", state="under way")
    wait = video(part="wait", veo_task_id="task_1", state="failed", cause="It broke.")
    (row,) = ledger.merged([wait, submit])
    assert (row["group"], row["cost_usd"], row["cause"]) == ("failed", 0.0, "It broke.")


def test_a_task_that_ended_in_flight_needs_a_person():
    """A generation in flight whose task has failed is not fetched by itself."""
    row = video(state="under way", ti_state="failed")
    assert row["group"] == "needs a person"
    assert "clear the task" in row["advice"]


@pytest.mark.parametrize("group", ["", "made", "needs a person"])
def test_a_filter_by_state_keeps_batches(group):
    """A batch has videos of every state, so no filter by state hides it."""
    assert ledger.Filters(group=group).accept(video(**BATCH))


def test_a_search_looks_into_prompt_and_key():
    """Whatever the case, a part of the prompt or the output finds the row."""
    row = video(prompt="The Rocket lifts off", receipt="s3://videos/clips/one.mp4.veo.json")
    assert ledger.Filters(search="rocket").accept(row)
    assert ledger.Filters(search="CLIPS/ONE").accept(row)
    assert not ledger.Filters(search="cat").accept(row)


@pytest.mark.parametrize(
    "given", [{}, {"state": 5}, {"cost_usd": "1"}, {"cost_usd": float("nan")}, {"counts": 1}]
)
def test_a_row_that_anybody_wrote_is_read(given):
    """Whoever may edit XComs may write anything: it becomes a row of known fields and types."""
    row = ledger.cleaned(given)
    ledger.judge(row)
    assert figures.totals([{**row, "cost_usd": row.get("cost_usd", 0.0)}])["cost_usd"] == 0.0


def test_a_spreadsheet_runs_no_formula():
    """A text that begins as a formula is quoted in the CSV."""
    text = figures.as_csv([video(model="=HYPERLINK(1)")])
    assert "'=HYPERLINK(1)" in text
