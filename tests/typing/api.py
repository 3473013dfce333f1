"""How users call the public API: mypy checks this file in `make lint`, and nothing runs it.

It fails when a module or attribute that user code relies on is gone, or a type of its parameters or results
changes. It does not find a renamed parameter of an operator: operators hand unknown ones to Airflow.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    BaseHook,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    PokeReturnValue,
)
from typing_extensions import assert_type

from veo_provider import __version__, get_provider_info
from veo_provider.api.request import VeoRequest
from veo_provider.api.video import Video
from veo_provider.batch.manifest import open_manifest
from veo_provider.hooks.veo import VeoHook
from veo_provider.links import VeoArchiveLink, VeoTaskLogLink, VeoVideoLink
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoRequestOperator, VeoSubmitOperator
from veo_provider.receipts.charges import Charges, charges_of, iter_receipts
from veo_provider.retry_policy import VeoRetryPolicy
from veo_provider.sandbox import process as sandbox_process
from veo_provider.sandbox.process import Sandbox, SandboxError
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator
from veo_provider.triggers.batch import VeoBatchTrigger
from veo_provider.triggers.veo import VeoClaimTrigger, VeoTaskTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger
    from mypy_boto3_s3 import S3Client


def provider() -> None:
    """Airflow's entry point."""
    assert_type(__version__, str)
    assert_type(get_provider_info(), dict[str, Any])


def submit_wait_store(context: Context) -> None:
    """Three tasks; each id, URI and field can be a template."""
    submit = VeoSubmitOperator(
        task_id="submit",
        image="s3://images/{{ ds }}.jpg",
        prompt="A slow turn around the product",
        model="veo-3.1-fast-generate-preview",
        seconds="8",
        resolution="720p",
        aspect_ratio="16:9",
        seed="{{ params.seed }}",
        negative_prompt=["text", "logos"],
        on_unknown_submission="resubmit",
        on_changed_request="regenerate",
        on_lost_video="fail",
        max_generations=2,
        receipt="s3://videos/{{ ds }}.json",
        s3_extra_args={"ServerSideEncryption": "AES256"},
        retries=2,
    )
    request_operator: VeoRequestOperator = submit
    operator: BaseOperator = request_operator
    assert_type(submit.execute(context), str)

    sensor = VeoTaskSensor(
        task_id="wait",
        veo_task_id=str(submit.output),
        poll_interval=timedelta(seconds=20),
        timeout=3600,
        deferrable=False,
        mode="reschedule",
    )
    base_sensor: BaseSensorOperator = sensor
    assert_type(sensor.poke(context), PokeReturnValue)

    store = VeoToS3Operator(
        task_id="store", veo_task_id="{{ ti.xcom_pull('submit') }}", s3_key="s3://videos/a.mp4", replace=False
    )
    assert_type(store.execute(context), dict[str, Any])
    operator >> base_sensor >> store


def image_to_video(context: Context) -> None:
    """One task from image to stored video."""
    operator = VeoImageToVideoOperator(
        task_id="clip",
        fallbacks=[("backup", "veo-ga")],
        fallback_on_moderation=True,
        image="s3://images/a.jpg",
        prompt="A boat at dawn",
        output="s3://videos/a.mp4",
        replace=True,
        poll_interval=None,
        timeout=timedelta(hours=1),
        deferrable=True,
    )
    assert_type(operator.execute(context), dict[str, Any])
    assert_type(operator.execute_complete(context, {"status": "success"}), dict[str, Any])


def batch(context: Context) -> None:
    """An archive of images in one task."""
    VeoBatchOperator(
        task_id="listed",
        images=["s3://images/a.jpg"],
        output_prefix="s3://v/",
        prompt={"a": "x"},
        fallbacks=[("backup", "veo-ga")],
        fallback_on_moderation=True,
    )
    operator = VeoBatchOperator(
        task_id="archive",
        images="s3://images/*.jpg",
        output_prefix="s3://videos/archive/",
        prompt="{name} at dawn",
        max_in_flight=20,
        max_cost_usd="{{ params.budget }}",
        dry_run="{{ params.dry_run }}",
        fail_on=0.05,
        convert=True,
        aspect_ratio="auto",
    )
    assert_type(operator.execute(context), dict[str, Any])


def links_and_triggers() -> Sequence[BaseOperatorLink]:
    """What Airflow's UI and triggerer load."""
    triggers: list[BaseTrigger] = [VeoBatchTrigger(job={}, progress={}), VeoClaimTrigger(seconds=15.0)]
    for trigger in [*triggers]:
        assert_type(trigger.serialize(), tuple[str, dict[str, Any]])
    trigger_class: type[BaseTrigger] = VeoTaskTrigger
    assert_type(trigger_class.__name__, str)
    return VeoVideoLink(), VeoArchiveLink(), VeoTaskLogLink()


def audit(s3: S3Client) -> None:
    """What each run was charged below a prefix, and which images an archive has."""
    bill = Charges()
    for receipt in iter_receipts(s3, "s3://videos/archive/", since=0):
        for step in receipt.history:
            bill += charges_of(receipt, step["by"].rpartition(" try ")[0])
    assert_type(bill.charged, float)
    assert_type(bill.unknown, float)
    for item in open_manifest("s3://images/archive/", "s3://videos/archive/", s3).items():
        assert_type((item.image, item.output), tuple[str, str])


def retries() -> None:
    """The policy that the operators use by default on Airflow 3.3 and later."""
    policy = VeoRetryPolicy()
    assert_type(policy.serialize(), dict[str, Any])
    assert_type(VeoRetryPolicy.deserialize({}), VeoRetryPolicy)


async def hook() -> None:
    """Clients built from an Airflow connection."""
    veo = VeoHook(veo_conn_id="veo_default")
    base: BaseHook = veo
    assert_type(base.get_conn(), Any)
    assert_type(veo.test_connection(), tuple[bool, str])
    with veo.get_conn() as client:
        assert_type(client.get("task_1"), Video)
        assert_type(client.submit(VeoRequest(prompt="A boat at dawn")), Video)
        assert_type(client.balance(), float)
    async with await veo.get_async_conn() as async_client:
        assert_type(await async_client.get("task_1"), Video)


def sandbox() -> None:
    """The fake gateway for a user's own tests, under both of its names."""
    same: type[Sandbox] = sandbox_process.Sandbox
    try:
        with same(latency=0.5, faults=[{"call": "submit", "first": 1, "status": 429}], s3=False) as running:
            assert_type(running.api, str)
            assert_type(running.s3, str | None)
            assert_type(running.api_key, str)
            assert_type(running.veo_conn(), str)
            assert_type(running.aws_conn(), str)
            assert_type(running.charges(), dict[str, Any])
            assert_type(running.tasks(), list[dict[str, Any]])
            running.add_faults([{"call": "poll", "status": 503}])
            running.clear_faults()
            running.set_latency(1.0, sigma=0.5, seed=1)
            running.reset()
    except SandboxError as error:
        assert_type(str(error), str)
