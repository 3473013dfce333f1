"""The folder of awkward images and videos that ``make awkward`` writes, and the outcome of each file."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.media import videos

from veo_provider.exceptions import VeoImageError, VeoIncompleteVideoError
from veo_provider.media.conversion import ConvertedImage
from veo_provider.media.image_source import open_image
from veo_provider.media.mp4 import Mp4Parser

SCRIPT = Path(__file__).parents[2] / "support" / "media" / "folder.py"


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


def outcome_of_image(path):
    try:
        image = open_image(path, None, convert=True)
    except VeoImageError as error:
        return "refused", str(error)
    return ("converted", image.reason) if isinstance(image, ConvertedImage) else ("as it is", "")


def outcome_of_video(path):
    data = path.read_bytes()
    for promised, outcome in [(None, "stored"), (len(data), "stored if its length is known")]:
        parser = Mp4Parser()
        try:
            parser.feed(data)
            parser.finish(promised, asked_seconds=videos.SECONDS)
        except VeoIncompleteVideoError as error:
            said = str(error)
        else:
            return outcome, ""
    return "refused", said


@pytest.fixture(scope="module")
def outcomes(folder, expected):
    """What becomes of each of its files, and what is said of it."""
    return {
        name: outcome_of_image(folder / name)
        if name.startswith("images/")
        else outcome_of_video(folder / name)
        for name in (row["file"] for row in expected)
    }


def test_it_has_every_file_that_it_tells_of(folder, expected):
    """And none besides, of each outcome some."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {row["file"] for row in expected} | {"expected.json"}
    counts = Counter((row["file"].partition("/")[0], row["outcome"]) for row in expected)
    assert len(expected) > 200
    assert len(counts) == 6
    assert min(counts.values()) > 5


def test_each_file_has_the_outcome_that_is_told(outcomes, expected):
    """By the very functions that check images and videos."""
    wrong = []
    for row in expected:
        outcome, says = outcomes[row["file"]]
        if outcome != row["outcome"] or row["says"] not in says:
            wrong.append((row, outcome, says))
    assert wrong == []


def test_only_what_says_so_itself_is_called_broken(outcomes, expected):
    """No file that is whole, whatever it is."""
    called = {
        row["kind"]
        for row in expected
        if row["file"].startswith("images/") and "broken" in outcomes[row["file"]][1]
    }
    told = {row["kind"] for row in expected if row["says"] in ("broken", "cut off")}
    assert called == told
