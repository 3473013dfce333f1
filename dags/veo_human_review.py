"""Make a video, ask a person whether it is good, and publish what was approved.

Copy this file, change the constants and the defaults under ``params``, set the connections ``veo_default``
(password: your API key) and ``aws_default``, and, for the picture in the question, the extra ``posters`` and
``AIRFLOW__VEO__POSTERS=True``.

The question is at *Required Actions* in Airflow's UI (3.1 and later): *Approve* copies the video to its place
and announces the asset, *Reject* skips both. The video is paid for once, however often it is reviewed. Before
Airflow 3.1, the task ``review`` fails instead: look at the video, and mark the task as success to publish it.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    AirflowOptionalProviderFeatureException,
    Asset,
    Param,
    task,
)

from veo_provider.operators.veo import VeoImageToVideoOperator

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except (ImportError, AirflowOptionalProviderFeatureException):  # Airflow before 3.1
    ApprovalOperator = None

DRAFT = "veo_human_review/drafts/{{ run_id }}.mp4"
PUBLISHED = Asset("s3://videos/veo_human_review/published")

with DAG(
    dag_id="veo_human_review",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 2},
    params={
        "image": Param("s3://images/rocket.jpg", type="string", description="Path or URI of the image"),
        "prompt": Param(
            "The rocket lifts off, slow zoom, engine roar", type="string", format="multiline", minLength=1
        ),
        "site": Param(
            "https://media.example.com/videos",
            type="string",
            description="Where the reviewers' browsers find the objects of the bucket: a CDN or a gateway",
        ),
    },
    tags=["veo", "example"],
    doc_md=__doc__,
) as dag:
    make = VeoImageToVideoOperator(
        task_id="make",
        image="{{ params.image }}",
        prompt="{{ params.prompt }}",
        output=f"s3://videos/{DRAFT}",
    )
    shown = f"{{{{ params.site }}}}/{DRAFT.replace('run_id', 'run_id | urlencode')}"
    body = f"""[![The first picture]({shown}.veo.jpg)]({shown})

[Play the video]({shown}), which has cost ${{{{ ti.xcom_pull(task_ids="make")["price_usd"] }}}}.

> {{{{ params.prompt }}}}
"""
    if ApprovalOperator:
        review = ApprovalOperator(
            task_id="review", subject="Publish the video of {{ params.image }}?", body=body
        )
    else:

        @task(retries=0)
        def review_by_hand(body: str) -> None:
            """Fail with the question: a person marks this task as success."""
            raise AirflowFailException(f"Mark this task as success to publish the video. {body}")

        review = review_by_hand.override(task_id="review")(body)

    @task(outlets=[PUBLISHED])
    def publish(video: dict[str, Any], **context: Any) -> str:
        """Copy the draft to where it is published, and announce it."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        name = video["uri"].rpartition("/")[2]
        uri = f"{PUBLISHED.uri}/{name}"
        S3Hook("aws_default").copy_object(video["uri"], uri)
        context["outlet_events"][PUBLISHED].extra = {"uri": uri, "draft": video["uri"]}
        return uri

    make >> review >> publish(make.output)
