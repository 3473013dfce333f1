"""What Airflow's UI shows of a task: its log, the names of its mapped tasks, and the form of the examples."""

import ast
import logging
import runpy
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException
from jinja2.nativetypes import NativeEnvironment

from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _empty_bucket(s3, connections):
    for found in s3.list_objects_v2(Bucket="videos", Prefix="shown/").get("Contents", []):
        s3.delete_object(Bucket="videos", Key=found["Key"])


class Instance:
    """A mapped task instance, or one that is not mapped."""

    dag_id, run_id, task_id, try_number = "clips", "monday", "make", 1

    def __init__(self, map_index=-1):
        self.map_index = map_index

    def xcom_push(self, **_):
        pass


def make(context, **fields):
    fields = {"image": "s3://images/rocket.jpg", "prompt": "The rocket lifts off", **fields}
    task = VeoImageToVideoOperator(
        task_id="make",
        seconds="4",
        output="s3://videos/shown/one.mp4",
        deferrable=False,
        poll_interval=0.1,
        **fields,
    )
    return task.execute(context)


def lines_of(caplog, level=logging.INFO):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_a_successful_log_says_what_was_made_and_what_it_cost(caplog, capsys):
    """One line has the place, the length, the pixels, the size and the price; submission names the image."""
    caplog.set_level(logging.INFO)
    make({"ti": Instance()})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "s3://videos/shown/one.mp4, " in line]
    assert ", 4.0 s, 1280x720, " in line
    assert " MB, $0.30" in line
    (submitted,) = [line for line in lines_of(caplog) if line.startswith("Submitted as")]
    assert submitted.endswith(": s3://images/rocket.jpg")


def test_a_failed_log_ends_with_cause_money_and_advice(sandbox, caplog):
    """A lost response: three lines that need no scrolling."""
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    with pytest.raises(AirflowFailException):
        make({"ti": Instance()})
    cause, money, advice = lines_of(caplog, logging.ERROR)
    assert cause.startswith("Cause: The submission was sent, but no response came")
    assert money == "Money: It may have been accepted, and would then be charged."
    assert advice.startswith("What to do: Look for it in")


def test_a_batchs_log_names_each_image(caplog):
    """Stored, and submitted."""
    caplog.set_level(logging.INFO)
    task = VeoBatchOperator(
        task_id="all",
        images=["s3://images/rocket.jpg"],
        prompt="The rocket lifts off",
        seconds="4",
        output_prefix="s3://videos/shown/",
        deferrable=False,
        poll_interval=0.1,
    )
    task.execute({"ti": Instance()})
    lines = lines_of(caplog)
    assert any(line.startswith("Submitted as ") and line.endswith("s3://images/rocket.jpg") for line in lines)
    (stored,) = [line for line in lines if line.startswith("s3://images/rocket.jpg is stored: ")]
    assert stored.endswith("$0.30")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "images/rocket.jpg"),
        ({"image": None, "text_to_video": True, "prompt": "1984"}, "“1984”"),
    ],
    ids=["image", "prompt"],
)
def test_a_mapped_task_is_named_by_its_image(fields, name):
    """Airflow renders this after the task, with native types too; a number there would fail a paid task."""
    context = {"ti": Instance(3)}
    make(context, **fields)
    rendered = NativeEnvironment().from_string(context["map_index_template"]).render(context)
    assert rendered == name


def test_a_dags_own_name_is_kept():
    """A map_index_template of the DAG's author is not replaced, and what is not mapped has none."""
    own, single = {"ti": Instance(3), "map_index_template": "{{ 1 }}"}, {"ti": Instance()}
    for context in (own, single):
        make(context)
    assert own["map_index_template"] == "{{ 1 }}"
    assert "map_index_template" not in single


@pytest.mark.parametrize(
    "image", ["1984", "[1, 2]", "2026/01", "'a'/'b'", "{'a': 1}", "/x.jpg", "s3://b/" + 300 * "x"]
)
def test_no_name_is_a_literal(image):
    """What native rendering reads as a number, a list or a text without quotes would not be a name."""
    task = VeoImageToVideoOperator(task_id="make", image=image, prompt="x", output="s3://videos/x.mp4")
    name = task._map_index_name()
    assert 0 < len(name) <= 100
    with pytest.raises((ValueError, SyntaxError)):
        ast.literal_eval(name)


@pytest.mark.parametrize("name", ["veo_image_to_video", "veo_video_asset"])
def test_the_form_of_an_example_offers_models_with_their_price(name):
    """The prices in the form are those of the table, and a prompt has several lines."""
    found = runpy.run_path(str(ROOT / "dags" / f"{name}.py"))
    (dag,) = [value for value in found.values() if isinstance(value, DAG)]
    model, prompt = (dag.params.get_param(each).schema for each in ("model", "prompt"))
    assert model["enum"] == list(model["values_display"])
    for each, shown in model["values_display"].items():
        assert f"${APIYI.models[each].price.usd_per_video:.2f}" in shown
    assert prompt["format"] == "multiline"
