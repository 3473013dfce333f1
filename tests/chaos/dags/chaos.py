"""Many videos at once, each with an output of its own, for a world in which everything goes wrong."""

import os
from datetime import datetime, timedelta, timezone

from airflow.providers.common.compat.sdk import DAG

from veo_provider.operators.veo import VeoImageToVideoOperator

NUMBERS = range(int(os.environ.get("CHAOS_VIDEOS", "8")))
IMAGES = ("rocket.jpg", "chelsea.png", "hubble_portrait.webp")

with DAG(dag_id="chaos", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
    VeoImageToVideoOperator.partial(
        task_id="make",
        model=os.environ.get("CHAOS_MODEL") or None,
        seconds="4",
        poll_interval=4,
        timeout=600,
        retries=8,
        retry_delay=timedelta(seconds=2),
        max_generations=4,
    ).expand_kwargs(
        [
            {
                "image": f"s3://images/{IMAGES[n % len(IMAGES)]}",
                "prompt": f"Video {n}",
                "output": f"s3://videos/chaos/{n:04d}.mp4",
            }
            for n in NUMBERS
        ]
    )
