"""The lists of an account: APIYI's tasks and log, and OpenAI's list of videos."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support.sandbox_api import MODEL, Api

from veo_provider.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(api: Api, name: str, **query: Any) -> dict[str, Any]:
    """What the task list or the log answers."""
    url = api.sandbox.api.replace("/v1", f"/api/{name}/self")
    token = {"Authorization": api.sandbox.account_token}
    answer: dict[str, Any] = requests.get(url, params=query, headers=token, timeout=30).json()
    assert answer["success"] is True
    data: dict[str, Any] = answer["data"]
    return data


def ids(page: dict[str, Any]) -> list[str]:
    """The tasks of a page of the task list."""
    return [row["task_id"] for row in page["items"]]


@pytest.mark.parametrize("name", ["task", "log"])
def test_only_the_system_token_reads_the_lists(api: Api, name: str) -> None:
    """The key of the API gets 401, and so does the token with a scheme."""
    url = api.sandbox.api.replace("/v1", f"/api/{name}/self")
    for wrong in (
        f"Bearer {api.sandbox.api_key}",
        api.sandbox.api_key,
        f"Bearer {api.sandbox.account_token}",
    ):
        assert requests.get(url, headers={"Authorization": wrong}, timeout=30).status_code == 401


def test_the_task_list_says_what_was_submitted(api: Api) -> None:
    """Each row has the id, what was asked for as JSON text, and the quota that it took; no key."""
    task_id = api.completed(prompt="A rocket")
    data = rows(api, "task")
    (row,) = data["items"]
    assert (data["total"], data["page"]) == (1, 1)
    assert (row["task_id"], row["status"], row["quota"], row["model_name"]) == (
        task_id,
        "SUCCESS",
        150_000,
        MODEL,
    )
    said = {"model": MODEL, "prompt": "A rocket", "seconds": "4", "size": "1280x720"}
    assert json.loads(row["properties"]["input"]) == said
    assert 0 < row["submit_time"] <= row["finish_time"]
    assert api.sandbox.api_key not in json.dumps(data)


def test_the_task_list_is_newest_first_in_pages_from_one(api: Api) -> None:
    """``p`` counts from 1, and a task or a time can be asked for."""
    first, second, third = (api.submitted() for _ in range(3))
    assert ids(rows(api, "task", p=1, page_size=2)) == [third, second]
    assert ids(rows(api, "task", p=2, page_size=2)) == [first]
    assert ids(rows(api, "task", task_id=second)) == [second]
    assert ids(rows(api, "task", model_name="another")) == []
    assert ids(rows(api, "task", start_timestamp=int(time.time()) + 60)) == []
    assert len(ids(rows(api, "task", end_timestamp=int(time.time()) + 60))) == 3


def test_the_log_has_charges_and_refunds_with_the_key_in_plain_text(api: Api) -> None:
    """Type 2 is a charge, 11 the refund of a failed task; each row names the task and shows the key."""
    api.sandbox.add_faults([{"call": "submit", "fail": True}])
    task_id = api.submitted()
    api.ended(task_id)
    charge, refund = (rows(api, "log", type=kind)["items"][0] for kind in (2, 11))
    assert (charge["quota"], refund["quota"]) == (150_000, -150_000)
    for row in (charge, refund):
        assert task_id in row["content"]
        assert api.sandbox.api_key in row.values()
        assert all(row[name] for name in ("token_name", "request_id", "created_at"))


def test_the_log_counts_pages_from_zero_and_ignores_the_other_spelling(api: Api) -> None:
    """``p`` is 0 at first, ``pageSize`` counts, ``page_size`` does not."""
    for _ in range(3):
        api.submitted()
    assert len(rows(api, "log", p=0, pageSize=2)["items"]) == 2
    assert len(rows(api, "log", p=1, pageSize=2)["items"]) == 1
    assert len(rows(api, "log", page_size=1)["items"]) == 3


def test_the_default_gateway_has_no_list_of_videos(api: Api) -> None:
    """``GET /v1/videos`` is a wrong URL there."""
    assert api.call("GET").status_code == 404


@pytest.mark.parametrize("name", ["task", "log"])
def test_a_row_can_be_late_missing_stale_or_skewed(api: Api, name: str) -> None:
    """Rules let a row come late or never, and lists lack the newest, be empty or tell another time."""
    api.sandbox.add_faults(
        [
            {"call": "submit", "occurrence": 1, "row_delay": 60},
            {"call": "submit", "occurrence": 2, "no_row": True},
        ]
    )
    for _ in range(3):
        last = api.submitted()
    (row,) = rows(api, name)["items"]
    assert last in json.dumps(row)
    call = "list" if name == "task" else "log"
    key = "submit_time" if name == "task" else "created_at"
    api.sandbox.add_faults([{"call": call, "skew": -100, "first": 1}])
    assert rows(api, name)["items"][0][key] == row[key] - 100
    api.sandbox.add_faults([{"call": call, "stale": 60, "first": 1}])
    assert rows(api, name)["items"] == []
    api.sandbox.add_faults([{"call": call, "empty": True, "first": 1}])
    assert rows(api, name)["items"] == []
    assert len(api.sandbox.tasks()) == 3


@pytest.mark.parametrize(("kind", "prompt"), [("same", "Mine"), ("other", "Somebody else's prompt")])
def test_somebody_else_may_use_the_account(api: Api, kind: str, prompt: str) -> None:
    """Their task is listed and can be polled, but is not on this bill; also if the own one was refused."""
    api.sandbox.add_faults([{"call": "submit", "status": 503, "foreign": kind}])
    assert api.form(fields={"prompt": "Mine"}).status_code == 503
    (row,) = rows(api, "task")["items"]
    assert json.loads(row["properties"]["input"])["prompt"] == prompt
    assert api.poll(row["task_id"])["id"] == row["task_id"]
    assert api.sandbox.tasks() == []
    assert api.sandbox.summary()["accepted"] == api.sandbox.charges()["count"] == 0


def test_a_row_without_a_task_is_not_charged(api: Api) -> None:
    """The lists show it, but it cannot be polled."""
    api.sandbox.add_faults([{"call": "submit", "status": 500, "only_row": True}])
    api.form()
    (row,) = rows(api, "task")["items"]
    assert api.poll(row["task_id"])["code"] == "task_not_exist"
    assert len(rows(api, "log")["items"]) == 1
    assert api.sandbox.tasks() == []


def test_the_task_list_may_show_keys_and_objects(api: Api) -> None:
    """Rules let its rows have the key, and what was asked for as an object."""
    api.submitted(prompt="Mine")
    api.sandbox.add_faults([{"call": "list", "keys": True, "input_object": True}])
    (row,) = rows(api, "task")["items"]
    assert api.sandbox.api_key in row.values()
    assert row["properties"]["input"]["prompt"] == "Mine"


@pytest.fixture(scope="module", params=["openai", "inworld"])
def listing(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox that plays a gateway with a list of videos."""
    with Sandbox(gateway=request.param, latency=0.2, s3=False, film="small") as sandbox:
        yield sandbox


