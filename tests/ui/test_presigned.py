"""Media by a redirect to S3, of an API server that is set so, beside the one that streams them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ui.conftest import Page


@pytest.fixture
def presigning(page: Page) -> Iterator[str]:
    """Run a second API server of the same Airflow; return its URL."""
    with page.airflow.another_server({"AIRFLOW__VEO__UI_MEDIA": "presigned"}) as url:
        yield url


def test_a_browser_is_sent_to_s3(page: Page, presigning: str) -> None:
    """The link leads to a signed one of S3, which answers ranges, and only who may see the video gets it."""
    (row,) = page.videos("boss", run_id=page.runs["two"])["rows"]
    with httpx.Client(trust_env=False, timeout=30) as client:
        sent = client.get(presigning + row["video_url"])
        assert sent.status_code == 307
        assert sent.headers["location"].startswith(f"{page.sandbox.s3}/videos/secret_clips/two.mp4?")
        part = client.get(sent.headers["location"], headers={"Range": "bytes=4-11"})
        assert (part.status_code, part.content[:4]) == (206, b"ftyp")
        assert client.get(f"{presigning}{row['video_url']}x").status_code == 403
        policy = client.get(f"{presigning}/veo/").headers["content-security-policy"]
        assert f"media-src 'self' {page.sandbox.s3};" in policy
