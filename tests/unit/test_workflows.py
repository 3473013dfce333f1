"""The hosted CI tests what is pinned."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_each_pinned_airflow_is_tested():
    """The matrix has each version of constraints/, except for the newest, which `make test` uses."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    pinned = {path.stem.removeprefix("airflow-") for path in (ROOT / "constraints").glob("airflow-*.txt")}
    (newest,) = pinned - set(jobs["versions"]["strategy"]["matrix"]["airflow"])
    assert f"NEWEST  := {newest}\n" in (ROOT / "Makefile").read_text()


def test_each_make_target_of_a_workflow_exists():
    """A renamed target would fail there only after a push."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    proofs = jobs["proofs"]["strategy"]["matrix"]["target"]
    lines = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    made = [line.split()[1:] for line in lines if line.startswith("make ")]
    words = {word for line in made for word in line if re.fullmatch("[a-z-]+", word)}
    makefile = (ROOT / "Makefile").read_text()
    assert words >= {"unit", "integration", "demo", "package"}
    assert [one for one in {*words, *proofs} if f"\n{one}:" not in makefile] == []
