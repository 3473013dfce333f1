"""Faults in what the gateway says: refusals before a relay, answers about something else, other words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.sandbox_api import MODEL

if TYPE_CHECKING:
    from support.sandbox_api import Api

OLD = "veo-3.1-generate-preview"
REASON = {"code": "INTERNAL", "message": "the file was lost"}


@pytest.mark.parametrize(("said", "status"), [(True, 404), (404, 404), (400, 400)])
def test_a_model_can_be_retired(api: Api, said: bool | int, status: int) -> None:
    """Refused in the words of the model's own API, inside the second shape."""
    api.sandbox.add_faults([{"call": "submit", "retired": said}])
    response = api.form()
    assert response.status_code == status
    answer = response.json()
    assert (answer["code"], answer["data"]) == ("fail_to_fetch_task", None)
    inner = json.loads(answer["message"])["error"]
    assert (inner["code"], inner["status"]) == (404, "NOT_FOUND")
    assert f"models/{MODEL} is no longer available" in inner["message"]
    assert api.sandbox.tasks() == []


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [(True, 503, "model_not_found"), (503, 503, "model_not_found"), (500, 500, "get_channel_failed")],
)
def test_a_gateway_can_have_no_channel(api: Api, said: bool | int, status: int, code: str) -> None:
    """It says so before it looks at the fields, by its front or by its relay; nothing was accepted."""
    api.sandbox.add_faults([{"call": "submit", "no_channel": said}])
    for response in (api.form(), api.form(fields={"prompt": None})):
        assert response.status_code == status
        answer = response.json()
        error = answer.get("error", answer)
        assert error["code"] == code
        assert MODEL in error["message"]
        assert ("error" in answer) is (status == 503)
    assert api.sandbox.tasks() == []


def test_a_model_can_be_retired_while_others_go_on(api: Api) -> None:
    """From its third submission on; its tasks run to their end, and all that was accepted is charged."""
    api.sandbox.add_faults([{"call": "submit", "model": OLD, "after": 2, "retired": True}])
    asked = [OLD, MODEL, OLD, MODEL, OLD, MODEL, OLD]
    statuses = [api.form(fields={"model": model}).status_code for model in asked]
    assert statuses == [200, 200, 200, 200, 404, 200, 404]
    for record in api.sandbox.tasks():
        api.ended(record["task_id"])
    assert api.sandbox.charges()["usd"] == 3 * 0.3 + 2 * 1.2


def test_rules_about_a_model_hold_for_its_polls_and_content_too(api: Api) -> None:
    """A task is about the model that it was submitted with."""
    old, new = api.completed(model=OLD), api.completed()
    api.sandbox.add_faults([{"call": call, "model": OLD, "status": 503} for call in ("poll", "content")])
    paths = [f"/{old}", f"/{old}/content", f"/{new}", f"/{new}/content"]
    assert [api.call("GET", path).status_code for path in paths] == [503, 503, 200, 200]


def test_a_refusal_comes_before_the_rest_of_a_retirement(api: Api) -> None:
    """A gateway checks the fields before it relays anything."""
    api.sandbox.add_faults([{"call": "submit", "retired": True}])
    assert "prompt is required" in api.refused(api.form(fields={"prompt": None}))


@pytest.mark.parametrize(("more", "status"), [({}, 404), ({"filtered": 400}, 400), ({"filtered": 502}, 502)])
def test_a_completed_video_may_come_with_an_error(api: Api, more: dict[str, int], status: int) -> None:
    """Completed, charged, and there is no content for ever."""
    api.sandbox.add_faults([{"call": "submit", "completed_error": REASON, **more}])
    task_id = api.completed()
    answer = api.poll(task_id)
    assert (answer["status"], answer["error"]) == ("completed", REASON)
    assert [api.content(task_id).status_code for _ in range(3)] == [status] * 3
    assert api.sandbox.charges()["count"] == 1


def test_a_poll_may_tell_about_another_task(api: Api) -> None:
    """Its true object, with its own id: of one that failed rather than of one that is completed."""
    mine, completed = api.completed(), api.completed()
    api.sandbox.add_faults([{"call": "poll", "first": 1, "other_task": True}])
    answer = api.poll(mine)
    assert (answer["id"], answer["task_id"], answer["status"]) == (completed, completed, "completed")
    assert api.poll(mine)["id"] == mine
    api.sandbox.add_faults([{"call": "submit", "fail": REASON}])
    failed = api.submitted()
    api.ended(failed)
    api.sandbox.add_faults([{"call": "poll", "task": mine, "other_task": True}])
    answer = api.poll(mine)
    assert (answer["id"], answer["status"], answer["error"]) == (failed, "failed", REASON)
    assert api.sandbox.charges()["count"] == 2


