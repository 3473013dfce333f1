"""Turn one photograph a day into a Veo video in S3: submit, wait, store.

Copy this file, change the three defaults under ``params``, and set the connections ``veo_default``
(password: your API key) and ``aws_default``. Each task does one step, so a failed one can be cleared
alone: only ``submit`` spends money.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, Param

from veo_provider.operators.veo import VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

MODELS = {
    "veo-3.1-fast-generate-preview": "fast, $0.30 a video",
    "veo-3.1-generate-preview": "standard, $1.20 a video",
}

with DAG(
    dag_id="veo_image_to_video",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 2},
    params={
        "image": Param("s3://images/rocket.jpg", type="string", description="Path or URI of the image"),
        "prompt": Param(
            "The rocket lifts off, slow zoom, engine roar", type="string", format="multiline", minLength=1
        ),
        "model": Param(
            "veo-3.1-fast-generate-preview",
            type="string",
            enum=list(MODELS),
            values_display=MODELS,
            description="Add what your gateway offers to MODELS in the DAG's file",
        ),
    },
    tags=["veo", "example"],
    doc_md=__doc__,
) as dag:
    submit = VeoSubmitOperator(
        task_id="submit",
        image="{{ params.image }}",
        prompt="{{ params.prompt }}",
        model="{{ params.model }}",
        seconds="8",
    )
    wait = VeoTaskSensor(task_id="wait", veo_task_id=submit.output, timeout=60 * 60)
    store = VeoToS3Operator(
        task_id="store",
        veo_task_id=submit.output,
        # Not named by date: a run that is triggered manually may have none.
        s3_key="s3://videos/{{ dag.dag_id }}/{{ run_id }}.mp4",
    )
    submit >> wait >> store
