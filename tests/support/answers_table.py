"""The page docs/answers.rst, made of the rows that a test tries.

Write it anew with ``python tests/support/answers_table.py`` from the repository's root.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))  # where this file is run by itself

from support.answers import GROUPS, ROWS
from support.answers.row import OWN, TASK, Group, Row

PAGE = Path(__file__).parents[2] / "docs" / "answers.rst"
MOST_SHOWN = 70
"""So many characters of a body are shown."""
SHORTER = {
    f'"task_id": "{TASK}", "object": "video", ': "",
    TASK: "task_…",
    "http://localhost:@PORT/linked": "https://elsewhere.example/…",
}
"""What is shown of what all rows have in common."""
INTRODUCTION = """\
What the service may say and what happens
=========================================

A gateway, a proxy before it or the network may answer a call with anything. Below are {count} answers that
were reported or that we made up. A test sends each one over a real socket in every phase: as the answer to a
submission and to a poll, to both clients (that of the workers and that of the triggerer), and to a download
and a question for the balance, which workers alone make. What is said here is what the test expects.

- **Submitting** spends money. *Refused* means that nothing was charged. *Unknown* means that the generation
  may have been accepted: it is not sent again by itself, and the error says how to find out. An id that could
  be read all the same is looked up for free.
- **Waiting** costs nothing. Only a wrong key, an unknown id and what is said of the task itself end it.
- **Downloading** costs nothing, and what is not a whole MP4 is never stored. *Lost* means charged, and
  without a file: see ``on_lost_video``.

What each kind of answer means for the money, and what the errors say, is told in :doc:`money`.
"""


def render() -> str:
    """Return the page as reStructuredText."""
    page = INTRODUCTION.format(count=len(ROWS)) + "".join(_section(group) for group in GROUPS)
    return f".. This page is made by tests/support/answers_table.py: do not edit it by hand.\n\n{page}"


def _section(group: Group) -> str:
    lines = ["", group.title, "-" * len(group.title), "", group.lead, "", ".. list-table::"]
    lines += ["   :header-rows: 1", "   :widths: 30 18 18 18 16", ""]
    lines += _line("answer", "to a submission", "to a poll", "to a download", "source")
    for row in group.rows:
        lines += _line(
            _answer(row, shows_body=group.about_bodies),
            row.submit.value,
            row.poll.value,
            row.content.value,
            _source(row.source),
        )
    return "\n".join([*lines, ""])


def _line(first: str, *others: str) -> list[str]:
    return [f"   * - {first}", *(f"     - {cell}" for cell in others)]


def _answer(row: Row, *, shows_body: bool) -> str:
    """Return a row's name, and how its answer begins."""
    name = row.name.replace('"', "``") if row.name.strip('"') else "an empty word"
    balance = "" if row.balance is None else f" (a balance of ${row.balance:.2f})"
    shown = _shown(row) if shows_body else ""
    return f"{name}{balance}" + (f": ``{shown}``" if shown else "")


def _shown(row: Row) -> str:
    """Return the first characters of an answer's body, if they can be read by people."""
    sent = b"".join(piece for piece in row.pieces if isinstance(piece, bytes))
    *_, body = sent.partition(b"\r\n\r\n")
    text = body[:1000].decode("ascii", "replace")
    if not re.fullmatch(r"[ -_a-~\r\n\t]+", text) or text.startswith("HTTP/"):
        return ""
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    text = " ".join(text.split())
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"


def _source(address: str) -> str:
    """Return a link to a source, called by the name that people know it by."""
    if address == OWN:
        return OWN
    parts = urlsplit(address)
    thread = re.fullmatch(r"/([^/]+/[^/]+)/issues/(\d+)", parts.path)
    name = f"{thread[1]}#{thread[2]}" if thread else parts.netloc
    if not thread and parts.netloc == "github.com":
        name = "/".join(parts.path.split("/")[1:3])
    return f"`{name} <{address}>`__"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