def submit(sandbox: Sandbox, key: str = "", prompt: str = "A boat") -> requests.Response:
    """Submit a text as the gateway wants it."""
    fields = {"prompt": prompt, "model": "google/veo-3.1-fast"}
    headers = {"Authorization": f"Basic {sandbox.api_key}"}
    if key:
        headers["Idempotency-Key"] = key
    if sandbox.gateway == "openai":
        files = {name: (None, value) for name, value in fields.items()}
        files["model"] = (None, "veo-3.1-fast-generate-001")
        headers["Authorization"] = f"Bearer {sandbox.api_key}"
        return requests.post(f"{sandbox.api}/videos", files=files, headers=headers, timeout=30)
    return requests.post(f"{sandbox.api}/videos", json=fields, headers=headers, timeout=30)


def videos(sandbox: Sandbox, **query: Any) -> dict[str, Any]:
    """A page of its list of videos."""
    scheme = "Bearer" if sandbox.gateway == "openai" else "Basic"
    headers = {"Authorization": f"{scheme} {sandbox.api_key}"}
    answer: dict[str, Any] = requests.get(
        f"{sandbox.api}/videos", params=query, headers=headers, timeout=30
    ).json()
    return answer


def test_the_list_of_videos_is_newest_first_in_pages(listing: Sandbox) -> None:
    """``after`` continues after an id, ``order`` turns it around, and the entries have no link."""
    listing.reset()
    made = [submit(listing, prompt=f"Number {n}").json()["id"] for n in range(3)]
    page = videos(listing, limit=2)
    assert (page["object"], page["has_more"]) == ("list", True)
    assert [each["id"] for each in page["data"]] == [made[2], made[1]] == [page["first_id"], page["last_id"]]
    assert [each["prompt"] for each in page["data"]] == ["Number 2", "Number 1"]
    assert "output" not in page["data"][0]
    rest = videos(listing, after=page["last_id"])
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([made[0]], False)
    assert [each["id"] for each in videos(listing, order="asc")["data"]] == made
    assert "error" in videos(listing, limit="many")
    assert "error" in videos(listing, after="video_none")


def test_a_repeated_key_returns_the_first_job(listing: Sandbox) -> None:
    """Inworld bills it once, and refuses the key with another body; the other gateway ignores it."""
    listing.reset()
    first, again = (submit(listing, key="k-1").json()["id"] for _ in range(2))
    other = submit(listing, key="k-1", prompt="Another")
    if listing.gateway == "inworld":
        assert first == again
        assert other.status_code == 409
        assert len(listing.tasks()) == 1
        assert submit(listing, key="k-2").json()["id"] != first
    else:
        assert len(listing.tasks()) == 3
