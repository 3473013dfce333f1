"""VeoHook: builds API clients from an Airflow connection."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

# get_async_connection imports it at its first call, which would hold up the event loop.
import asgiref.sync  # noqa: F401 - as above
from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import BaseHook

from veo_provider.api import config
from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.gateways.described import gateway_of
from veo_provider.exceptions import VeoAuthenticationError, VeoError, VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeVar
    from urllib.parse import SplitResult

    from airflow.providers.common.compat.sdk import Connection
    from typing_extensions import Self

    from veo_provider.api.async_client import AsyncVeoClient
    from veo_provider.api.client import VeoClient
    from veo_provider.api.gateways.gateway import Gateway

    T = TypeVar("T")

log = logging.getLogger(__name__)

DEFAULT_POLLS_PER_SECOND = 100.0
"""Polls per second of all waits on one connection together, in one triggerer."""
LOOK_UP_PAUSE = 8.0
"""Seconds between two attempts to read a connection while Airflow's own API or database is unavailable."""

_TOKEN = re.compile(r"[\x21-\x7e]+")
"""Characters allowed in a header: an error about any other one would repeat the secret."""


class VeoHook(BaseHook):
    """Interact with the Veo video API.

    The connection's password is the API key, its host the base URL (default
    ``https://api.apiyi.com/v1``). Its extra may hold ``gateway``, the interface that is spoken there
    (default ``apiyi``), ``models``, what is known about its models, ``account_token``, the separate token
    that shows the balance, ``timeout``, the seconds without a byte from the server after which a call fails
    (default 60), and ``polls_per_second``, how many status requests a triggerer sends per second for all its
    generations together (default 100).

    :param veo_conn_id: the connection's id.
    """

    conn_name_attr = "veo_conn_id"
    default_conn_name = "veo_default"
    conn_type = "veo"
    hook_name = "Veo"

    def __init__(self, veo_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.veo_conn_id = veo_conn_id

    def get_conn(self) -> VeoClient:
        """Return a blocking client; close it, or use it in a ``with``.

        :raises VeoAuthenticationError: the connection has no password.
        :raises VeoRequestError: its extra is wrong.
        """
        return self.get_settings().client()

    def get_settings(self) -> VeoSettings:
        """Read the connection.

        :raises VeoAuthenticationError: it has no password.
        :raises VeoRequestError: its extra is wrong.
        """
        connection = self.get_connection(self.veo_conn_id)
        _require_extra(connection)
        return VeoSettings.of(connection, connection.extra_dejson)

    async def get_async_conn(self) -> AsyncVeoClient:
        """Return a client for triggers; close it, or use it in an ``async with``.

        :raises VeoAuthenticationError: the connection has no password.
        :raises VeoRequestError: its extra is wrong.
        """
        settings = await self.get_async_settings()
        return await settings.async_client()

    async def get_async_settings(self) -> VeoSettings:
        """Read the connection without blocking an event loop.

        :raises VeoAuthenticationError: the connection has no password.
        :raises VeoRequestError: its extra is wrong.
        """
        connection = await get_async_connection(self.veo_conn_id)
        _require_extra(connection)
        return VeoSettings.of(connection, await get_async_extra_dejson(connection))

    async def wait_for_settings(self, *, max_attempts: float = math.inf) -> VeoSettings:
        """Read the connection, again and again while Airflow's own API or database is unavailable.

        :param max_attempts: the number of attempts after which the last error is raised.
        :raises AirflowNotFoundException: there is no such connection.
        :raises VeoAuthenticationError: the connection has no password.
        :raises VeoRequestError: its extra is wrong.
        """
        return await wait_for_airflow(self.get_async_settings, self.veo_conn_id, max_attempts=max_attempts)

    def test_connection(self) -> tuple[bool, str]:
        """Check the key without spending money; the result distinguishes a wrong key from a wrong host."""
        try:
            with self.get_conn() as client:
                return True, client.check()
        except VeoError as error:
            return False, str(error)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the connection form's own fields, for Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
        from flask_babel import lazy_gettext
        from wtforms import PasswordField, StringField

        from veo_provider import CONNECTION_FIELDS

        def field(told: dict[str, Any]) -> Any:
            secret = told["schema"].get("format") == "password"
            kind, widget = (
                (PasswordField, BS3PasswordFieldWidget) if secret else (StringField, BS3TextFieldWidget)
            )
            return kind(lazy_gettext(told["label"]), description=told["description"], widget=widget())

        return {name: field(told) for name, told in CONNECTION_FIELDS.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form's labels, for Airflow before 3.2."""
        from veo_provider import UI_FIELD_BEHAVIOUR

        return {
            "hidden_fields": UI_FIELD_BEHAVIOUR["hidden-fields"],
            "relabeling": UI_FIELD_BEHAVIOUR["relabeling"],
            "placeholders": UI_FIELD_BEHAVIOUR["placeholders"],
        }


@dataclass(frozen=True)
class VeoSettings:
    """The settings of a connection; equal as long as the connection has not changed.

    :param api_key: the API key.
    :param base_url: the API's base URL.
    :param account_token: the token that shows the balance, if there is one.
    :param timeout: seconds without a byte from the server after which a call fails.
    :param polls_per_second: polls per second of all waits together, in one triggerer.
    :param gateway: the interface that is spoken at the base URL.
    """

    api_key: str = field(repr=False)
    base_url: str = field(repr=False)
    account_token: str | None = field(repr=False)
    timeout: float
    polls_per_second: float
    gateway: Gateway = field(default=APIYI, repr=False)

    @classmethod
    def of(cls, connection: Connection, extra: Mapping[str, Any]) -> Self:
        """Parse a connection.

        :raises VeoAuthenticationError: it has no password.
        :raises VeoRequestError: its extra is wrong.
        """
        gateway = gateway_of(extra)
        return cls(
            _api_key(connection),
            base_url(connection, gateway),
            _account_token(extra),
            _positive(extra, "timeout", config.DEFAULT_TIMEOUT, "a positive number of seconds"),
            _positive(extra, "polls_per_second", DEFAULT_POLLS_PER_SECOND, "a positive number"),
            gateway,
        )

    def client(self) -> VeoClient:
        """Return a blocking client."""
        from veo_provider.api.client import VeoClient

        return VeoClient(
            self.api_key,
            self.base_url,
            gateway=self.gateway,
            account_token=self.account_token,
            timeout=self.timeout,
        )

    async def async_client(self) -> AsyncVeoClient:
        """Return a client for triggers."""
        # In a thread: the first import of an HTTP library would block the event loop for a long time.
        module = await asyncio.to_thread(import_module, "veo_provider.api.async_client")
        client: AsyncVeoClient = module.AsyncVeoClient(
            self.api_key, self.base_url, gateway=self.gateway, timeout=self.timeout
        )
        return client


async def wait_for_airflow(
    look_up: Callable[[], Awaitable[T]], conn_id: str | None, *, max_attempts: float = math.inf
) -> T:
    """Read a connection, again and again while Airflow's own API or database is unavailable.

    :param look_up: reads the connection.
    :param conn_id: the connection's id, for the log.
    :param max_attempts: the number of attempts after which the last error is raised.
    :raises AirflowNotFoundException: there is no such connection.
    :raises VeoError: the connection is wrong.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    attempt = 1
    while True:
        try:
            return await look_up()
        # The database, the API server, a secrets backend: each raises its own errors.
        except Exception as error:
            permanent = isinstance(error, AirflowNotFoundException) or (
                isinstance(error, VeoError) and not error.retryable
            )
            if permanent or attempt >= max_attempts:
                raise
            log.warning(
                "Could not read the connection %s (%s). Trying again in %.0f s.",
                conn_id,
                type(error).__name__,
                LOOK_UP_PAUSE,
            )
        attempt += 1
        await asyncio.sleep(LOOK_UP_PAUSE)


def base_url(connection: Connection, gateway: Gateway = APIYI) -> str:
    """Return the API's base URL, whichever of the connection's fields hold it.

    Airflow's forms of a connection put the parts into different fields: its URI parser leaves the scheme in
    the host, the port in its own field and the path in the schema. A host without scheme and path gets
    ``https://`` and ``/v1``.

    :raises VeoRequestError: it is not an http or https URL, or two fields contradict each other.
    """
    host, schema = (connection.host or "").strip(), (connection.schema or "").strip().strip("/")
    if not host:
        if connection.port or schema not in ("", "http", "https"):
            raise VeoRequestError("The connection has a port or a path, but no host.")
        if not gateway.base_url:
            raise VeoRequestError(f"The connection needs a host: {gateway.name!r} has no own one.")
        return gateway.base_url
    scheme = schema if schema in ("http", "https") else "https"
    parts = urlsplit(host if "://" in host else f"{scheme}://{host}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise VeoRequestError("The connection's host is not an http or https URL.")
    paths = {parts.path.strip("/"), "" if schema in ("http", "https") else schema} - {""}
    if len(paths) > 1:
        raise VeoRequestError(
            "The connection has two paths, in its host and in its schema: keep one of them."
        )
    authority = _with_port(parts.netloc, _port_of(parts), connection.port)
    return f"{parts.scheme}://{authority}/{paths.pop() if paths else gateway.default_path}"


def _port_of(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError as error:
        raise VeoRequestError(
            "The connection's host has a port that is not a number from 0 to 65535."
        ) from error


def _with_port(host: str, host_port: int | None, field_port: int | None) -> str:
    """Return host and port; the port may be in the host, in its own field, or the same in both."""
    if not field_port or host_port == field_port:
        return host
    if host_port is not None:
        raise VeoRequestError(
            f"The connection has two ports, {host_port} in its host and {field_port} in its port field: "
            "keep one of them."
        )
    return f"{host.rstrip(':')}:{field_port}"


def _require_extra(connection: Connection) -> None:
    """Refuse an extra that Airflow would silently ignore, and with it the timeout and other settings.

    :raises VeoRequestError: it is not a JSON object.
    """
    extra = (connection.extra or "").strip()
    try:
        is_object = not extra or isinstance(json.loads(extra), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise VeoRequestError(f"The extra of the connection {connection.conn_id} is not a JSON object.")


def _api_key(connection: Connection) -> str:
    key = (connection.password or "").strip()
    if not key:
        raise VeoAuthenticationError(
            f"The connection {connection.conn_id} has no password, which should be the API key."
        )
    if not _TOKEN.fullmatch(key):
        raise VeoAuthenticationError(
            f"The password of the connection {connection.conn_id} has characters that no API key contains."
        )
    return key


def _account_token(extra: Mapping[str, Any]) -> str | None:
    token = str(extra.get("account_token") or "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise VeoRequestError("The connection's account_token has characters that no token contains.")
    return token or None


def _positive(extra: Mapping[str, Any], name: str, default: float, meaning: str) -> float:
    value = extra.get(name) or default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0
    if not 0 < number < float("inf"):
        raise VeoRequestError(f"The connection's {name}={value!r} is not {meaning}.")
    return number
