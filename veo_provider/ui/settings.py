"""The section ``[veo]`` of Airflow's configuration."""

from __future__ import annotations

from typing import Literal

from airflow.configuration import conf


def has_tabs() -> bool:
    """Return whether every task instance and every run has a tab: ``[veo] ui_tabs``, by default False.

    Airflow shows a plugin's tab everywhere, on tasks that make no videos, too.
    """
    return conf.getboolean("veo", "ui_tabs", fallback=False)


def media() -> Literal["proxy", "presigned"]:
    """Return how a browser gets a video: ``[veo] ui_media``, through Airflow (the default) or from S3."""
    return "presigned" if conf.get("veo", "ui_media", fallback="proxy") == "presigned" else "proxy"


def aws_conn_id() -> str | None:
    """Return the connection that reads videos: ``[veo] ui_aws_conn_id``; empty means boto3's credentials.

    Never one that an XCom names: whoever may edit XComs could choose another's.
    """
    return conf.get("veo", "ui_aws_conn_id", fallback="aws_default") or None
