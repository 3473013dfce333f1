"""Apache Airflow provider that turns images into Veo 3.1 videos, and never pays for one twice."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login", "port", "schema"],
    "relabeling": {"password": "API key", "host": "Base URL"},
    "placeholders": {"host": "https://api.apiyi.com/v1", "password": "sk-…"},
}

CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "gateway": {
        "label": "Gateway",
        "description": "apiyi (default), openai, litellm, openrouter, inworld, or JSON.",
        "schema": {"type": ["string", "null"], "default": "apiyi"},
    },
    "account_token": {
        "label": "Account token",
        "description": "Separate access token that shows the account's balance (optional).",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "Seconds without a byte from the server before a call is given up.",
        "schema": {"type": ["number", "null"], "default": 60},
    },
    "polls_per_second": {
        "label": "Polls per second",
        "description": "How often a triggerer polls all its generations together.",
        "schema": {"type": ["number", "null"], "default": 100},
    },
}
"""The fields of a connection's extra, for the forms of all versions of Airflow."""


def _option(description: str, kind: str, default: str) -> dict[str, str | None]:
    return {
        "description": description,
        "version_added": None,
        "type": kind,
        "example": None,
        "default": default,
    }


def get_provider_info() -> dict[str, Any]:
    """Tell Airflow what this provider brings; Airflow finds it by its entry point."""
    return {
        "package-name": "airflow-provider-veo",
        "name": "Veo",
        "description": "Turns images into Veo 3.1 videos in S3, paying for each exactly once.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Veo",
                "external-doc-url": "https://docs.apiyi.com",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": "Veo", "python-modules": ["veo_provider.hooks.veo"]}],
        "operators": [
            {
                "integration-name": "Veo",
                "python-modules": ["veo_provider.operators.veo", "veo_provider.operators.batch"],
            }
        ],
        "sensors": [{"integration-name": "Veo", "python-modules": ["veo_provider.sensors.veo"]}],
        "triggers": [
            {
                "integration-name": "Veo",
                "python-modules": ["veo_provider.triggers.veo", "veo_provider.triggers.batch"],
            }
        ],
        "transfers": [
            {
                "source-integration-name": "Veo",
                "target-integration-name": "Amazon Simple Storage Service (S3)",
                "python-module": "veo_provider.transfers.veo_to_s3",
            }
        ],
        "extra-links": [
            "veo_provider.links.VeoPageLink",
            "veo_provider.links.VeoVideoLink",
            "veo_provider.links.VeoArchiveLink",
            "veo_provider.links.VeoTaskLogLink",
        ],
        "config": {
            "veo": {
                "description": "Settings of the provider for Veo videos.",
                "options": {
                    "posters": _option(
                        "Keep a poster beside each stored video, and a contact sheet beside the summary of "
                        "each batch. Needs the extra posters.",
                        "boolean",
                        "False",
                    ),
                    "ui": _option("Show the page of videos (Airflow 3.0 and later).", "boolean", "True"),
                    "ui_tabs": _option(
                        "Give every task instance and every run a tab, also those that make no videos.",
                        "boolean",
                        "False",
                    ),
                    "ui_media": _option(
                        "How a browser gets videos: proxy streams them through the API server, presigned "
                        "redirects to S3.",
                        "string",
                        "proxy",
                    ),
                    "ui_aws_conn_id": _option(
                        "The connection of the page to S3; empty: boto3's own credentials.",
                        "string",
                        "aws_default",
                    ),
                },
            },
        },
        "cli": ["veo_provider.settle.airflow_commands"],
        "connection-types": [
            {
                "connection-type": "veo",
                "hook-name": "Veo",
                "hook-class-name": "veo_provider.hooks.veo.VeoHook",
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONNECTION_FIELDS,
            }
        ],
    }
