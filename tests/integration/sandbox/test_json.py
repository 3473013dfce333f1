"""Submissions as JSON: nested options, strict types, pictures as Base64, or none at all."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.sandbox_api import Api

    from veo_provider.sandbox.process import Sandbox


@pytest.fixture(autouse=True)
def nothing_is_filmed(sandbox: Sandbox) -> None:
    """These tests look at submissions alone: whatever is accepted is going to fail."""
    sandbox.add_faults([{"call": "submit", "fail": True}])


def test_without_a_picture_it_is_text_to_video(api: Api) -> None:
    """JSON needs no picture."""
    assert api.json().status_code == 200
    (record,) = api.sandbox.tasks()
    assert (record["mode"], record["files"]) == ("text-to-video", [])


@pytest.mark.parametrize(
    ("metadata", "size"),
    [
        ({"resolution": "1080p"}, "1920x1080"),
        ({"aspectRatio": "9:16"}, "720x1280"),
        ({"resolution": "4k", "aspectRatio": "9:16", "seed": 7, "negativePrompt": "people"}, "2160x3840"),
    ],
)
def test_options_are_nested(api: Api, metadata: dict[str, Any], size: str) -> None:
    """``metadata`` holds resolution, aspect ratio, seed and negative prompt."""
    assert api.json(seconds="8", metadata=metadata).json()["size"] == size
    fields = api.sandbox.tasks()[0]["fields"]
    assert {name: fields[f"metadata.{name}"] for name in metadata} == {
        name: str(value) for name, value in metadata.items()
    }


def test_flat_options_are_ignored(api: Api) -> None:
    """What a form says at the top means nothing in JSON; ``size`` does."""
    assert api.json(resolution="9k", aspectRatio="9:16", seed="lucky").json()["size"] == "1280x720"
    assert api.json(size="720x1280").json()["size"] == "720x1280"


@pytest.mark.parametrize("name", ["seconds", "duration"])
@pytest.mark.parametrize("value", [8, 8.0])
def test_a_number_for_a_length_is_refused(api: Api, name: str, value: float) -> None:
    """The gateway is written in Go, and declares them as strings."""
    message = api.refused(api.json(**{name: value}))
    assert message == (
        "parse_request_failed: json: cannot unmarshal number into "
        f"Go struct field TaskSubmitReq.{name} of type string"
    )


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"prompt": True}, "bool"),
        ({"model": ["x"]}, "array"),
        ({"size": {}}, "object"),
        ({"prompt": 5}, "number"),
        ({"input_reference": {"image_url": "x"}}, "object"),
        ({"metadata": "x"}, "string"),
    ],
)
def test_any_field_of_the_wrong_type_is_refused(api: Api, fields: dict[str, Any], kind: str) -> None:
    """The message says what it found."""
    assert f"cannot unmarshal {kind} into Go struct field" in api.refused(api.json(**fields))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"5"])
def test_a_body_that_is_no_object_is_refused(api: Api, body: bytes) -> None:
    """Broken JSON and JSON of another kind."""
    response = api.call("POST", data=body, headers={"Content-Type": "application/json"})
    assert "parse_request_failed" in api.refused(response)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": None}, "model is required"),
        ({"prompt": ""}, "prompt is required"),
        ({"seconds": "5"}, "seconds must be"),
        ({"metadata": {"resolution": "1080p"}}, "1080p videos must be 8 seconds long, not 4"),
        ({"size": "1920x1080"}, "1080p videos must be 8 seconds long, not 4"),
        ({"metadata": {"resolution": "2k"}}, "Unsupported resolution"),
        ({"metadata": {"aspectRatio": "1:1"}}, "Unsupported aspectRatio"),
        ({"metadata": {"seed": "lucky"}}, "seed must be an integer"),
        ({"metadata": {"seed": 1.5}}, "seed must be an integer"),
        ({"generateAudio": True}, "INVALID_ARGUMENT"),
        ({"generateAudio": False}, "INVALID_ARGUMENT"),
        ({"metadata": {"generateAudio": True}}, "INVALID_ARGUMENT"),
        ({"input_reference": "https://example.org/a.jpg"}, "remote URLs are not supported"),
        ({"input_reference": "s3://images/a.jpg"}, "not valid Base64"),
        ({"input_reference": "aGVsbG8="}, "Unsupported image type"),
        ({"input_reference": "data:image/png;base64,aGVsbG8="}, "not a picture that can be decoded"),
    ],
)
def test_json_is_judged_as_strictly_as_a_form(api: Api, fields: dict[str, Any], says: str) -> None:
    """The same rules hold, at their nested places."""
    assert says in api.refused(api.json(**fields))


def test_duration_alone_is_ignored(api: Api) -> None:
    """Four seconds come back, as with a form."""
    assert api.json(seconds=None, duration="8").json()["seconds"] == "4"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("rocket.jpg", "data:image/jpeg;base64,"),
        ("rocket.jpg", ""),
        ("chelsea.png", ""),
        ("hubble_portrait.webp", ""),
    ],
)
def test_a_picture_may_come_as_base64(api: Api, name: str, prefix: str) -> None:
    """As a data URL or plain."""
    text = prefix + base64.b64encode(api.photo(name)[1]).decode()
    assert api.json(input_reference=text).status_code == 200
    (record,) = api.sandbox.tasks()
    assert record["mode"] == "image-to-video"
    assert record["files"][0]["bytes"] == len(api.photo(name)[1])
    assert "input_reference" not in record["fields"]


def test_a_base64_picture_over_20_mb_is_413(api: Api) -> None:
    """The decoded bytes count."""
    text = base64.b64encode(bytes(20 * 1024 * 1024 + 1)).decode()
    assert "image is too large" in api.refused(api.json(input_reference=text), 413)
