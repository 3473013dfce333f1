"""Links in Airflow's UI: they lead where the task's connections do."""

import json
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from airflow.utils.state import TaskInstanceState

from veo_provider import links
from veo_provider.links import VeoArchiveLink, VeoPageLink, VeoTaskLogLink, VeoVideoLink
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.sensors.veo import VeoTaskSensor


@pytest.fixture
def connect(monkeypatch):
    """Sets the two connections."""

    def connect(veo=None, aws=None):
        for name, fields in (("VEO_DEFAULT", veo), ("AWS_DEFAULT", aws)):
            if fields is None:
                monkeypatch.delenv(f"AIRFLOW_CONN_{name}", raising=False)
            else:
                monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(fields))

    return connect


@pytest.fixture
def xcom(monkeypatch):
    """What the task has pushed; the database of a running Airflow has it otherwise."""
    pushed = {}
    monkeypatch.setattr(links.XCom, "get_value", lambda *, ti_key, key: pushed.get(key))
    return pushed


OPERATOR = VeoImageToVideoOperator(
    task_id="make", image="s3://images/a.jpg", prompt="x", output="s3://videos/a b.mp4"
)
SENSOR = VeoTaskSensor(task_id="wait", veo_task_id="task_1")
BATCH = VeoBatchOperator(task_id="all", images="s3://images/", prompt="x", output_prefix="s3://videos/")
APIYI = "https://api.apiyi.com/task"


@pytest.mark.parametrize(
    ("connection", "link"),
    [
        (None, APIYI),
        ({"conn_type": "veo", "password": "sk-1"}, APIYI),
        ({"conn_type": "veo", "host": "https://new-api.example/v1"}, "https://new-api.example/task"),
        ({"conn_type": "veo", "host": "new-api.example", "port": 8443}, "https://new-api.example:8443/task"),
        ({"conn_type": "veo", "extra": '{"gateway": "openrouter"}'}, "https://openrouter.ai/activity"),
        ({"conn_type": "veo", "host": "https://x/v1", "extra": '{"gateway": "openai"}'}, ""),
        ({"conn_type": "veo", "extra": '{"gateway": "nobody"}'}, ""),
        ({"conn_type": "veo", "host": "https://[broken"}, ""),
        ({"conn_type": "veo", "host": "https://user:secret@x.example/v1"}, "https://x.example/task"),
    ],
)
def test_the_task_log_is_that_of_the_connections_gateway(connect, connection, link):
    """The sensor has the link as well; a gateway without a log has none, and nothing ever fails."""
    connect(veo=connection)
    assert [VeoTaskLogLink().get_link(one, ti_key=None) for one in (OPERATOR, SENSOR)] == [link, link]
    assert [type(each) for each in SENSOR.operator_extra_links] == [VeoPageLink, VeoTaskLogLink]


CONSOLE = "https://console.aws.amazon.com/s3"


@pytest.mark.parametrize(
    ("extra", "video", "folder"),
    [
        (None, f"{CONSOLE}/object/videos?prefix=a%20b.mp4", f"{CONSOLE}/buckets/videos?prefix=_veo/"),
        (
            {"endpoint_url": "https://s3.eu-central-1.amazonaws.com"},
            f"{CONSOLE}/object/videos?prefix=a%20b.mp4",
            f"{CONSOLE}/buckets/videos?prefix=_veo/",
        ),
        (
            {"endpoint_url": "http://minio:9000/"},
            "http://minio:9000/videos/a%20b.mp4",
            "http://minio:9000/videos/_veo/progress.json",
        ),
        (
            {
                "endpoint_url": "http://sts:1",
                "service_config": {"s3": {"endpoint_url": "http://key:x@ceph:7480"}},
            },
            "http://ceph:7480/videos/a%20b.mp4",
            "http://ceph:7480/videos/_veo/progress.json",
        ),
        (
            {"endpoint_url": "http://minio:port"},
            f"{CONSOLE}/object/videos?prefix=a%20b.mp4",
            f"{CONSOLE}/buckets/videos?prefix=_veo/",
        ),
    ],
    ids=["no connection", "aws", "minio", "s3 alone", "damaged"],
)
def test_objects_are_at_the_connections_endpoint(connect, xcom, extra, video, folder):
    """AWS has a console; another store has the object itself."""
    connect(aws=None if extra is None else {"conn_type": "aws", "extra": json.dumps(extra)})
    xcom.update({"return_value": {"uri": "s3://videos/a b.mp4"}, "folder": "s3://videos/_veo/"})
    assert VeoVideoLink().get_link(OPERATOR, ti_key=None) == video
    assert VeoArchiveLink().get_link(BATCH, ti_key=None) == folder


def test_there_is_no_link_before_there_is_anything(xcom):
    """Before the end there is no video, and before the start no folder."""
    assert VeoVideoLink().get_link(OPERATOR, ti_key=None) == ""
    assert VeoArchiveLink().get_link(BATCH, ti_key=None) == ""


@pytest.mark.parametrize("state", ["deferred", "up_for_retry", "failed"])
def test_a_result_is_read_only_where_there_can_be_one(monkeypatch, state):
    """A task that defers or fails has none, and Airflow would log an error that it is not found."""

    def refuse(**asked):
        raise AssertionError("the result was read")

    monkeypatch.setattr(links.XCom, "get_value", refuse)
    ended = SimpleNamespace(state=TaskInstanceState(state))
    assert VeoVideoLink().get_link(OPERATOR, ti_key=ended) == ""


def test_a_task_that_succeeded_links_to_its_video(connect, xcom):
    """Airflow asks when the task has just returned its result."""
    connect()
    xcom["return_value"] = {"uri": "s3://videos/a.mp4"}
    ended = SimpleNamespace(state=TaskInstanceState("success"))
    assert VeoVideoLink().get_link(OPERATOR, ti_key=ended) == f"{CONSOLE}/object/videos?prefix=a.mp4"


KEY = SimpleNamespace(
    dag_id="clips", run_id="manual__2026-01-01T00:00:00+00:00/a", task_id="make", map_index=3
)


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 has no page")
@pytest.mark.parametrize(
    ("base_url", "ui", "link"),
    [
        ("", "True", "/veo/task/clips/manual__2026-01-01T00%3A00%3A00%2B00%3A00%2Fa/make/3"),
        (
            "http://airflow/team/",
            "True",
            "/team/veo/task/clips/manual__2026-01-01T00%3A00%3A00%2B00%3A00%2Fa/make/3",
        ),
        ("", "False", ""),
    ],
)
def test_each_operator_leads_to_its_video_on_the_page(monkeypatch, base_url, ui, link):
    """The link is the path of the task instance's view below the base path; without a page, it is empty."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    monkeypatch.setenv("AIRFLOW__VEO__UI", ui)
    for operator in (OPERATOR, SENSOR, BATCH):
        assert operator.operator_extra_links[0].get_link(operator, ti_key=KEY) == link


@pytest.mark.skipif(AIRFLOW_V_3_0_PLUS, reason="Airflow 3 has the page")
def test_airflow_2_has_no_page_to_lead_to():
    """Airflow 2 shows the link, and it leads nowhere."""
    assert VeoPageLink().get_link(OPERATOR, ti_key=KEY) == ""
