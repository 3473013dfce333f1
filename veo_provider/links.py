"""Links in Airflow's UI from a task instance to its video, to the page of videos, and to the service.

They follow the connections of the task. A link that cannot be made is empty: no task fails because of it.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import BaseHook, BaseOperatorLink, XCom
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from veo_provider.airflow_config import has_page, page_path
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

log = logging.getLogger(__name__)

FOLDER_KEY = "folder"
"""Key of the XCom with the folder of a batch's progress and summary."""
_CONSOLE = "https://console.aws.amazon.com/s3"


class VeoPageLink(BaseOperatorLink):
    """What the task has made, on the page of videos in Airflow itself; Airflow 3 and later.

    On Airflow 3.0 nothing else leads to the page.
    """

    name = "Video"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's
        """Return the path of the task instance's own view; empty where there is no page."""
        if not (AIRFLOW_V_3_0_PLUS and has_page()):
            return ""
        ids = (ti_key.dag_id, ti_key.run_id, ti_key.task_id, str(ti_key.map_index))
        return f"{page_path()}/task/{'/'.join(quote(one, safe='') for one in ids)}"


class VeoVideoLink(BaseOperatorLink):
    """The stored video in the S3 console, or at the connection's endpoint. It grants no access by itself."""

    name = "Video in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page of the object; empty before the video is stored."""
        if not _may_have_result(ti_key):
            return ""
        result: Any = XCom.get_value(ti_key=ti_key, key="return_value")
        if not isinstance(result, dict) or "uri" not in result:
            return ""
        video = S3Uri.parse(result["uri"], "uri")
        endpoint = _s3_endpoint(operator)
        if endpoint:
            return f"{endpoint}/{video.bucket}/{quote(video.key)}"
        return f"{_CONSOLE}/object/{video.bucket}?prefix={quote(video.key)}"


class VeoArchiveLink(BaseOperatorLink):
    """The folder of a batch in the S3 console: its progress while it runs, and its summary.

    At the connection's own endpoint, it is the progress itself.
    """

    name = "Progress and summary in S3"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page of the folder; empty before the task has started."""
        folder: Any = XCom.get_value(ti_key=ti_key, key=FOLDER_KEY)
        if not folder:
            return ""
        progress = S3Uri.parse(f"{folder}progress.json", "folder")
        endpoint = _s3_endpoint(operator)
        if endpoint:
            return f"{endpoint}/{progress.bucket}/{quote(progress.key)}"
        prefix = quote(progress.key.removesuffix("progress.json"))
        return f"{_CONSOLE}/buckets/{progress.bucket}?prefix={prefix}"


class VeoTaskLogLink(BaseOperatorLink):
    """The service's log of tasks and charges, at the connection's gateway."""

    name = "Veo task log"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's
        """Return the URL of the log, which requires a login to the account; empty if the gateway has none."""
        from veo_provider.api.gateways.described import gateway_of
        from veo_provider.api.gateways.gateway import LookUp

        connection = _connection(getattr(operator, "veo_conn_id", None))
        try:
            gateway = gateway_of(connection.extra_dejson if connection else {})
            host = urlsplit(_with_scheme(connection.host)) if connection and connection.host else None
        # A link is not worth the failure of a task.
        except Exception as error:  # noqa: BLE001 - as above
            log.debug("There is no link to the task log: %s", type(error).__name__)
            return ""
        if host is not None and host.hostname and gateway.look_up is LookUp.TASK_LOG:
            port = connection.port if connection and not host.port else host.port
            return f"{host.scheme}://{host.hostname}{f':{port}' if port else ''}/task"
        found = re.search(r"https?://[^\s)]+", gateway.task_log)
        return found[0] if found else ""


def _may_have_result(ti: Any) -> bool:
    """Whether a task instance can have returned a result: asking for one that is not there logs an error.

    :param ti: on Airflow 2.11 a key without a state, when a person looks at the task; since 3.0 the task
        instance that has just run, also when it deferred or failed.
    """
    return getattr(ti, "state", None) in (None, "success")


def _s3_endpoint(operator: BaseOperator) -> str:
    """Return the endpoint of a store that is not AWS's own; empty for AWS."""
    connection = _connection(getattr(operator, "aws_conn_id", None))
    if connection is None:
        return ""
    try:
        extra = connection.extra_dejson
        own = (extra.get("service_config") or {}).get("s3") or {}
        endpoint = urlsplit(str(own.get("endpoint_url") or extra.get("endpoint_url") or ""))
        port = f":{endpoint.port}" if endpoint.port else ""
    # The extra may have any form.
    except (AttributeError, ValueError):
        return ""
    host = endpoint.hostname or ""
    if not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return ""
    return f"{endpoint.scheme}://{host}{port}{endpoint.path.rstrip('/')}"


def _connection(conn_id: Any) -> Any:
    """Return a connection; None if it cannot be read here, and then the link is that of the defaults."""
    if not isinstance(conn_id, str) or not conn_id or "{{" in conn_id:
        return None
    try:
        return BaseHook.get_connection(conn_id)
    # Airflow's database, its API server, a secrets backend: each raises its own errors.
    except Exception as error:  # noqa: BLE001 - as above
        log.debug("The connection %s cannot be read for a link: %s", conn_id, type(error).__name__)
        return None


def _with_scheme(host: str) -> str:
    return host if "://" in host else f"https://{host}"
