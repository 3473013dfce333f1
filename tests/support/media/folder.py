"""Write awkward images and videos into a folder, and what is right for each, as data."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))  # for running this file by itself

from support.media import images, videos
from support.media.refused_videos import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES, VIDEOS, EXPECTED = "images", "videos", "expected.json"


def write(folder: Path) -> list[dict[str, str]]:
    """Write all of it, and return what is right for each file."""
    for name in (IMAGES, VIDEOS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    expected = [*_write_images(folder), *_write_videos(folder)]
    (folder / EXPECTED).write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return expected


def _write_images(folder: Path) -> Iterator[dict[str, str]]:
    for name, file in images.write_awkward(folder / IMAGES).items():
        yield {"file": f"{IMAGES}/{name}", "kind": file.kind, "outcome": file.outcome, "says": file.says}


def _write_videos(folder: Path) -> Iterator[dict[str, str]]:
    for number, kind in enumerate(videos.KINDS):
        video = videos.awkward_video(kind)
        name = f"{VIDEOS}/{number:03}-{kind}.mp4"
        (folder / name).write_bytes(video.data)
        outcome = "stored" if video.marked else "stored if its length is known"
        yield {"file": name, "kind": kind, "outcome": outcome, "says": ""}
    for number, (kind, name, make, says) in enumerate(REFUSED, start=len(videos.KINDS)):
        (folder / VIDEOS / f"{number:03}-{name}").write_bytes(make())
        yield {"file": f"{VIDEOS}/{number:03}-{name}", "kind": kind, "outcome": "refused", "says": says}


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    expected = write(parser.parse_args().folder)
    sys.stdout.write(f"{len(expected)} files; {EXPECTED} says what is right for each.\n")


if __name__ == "__main__":
    main()
