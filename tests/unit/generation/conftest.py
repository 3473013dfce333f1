"""What the tests of one generation share."""

import pytest
import tenacity
from support.generations import Clock

from veo_provider.generation import lifecycle, recording, submission
from veo_provider.receipts import receipt as receipts


@pytest.fixture
def clock(monkeypatch):
    """Time that passes without waiting."""
    made = Clock()
    for module in (lifecycle, submission, recording, receipts, tenacity, tenacity.nap):
        monkeypatch.setattr(module, "time", made)
    return made
