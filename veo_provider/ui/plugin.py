"""The plugin that adds the page to Airflow's UI. Every process of Airflow loads it, so it imports little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS

from veo_provider import airflow_config
from veo_provider.ui import settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]


class LazyApp:
    """An ASGI app that is imported by the first request, which only the API server ever gets."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        if self._app is None:
            from veo_provider.ui.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


def apps() -> list[dict[str, Any]]:
    """Return the app, for Airflow 3.0 and later."""
    if not (AIRFLOW_V_3_0_PLUS and airflow_config.has_page()):
        return []
    return [{"app": LazyApp(), "url_prefix": airflow_config.PAGE_PREFIX, "name": "Veo videos"}]


def views() -> list[dict[str, Any]]:
    """Return the entry in the navigation and the tabs, for Airflow 3.1 and later."""
    if not (AIRFLOW_V_3_1_PLUS and airflow_config.has_page()):
        return []
    home = airflow_config.page_path()
    icons = {"icon": f"{home}/static/icon.svg", "icon_dark_mode": f"{home}/static/icon-dark.svg"}
    found = [
        {
            "name": "Veo videos",
            "href": f"{home}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "veo",
            **icons,
        }
    ]
    if settings.has_tabs():
        # Ids in the path: Airflow 3.1 leaves a plus sign raw, which a query would read as a space.
        run = "{DAG_ID}/{RUN_ID}"
        tabs = {"dag_run": f"run/{run}", "task_instance": f"task/{run}/{{TASK_ID}}/{{MAP_INDEX}}"}
        found += [
            {
                "name": "Veo videos",
                "href": f"{home}/{path}",
                "destination": destination,
                "url_route": f"veo-{destination.replace('_', '-')}",
                **icons,
            }
            for destination, path in tabs.items()
        ]
    return found


class VeoPlugin(AirflowPlugin):
    """Adds the page: with an entry in the navigation from Airflow 3.1, by its URL on 3.0."""

    name = "veo"
    fastapi_apps = apps()
    external_views = views()
