"""Submissions as multipart forms: what is refused, what is ignored, what is made of the rest."""

from __future__ import annotations

import io
import json
import os
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from support.sandbox_api import Api

from veo_provider.sandbox.process import Sandbox


@pytest.fixture(autouse=True)
def nothing_is_filmed(sandbox: Sandbox) -> None:
    """These tests look at submissions alone: whatever is accepted is going to fail."""
    sandbox.add_faults([{"call": "submit", "fail": True}])


def test_a_submission_answers_a_queued_video(api: Api) -> None:
    """The answer is the object of a queued video with its id under both names."""
    answer = api.form().json()
    assert re.fullmatch(r"task_[A-Za-z0-9]{32}", answer["id"])
    assert answer == {
        "id": answer["id"],
        "task_id": answer["id"],
        "object": "video",
        "model": "veo-3.1-fast-generate-preview",
        "status": "queued",
        "progress": 0,
        "created_at": answer["created_at"],
        "seconds": "4",
        "size": "1280x720",
    }
    assert isinstance(answer["created_at"], int)


def test_what_was_sent_can_be_looked_at(api: Api) -> None:
    """Fields are kept as text and the file with its name, type, size and digest."""
    task_id = api.submitted(seed="7", negativePrompt="people")
    (record,) = api.sandbox.tasks()
    assert record["task_id"] == task_id
    assert record["mode"] == "image-to-video"
    assert record["fields"] == {
        "model": "veo-3.1-fast-generate-preview",
        "prompt": "The rocket lifts off",
        "seconds": "4",
        "seed": "7",
        "negativePrompt": "people",
    }
    assert record["files"] == [
        {
            "field": "input_reference",
            "filename": "rocket.jpg",
            "content_type": "image/jpeg",
            "bytes": 112525,
            "sha256": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
            "width": 640,
            "height": 427,
            "used": True,
        }
    ]


@pytest.mark.parametrize("authorization", ["", "Bearer sk-wrong", "Bearer ", "sk-wrong"])
def test_a_wrong_or_missing_key_is_401(api: Api, authorization: str) -> None:
    """No call of the API works without the key."""
    for method, path in (("POST", ""), ("GET", "/task_x"), ("GET", "/task_x/content")):
        response = api.call(method, path, headers={"Authorization": authorization})
        assert "Invalid API key" in api.refused(response, 401)


def test_the_account_token_is_no_key(api: Api) -> None:
    """A key of the wrong type is refused like a wrong one."""
    response = api.form(headers={"Authorization": f"Bearer {api.sandbox.account_token}"})
    assert "Invalid API key" in api.refused(response, 401)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/jpeg"])
def test_a_body_of_another_type_is_refused(api: Api, kind: str) -> None:
    """A request is multipart or JSON."""
    response = api.call("POST", data=b"model=x", headers={"Content-Type": kind})
    assert "unsupported_content_type: Content-Type must be multipart" in api.refused(response)


@pytest.mark.parametrize("name", ["image", "reference", "input_image", "file"])
def test_a_picture_under_another_name_is_ignored(api: Api, name: str) -> None:
    """Only ``input_reference`` is looked at, so that the picture is missing."""
    assert "input_reference is required" in api.refused(api.form(files={name: api.photo()}))


def test_a_picture_under_another_name_does_no_harm(api: Api) -> None:
    """Beside the right one it is kept for the record, and not used."""
    response = api.form(
        files={"image": api.photo("chelsea.png", "image/png"), "input_reference": api.photo()}
    )
    assert response.status_code == 200
    assert [(file["field"], file["used"]) for file in api.sandbox.tasks()[0]["files"]] == [
        ("image", False),
        ("input_reference", True),
    ]


def test_further_pictures_are_dropped(api: Api) -> None:
    """The first ``input_reference`` is used, and nobody says anything about the second."""
    files = [("input_reference", api.photo()), ("input_reference", api.photo("chelsea.png", "image/png"))]
    assert api.form(files=files).status_code == 200
    assert [(file["filename"], file["used"]) for file in api.sandbox.tasks()[0]["files"]] == [
        ("rocket.jpg", True),
        ("chelsea.png", False),
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rocket.jpg", "image/jpeg"), ("chelsea.png", "image/png"), ("hubble_portrait.webp", "image/webp")],
)
def test_three_types_of_pictures_are_accepted(api: Api, name: str, kind: str) -> None:
    """JPEG, PNG and WebP."""
    assert api.form(files={"input_reference": api.photo(name, kind)}).status_code == 200


