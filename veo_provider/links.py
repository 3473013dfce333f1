"""Links from a task instance in Airflow's UI to its video and to the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


FOLDER_KEY = "folder"
"""Of the XCom that says where a batch keeps its progress and its summary."""


class VeoVideoLink(BaseOperatorLink):
    """The stored video in the S3 console. It gives nobody access who has none."""

    name = "Video in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's
        """Return the console's page of the object; empty until there is a video."""
        result: Any = XCom.get_value(ti_key=ti_key, key="return_value")
        if not isinstance(result, dict) or "uri" not in result:
            return ""
        video = S3Uri.parse(result["uri"], "uri")
        return f"https://console.aws.amazon.com/s3/object/{video.bucket}?prefix={quote(video.key)}"


class VeoArchiveLink(BaseOperatorLink):
    """The folder of a batch in the S3 console, with its progress and its summary, also while it runs."""

    name = "Progress and summary in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's
        """Return the console's page of the folder; empty until the task has begun."""
        folder: Any = XCom.get_value(ti_key=ti_key, key=FOLDER_KEY)
        if not folder:
            return ""
        place = S3Uri.parse(f"{folder}progress.json", "folder")
        prefix = quote(place.key.removesuffix("progress.json"))
        return f"https://console.aws.amazon.com/s3/buckets/{place.bucket}?prefix={prefix}"


class VeoTaskLogLink(BaseOperatorLink):
    """The service's own log of tasks and charges."""

    name = "Veo task log"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's
        """Return the address of the log, which asks for the account's login."""
        return "https://api.apiyi.com/task"
