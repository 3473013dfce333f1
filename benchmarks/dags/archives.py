"""The same archive in two ways: three mapped tasks for each image, and one task for all."""

import os
from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

VIDEOS = int(os.environ.get("ARCHIVE_VIDEOS", "40"))
PROMPT = "Slow zoom"
OUTPUT = "s3://videos/{{ run_id }}/"

with DAG(dag_id="mapped", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    submit = VeoSubmitOperator.partial(task_id="submit", prompt=PROMPT).expand(
        image=[f"s3://images/archive/{number:06}.jpg" for number in range(VIDEOS)]
    )
    wait = VeoTaskSensor.partial(task_id="wait").expand(veo_task_id=submit.output)
    store = VeoToS3Operator.partial(task_id="store", s3_key=OUTPUT + "{{ ti.map_index }}.mp4").expand(
        veo_task_id=submit.output
    )
    wait >> store

with DAG(dag_id="batch", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    VeoBatchOperator(
        task_id="make",
        images="s3://images/archive/",
        prompt=PROMPT,
        output_prefix=OUTPUT,
        max_in_flight=VIDEOS,
    )
