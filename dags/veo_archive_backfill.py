r"""Make the videos of an archive that is kept by day: one day per run, each within a budget.

Copy this file, change the constants, set the connections ``veo_default`` (password: your API key) and
``aws_default``, and create the pool, once, with as many slots as generations may be in flight in total::

    airflow pools set veo 10 "Veo generations in flight" --include-deferred

A month: first the estimate, then the videos, and then the same again, which pays for nothing twice (the
summaries are in ``_veo/`` below the videos)::

    airflow backfill create --dag-id veo_archive_estimate --from-date 2026-01-01 --to-date 2026-01-31
    airflow backfill create --dag-id veo_archive_backfill --from-date 2026-01-01 --to-date 2026-01-31
    airflow backfill create --dag-id veo_archive_backfill --from-date 2026-01-01 --to-date 2026-01-31 \
        --reprocess-behavior completed

A backfill waits while its DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, Asset, Param
from airflow.timetables.interval import CronDataIntervalTimetable

from veo_provider.operators.batch import VeoBatchOperator

IMAGES = "s3://images/archive/{{ ds }}/"
VIDEOS = "s3://videos/archive/"
IN_FLIGHT = 10

# Two DAGs, not a parameter: before Airflow 3.2, a run that is reprocessed keeps its first parameters.
for dag_id, dry_run in (("veo_archive_estimate", True), ("veo_archive_backfill", False)):
    with DAG(
        dag_id=dag_id,
        # With data intervals, {{ ds }} is the day that has passed, on every version of Airflow.
        schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2},
        params={
            "prompt": Param(
                "Slow zoom into $stem, the sounds of the place",
                type="string",
                format="multiline",
                minLength=1,
            ),
            "max_cost_usd": Param(30, type="number", description="Maximum cost of one day, in USD"),
        },
        tags=["veo", "example"],
        doc_md=__doc__,
    ) as dag:
        VeoBatchOperator(
            task_id="make",
            images=IMAGES,
            prompt="{{ params.prompt }}",
            output_prefix=VIDEOS + "{{ ds }}/",
            max_in_flight=IN_FLIGHT,
            max_cost_usd="{{ params.max_cost_usd }}",
            dry_run=dry_run,
            # One bad image is a row of the summary; the day fails if more than a tenth have no video.
            fail_on=0.1,
            pool="veo",
            pool_slots=IN_FLIGHT,
            # An estimate makes no video, so no other DAG may start because of it.
            outlets=[] if dry_run else [Asset(VIDEOS)],
        )
