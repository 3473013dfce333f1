"""Any value in any template field: it means what the author meant, or is refused before money moves."""

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    AirflowNotFoundException,
    TaskDeferred,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.exceptions import VeoError
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

pytestmark = pytest.mark.usefixtures("connections")

REQUEST = {"image": "s3://images/rocket.jpg", "prompt": "p", "seconds": "4"}
OPERATORS = {
    VeoSubmitOperator: REQUEST,
    VeoImageToVideoOperator: {**REQUEST, "output": "s3://videos/values/a.mp4"},
    VeoBatchOperator: {
        "images": ["s3://images/rocket.jpg"],
        "prompt": "p",
        "seconds": "4",
        "output_prefix": "s3://videos/values/",
        "max_cost_usd": 1,
        "dry_run": True,
    },
    VeoTaskSensor: {"veo_task_id": "task_" + "0" * 32},
    VeoToS3Operator: {"veo_task_id": "task_" + "0" * 32, "s3_key": "s3://videos/values/b.mp4"},
}
FIELDS = [(operator, field) for operator in OPERATORS for field in operator.template_fields]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["None", "False", "1984", 1984, 8.0, 6, float("nan"), "nowhere", "s3://videos/x"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2)
    ),
    max_leaves=3,
)


class TaskInstance:
    """What the operators ask of a task instance."""

    dag_id, run_id, task_id, map_index, try_number, max_tries = "values", "r", "t", -1, 1, 0

    def xcom_push(self, *, key, value):
        pass


@pytest.fixture(autouse=True)
def _believe_at_once(monkeypatch, impatient):
    from veo_provider.polling import poller

    monkeypatch.setattr(poller, "REFUSED_SECONDS", 0.0)
    monkeypatch.setattr(poller, "REFUSED_POLLS", 1)


@pytest.mark.parametrize(("operator", "field"), FIELDS, ids=lambda each: getattr(each, "__name__", each))
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(value=VALUES)
def test_no_value_raises_a_foreign_error(sandbox, s3, operator, field, value):
    """Errors are this provider's, or Airflow's own about a connection that does not exist."""
    task = operator(task_id="t", **OPERATORS[operator])
    setattr(task, field, value)
    s3.delete_object(Bucket="videos", Key="values/a.mp4.veo.json")
    sandbox.reset()
    try:
        task.execute({"ti": TaskInstance()})
    except (AirflowFailException, VeoError):
        assert sandbox.summary()["accepted"] == 0
    except AirflowNotFoundException:
        assert field == "veo_conn_id"
        assert sandbox.summary()["accepted"] == 0
    except TaskDeferred:
        assert sandbox.summary()["accepted"] <= 1


@pytest.mark.parametrize(
    ("field", "written", "asked"),
    [
        ("prompt", "1984", "1984"),
        ("prompt", "{{ params.year }}", "1984"),
        ("prompt", "'A quoted cat'", "A quoted cat"),
        ("prompt", "[slow zoom] a cat", "[slow zoom] a cat"),
        ("prompt", "007", "007"),
        ("negative_prompt", "1, 2", "1, 2"),
        ("negative_prompt", "{{ ['blur', 7] }}", "blur, 7"),
        ("seconds", "{{ 4 }}", "4"),
        ("seed", "{{ 7.0 }}", 7),
        ("resolution", "{{ none }}", "720p"),
        ("aspect_ratio", "{{ none }}", "16:9"),
        ("seed", "{{ none }}", None),
    ],
)
def test_native_rendering_means_what_was_written(sandbox, field, written, asked):
    """A DAG with render_template_as_native_obj gives numbers, lists and None for texts."""
    with DAG("native", schedule=None, render_template_as_native_obj=True, params={"year": 1984}) as dag:
        task = VeoSubmitOperator(task_id="t", **{**REQUEST, field: written})
    task.render_template_fields({"params": {"year": 1984}}, jinja_env=dag.get_template_env())
    request = task._request(APIYI, None)
    found = {
        **request.description(),
        "seed": request.seed,
    }
    assert found[field] == asked


@pytest.mark.parametrize("written", ["True", "{{ none }}", "1, 2", "[1]", "{'a': 1}"])
def test_a_prompt_that_is_none_is_refused(sandbox, written):
    """What native rendering makes no text of is told by its type, and nothing is sent."""
    with DAG("native", schedule=None, render_template_as_native_obj=True) as dag:
        task = VeoSubmitOperator(task_id="t", **{**REQUEST, "prompt": written})
    task.render_template_fields({}, jinja_env=dag.get_template_env())
    with pytest.raises(AirflowFailException, match=r"prompt.*Nothing was sent"):
        task.execute({})
    assert sandbox.tasks() == []


@pytest.mark.parametrize("rendered", ["", None, "None", 7])
def test_a_receipt_that_renders_to_nothing_is_no_wish_for_none(sandbox, rendered):
    """Without it a clear would pay again."""
    task = VeoSubmitOperator(task_id="t", receipt="{{ params.place }}", **REQUEST)
    task.receipt = rendered
    with pytest.raises(AirflowFailException, match="receipt"):
        task.execute({})
    assert sandbox.tasks() == []
