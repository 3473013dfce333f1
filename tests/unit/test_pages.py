"""The commands, links, paths and figures that the Markdown pages and the documentation name are true."""

import json
import re
from pathlib import Path
from statistics import median

import pytest

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
