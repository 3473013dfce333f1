"""Links in Airflow's UI from a task instance to its video and to the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


FOLDER_KEY = "folder"
"""Key of the XCom with the folder of a batch's progress and summary."""


class VeoVideoLink(BaseOperatorLink):
    """The stored video in the S3 console. The link grants no access by itself."""

    name = "Video in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's
        """Return the console's page of the object; empty before the video is stored."""
        result: Any = XCom.get_value(ti_key=ti_key, key="return_value")
        if not isinstance(result, dict) or "uri" not in result:
            return ""
        video = S3Uri.parse(result["uri"], "uri")
        return f"https://console.aws.amazon.com/s3/object/{video.bucket}?prefix={quote(video.key)}"


class VeoArchiveLink(BaseOperatorLink):
    """The folder of a batch in the S3 console: its progress while it runs, and its summary."""

    name = "Progress and summary in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's
        """Return the console's page of the folder; empty before the task has started."""
        folder: Any = XCom.get_value(ti_key=ti_key, key=FOLDER_KEY)
        if not folder:
            return ""
        progress = S3Uri.parse(f"{folder}progress.json", "folder")
        prefix = quote(progress.key.removesuffix("progress.json"))
        return f"https://console.aws.amazon.com/s3/buckets/{progress.bucket}?prefix={prefix}"


class VeoTaskLogLink(BaseOperatorLink):
    """The service's log of tasks and charges."""

    name = "Veo task log"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's
        """Return the URL of the log, which requires a login to the account."""
        return "https://api.apiyi.com/task"
