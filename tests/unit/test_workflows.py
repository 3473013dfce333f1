"""The hosted CI tests what is pinned."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_each_pinned_airflow_is_tested():
    """The matrix has each version of constraints/, except for the newest, which `make test` uses."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    pinned = {path.stem.removeprefix("airflow-") for path in (ROOT / "constraints").glob("airflow-*.txt")}
    (newest,) = pinned - set(jobs["versions"]["strategy"]["matrix"]["airflow"])
    assert f"NEWEST  := {newest}\n" in (ROOT / "Makefile").read_text()
