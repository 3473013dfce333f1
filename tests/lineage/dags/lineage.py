"""One task of each operator."""

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

VIDEOS = "s3://videos/lineage/"

with DAG("lineage", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    request = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", "seconds": "4"}
    VeoImageToVideoOperator(task_id="make", output=f"{VIDEOS}rocket.mp4", poll_interval=0.5, **request)
    submit = VeoSubmitOperator(task_id="submit", receipt=f"{VIDEOS}two.mp4.veo.json", **request)
    wait = VeoTaskSensor(task_id="wait", veo_task_id=submit.output, poll_interval=0.5)
    store = VeoToS3Operator(task_id="store", veo_task_id=submit.output, s3_key=f"{VIDEOS}two.mp4")
    wait >> store
    VeoBatchOperator(
        task_id="archive",
        images="s3://images/",
        prompt="$stem comes alive",
        output_prefix=f"{VIDEOS}archive/",
        seconds="4",
        poll_interval=0.5,
        fail_on="all",
    )
    VeoImageToVideoOperator(
        task_id="refused", output=f"{VIDEOS}no.mp4", **{**request, "image": "s3://images/missing.jpg"}
    )
