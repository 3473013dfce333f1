"""The commands that the archive DAG tells its users, in a whole running Airflow: estimate, pay once, repeat.

``BACKFILL_DAYS`` says how many days; ``make backfill`` takes 30 of them, ``make test`` a few.
"""

from __future__ import annotations

import ast
import json
import os
import shlex
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from support.archive import fill, listed
from support.buckets import s3_client_of

from demo.airflow import AirflowError
from veo_provider.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.airflow import LocalAirflow

DAG = Path(__file__).parents[2] / "dags" / "veo_archive_backfill.py"
TOLD = ("2026-01-01", "2026-01-31")
"""The first and the last day in the commands that the DAG's docstring has."""
DAYS = [
    str(date.fromisoformat(TOLD[0]) + timedelta(days=number))
    for number in range(int(os.environ.get("BACKFILL_DAYS", "2")))
]
PICTURES = 2
"""A day."""
BILL = pytest.approx(len(DAYS) * PICTURES * 0.30)

pytestmark = pytest.mark.timeout(1800)


@dataclass
class Backfill:
    """What was seen after a backfill: how each day's run ended and what it told, and the bill so far."""

    states: dict[str, str]
    told: dict[str, dict[str, Any]]
    bill: dict[str, Any]


def told_commands() -> list[list[str]]:
    """Return the arguments of each command in the DAG's docstring, for the days of this test."""
    text = ast.get_docstring(ast.parse(DAG.read_text("utf-8"))) or ""
    lines = text.replace("\\\n", " ").replace(TOLD[1], DAYS[-1]).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("airflow ")]


@contextmanager
def nobody_writing(airflow: LocalAirflow) -> Iterator[None]:
    """Let Airflow pause for a moment: making a backfill, it reads before it writes, in one transaction.

    SQLite refuses that, "database is locked", whenever another process has written in between.
    """
    writers = [psutil.Process(airflow.pid(name)) for name in ("scheduler", "dag-processor", "triggerer")]
    for process in writers:
        process.suspend()
    try:
        yield
    finally:
        for process in writers:
            process.resume()


def create(airflow: LocalAirflow, command: list[str]) -> None:
    """Make a backfill; one of those that pause may have been in the middle of writing."""
    for left in reversed(range(5)):
        try:
            with nobody_writing(airflow):
                airflow.command(*command)
        except AirflowError as error:
            if not left or "database is locked" not in str(error):
                raise
            time.sleep(1)
        else:
            return


def backfill(airflow: LocalAirflow, sandbox: Sandbox, command: list[str]) -> Backfill:
    """Run a backfill to its end."""
    dag_id = command[command.index("--dag-id") + 1]
    airflow.wait_for_dag(dag_id)
    began = time.monotonic()
    create(airflow, command)
    while any(one["completed_at"] is None for one in airflow.backfills(dag_id)):
        time.sleep(2)
    runs = {one["logical_date"][:10]: one for one in airflow.dag_runs(dag_id)}
    seen = Backfill(
        states={day: run["state"] for day, run in runs.items()},
        told={day: airflow.xcom(dag_id, run["dag_run_id"], "make") for day, run in runs.items()},
        bill=sandbox.charges(),
    )
    took = f"{len(runs)} days in {time.monotonic() - began:.0f} s"
    print(f"{took}; bill: {seen.bill['count']} generations, ${seen.bill['usd']:.2f}", flush=True)
    return seen


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Run a sandbox that makes small videos soon, with some pictures for each day."""
    data = tmp_path_factory.mktemp("sandbox")
    with Sandbox(latency=2, film="small", balance=5000, data=data) as running:
        s3 = s3_client_of(running)
        for day in DAYS:
            fill(s3, "images", f"archive/{day}/", PICTURES)
        s3.close()
        yield running


@pytest.fixture(scope="module")
def backfills(airflow: LocalAirflow, sandbox: Sandbox) -> list[Backfill]:
    """Run the docstring's commands: the estimate, the same for money, and the latter once more."""
    pool, *commands = told_commands()
    airflow.command(*pool)
    return [backfill(airflow, sandbox, command) for command in commands]


def receipts(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Read all receipts."""
    s3 = s3_client_of(sandbox)
    keys = [key for key in listed(s3, "videos", "archive/") if key.endswith(".veo.json")]
    found = [json.loads(s3.get_object(Bucket="videos", Key=key)["Body"].read()) for key in keys]
    s3.close()
    return found


def test_every_day_succeeds_each_time(backfills: list[Backfill]) -> None:
    """A backfill makes one run for each day, and all of them succeed."""
    for one in backfills:
        assert one.states == dict.fromkeys(DAYS, "success")


def test_the_estimate_costs_nothing_and_is_right(backfills: list[Backfill]) -> None:
    """Each day's dry run tells what it would cost, which is what the backfill then costs."""
    estimate, made, _ = backfills
    assert estimate.bill["count"] == 0
    assert {str(told["counts"]) for told in estimate.told.values()} == {str({"to make": PICTURES})}
    assert sum(told["cost_usd"] for told in estimate.told.values()) == BILL
    assert made.bill["usd"] == BILL


def test_the_bill_is_what_the_receipts_say(backfills: list[Backfill], sandbox: Sandbox) -> None:
    """Each picture is paid once, and the receipts have the bill's ids and add up to it, to the cent."""
    _, made, _ = backfills
    found = receipts(sandbox)
    assert {receipt["state"] for receipt in found} == {"stored"}
    assert len(found) == len(DAYS) * PICTURES
    paid = {task["task_id"]: task["usd"] for task in made.bill["tasks"]}
    assert {receipt["veo_task_id"]: receipt["price_usd"] for receipt in found} == pytest.approx(paid)


def test_a_reprocessed_backfill_pays_nothing(backfills: list[Backfill]) -> None:
    """The second bill is zero, and each day tells again that its videos are there."""
    _, made, again = backfills
    assert again.bill == made.bill
    stored = {"stored": PICTURES}
    assert {day: told["counts"] for day, told in made.told.items()} == dict.fromkeys(DAYS, stored)
    assert {day: told["counts"] for day, told in again.told.items()} == dict.fromkeys(DAYS, stored)
