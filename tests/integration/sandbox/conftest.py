"""One sandbox for all of these tests, as freshly started for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sandbox_api import Api

from veo_provider.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for data, so that no video is filmed twice."""
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture(scope="session")
def running(data: Path) -> Iterator[Sandbox]:
    """A sandbox for the whole session."""
    with Sandbox(latency=0.2, s3=False, data=data) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    """That sandbox as freshly started."""
    running.reset()
    return running


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    """Its API."""
    return Api(sandbox)
