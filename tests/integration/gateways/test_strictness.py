"""The sandbox refuses what a gateway does not document, in the gateway's own form, and charges nothing."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from support.faces import MODELS, authorization
from support.moments import until

from veo_provider.api.client import VeoClient
from veo_provider.api.gateways.described import gateway_of
from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoAuthenticationError, VeoBadRequestError


def fields_of(face, **changes):
    """A submission without an image, as the gateway documents it."""
    length = {"duration": 4} if is_json(face) else {"seconds": "4"}
    said = {"model": MODELS[face.gateway], "prompt": "A boat", **length, **changes}
    return {name: value for name, value in said.items() if value is not None}


def is_json(face):
    return face.gateway in ("openrouter", "inworld")


def post(face, *, as_json=None, headers=None, **changes):
    """Submit it."""
    fields = fields_of(face, **changes)
    as_json = is_json(face) if as_json is None else as_json
    body = {"json": fields} if as_json else {"files": {name: (None, str(fields[name])) for name in fields}}
    headers = authorization(face) if headers is None else headers
    return requests.post(f"{face.api}/videos", headers=headers, timeout=30, **body)


def require_refused(face, response, status):
    """Assert that it has the gateway's own form of an error, and has cost nothing."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["message"]
    if face.gateway == "openrouter":
        assert error.keys() == {"message", "code"}
        assert error["code"] == status
    else:
        assert error.keys() == {"message", "type", "param", "code"}
    assert face.tasks() == []


def test_what_is_documented_is_accepted(face):
    """With the status and the first word of each gateway."""
    response = post(face)
    assert response.status_code == (202 if face.gateway == "openrouter" else 200)
    first = "pending" if face.gateway == "openrouter" else "queued"
    assert response.json()["status"] == first
    assert "task_id" not in response.json()


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": None},
        {"model": None},
        {"generateAudio": "true"},
        {"aspectRatio": "16:9"},
        {"size": "1x1"},
        {"resolution": "480p"},
        {"size": "1280x720", "resolution": "720p"},
        {"seed": "often"},
    ],
    ids=str,
)
def test_a_wrong_field_is_refused(face, changes):
    """Fields that are missing, unknown or wrong are named in a 400."""
    require_refused(face, post(face, **changes), 400)


def test_the_other_names_of_the_length_are_refused(face):
    """``duration`` is a number of JSON, ``seconds`` a text of a form; each gateway knows one of them."""
    require_refused(face, post(face, seconds=None if not is_json(face) else "4", duration=4), 400)
    wrong = {"duration": "4"} if is_json(face) else {"seconds": "four"}
    require_refused(face, post(face, **wrong), 400)


def test_a_model_that_is_not_served_is_refused(face):
    """Only APIYI's face takes any name."""
    require_refused(face, post(face, model="veo-9"), 404)


def test_the_other_encoding_is_refused(face):
    """JSON where a form is read, and a form where JSON is read."""
    require_refused(face, post(face, as_json=not is_json(face)), 400)


def test_another_scheme_is_refused(face):
    """Bearer and Basic are not the same, with the right key either."""
    scheme = "Bearer" if face.gateway == "inworld" else "Basic"
    require_refused(face, post(face, headers={"Authorization": f"{scheme} {face.api_key}"}), 401)


def test_the_client_knows_each_refusal(face, photo):
    """What the sandbox refuses is a refusal for the client: nothing is left open."""
    gateway = gateway_of(json.loads(face.veo_conn())["extra"])
    request = VeoRequest(prompt="x", model="veo-9", gateway=gateway, image=Image.from_path(photo))
    with VeoClient(face.api_key, face.api, gateway=gateway) as client, pytest.raises(VeoBadRequestError):
        client.submit(request)
    with VeoClient("sk-wrong", face.api, gateway=gateway) as client, pytest.raises(VeoAuthenticationError):
        client.submit(request)
    assert face.tasks() == []


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [
            {
                "type": "image_url",
                "image_url": {"url": "https://example.org/a.jpg"},
                "frame_type": "first_frame",
            }
        ],
        [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}, "frame_type": "middle"}],
        [
            {
                "type": "image_url",
                "image_url": {"url": "data:image/jpeg;base64,AAAA"},
                "frame_type": "first_frame",
            }
        ],
    ],
    ids=["none", "remote", "wrong type", "no picture"],
)
def test_a_frame_is_one_picture_as_a_data_url(face, frames):
    """Where JSON carries the image, nothing else is taken; a form knows no such field."""
    require_refused(face, post(face, frame_images=frames), 400)


def completed(face):
    """The object of a completed generation."""
    url = f"{face.api}/videos/{post(face).json()['id']}"

    def look():
        found = requests.get(url, headers=authorization(face), timeout=30).json()
        return found if found["status"] == "completed" else None

    return url, until(look)


def test_each_has_its_own_way_to_the_video(face):
    """At its own path with the key, or at a signed URL without it, for an hour."""
    url, found = completed(face)
    content = requests.get(f"{url}/content", headers=authorization(face), timeout=30)
    if face.gateway != "inworld":
        assert content.headers["Content-Type"] == "video/mp4"
        return
    assert content.status_code == 404
    link = found["output"]["videos"][0]["url"]
    seconds = int(parse_qs(urlsplit(link).query)["expires"][0]) - found["completed_at"]
    assert 3590 <= seconds <= 3900
    assert requests.get(link, timeout=30).headers["Content-Type"] == "video/mp4"
    assert requests.get(link, headers=authorization(face), timeout=30).status_code == 400
    assert requests.get(link.replace("expires=1", "expires=9"), timeout=30).status_code == 403
    assert requests.get(link.partition("?")[0], timeout=30).status_code == 403


def test_openrouter_tells_the_cost_and_errors_as_texts(face):
    """``usage.cost`` once it is completed; nobody else has it."""
    _, found = completed(face)
    assert found.get("usage", {}).get("cost") == (0.40 if face.gateway == "openrouter" else None)
    face.add_faults([{"call": "submit", "fail": {"code": "x", "message": "It went wrong"}}])
    url = f"{face.api}/videos/{post(face).json()['id']}"

    def error():
        return requests.get(url, headers=authorization(face), timeout=30).json().get("error")

    wrong = "It went wrong"
    assert until(error) == (wrong if face.gateway == "openrouter" else {"code": "x", "message": wrong})


def test_a_submission_is_charged_when_the_gateway_says(face):
    """At once where submissions are charged; where completions are, not before."""
    face.set_latency(600)
    post(face)
    charged_at_once = face.gateway in ("openai", "litellm")
    assert face.charges()["usd"] == face.summary()["usd"] == (0.40 if charged_at_once else 0)


def test_litellm_tells_the_cost_in_headers(face):
    """Cost and name of the call come with the submission; ids are as long as a proxy's."""
    response = post(face)
    cost = response.headers.get("x-litellm-response-cost")
    assert cost == ("0.4" if face.gateway == "litellm" else None)
    assert (len(response.json()["id"]) > 150) is (face.gateway == "litellm")
