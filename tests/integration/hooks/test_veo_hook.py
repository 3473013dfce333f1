"""VeoHook: a connection in any of its forms becomes a client that works, and keeps its secrets."""

import json

import pytest
from airflow.providers.common.compat.sdk import Connection

from veo_provider.exceptions import VeoAuthenticationError, VeoRequestError, VeoTaskNotFoundError
from veo_provider.hooks.veo import VeoHook, VeoSettings, base_url

pytestmark = pytest.mark.usefixtures("connections")


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://api.apiyi.com/v1"),
        ({"host": "https://b.apiyi.com/v1/"}, "https://b.apiyi.com/v1"),
        ({"host": "http://127.0.0.1:8000/v1"}, "http://127.0.0.1:8000/v1"),
        ({"host": "vip.apiyi.com"}, "https://vip.apiyi.com/v1"),
        ({"host": "https://vip.apiyi.com"}, "https://vip.apiyi.com/v1"),
        ({"host": "vip.apiyi.com/gateway/v1"}, "https://vip.apiyi.com/gateway/v1"),
        ({"host": "127.0.0.1", "port": 8000, "schema": "http"}, "http://127.0.0.1:8000/v1"),
        ({"host": "http://127.0.0.1", "port": 8000}, "http://127.0.0.1:8000/v1"),
        ({"host": "http://127.0.0.1", "port": 8000, "schema": "v1"}, "http://127.0.0.1:8000/v1"),
        ({"host": "http://127.0.0.1:8000", "port": 8000}, "http://127.0.0.1:8000/v1"),
        ({"host": "127.0.0.1", "port": 8000, "schema": "openai/v1"}, "https://127.0.0.1:8000/openai/v1"),
        ({"host": "http://[::1]", "port": 8000}, "http://[::1]:8000/v1"),
    ],
)
def test_the_host_becomes_the_base_url(fields, url):
    """A whole URL is taken as it is, a bare host is completed, none means the service's own."""
    assert base_url(Connection(conn_id="veo", conn_type="veo", **fields)) == url


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": "http://h:8000", "port": 9000}, "two ports"),
        ({"host": "http://h:99999"}, "not a number from 0"),
        ({"host": "https://h/v1", "schema": "v2"}, "two paths"),
        ({"host": "https://h/v1?x=1"}, "not an http or https URL"),
        ({"port": 8000}, "no host"),
        ({"schema": "v2"}, "no host"),
    ],
)
def test_a_host_that_contradicts_itself_is_refused(fields, said):
    """No field is dropped in silence: the key would go to another place than was meant."""
    with pytest.raises(VeoRequestError, match=said):
        base_url(Connection(conn_id="veo", conn_type="veo", **fields))


@pytest.mark.parametrize("extra", ["[1]", "{", '"text"', "timeout=5"])
async def test_an_extra_that_is_no_object_is_refused(monkeypatch, extra):
    """A timeout that was written wrongly is told, and not replaced by the default."""
    monkeypatch.setenv("AIRFLOW_CONN_X", json.dumps({"conn_type": "veo", "password": "k", "extra": extra}))
    with pytest.raises(VeoRequestError, match="not a JSON object"):
        VeoHook("x").get_conn()
    with pytest.raises(VeoRequestError, match="not a JSON object"):
        await VeoHook("x").get_async_conn()


@pytest.mark.parametrize("form", ["veo://http://:{key}@{host}/v1", "veo://:{key}@{host}/http"])
def test_the_same_connection_in_another_form_reaches_the_same_place(sandbox, monkeypatch, form):
    """A URI with the scheme in its host works as one with the scheme in its path."""
    uri = form.format(key=sandbox.api_key, host=sandbox.api.split("/")[2])
    monkeypatch.setenv("AIRFLOW_CONN_VEO_FORM", uri)
    assert VeoHook("veo_form").test_connection()[0]


def test_a_connection_uri_works(sandbox, monkeypatch):
    """The short form that people put into an environment variable works, too."""
    host = sandbox.api.split("/")[2]
    monkeypatch.setenv("AIRFLOW_CONN_VEO_URI", f"veo://:{sandbox.api_key}@{host}/http")
    assert VeoHook("veo_uri").test_connection()[0]


