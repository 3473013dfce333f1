"""The architecture page of the documentation names what exists, and all of it."""

import pkgutil
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "veo_provider"
PAGE = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
NOT_DRAWN = {"sandbox"}
"""Packages whose modules are private to them: their own name is enough."""


def picture() -> str:
    """Return the picture of the packages, between its heading and the next one."""
    return PAGE.split("The packages\n")[1].split("Where to change what\n")[0]


def test_every_file_that_the_page_names_exists():
    """A path such as ``receipts/charges.py`` is below the package; moving the file changes the page."""
    named = set(re.findall(r"``([\w/]+\.py)``", PAGE))
    assert len(named) > 20
    assert not sorted(path for path in named if not (PACKAGE / path).is_file())


def test_every_package_is_in_the_picture():
    """Each package, and each module beside them, has a place in the picture; a new one must get it."""
    words = set(re.findall(r"[\w.]+", picture()))
    found = {one.name for one in pkgutil.iter_modules([str(PACKAGE)])}
    for one in pkgutil.walk_packages([str(PACKAGE)], "veo_provider."):
        name = one.name.removeprefix("veo_provider.")
        if one.ispkg and name.split(".")[0] not in NOT_DRAWN:
            found.add(name)
    assert found
    assert not sorted(found - words)


def test_every_package_in_the_picture_exists():
    """The names in the left half of the picture are importable: a removed package leaves the page, too."""
    lines = [line[4:52] for line in picture().split("::\n")[1].split("\nA package imports")[0].splitlines()]
    names = re.findall(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*", "\n".join(lines))
    assert "batch.engine" in names
    missing = []
    for name in names:
        path = PACKAGE.joinpath(*name.split("."))
        if not path.is_dir() and not path.with_suffix(".py").is_file():
            missing.append(name)
    assert not missing
