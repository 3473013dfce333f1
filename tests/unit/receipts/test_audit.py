"""The audit that the documentation shows comes to what the code counts."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.charges import charges
from veo_provider.receipts.receipt import ReceiptState, claim

DOCS = Path(__file__).parents[3] / "docs" / "archives.rst"
RUNS = [Attempt("dag / monday / make"), Attempt("dag / tuesday / make")]


def receipt(*steps):
    """Return a receipt of these steps: a price for a claim, a state for what came of it."""
    found = None
    for number, step in enumerate(steps):
        if isinstance(step, str):
            found = found.transition(ReceiptState(step), RUNS[0])
        else:
            found = claim("f", {}, step, RUNS[number % 2], seconds=10, after=found)
    return found


RECEIPTS = [
    receipt(0.30, "submitted", "stored"),
    receipt(1.20, "submitted", "stored", 0.30, "unknown"),
    receipt(1.20, "refused", 0.30, "submitted", "failed", 0.30, "submitted"),
    receipt(None, "submitted"),
    receipt(0.30),
]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_audit_by_jq_is_that_of_the_code():
    """Submissions of several runs at several prices, and steps of an earlier release that have none."""
    texts = [one.to_json().decode() for one in RECEIPTS]
    old = json.loads(texts[0])
    for step in old["history"]:
        step.pop("price_usd", None)
    program = re.search(r"jq -s '(.*?)'", DOCS.read_text(encoding="utf-8"), re.DOTALL).group(1)
    data = "".join([*texts, json.dumps(old)])
    done = subprocess.run(["jq", "-s", program], input=data, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole = 0.30 + sum(charges(one, run.task_instance) for one in RECEIPTS for run in RUNS)
    assert json.loads(done.stdout) == {"videos": 6, "usd": pytest.approx(whole)}
