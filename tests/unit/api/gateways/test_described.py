"""A gateway and its models, as a connection's extra describes them."""

import json
import textwrap
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veo_provider.api.gateways.apiyi import APIYI, FAST_MODEL
from veo_provider.api.gateways.builtin import GATEWAYS
from veo_provider.api.gateways.described import gateway_of
from veo_provider.api.gateways.gateway import Gateway, LookUp
from veo_provider.api.gateways.litellm import LITELLM
from veo_provider.api.gateways.openai import OPENAI
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoRequestError

PAGE = Path(__file__).parents[4] / "docs" / "gateways.rst"
BLOCK = PAGE.read_text(encoding="utf-8").partition("This is xAI's:\n\n.. code-block:: json\n\n")[2]
XAI = textwrap.dedent(BLOCK.partition("\n\n")[0])
"""xAI's videos, as data only (https://docs.x.ai), as the documentation shows them."""


def test_no_description_means_the_gateway_it_was_made_for():
    """An extra without a gateway changes nothing."""
    assert gateway_of({}) is APIYI
    assert gateway_of({"gateway": ""}) is APIYI
    assert gateway_of({"models": []}) is APIYI


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_built_in_gateway_has_a_name(name):
    """A name is enough."""
    assert gateway_of({"gateway": name}) is GATEWAYS[name]


def test_another_real_gateway_takes_thirty_lines():
    """xAI, which no module of the package knows, is described by data alone."""
    assert len(XAI.strip().splitlines()) <= 30
    gateway = gateway_of(json.loads(XAI))
    request = VeoRequest(prompt="Up", model=gateway.default_model, gateway=gateway, resolution="720p")
    assert request.json_body() == {
        "model": "grok-imagine-video",
        "prompt": "Up",
        "duration": 8,
        "resolution": "720p",
    }
    assert request.price_with(images=1) == pytest.approx(0.562)
    assert gateway.look_up is LookUp.NONE
    assert gateway.content_url == ("video", "url")


def test_a_model_can_be_described_for_a_built_in_gateway():
    """Limits, price, end and successor are data of the connection."""
    models = {
        "veo-ga": {
            "usd_per_second": {"720p": 0.10, "1080p": 0.12},
            "seconds": [4, 6, 8],
            "ends": "2026-11-17",
            "successor": "gemini-omni-1.2-flash",
        }
    }
    gateway = gateway_of({"gateway": "litellm", "models": models})
    model = gateway.model("veo-ga")
    assert model.seconds == ("4", "6", "8")
    assert (model.ends, model.successor) == (date(2026, 11, 17), "gemini-omni-1.2-flash")
    assert gateway.submission_headers == LITELLM.submission_headers
    with pytest.raises(VeoRequestError, match="seconds must be one of"):
        VeoRequest(prompt="Up", model="veo-ga", seconds="5", gateway=gateway)
    request = VeoRequest(prompt="Up", model="veo-ga", seconds="8", resolution="1080p", gateway=gateway)
    assert request.price_usd == pytest.approx(0.96)


def test_a_change_of_a_known_model_keeps_the_rest():
    """Where a gateway still serves a model that has ended, one word says so."""
    gateway = gateway_of({"models": {FAST_MODEL: {"ends": None}}})
    model = gateway.model(FAST_MODEL)
    assert model.ends is None
    assert model.price == APIYI.model(FAST_MODEL).price
    assert gateway.model("veo-3.1-generate-preview").ends is not None


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"gateway": "acme"}, "gateway"),
        ({"gateway": 7}, "gateway"),
        ({"gateway": {"like": "acme"}}, "gateway.like"),
        ({"gateway": {"autorization": "Bearer {key}"}}, "gateway.autorization"),
        ({"gateway": {"authorization": "Bearer sk-secret"}}, "gateway.authorization"),
        ({"gateway": {"submit_path": "//evil.example/videos"}}, "gateway.submit_path"),
        ({"gateway": {"submit_path": "/a/../../b"}}, "gateway.submit_path"),
        ({"gateway": {"video_path": "/videos"}}, "gateway.video_path"),
        ({"gateway": {"base_url": "ftp://x"}}, "gateway.base_url"),
        ({"gateway": {"submission_headers": {"Authorization": "sk-secret"}}}, "submission_headers"),
        ({"gateway": {"submission_headers": {"x": "a\r\nb: sk-secret"}}}, "gateway.submission_headers.x"),
        ({"gateway": {"form": False}}, "gateway.image_json"),
        ({"gateway": {"fields": [{"name": "p", "source": "gateway"}]}}, "gateway.fields.0.source"),
        ({"gateway": {"fields": [{"name": "p"}]}}, "gateway.fields.0"),
        ({"gateway": {"look_up": "guess"}}, "gateway.look_up"),
        ({"gateway": {"charging": {"failed": "no"}}}, "gateway.charging.failed"),
        ({"models": {"m": {"ends": "soon"}}}, "models.m.ends"),
        ({"models": {"m": {"usd_per_video": -1}}}, "models.m.usd_per_video"),
        ({"models": {"m": {"usd_per_second": {"720p": "cheap"}}}}, "models.m.usd_per_second.720p"),
        ({"models": {"m": {"seconds": ["long"]}}}, "models.m.seconds"),
        ({"models": {"m": {"sizes": {"1x1": ["a"]}}}}, "models.m.sizes.1x1"),
        ({"models": {"m": {"price": 1}}}, "models.m.price"),
    ],
)
def test_a_wrong_description_names_its_field(extra, field):
    """The error says where, and does not repeat what may be a secret."""
    with pytest.raises(VeoRequestError) as error:
        gateway_of(extra)
    assert field in str(error.value)
    assert "sk-secret" not in str(error.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("sk-secret"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = [*Gateway.__dataclass_fields__, "like"]
MODEL_NAMES = ["usd_per_video", "usd_per_second", "usd_per_image", "seconds", "sizes", "ends", "successor"]


@given(
    gateway=values | st.dictionaries(st.sampled_from(NAMES), values, max_size=4),
    models=values
    | st.dictionaries(st.just("m"), st.dictionaries(st.sampled_from(MODEL_NAMES), values, max_size=3)),
)
def test_any_extra_describes_a_gateway_or_is_refused(gateway, models):
    """Whatever JSON a connection holds, there is no other error, and no value in its text."""
    try:
        found = gateway_of({"gateway": gateway, "models": models})
    except VeoRequestError as error:
        refusal = str(error).replace("'gateway.sk-secret'", "").replace("models.sk-secret", "")
        found = None
    if found is None:
        assert "sk-secret" not in refusal
        return
    assert found.model("any").name == "any"
    assert "{key}" in found.authorization


def test_a_description_starts_from_openai():
    """Without ``like``, what is not described is OpenAI's."""
    gateway = gateway_of({"gateway": {"name": "mine", "default_model": "wan"}})
    assert gateway.fields == OPENAI.fields
    assert (gateway.name, gateway.default_model) == ("mine", "wan")
