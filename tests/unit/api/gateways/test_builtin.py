"""What each gateway is sent: the same request in its own fields, names and encoding."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veo_provider.api import protocol
from veo_provider.api.body import encode
from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.gateways.builtin import GATEWAYS
from veo_provider.api.gateways.gateway import IMAGE
from veo_provider.api.gateways.inworld import INWORLD
from veo_provider.api.gateways.litellm import LITELLM
from veo_provider.api.gateways.openai import OPENAI
from veo_provider.api.gateways.openrouter import OPENROUTER
from veo_provider.api.http.response import Response
from veo_provider.api.image import Image
from veo_provider.api.model import Price
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoImageUnavailableError, VeoRequestError, VeoSubmissionUnknown

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


def ask(gateway, image=None, **fields):
    return VeoRequest(prompt="A rocket", gateway=gateway, image=image, **{"model": "m", **fields})


def sent(request):
    return json.loads(b"".join(encode(request)))


def test_openai_is_told_the_pixels_and_no_default():
    """A resolution and an aspect ratio become a size; what nobody has asked for is left to the server."""
    assert ask(OPENAI).form_fields() == {"model": "m", "prompt": "A rocket"}
    fields = ask(OPENAI, seconds="5", resolution="720p", aspect_ratio="9:16", seed=7).form_fields()
    assert fields == {"model": "m", "prompt": "A rocket", "seconds": "5", "size": "720x1280", "seed": "7"}


def test_openai_keeps_what_no_size_says():
    """A resolution without a known size is sent as it is."""
    fields = ask(OPENAI, resolution="480p", aspect_ratio="1:1", negative_prompt="fog").form_fields()
    assert (fields["resolution"], fields["aspect_ratio"]) == ("480p", "1:1")
    assert fields["negative_prompt"] == "fog"


def test_openai_takes_text_alone_as_a_form():
    """vLLM-Omni reads forms only, also without an image."""
    assert encode(ask(OPENAI)).content_type.startswith("multipart/form-data")


@pytest.mark.parametrize("gateway", [OPENROUTER, INWORLD], ids=lambda gateway: gateway.name)
def test_openrouter_gets_json_with_the_image_as_a_data_url(gateway):
    """Numbers are numbers, and the first frame is a data URL of the very bytes."""
    data = sent(ask(gateway, Image.from_bytes(PNG, "photo.png"), seconds="8", resolution="720p", seed=7))
    url = data.pop("frame_images")[0]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == PNG
    assert data == {"model": "m", "prompt": "A rocket", "duration": 8, "resolution": "720p", "seed": 7}


@pytest.mark.parametrize("gateway", [OPENROUTER, INWORLD], ids=lambda gateway: gateway.name)
def test_openrouter_is_told_the_format_in_one_way(gateway):
    """A resolution and an aspect ratio as they are; a size alone, which says both."""
    both = sent(ask(gateway, resolution="1080p", aspect_ratio="9:16"))
    assert (both["resolution"], both["aspect_ratio"]) == ("1080p", "9:16")
    assert "size" not in both
    alone = sent(ask(gateway, size="1080x1920"))
    assert alone["size"] == "1080x1920"
    assert not alone.keys() & {"resolution", "aspect_ratio"}


@given(size=st.integers(0, 200_000), reads=st.integers(1, 70_000))
def test_an_image_in_base64_has_the_announced_length(size, reads):
    """However long the image is, and in whatever portions it is read, it is the Base64 of its bytes."""
    image = Image.from_bytes(PNG + bytes(size), "photo.png")
    body = encode(ask(OPENROUTER, image))
    whole = b""
    while chunk := body.read(reads):
        assert not body.complete or len(whole) + len(chunk) == len(body)
        whole += chunk
    assert len(whole) == len(body)
    url = json.loads(whole)["frame_images"][0]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == PNG + bytes(size)


def test_an_image_that_has_changed_is_not_sent_in_base64_either():
    """The end of the request is withheld, so that no server can have accepted it."""
    image = replace(Image.from_bytes(PNG, "photo.png"), sha256="0" * 64)
    body = encode(ask(OPENROUTER, image))
    with pytest.raises(VeoImageUnavailableError, match="changed while"):
        b"".join(body)
    assert not body.complete


def test_a_prompt_is_never_taken_for_the_place_of_the_image():
    """The placeholder of the description is data of the gateway, not of the user."""
    request = VeoRequest(prompt=IMAGE, gateway=OPENROUTER, model="m", image=Image.from_bytes(PNG))
    assert sent(request)["prompt"] == IMAGE


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=GATEWAYS)
def test_the_key_is_in_one_header(gateway):
    """Each gateway has its scheme, and the key is nowhere else."""
    assert protocol.authorization(gateway, "sk-x") in ("Bearer sk-x", "Basic sk-x")
    assert "sk-x" not in str(protocol.submission_headers(gateway, ""))


def test_litellm_is_told_not_to_repeat_a_submission():
    """By default it sends a paid POST up to three times."""
    assert protocol.submission_headers(LITELLM, "") == {"x-litellm-num-retries": "0"}


def test_only_a_gateway_that_knows_it_gets_an_idempotency_key():
    """A header that nobody documents is not sent."""
    assert protocol.submission_headers(INWORLD, "k") == {"Idempotency-Key": "k"}
    assert protocol.submission_headers(APIYI, "k") == {}


def test_a_request_of_another_gateway_is_refused():
    """Its fields have other names, so another gateway would ignore them and charge nevertheless."""
    with pytest.raises(VeoRequestError, match=r"made for the gateway 'openai'.*nothing was charged"):
        protocol.require_gateway(ask(OPENAI), LITELLM)


ACCEPTED = b'{"id": "video_1", "object": "video", "status": "queued"}'


def test_litellm_tells_what_a_submission_costs():
    """Its headers have the cost, the name of the call, and what it submitted by itself."""
    headers = {
        "x-litellm-response-cost": "0.8",
        "x-litellm-call-id": "c-1",
        "x-litellm-attempted-retries": "1",
        "x-litellm-attempted-fallbacks": "1",
    }
    video = protocol.parse_submission(Response.received(200, ACCEPTED, headers), gateway=LITELLM)
    assert (video.cost_usd, video.call_id, video.extra_generations) == (0.8, "c-1", 2)


@given(
    headers=st.dictionaries(
        st.sampled_from(
            sorted({LITELLM.cost_header, LITELLM.call_id_header, *LITELLM.extra_generations_headers})
        ),
        st.text(max_size=30),
    )
)
def test_any_header_leaves_a_submission_accepted(headers):
    """What a gateway tells about money is never a reason to lose the task id."""
    video = protocol.parse_submission(Response.received(200, ACCEPTED, headers), gateway=LITELLM)
    assert video.id == "video_1"
    assert video.cost_usd is None or video.cost_usd >= 0
    assert video.extra_generations >= 0


def test_a_refusal_after_own_retries_is_unknown():
    """What the gateway has submitted by itself before it was refused may have been accepted."""
    body = b'{"error": {"message": "bad", "code": "invalid_request"}}'
    headers = {"x-litellm-attempted-fallbacks": "1"}
    with pytest.raises(VeoSubmissionUnknown):
        protocol.parse_submission(Response.received(400, body, headers), gateway=LITELLM)


@pytest.mark.parametrize("cost", [0.5, "0.5"])
def test_openrouter_tells_the_cost_in_the_status(cost):
    """The status of a completed video has it, as a number or a text."""
    body = json.dumps({"id": "v", "status": "completed", "usage": {"cost": cost}}).encode()
    video = protocol.parse_video(Response.received(200, body, {}), "v", gateway=OPENROUTER)
    assert video.cost_usd == 0.5


@pytest.mark.parametrize(
    ("price", "usd"),
    [
        (Price(usd_per_video=0.3), 0.3),
        (Price(usd_per_second={"720p": 0.1, "4k": 0.3}), 0.8),
        (Price(usd_per_second={"*": 0.05}, usd_per_image=0.01), 0.41),
        (Price(usd_per_second={"4k": 0.3}), None),
    ],
)
def test_a_price_has_up_to_three_parts(price, usd):
    """Per video, per second by resolution, and per image; what cannot be told is None."""
    assert price.of(seconds="8", resolution="720p", images=1) == usd
