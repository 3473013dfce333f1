"""What may be asked for, and how it is written."""

import logging

import pytest

from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoRequestError

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


def ask(**fields):
    return VeoRequest(**{"prompt": "A rocket lifts off", "image": Image.from_bytes(JPEG), **fields})


def test_defaults_are_sent_in_full():
    """The form says what will be made, even where the service has a default, so the bill is no surprise."""
    assert ask().form_fields() == {
        "model": "veo-3.1-fast-generate-preview",
        "prompt": "A rocket lifts off",
        "seconds": "8",
        "duration": "8",
        "resolution": "720p",
        "aspectRatio": "16:9",
    }


def test_length_goes_under_both_names_as_a_string():
    """Newer gateways read seconds, older ones duration; both refuse a number."""
    fields = ask(seconds="6").form_fields()
    assert (fields["seconds"], fields["duration"]) == ("6", "6")


def test_optional_fields_have_the_names_of_the_api():
    """Seed and negative prompt go out under the API's names, the seed as text."""
    fields = ask(seed=7, negative_prompt="fog", aspect_ratio="9:16").form_fields()
    assert fields["seed"] == "7"
    assert fields["negativePrompt"] == "fog"
    assert fields["aspectRatio"] == "9:16"


def test_json_nests_the_details():
    """Text-to-video nests resolution, aspect ratio and seed under metadata."""
    body = ask(image=None, seed=7, resolution="1080p").json_body()
    assert body["metadata"] == {"resolution": "1080p", "aspectRatio": "16:9", "seed": "7"}
    assert "resolution" not in body
    assert body["seconds"] == body["duration"] == "8"


def test_audio_is_never_sent():
    """The API refuses generateAudio, so there is no way to ask for it."""
    assert not any("audio" in name.lower() for name in ask().form_fields())
    with pytest.raises(TypeError):
        ask(generate_audio=True)


@pytest.mark.parametrize("prompt", ["", "  \n", None])
def test_an_empty_prompt_is_refused(prompt):
    """A prompt is required, and white space is none."""
    with pytest.raises(VeoRequestError, match=r"prompt is empty.*nothing was charged"):
        ask(prompt=prompt)


@pytest.mark.parametrize("seconds", ["5", "8.0", "", 8, 8.0])
def test_any_other_length_is_refused(seconds):
    """The length is the string 4, 6 or 8."""
    with pytest.raises(VeoRequestError, match="seconds must be one of"):
        ask(seconds=seconds)


@pytest.mark.parametrize("seconds", ["4", "6"])
@pytest.mark.parametrize("fields", [{"resolution": "1080p"}, {"resolution": "4k"}, {"size": "1920x1080"}])
def test_higher_resolutions_are_8_seconds_long(seconds, fields):
    """Upstream refuses a short video in 1080p or 4k, so it is refused before anything is sent."""
    with pytest.raises(VeoRequestError, match='seconds must be "8"'):
        ask(seconds=seconds, **fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [("resolution", "8k"), ("aspect_ratio", "4:3"), ("size", "640x480"), ("resolution", 720), ("model", "")],
)
def test_values_the_api_does_not_have_are_refused(name, value):
    """A resolution, aspect ratio or size is one of the API's."""
    with pytest.raises(VeoRequestError, match=name):
        ask(**{name: value})


@pytest.mark.parametrize("seed", ["7", 1.5, True])
def test_a_seed_is_an_integer(seed):
    """Nothing but an integer is a seed."""
    with pytest.raises(VeoRequestError, match="seed must be an integer"):
        ask(seed=seed)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "1280x720", "resolution": "1080p"},
        {"size": "720x1280", "aspect_ratio": "16:9"},
        {"size": "3840x2160", "resolution": "4k", "aspect_ratio": "9:16"},
    ],
)
def test_a_size_must_agree_with_resolution_and_aspect_ratio(fields):
    """The API would silently prefer the resolution, so a contradiction is refused."""
    with pytest.raises(VeoRequestError, match="means"):
        ask(**fields)


def test_a_size_alone_decides_resolution_and_aspect_ratio():
    """A size is sent together with the stronger fields that it means."""
    fields = ask(size="1080x1920").form_fields()
    assert (fields["size"], fields["resolution"], fields["aspectRatio"]) == ("1080x1920", "1080p", "9:16")


def test_an_unknown_model_passes_with_a_warning(caplog):
    """Later models are not refused, but their price is not known."""
    with caplog.at_level(logging.WARNING):
        request = ask(model="veo-4")
    assert "veo-4" in caplog.text
    assert request.price_usd is None


@pytest.mark.parametrize(
    ("model", "usd"), [("veo-3.1-fast-generate-preview", 0.30), ("veo-3.1-generate-preview", 1.20)]
)
def test_known_models_have_a_price(model, usd):
    """The price is per request, whatever the length."""
    assert ask(model=model).price_usd == usd