@pytest.mark.parametrize("kind", ["image/gif", "application/octet-stream", "text/plain", "image/jpg"])
def test_any_other_type_is_refused(api: Api, kind: str) -> None:
    """The type of the part counts, not the bytes."""
    response = api.form(files={"input_reference": api.photo(kind=kind)})
    assert f"Unsupported image type '{kind}'" in api.refused(response)


def gif() -> bytes:
    """A picture of a type that is not accepted."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "GIF")
    return file.getvalue()


@pytest.mark.parametrize("damage", ["noise", "cut", "empty", "gif"])
def test_bytes_that_are_no_picture_are_refused(api: Api, damage: str) -> None:
    """Whatever the type of the part says, the bytes have to be a whole picture."""
    name, content, kind = api.photo()
    content = {"noise": os.urandom(999), "cut": content[:60_000], "empty": b"", "gif": gif()}[damage]
    response = api.form(files={"input_reference": (name, content, kind)})
    assert "not a picture that can be decoded" in api.refused(response)


def test_a_remote_url_is_refused(api: Api) -> None:
    """The service fetches nothing."""
    response = api.form(files={"input_reference": (None, "https://example.org/rocket.jpg")})
    assert "remote URLs are not supported" in api.refused(response)


def test_a_picture_over_20_mb_is_413(api: Api) -> None:
    """The limit is 20 * 1024 * 1024 bytes; the whole body is read, so that the client hears of it."""
    name, content, kind = api.photo()
    padded = content + bytes(20 * 1024 * 1024 - len(content))
    response = api.form(files={"input_reference": (name, padded + b"\0", kind)})
    assert "image is too large: 20971521 bytes, limit 20971520" in api.refused(response, 413)
    assert api.form(files={"input_reference": (name, padded, kind)}).status_code == 200


@pytest.mark.parametrize("name", ["model", "prompt"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_model_and_prompt_are_required(api: Api, name: str, value: str | None) -> None:
    """A blank one is a missing one."""
    assert f"{name} is required" in api.refused(api.form(fields={name: value}))


def test_any_model_is_accepted(api: Api) -> None:
    """A gateway has more models than are known here."""
    assert api.form(fields={"model": "veo-9-fast"}).json()["model"] == "veo-9-fast"


@pytest.mark.parametrize("seconds", ["5", "10", "8s", "8.0", "", " 8", "eight"])
def test_a_video_is_4_6_or_8_seconds_long(api: Api, seconds: str) -> None:
    """Any other length is refused."""
    assert 'seconds must be "4", "6" or "8"' in api.refused(api.form(fields={"seconds": seconds}))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"seconds": "8"}, "8"),
        ({"seconds": "6", "duration": "8"}, "6"),
        ({"seconds": None, "duration": "8"}, "4"),
        ({"seconds": None, "duration": "99"}, "4"),
        ({"seconds": None}, "4"),
    ],
)
def test_seconds_count_and_duration_does_not(api: Api, fields: dict[str, str | None], expected: str) -> None:
    """``duration`` alone is ignored without a word: four seconds come back."""
    assert api.form(fields=fields).json()["seconds"] == expected


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, "1280x720"),
        ({"size": "720x1280"}, "720x1280"),
        ({"aspectRatio": "9:16"}, "720x1280"),
        ({"resolution": "1080p"}, "1920x1080"),
        ({"resolution": "1080p", "aspectRatio": "9:16"}, "1080x1920"),
        ({"resolution": "4k"}, "3840x2160"),
        ({"size": "2160x3840"}, "2160x3840"),
        ({"resolution": "720p", "size": "1920x1080"}, "1280x720"),
        ({"resolution": "1080p", "size": "720x1280"}, "1080x1920"),
        ({"aspectRatio": "16:9", "size": "720x1280"}, "1280x720"),
    ],
)
def test_resolution_and_aspect_ratio_are_stronger_than_size(
    api: Api, fields: dict[str, str | None], size: str
) -> None:
    """The default is 720p at 16:9."""
    assert api.form(fields={"seconds": "8", **fields}).json()["size"] == size


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"resolution": "2k"}, "Unsupported resolution '2k'"),
        ({"resolution": "720P"}, "Unsupported resolution '720P'"),
        ({"size": "640x480"}, "Unsupported size '640x480'"),
        ({"size": "16:9"}, "Unsupported size '16:9'"),
        ({"aspectRatio": "1:1"}, "Unsupported aspectRatio '1:1'"),
        ({"seed": "lucky"}, "seed must be an integer, not 'lucky'"),
        ({"seed": "1.5"}, "seed must be an integer, not '1.5'"),
    ],
)
def test_unknown_values_are_refused(api: Api, fields: dict[str, str | None], says: str) -> None:
    """Each message names the field and the value."""
    assert says in api.refused(api.form(fields=fields))


@pytest.mark.parametrize("seconds", ["4", "6"])
@pytest.mark.parametrize(
    "fields", [{"resolution": "1080p"}, {"resolution": "4k"}, {"size": "1920x1080"}, {"size": "2160x3840"}]
)
def test_large_videos_are_8_seconds_long(api: Api, seconds: str, fields: dict[str, str | None]) -> None:
    """The model refuses 1080p and 4k of any other length, named or by size."""
    message = api.refused(api.form(fields={"seconds": seconds, **fields}))
    assert "must be 8 seconds long" in message


def test_size_does_not_matter_where_resolution_says_720p(api: Api) -> None:
    """Four seconds at 720p are fine, whatever the weaker ``size`` says."""
    assert api.form(fields={"resolution": "720p", "size": "1920x1080"}).status_code == 200


@pytest.mark.parametrize("value", ["true", "false", ""])
def test_generate_audio_is_an_invalid_argument(api: Api, value: str) -> None:
    """The message of an upstream error is JSON text inside JSON."""
    response = api.form(fields={"generateAudio": value})
    assert "generateAudio" in api.refused(response)
    inner = json.loads(response.json()["message"])
    assert inner["error"]["status"] == "INVALID_ARGUMENT"


def test_an_empty_account_is_403() -> None:
    """Money is held from submission on."""
    with Sandbox(s3=False, balance=0.5) as sandbox:
        api = Api(sandbox)
        assert api.json().status_code == 200
        response = api.json()
    assert response.status_code == 403
    assert response.json()["code"] == "insufficient_user_quota"


def raw(api: Api, body: bytes, boundary: str | None = "B", length: int | None = None) -> socket.socket:
    """Send a form by hand."""
    place = urlsplit(api.url)
    connection = socket.create_connection((place.hostname, place.port), timeout=30)
    kind = "multipart/form-data" + (f"; boundary={boundary}" if boundary else "")
    head = (
        f"POST {place.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {api.headers['Authorization']}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {length or len(body)}\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def form(api: Api) -> bytes:
    """A whole form, encoded by hand."""
    parts = [("model", "m"), ("prompt", "x"), ("seconds", "4")]
    body = "".join(f'--B\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in parts)
    head = '--B\r\nContent-Disposition: form-data; name="input_reference"; filename="a.jpg"\r\n'
    return f"{body}{head}Content-Type: image/jpeg\r\n\r\n".encode() + api.photo()[1] + b"\r\n--B--\r\n"


@pytest.mark.parametrize("change", ["whole", "no end", "no boundary", "wrong boundary", "no form"])
def test_a_form_has_to_be_well_formed(api: Api, change: str) -> None:
    """Half a form is not taken for a whole one."""
    body, boundary = form(api), "B"
    changes: dict[str, Any] = {
        "whole": (body, boundary),
        "no end": (body[:-9], boundary),
        "no boundary": (body, None),
        "wrong boundary": (body, "C"),
        "no form": (b"model=x", boundary),
    }
    with raw(api, *changes[change]) as connection, connection.makefile("rb") as answer:
        text = answer.read().decode()
    if change == "whole":
        assert text.startswith("HTTP/1.1 200")
    else:
        assert text.startswith("HTTP/1.1 400")
        assert "parse_request_failed" in text
        assert api.sandbox.tasks() == []


def test_a_client_that_leaves_halfway_has_submitted_nothing(api: Api) -> None:
    """What ends before its Content-Length is not accepted, and the service lives on."""
    body = form(api)
    raw(api, body[:60_000], length=len(body)).close()
    assert api.form().status_code == 200
    assert len(api.sandbox.tasks()) == 1
