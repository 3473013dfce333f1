"""What a receipt recognises a request by."""

from dataclasses import replace

from veo_provider.api.request import VeoRequest
from veo_provider.generation.fingerprint import PreparedRequest

GOLDEN = "7e10e52e9259e813355f4ffb5d8e3c751c85347ee07d02098fe2b5b6e4376086"


def test_a_fingerprint_is_the_same_in_every_release():
    """A receipt outlives the release that wrote it, so what it was made from must still be recognised."""
    request = VeoRequest(prompt="The rocket lifts off", seconds="4", size="720x1280", seed=7)
    plan = PreparedRequest.of(
        request, image="s3://images/a.jpg", image_sha256="c" * 64, account="veo_default at https://x/v1"
    )
    assert plan.fingerprint == GOLDEN
    same = VeoRequest(prompt="The rocket lifts off", seconds="4", aspect_ratio="9:16", seed=7)
    assert PreparedRequest.of(
        same, image=None, image_sha256="c" * 64, account="veo_default at https://x/v1"
    ) == replace(plan, request=same, description={**plan.description, "image": None})
