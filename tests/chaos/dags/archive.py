"""An archive in one task."""

import os
from datetime import datetime, timedelta, timezone

from airflow.providers.common.compat.sdk import DAG

from veo_provider.operators.batch import VeoBatchOperator

with DAG(dag_id="archive", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
    VeoBatchOperator(
        task_id="make",
        images="s3://images/archive/",
        prompt="Video of $stem",
        output_prefix="s3://videos/archive/",
        max_in_flight=int(os.environ.get("ARCHIVE_IN_FLIGHT", "10")),
        # An attempt that is killed between sending and recording leaves an image to a person.
        fail_on=0.05,
        retries=200,
        retry_delay=timedelta(seconds=2),
    )
