"""Prompts in files, as Airflow's operators read their scripts; nothing else is taken for a file's name."""

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from veo_provider.exceptions import VeoRequestError
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "sunset.txt").write_text("\ufeffThe sun sets on {{ ds }}\n", encoding="utf-8")
    (tmp_path / "prompts" / "sea.md").write_text("Waves, as in notes.txt\n")
    (tmp_path / "prompts" / "latin.txt").write_bytes("Größe".encode("latin-1"))
    return tmp_path


@pytest.fixture
def dag(folder):
    with DAG("files", schedule=None, template_searchpath=[str(folder)]) as made:
        yield made


def rendered(task, *, parsed):
    """Render a task's templates as Airflow does, after a parser has read the DAG, or by itself."""
    if parsed:
        task.dag.resolve_template_files()
    task.render_template_fields({"ds": "2026-01-01"})
    return task


@pytest.mark.parametrize("parsed", [True, False])
def test_a_prompt_may_be_a_file(dag, parsed):
    """Its templates are rendered; what it says may end like the name of another file."""
    fields = {"image": "s3://images/a.jpg", "negative_prompt": ["blur", "prompts/sea.md"]}
    task = VeoSubmitOperator(task_id="a", prompt="prompts/sunset.txt", **fields)
    rendered(task, parsed=parsed)
    assert task.prompt == "The sun sets on 2026-01-01"
    assert task.negative_prompt == ["blur", "Waves, as in notes.txt"]


@pytest.mark.parametrize("parsed", [True, False])
def test_nothing_else_is_taken_for_a_file(dag, parsed):
    """Images, outputs and receipts may have any name."""
    task = VeoImageToVideoOperator(
        task_id="a", prompt="prompts/sea.md", image="s3://images/{{ ds }}.txt", output="s3://videos/x.md"
    )
    submit = VeoSubmitOperator(
        task_id="b", prompt="p", image="/data/a.md", receipt="s3://videos/{{ ds }}.txt"
    )
    batch = VeoBatchOperator(
        task_id="c", images=["s3://images/a.txt", "b.md"], prompt="p", output_prefix="s3://videos/"
    )
    for one in (task, submit, batch):
        rendered(one, parsed=parsed)
    assert (task.image, task.output_uri) == ("s3://images/2026-01-01.txt", "s3://videos/x.md")
    assert task.prompt == "Waves, as in notes.txt"
    assert (submit.image, submit.receipt) == ("/data/a.md", "s3://videos/2026-01-01.txt")
    assert batch.images == ["s3://images/a.txt", "b.md"]


@pytest.mark.parametrize("parsed", [True, False])
def test_a_batch_may_have_a_file_for_each_image(dag, parsed):
    """A mapping's prompts are files or texts, and its names of images are neither."""
    prompts = {"a.txt": "prompts/sunset.txt", "b.jpg": "A sea on {{ ds }}"}
    task = VeoBatchOperator(task_id="a", images="s3://images/", prompt=prompts, output_prefix="s3://videos/")
    rendered(task, parsed=parsed)
    assert task.prompt == {"a.txt": "The sun sets on 2026-01-01", "b.jpg": "A sea on 2026-01-01"}


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("prompts/moon.txt", "no such file in the DAG's folder"),
        ("A poster that says readme.md", "let it end with a full stop"),
        ("../files.txt", "no such file"),
        ("s3://images/prompt.txt", "no such file"),
        ("prompts/latin.txt", "cannot be read"),
    ],
)
def test_a_file_that_is_not_there_is_told(dag, prompt, said):
    """The parser of the DAG says it, and so does a task without a parse, which is not tried again."""
    task = VeoSubmitOperator(task_id="a", prompt=prompt, image="a.jpg")
    with pytest.raises(VeoRequestError, match=said):
        rendered(task, parsed=True)
    with pytest.raises(AirflowFailException, match=said):
        rendered(task, parsed=False)


def test_a_task_without_a_dag_has_no_files():
    """The error is the same, and no foreign one."""
    task = VeoSubmitOperator(task_id="a", prompt="prompts/sunset.txt", image="a.jpg")
    with pytest.raises(AirflowFailException, match="no such file"):
        task.render_template_fields({})


def test_text_that_renders_to_a_name_stays_text(dag):
    """What a template, a parameter or an upstream task gives is never the name of a file."""
    task = VeoSubmitOperator(task_id="a", prompt="{{ name }}", image="a.jpg")
    task.render_template_fields({"name": "prompts/sea.md"})
    assert task.prompt == "prompts/sea.md"
    again = VeoSubmitOperator(task_id="b", prompt="prompts/sea.md", image="a.jpg")
    env = dag.get_template_env()
    again._do_render_template_fields(again, ("prompt",), {}, env, {id(again.prompt)})
    assert again.prompt == "prompts/sea.md"


def test_the_suffixes_stay_airflows(dag):
    """Rendering leaves the operator's class and instance as they were."""
    task = rendered(VeoSubmitOperator(task_id="a", prompt="p", image="a.jpg"), parsed=True)
    assert tuple(task.template_ext) == (".txt", ".md")


class Note:
    """A value with a template field of its own, as some operators' parameters have them."""

    template_fields = ("text",)

    def __init__(self, text):
        self.text = text


def test_a_value_with_templates_of_its_own_changes_nothing(dag):
    """Airflow renders it by the same method, and no field that comes after it is taken for a file."""
    note = Note("{{ ds }}")
    task = VeoSubmitOperator(
        task_id="a", image=note, prompt="prompts/sunset.txt", receipt="s3://videos/{{ ds }}.txt"
    )
    rendered(task, parsed=False)
    assert (note.text, task.prompt, task.receipt) == (
        "2026-01-01",
        "The sun sets on 2026-01-01",
        "s3://videos/2026-01-01.txt",
    )
