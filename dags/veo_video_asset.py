"""Turn an image into a video asset in one task, which pays for it once whatever happens.

Copy this file, change the defaults under ``params``, and set the connections ``veo_default`` (password: your
API key) and ``aws_default``. The receipt beside the video (``rocket.mp4.veo.json``) is read first: run the
DAG again, clear it, or run it for another day: nothing is paid for twice.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, Asset, Param

from veo_provider.operators.veo import VeoImageToVideoOperator

MODELS = {
    "veo-3.1-fast-generate-preview": "fast, $0.30 a video",
    "veo-3.1-generate-preview": "standard, $1.20 a video",
}

with DAG(
    dag_id="veo_video_asset",
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
        "output": Param("s3://videos/veo_video_asset/rocket.mp4", type="string"),
    },
    tags=["veo", "example"],
    doc_md=__doc__,
) as dag:
    VeoImageToVideoOperator(
        task_id="make",
        image="{{ params.image }}",
        prompt="{{ params.prompt }}",
        model="{{ params.model }}",
        output="{{ params.output }}",
        outlets=[Asset("s3://videos/veo_video_asset/rocket.mp4")],
    )
