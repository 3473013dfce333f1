"""Turn the new images in a folder into videos, a summary and an asset: a mapped task for each image.

Copy this file, change the constants, set the connections ``veo_default`` (password: your API key) and
``aws_default``, and create the pool, once, with as many slots as generations may be in flight in total::

    airflow pools set veo 10 "Veo generations in flight" --include-deferred

Airflow's grid shows the task of each image by its name, with its log and its retries. This suits up to 1,024
images a run (Airflow's ``max_map_length``); for archives, ``veo_archive_backfill`` makes thousands with one
task.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException, Asset, task

from veo_provider.operators.veo import VeoImageToVideoOperator

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGES = "s3://images/inbox/"
VIDEOS = "s3://videos/inbox/"
AT_MOST = 1024
SUMMARIES = Asset(f"{VIDEOS}_veo/")

with DAG(
    dag_id="veo_media_etl",
    # If an upstream DAG announces new images: schedule=[Asset("s3://images/inbox/")].
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2},
    tags=["veo", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def find_new() -> list[dict[str, str]]:
        """Return the images that have no video yet, and the outputs of their videos."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from veo_provider.batch.manifest import open_manifest

        s3 = S3Hook("aws_default")
        bucket, _, prefix = VIDEOS.removeprefix("s3://").partition("/")
        made = {f"s3://{bucket}/{key}" for key in s3.list_keys(bucket, prefix) or []}
        items = open_manifest(IMAGES, VIDEOS, s3.get_conn()).items()
        new = (item for item in items if item.output not in made)
        return [{"image": item.image, "output": item.output} for item in islice(new, AT_MOST)]

    new = find_new()
    make = VeoImageToVideoOperator.partial(
        task_id="make",
        prompt="The picture comes to life, slow zoom, natural sounds",
        pool="veo",
        map_index_template="{{ task.image.rpartition('/')[2] }}",
    ).expand_kwargs(new)

    # Some images may fail: the videos of the others are reported all the same.
    @task(outlets=[SUMMARIES], trigger_rule="all_done")
    def summarise(new: list[dict[str, str]], videos: Iterable[dict[str, Any]], **context: Any) -> str:
        """Write a line for each video of this run, and update the asset."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        if new == []:
            raise AirflowSkipException("There was nothing new.")
        made = list(videos or [])
        if not made:
            raise AirflowFailException("There is no video: see the tasks before this one.")
        uri = f"{VIDEOS}_veo/{context['run_id']}.jsonl"
        lines = "".join(f"{json.dumps(video)}\n" for video in made)
        S3Hook("aws_default").load_string(lines, uri, replace=True)
        extra = {"summary": uri, "images": len(new), "videos": len(made)}
        context["outlet_events"][SUMMARIES].extra = extra
        return uri

    summarise(new, make.output)
