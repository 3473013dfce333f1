"""Two DAGs whose videos different people may see, and an archive."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, Param

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator

START = datetime(2026, 1, 1, tzinfo=timezone.utc)

for dag_id in ("open_clips", "secret_clips"):
    with DAG(
        dag_id=dag_id,
        schedule=None,
        start_date=START,
        params={
            "prompt": Param("A slow zoom", type="string"),
            "name": Param("one", type="string"),
            "image": Param("rocket.jpg", type="string"),
        },
    ) as dag:
        VeoImageToVideoOperator(
            task_id="make",
            image="s3://images/{{ params.image }}",
            prompt="{{ params.prompt }}",
            output=f"s3://videos/{dag_id}/" + "{{ params.name }}.mp4",
            seconds="4",
            deferrable=False,
            poll_interval=0.5,
        )
    globals()[dag_id] = dag

with DAG(
    dag_id="open_archive", schedule=None, start_date=START, params={"folder": Param("open", type="string")}
) as open_archive:
    VeoBatchOperator(
        task_id="make",
        images=[f"s3://images/{name}" for name in ("rocket.jpg", "chelsea.png", "hubble_portrait.webp")],
        prompt="It comes alive",
        output_prefix="s3://videos/{{ params.folder }}/",
        seconds="4",
        deferrable=False,
        max_in_flight=1,
    )

with DAG(dag_id="secret_archive", schedule=None, start_date=START) as secret_archive:
    VeoBatchOperator(
        task_id="make",
        images=["s3://images/rocket.jpg"],
        prompt="A slow zoom",
        output_prefix="s3://videos/archive/",
        seconds="4",
        deferrable=False,
        max_cost_usd=1,
    )
