"""Single videos and a batch side by side, in a queue of its own; the run's ``conf`` names their folder."""

import os
from datetime import datetime, timedelta, timezone

from airflow.providers.common.compat.sdk import DAG, task

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator

PATIENT = {"retries": 8, "retry_delay": timedelta(seconds=2)}

with DAG(dag_id="cluster", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:

    @task
    def plan(dag_run=None):
        """Say what each single video is made from, and where it goes."""
        folder = dag_run.conf["folder"]
        return [
            {
                "image": "s3://images/rocket.jpg",
                "prompt": f"{folder} single {number}",
                "output": f"s3://videos/{folder}/singles/{number:04}.mp4",
            }
            for number in range(dag_run.conf["singles"])
        ]

    VeoImageToVideoOperator.partial(
        task_id="single", seconds="4", poll_interval=4, timeout=3600, **PATIENT
    ).expand_kwargs(plan())

    VeoBatchOperator(
        task_id="batch",
        images="s3://images/{{ dag_run.conf['folder'] }}/",
        prompt="$stem in a batch",
        output_prefix="s3://videos/{{ dag_run.conf['folder'] }}/batch/",
        max_in_flight=int(os.environ.get("CLUSTER_IN_FLIGHT", "50")),
        queue=os.environ.get("CLUSTER_BATCH_QUEUE", "batch"),
        **PATIENT,
    )
