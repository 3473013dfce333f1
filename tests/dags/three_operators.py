"""The three operators in each way of waiting, for `airflow dags test`."""

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from veo_provider.operators.veo import VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

WAYS = {
    "deferrable": {},
    "poke": {"deferrable": False},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
}

for name, sensor in WAYS.items():
    with DAG(
        dag_id=name,
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        params={"image": "s3://images/rocket.jpg", "seed": None},
    ):
        submit = VeoSubmitOperator(
            task_id="submit",
            image="{{ params.image }}",
            prompt="On {{ ds }} the rocket lifts off",
            seconds="4",
            seed="{{ params.seed or '' }}",
        )
        wait = VeoTaskSensor(task_id="wait", veo_task_id=submit.output, poll_interval=1, **sensor)
        store = VeoToS3Operator(
            task_id="store", veo_task_id=submit.output, s3_key="s3://videos/{{ dag.dag_id }}/{{ ds }}.mp4"
        )
        submit >> wait >> store