def test_the_test_button_proves_key_and_host(sandbox, monkeypatch):
    """A right connection shows its balance; a wrong key and a wrong host are told apart. Nothing is spent."""
    good, message = VeoHook().test_connection()
    assert good
    assert "accepts the key. The balance is $100.00." in message

    def outcome(**change):
        changed = json.dumps({**json.loads(sandbox.veo_conn()), **change})
        monkeypatch.setenv("AIRFLOW_CONN_CHANGED", changed)
        return VeoHook("changed").test_connection()

    for change, said in [
        ({"password": "sk-wrong"}, "the key must be of type"),
        ({"password": ""}, "has no password"),
        ({"host": "http://127.0.0.1:1"}, "Check the host"),
        ({"host": sandbox.api.removesuffix("1") + "2"}, "Check that the connection's host"),
        ({"extra": {"timeout": "soon"}}, "timeout='soon'"),
    ]:
        passed, message = outcome(**change)
        assert not passed
        assert said in message
        assert sandbox.api_key not in message
    assert sandbox.tasks() == []


async def test_the_asynchronous_client_comes_from_the_same_connection(sandbox):
    """A trigger's client has the same host and key."""
    async with await VeoHook().get_async_conn() as client:
        assert client.base_url == sandbox.api
        with pytest.raises(VeoTaskNotFoundError):
            await client.get("task_x")


def test_no_secret_shows_in_a_repr(sandbox):
    """Neither hook nor client shows the key or the token when printed."""
    hook = VeoHook()
    with hook.get_conn() as client:
        shown = f"{hook!r} {client!r} {vars(hook)}"
    assert sandbox.api_key not in shown
    assert sandbox.account_token not in shown


def test_the_timeout_comes_from_the_extra(sandbox, monkeypatch):
    """A timeout in the extra is taken in seconds, and refused if it is none."""
    for value, seconds in [(5, 5.0), ("7.5", 7.5), (None, 60.0)]:
        monkeypatch.setenv(
            "AIRFLOW_CONN_T", json.dumps({"conn_type": "veo", "password": "k", "extra": {"timeout": value}})
        )
        with VeoHook("t").get_conn() as client:
            assert client._timeout == seconds
    for value in (-1, "nan", "inf", [1]):
        monkeypatch.setenv(
            "AIRFLOW_CONN_T", json.dumps({"conn_type": "veo", "password": "k", "extra": {"timeout": value}})
        )
        with pytest.raises(VeoRequestError, match="timeout="):
            VeoHook("t").get_conn()


def test_the_pace_comes_from_the_extra(monkeypatch):
    """How often a triggerer polls is a positive number, 100 a second by default."""

    def settings(**extra):
        connection = Connection(conn_id="veo", conn_type="veo", password="sk-secret")
        return VeoSettings.of(connection, extra)

    assert settings().polls_per_second == 100
    assert settings(polls_per_second="2.5").polls_per_second == 2.5
    for value in (-1, "nan", "inf", [1], "often"):
        with pytest.raises(VeoRequestError, match="polls_per_second="):
            settings(polls_per_second=value)


def test_settings_show_no_secret():
    """What a connection says is compared and logged without its secrets."""
    connection = Connection(conn_id="veo", conn_type="veo", password="sk-secret", host="http://u:pw@h/v1")
    shown = repr(VeoSettings.of(connection, {"account_token": "token-secret"}))
    assert "secret" not in shown
    assert "pw" not in shown


def test_a_host_that_is_no_web_address_is_refused(monkeypatch):
    """A wrong scheme is a mistake of the connection, not an outage."""
    monkeypatch.setenv("AIRFLOW_CONN_FTP", '{"conn_type": "veo", "password": "k", "host": "ftp://x/v1"}')
    with pytest.raises(VeoRequestError, match="http or https"):
        VeoHook("ftp").get_conn()


@pytest.mark.parametrize("key", ["sk-abc\ndef", "sk-abc…", "sk abc"])
def test_a_key_that_is_none_is_refused_without_being_shown(monkeypatch, key):
    """A key that does not fit into a header would be repeated in the error about it."""
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({"conn_type": "veo", "password": key}))
    with pytest.raises(VeoAuthenticationError, match="characters that no API key contains") as caught:
        VeoHook("odd").get_conn()
    assert "abc" not in str(caught.value)


async def test_a_connection_without_a_key_says_so(monkeypatch):
    """A missing password is named, for both clients."""
    monkeypatch.setenv("AIRFLOW_CONN_EMPTY", '{"conn_type": "veo"}')
    with pytest.raises(VeoAuthenticationError, match="connection empty has no password"):
        VeoHook("empty").get_conn()
    with pytest.raises(VeoAuthenticationError, match="connection empty has no password"):
        await VeoHook("empty").get_async_conn()
