"""The commands, links, paths, figures and code that the Markdown pages and the documentation show hold."""

import ast
import json
import re
import subprocess
import sys
from configparser import ConfigParser
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import pytest
import yaml
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_2_PLUS
from support.code_blocks import code_blocks

from veo_provider.api.gateways.described import gateway_of

ROOT = Path(__file__).parents[2]
MARKDOWN = sorted(ROOT.glob("*.md"))
PAGES = [*MARKDOWN, *sorted((ROOT / "docs").glob("*.rst"))]


def names(pages):
    return [page.name for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_make_target_exists(page):
    """A page names no target that the Makefile does not have."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:`|\$ |^ {4})make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert not sorted(set(named) - targets)


@pytest.mark.parametrize("page", MARKDOWN, ids=names(MARKDOWN))
def test_every_link_leads_to_a_file(page):
    """A relative link in Markdown is a file of the repository; Sphinx checks those between its own pages."""
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_path_exists(page):
    """A path that begins with a folder of the repository, and has no placeholder, exists."""
    folders = "veo_provider|tests|dags|docs|demo|benchmarks|constraints"
    if page.name == "CHANGELOG.md":
        pytest.skip("A changelog names what was.")
    found = re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text(encoding="utf-8"))
    assert not sorted({path for path in found if not (ROOT / path).exists()})


FIGURES = [
    ("polls for each 720p video", "polls-720p", [".1f", ".1f"]),
    ("connection look-ups by 1,000 waits", "connection-look-ups", [",.0f", ",.0f"]),
    ("memory of one wait in the triggerer", "memory-per-wait", [".1f"]),
    ("memory to store a video of 64 MiB, of 1 GiB", "memory-1-gib", [".0f", ".0f"]),
    ("time to store a video of 64 MiB", "storing-64-mib", [".2f", ".2f", ".2f"]),
    ("CPU time to import the operators", "import-operators-veo", [".0f", ".0f"]),
]


@pytest.mark.parametrize(("row", "name", "formats"), FIGURES, ids=[name for _, name, _ in FIGURES])
def test_the_readme_has_the_figures_that_were_measured(row, name, formats):
    """Each median in the README is that of ``docs/benchmarks/results.json``: ours, then the rivals'."""
    results = json.loads((ROOT / "docs" / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    (figure,) = (one for topic in results.values() for one in topic["figures"] if one["name"] == name)
    values = [
        format(median(one["values"]), form) for one, form in zip(figure["series"], formats, strict=False)
    ]
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"| {row} |"))
    cells = line.split("|")[2:]
    shown = re.findall(r"[\d.,]*\d", " ".join(cells))
    assert [value for value in values if value not in shown] == []


BLOCKS = [block for page in PAGES for block in code_blocks(page)]
SHELLS = ("console", "shell", "bash")
INSTRUCTIONS = {"FROM", "RUN", "COPY", "ENV", "USER", "ARG"}


def read_dockerfile(text):
    """Return the instructions of an image's file."""
    found = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert set(found) <= INSTRUCTIONS
    return found


def read_ini(text):
    """Return a part of airflow.cfg."""
    parser = ConfigParser()
    parser.read_string(text)
    return parser


DATA = {"docker": read_dockerfile, "ini": read_ini, "json": json.loads, "yaml": yaml.safe_load}
OTHERS = {"aws", "docker", "export", "find", "git", "helm", "jq", "pipx", "pre-commit", "sort", "tail"}
"""Programs of others: that bash can parse their lines is all that is checked."""
NAMES = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG, Asset
from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator
"""
"""What an excerpt of a DAG leaves out, as are the next ones."""
SUBMIT = 'submit = VeoSubmitOperator(task_id="submit", image="s3://images/a.jpg", prompt="p")'
REQUIRED = '(task_id="make", image="s3://images/a.jpg", prompt="p", output="s3://videos/a.mp4"'


def blocks(*languages):
    return pytest.mark.parametrize("block", [one for one in BLOCKS if one.language in languages], ids=str)


def commands(*names):
    """Return the commands of all pages that start with one of these names, with their place."""
    found = [(block, words) for block in BLOCKS if block.language in SHELLS for words in block.commands()]
    chosen = [(block, words) for block, words in found if words[0] in names]
    return pytest.mark.parametrize(
        "words", [words for _, words in chosen], ids=[f"{block}-{words[-1]}" for block, words in chosen]
    )


def test_every_block_of_code_is_in_a_language_that_is_checked():
    """A block in any other language, or a command that no test knows, is code that nobody has run."""
    assert len(BLOCKS) > 30
    known = {"python", "text", *SHELLS, *DATA}
    assert sorted(f"{block}: {block.language}" for block in BLOCKS if block.language not in known) == []
    programs = {words[0] for block in BLOCKS if block.language in SHELLS for words in block.commands()}
    assert sorted(programs - OTHERS - {"airflow", "make", "pip", "python", ".venv/bin/python"}) == []


@blocks(*DATA)
def test_data_is_whole(block):
    """JSON, YAML and INI can be parsed, and a gateway or a model in it is what a connection takes."""
    found = DATA[block.language](block.text)
    if isinstance(found, dict) and {"gateway", "models"} & set(found):
        gateway_of(found)


@blocks("python")
def test_python_imports_what_exists(block):
    """All lines compile, and the imports among them are run."""
    tree = ast.parse(block.text)
    imports = [line for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
    if not AIRFLOW_V_3_0_PLUS:
        imports = [line for line in imports if getattr(line, "module", "") != "airflow.sdk"]
    exec(compile(ast.Module(imports, []), str(block), "exec"), {})  # noqa: S102 - our own pages


def as_dag_file(text):
    """Return an excerpt of a DAG as a whole file."""
    text = text.replace("(...", REQUIRED)
    if "DAG(" not in text:
        lines = text if "submit =" in text or "submit." not in text else f"{SUBMIT}\n{text}"
        indented = "".join(f"    {line}\n" for line in lines.splitlines())
        text = f'with DAG("page", schedule=None, start_date=datetime(2026, 1, 1)):\n{indented}'
    if not AIRFLOW_V_3_0_PLUS:  # as the README says
        text = text.replace("from airflow.sdk import DAG", "from airflow import DAG")
    return NAMES + text


@pytest.mark.parametrize(
    "block",
    [one for one in BLOCKS if one.language == "python" and re.search(r"Veo\w+(Operator|Sensor)\(", one.text)],
    ids=str,
)
def test_a_dag_is_loaded_without_a_warning(block, tmp_path):
    """Airflow takes each DAG, and each task in a DAG, as the page shows it."""
    if AIRFLOW_V_3_2_PLUS:
        from airflow.dag_processing.dagbag import DagBag
    else:
        from airflow.models.dagbag import DagBag
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "product.md").write_text("A slow turn", encoding="utf-8")
    file = tmp_path / "page.py"
    file.write_text(as_dag_file(block.text), encoding="utf-8")
    bag = DagBag(str(file))
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    assert [len(dag.tasks) > 0 for dag in bag.dags.values()] == [True]


@blocks(*SHELLS)
def test_bash_can_parse_it(block):
    """No quote is missing, and no line is broken at the wrong place."""
    done = subprocess.run(["bash", "-n"], input=block.shell(), capture_output=True, text=True, check=False)
    assert done.stderr == ""


@commands("airflow")
def test_airflows_command_line_takes_it(words):
    """The command, and each of its options and values, is what Airflow's own parser knows."""
    from airflow.cli import cli_parser

    if not (AIRFLOW_V_3_2_PLUS if words[1] == "veo" else AIRFLOW_V_3_0_PLUS):
        pytest.skip("The page tells how it is done on an older Airflow.")
    parsed = cli_parser.get_parser().parse_args(words[1:])
    assert callable(parsed.func)


@commands("make")
def test_make_has_the_target(words):
    """Each target is one of the Makefile's."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert sorted(word for word in words[1:] if "=" not in word and word not in targets) == []


@cache
def help_of(*module_and_command):
    done = subprocess.run(
        [sys.executable, "-m", *module_and_command, "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@commands("python", ".venv/bin/python")
def test_python_runs_the_module_or_file(words):
    """The module or the file exists, and its own help names each subcommand and option."""
    if words[1] != "-m":
        assert (ROOT / words[1]).is_file()
        return
    module, *rest = words[2:]
    assert find_spec(module) is not None
    options = [word for word in rest if word.startswith("-")]
    command = [word for word in rest[:1] if module == "veo_provider.settle"]
    if options or command:
        shown = help_of(module, *command)
        assert [option for option in options if option not in shown] == []


@commands("pip")
def test_pip_installs_an_extra_that_exists(words):
    """Each extra of the provider is one of those that pyproject.toml names."""
    extras = re.findall(r"airflow-provider-veo\[([\w,]+)\]", " ".join(words))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not [one for extra in extras for one in extra.split(",") if f"\n{one} = [" not in project]
