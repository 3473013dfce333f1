"""The audit in Python that docs/archives.rst shows, run as it is there."""

import re
import textwrap
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from veo_provider.operators.veo import VeoSubmitOperator

PAGE = (Path(__file__).parents[3] / "docs" / "archives.rst").read_text(encoding="utf-8")
PREFIX_OF_THE_PAGE, PREFIX = "s3://videos/archive/", "s3://videos/audited/"

pytestmark = pytest.mark.usefixtures("connections")


def snippet():
    """Return the block of Python that imports from the package's ledger."""
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE)
    (found,) = (block for block in blocks if "veo_provider.receipts" in block)
    assert PREFIX_OF_THE_PAGE in found
    return textwrap.dedent(found).replace(PREFIX_OF_THE_PAGE, PREFIX)


def submit(name):
    operator = VeoSubmitOperator(
        task_id="make",
        prompt=f"Slow zoom into {name}",
        image="s3://images/rocket.jpg",
        seconds="4",
        receipt=f"{PREFIX}{name}.mp4.veo.json",
    )
    return operator.execute({})


def test_the_audit_in_python_is_the_bill(sandbox, capsys):
    """Two accepted submissions are charges; one whose response was lost is apart from them."""
    submit("one")
    submit("two")
    sandbox.add_faults([{"call": "submit", "reset": "after"}])
    with pytest.raises(AirflowFailException, match="may have been accepted"):
        submit("three")
    exec(compile(snippet(), "docs/archives.rst", "exec"), {})  # noqa: S102 - the page's own code
    assert capsys.readouterr().out.splitlines()[-1].endswith(" 0.6 0.3")
