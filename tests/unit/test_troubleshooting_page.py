"""docs/troubleshooting.rst quotes what the code says, and leaves out no exception."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from veo_provider import exceptions

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.rst").read_text(encoding="utf-8")
BY_TEXT, BY_CLASS = PAGE.split("\nBy the text\n")[1].split("\nBy the class\n")
CAUSES = re.findall(r"^   \* - ``(.+)``$", BY_TEXT, re.MULTILINE)
ROWS = re.findall(r"^   \* - ``(\w+)``\n     - (yes|no)\n     - (.+)$", BY_CLASS, re.MULTILINE)
CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == exceptions.__name__
}
HOLE = "…"


def text_of(node):
    """Return a text of the source, with a hole for each value in it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)


def messages():
    """Yield the texts that the modules hold, outside of docstrings."""
    for path in (ROOT / "veo_provider").rglob("*.py"):
        if "sandbox" in path.parts or path.name == "exceptions.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        statements = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in statements:
                yield text_of(node)


MESSAGES = list(messages())


def pattern_of(cause):
    """Return what a message looks like that begins with a cause; a hole may be any text."""
    return re.compile(".*".join(re.escape(part) for part in cause.split(HOLE)), re.DOTALL)


def test_there_are_causes():
    """The table was found, and is in the order of the alphabet, as it says."""
    assert len(CAUSES) > 25
    plain = [cause.replace(HOLE, "").strip(" .").lower() for cause in CAUSES if not cause.startswith(HOLE)]
    assert plain == sorted(plain)


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_a_message_of_the_code(cause):
    """A message that was reworded must be reworded on the page, too."""
    assert len(cause.replace(HOLE, "")) > 15
    found = pattern_of(cause)
    assert [message for message in MESSAGES if found.match(message)] != []


def test_each_exception_has_a_row():
    """No public exception is left out, and none is listed that does not exist."""
    assert [name for name, _, _ in ROWS] == sorted(CLASSES)


@pytest.mark.parametrize(("name", "retry", "money"), ROWS, ids=[name for name, _, _ in ROWS])
def test_a_row_says_what_the_class_says(name, retry, money):
    """Whether it is retried, and whether money was spent, are the attributes of the class."""
    kind = CLASSES[name]
    assert retry == ("yes" if getattr(kind, "retryable", False) else "no")
    assert money == getattr(kind, "money", "Nothing was spent.")