@pytest.mark.parametrize("said", [True, "task_of_nobody"])
def test_a_poll_may_tell_about_a_task_that_nobody_submitted(api: Api, said: bool | str) -> None:
    """Which has failed."""
    mine = api.submitted()
    api.sandbox.add_faults([{"call": "poll", "other_task": said}])
    answer = api.poll(mine)
    assert (answer["id"] == said) is (said is not True)
    assert answer["id"] == answer["task_id"] != mine
    assert answer["status"] == "failed"


def test_a_poll_may_tell_about_a_task_of_a_certain_id(api: Api) -> None:
    """Where a rule names it."""
    first, second, third = (api.completed() for _ in range(3))
    api.sandbox.add_faults([{"call": "poll", "task": first, "other_task": third}])
    assert [api.poll(task_id)["id"] for task_id in (first, second, third)] == [third, second, third]


def test_answers_can_be_wrapped_and_speak_other_words(api: Api) -> None:
    """As gateways of this family do: the object is inside another one, and its status has another name."""
    words = {"queued": "NOT_START", "in_progress": "IN_PROGRESS", "completed": "SUCCESS"}
    api.sandbox.add_faults([{"call": call, "wrap": True, "words": words} for call in ("submit", "poll")])
    answer = api.form().json()
    assert (answer["code"], answer["message"]) == ("success", "")
    assert answer["data"]["status"] == "NOT_START"
    task_id = answer["data"]["id"]
    api.ended(task_id)
    data = api.poll(task_id)["data"]
    assert (data["id"], data["status"], data["progress"]) == (task_id, "SUCCESS", 100)
    assert api.content(task_id).status_code == 200
    assert api.sandbox.charges()["count"] == 1


@pytest.mark.parametrize("call", ["submit", "poll", "content"])
def test_a_firewall_answers_with_a_web_page(api: Api, call: str) -> None:
    """403 and HTML, whatever was asked."""
    task_id = api.completed()
    page = "\n<!DOCTYPE html><title>Access denied</title>"
    api.sandbox.add_faults([{"call": call, "status": 403, "text": page}])
    paths = {"poll": f"/{task_id}", "content": f"/{task_id}/content"}
    response = api.form() if call == "submit" else api.call("GET", paths[call])
    assert (response.status_code, response.text) == (403, page)
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert api.sandbox.charges()["count"] == 1


def part(api: Api, task_id: str, if_range: str | None = None) -> Any:
    """The answer to a request for the first ten bytes."""
    headers = {"Range": "bytes=0-9", **({} if if_range is None else {"If-Range": if_range})}
    return api.content(task_id, headers=headers)


def test_a_video_may_have_a_weak_etag_or_none(api: Api) -> None:
    """Neither says that two parts are of the same file: with If-Range the whole comes."""
    task_id = api.completed()
    strong = api.content(task_id).headers["ETag"]
    api.sandbox.add_faults([{"call": "content", "first": 2, "etag": "weak"}])
    weak = part(api, task_id)
    assert (weak.status_code, weak.headers["ETag"]) == (206, f"W/{strong}")
    assert part(api, task_id, f"W/{strong}").status_code == 200
    api.sandbox.add_faults([{"call": "content", "etag": "none"}])
    bare = part(api, task_id)
    assert bare.status_code == 206
    assert "ETag" not in bare.headers
    assert part(api, task_id, strong).status_code == 200


@pytest.mark.parametrize(("etag", "status"), [("new", 200), ("mixed", 206)])
def test_a_video_may_be_another_one_in_each_answer(api: Api, etag: str, status: int) -> None:
    """As long, with other bytes and another ETag; a rule may have parts of it sent in spite of If-Range."""
    task_id = api.completed()
    api.sandbox.add_faults([{"call": "content", "etag": etag, "pad": 1000}])
    first, second = api.content(task_id), api.content(task_id)
    assert len(first.content) == len(second.content)
    assert first.content[:-992] == second.content[:-992]
    assert first.content[-992:] != second.content[-992:]
    third = part(api, task_id, second.headers["ETag"])
    assert third.status_code == status
    assert len({answer.headers["ETag"] for answer in (first, second, third)}) == 3
