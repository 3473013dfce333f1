"""The folder of awkward pictures and films that a person can write, and what becomes of each file in it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import films
import pytest

from veo_provider.exceptions import VeoImageError, VeoIncompleteVideoError
from veo_provider.media.conversion import ConvertedImage
from veo_provider.media.image_source import open_image
from veo_provider.media.mp4 import Mp4Parser

SCRIPT = Path(__file__).parents[1] / "awkward_folder.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """It, as the command writes it."""
    folder = tmp_path_factory.mktemp("awkward") / "new"
    made = subprocess.run([sys.executable, SCRIPT, folder], check=True, capture_output=True, text=True)
    assert "files; expected.json says" in made.stdout
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    """What is right for each of its files."""
    return json.loads((folder / "expected.json").read_text("utf-8"))


def outcome_of_picture(path):
    try:
        image = open_image(path, None, convert=True)
    except VeoImageError as error:
        return "refused", str(error)
    return ("converted", image.reason) if isinstance(image, ConvertedImage) else ("as it is", "")


def outcome_of_film(path):
    data = path.read_bytes()
    for promised, outcome in [(None, "stored"), (len(data), "stored if its length is known")]:
        walker = Mp4Parser()
        try:
            walker.feed(data)
            walker.finish(promised, asked_seconds=films.SECONDS)
        except VeoIncompleteVideoError as error:
            said = str(error)
        else:
            return outcome, ""
    return "refused", said


def test_it_has_every_file_that_it_tells_of(folder, expected):
    """And none besides, of each outcome some."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {row["file"] for row in expected} | {"expected.json"}
    counts = Counter((row["file"].partition("/")[0], row["outcome"]) for row in expected)
    assert len(expected) > 200
    assert len(counts) == 6
    assert min(counts.values()) > 5


def test_each_file_has_the_outcome_that_is_told(folder, expected):
    """By the very functions that look at images and videos."""
    wrong = []
    for row in expected:
        path = folder / row["file"]
        look = outcome_of_picture if row["file"].startswith("pictures/") else outcome_of_film
        outcome, says = look(path)
        if outcome != row["outcome"] or row["says"] not in says:
            wrong.append((row, outcome, says))
    assert wrong == []


def test_only_what_says_so_itself_is_called_broken(folder, expected):
    """No file that is whole, whatever it is."""
    called = {
        row["kind"]
        for row in expected
        if row["file"].startswith("pictures") and "broken" in outcome_of_picture(folder / row["file"])[1]
    }
    told = {row["kind"] for row in expected if row["says"] in ("broken", "cut off")}
    assert called == told
