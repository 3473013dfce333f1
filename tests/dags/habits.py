"""What public reports say goes wrong with deferrable, mapped and natively rendered tasks, in one DAG."""

from datetime import datetime, timedelta, timezone

from airflow.providers.common.compat.sdk import DAG, task

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator

with DAG(
    "habits",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    render_template_as_native_obj=True,
    default_args={"execution_timeout": timedelta(minutes=5)},
    params={"year": 1984},
):
    mapped = VeoImageToVideoOperator.partial(
        task_id="mapped",
        prompt="prompts/lift_off.txt",
        negative_prompt=["prompts/unwanted.md", "text"],
        seconds="{{ 4 }}",
        seed="{{ none }}",
        poll_interval=0.5,
    ).expand_kwargs(
        [
            {"image": "s3://images/{{ 'rocket' }}.jpg", "output": "s3://videos/habits/{{ ds }}-a.mp4"},
            {"image": "s3://images/{{ 'rocket' }}.jpg", "output": "s3://videos/habits/{{ ds }}-b.mp4"},
        ]
    )
    batch = VeoBatchOperator(
        task_id="batch",
        images=["s3://images/rocket.jpg"],
        prompt="{{ params.year }}",
        seconds=4,
        output_prefix="s3://videos/habits/{{ ds }}/",
        poll_interval=0.5,
    )

    @task
    def told(results, folder):
        """Fail unless what was told before the deferral is still there after it."""
        assert folder.startswith("s3://videos/habits/"), folder
        assert sorted(one["uri"][-6:] for one in results) == ["-a.mp4", "-b.mp4"], results

    mapped >> batch >> told(mapped.output, "{{ ti.xcom_pull(task_ids='batch', key='folder') }}")
