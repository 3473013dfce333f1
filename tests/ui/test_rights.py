"""Who may see and do what on the page, asked of a real Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.ui.conftest import Page

JPEG = b"\xff\xd8\xff"
SECRET = {"dag_id": "secret_clips"}


def routes(page: Page, dag_id: str, run: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return a request to each route with data of a DAG."""
    run_id = page.runs[run]
    settle = {"params": {"run_id": run_id}}
    return [
        ("GET", "/api/videos", {"params": {"dag_id": dag_id}}),
        ("GET", "/api/videos", {"params": {"dag_id": dag_id, "run_id": run_id, "task_id": "make"}}),
        ("GET", "/api/people", {"params": {"dag_id": dag_id}}),
        ("GET", "/api/spend.csv", {"params": {"dag_id": dag_id}}),
        ("GET", f"/api/batch/{dag_id}/make", {"params": {"run_id": run_id}}),
        ("GET", f"/api/settle/{dag_id}/make", settle),
        ("POST", f"/api/settle/{dag_id}/make", {**settle, "json": {"never_happened": True}}),
    ]


def known_routes() -> set[tuple[str, str]]:
    """Return the method and path of each route of the app, but for the shell, which has no data."""
    from veo_provider.ui.app import create_app

    found = {
        (method, route.path)
        for route in create_app().routes
        for method in getattr(route, "methods", None) or {"mount"}
    }
    shell = {("GET", "/"), ("GET", "/run/{rest:path}"), ("GET", "/task/{rest:path}"), ("mount", "/static")}
    assert shell <= found
    return found - shell


# Airflow 3.1's own imports use a deprecated name of anyio.
@pytest.mark.filterwarnings("ignore:The anyio.abc.BlockingPortal alias")
def test_every_route_is_walked(page: Page) -> None:
    """A new route fails this test until its rights are tested here."""
    known = known_routes()
    walked = {
        (method, path.replace("/secret_clips/make", "/{dag_id}/{task_id}"))
        for method, path, _ in routes(page, "secret_clips", "two")
    }
    assert known == walked | {("GET", "/media/{token}")}


def test_nobody_gets_nothing(page: Page) -> None:
    """Without a login, each route with data answers 401."""
    with page.client() as client:
        for method, path, parts in routes(page, "open_clips", "one"):
            assert client.request(method, path, **parts).status_code == 401, path
        assert client.get("/api/videos").status_code == 401


def test_a_foreign_dag_is_forbidden(page: Page) -> None:
    """A viewer who may not read a DAG gets 403 on each route that names it."""
    with page.client("guest") as client:
        for dag_id, run in (("secret_clips", "two"), ("secret_archive", "archive")):
            for method, path, parts in routes(page, dag_id, run):
                assert client.request(method, path, **parts).status_code == 403, path


def test_a_foreign_dag_is_in_no_list_and_no_sum(page: Page) -> None:
    """The guest sees the videos and the money of their own DAG; the boss sees all."""
    guest, boss = page.videos("guest"), page.videos("boss")
    assert {row["dag_id"] for row in guest["rows"]} == {"open_clips"}
    assert guest["choices"]["dag_id"] == ["open_clips"]
    assert {one["dag_id"] for one in guest["spend"]["dag_id"]} == {"open_clips"}
    assert guest["totals"]["cost_usd"] == pytest.approx(0.30)
    assert guest["totals"]["unknown_usd"] == pytest.approx(0.30)
    assert boss["totals"]["cost_usd"] == pytest.approx(0.90)
    assert boss["totals"]["videos"] == 3
    assert page.sandbox.charges()["usd"] == pytest.approx(1.20)
    assert page.videos("boss", group="needs a person")["totals"]["needs_a_person"] == 1
    with page.client("guest") as client:
        assert "secret" not in client.get("/api/spend.csv").text


def test_a_viewer_may_not_settle(page: Page) -> None:
    """Who may read the DAG and not change its tasks may not settle, and is shown no button for it."""
    assert [row["may_settle"] for row in page.people("guest")] == [False]
    assert [row["may_settle"] for row in page.people("settler")] == [True]
    with page.client("guest") as client:
        for method, path, parts in routes(page, "open_clips", "lost")[-2:]:
            assert client.request(method, path, **parts).status_code == 403


def test_another_site_may_not_settle(page: Page) -> None:
    """A request that a browser sends for another site's page is refused, whoever is logged in."""
    parts = {"params": {"run_id": page.runs["lost"]}, "json": {"never_happened": True}}
    with page.client("settler") as client:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://example.org"}):
            answer = client.post("/api/settle/open_clips/make", headers=headers, **parts)
            assert answer.status_code == 403


def test_a_receipt_must_be_seen_before_it_is_settled(page: Page) -> None:
    """Without the version of the receipt, or with an old one, nothing is written."""
    parts = {"params": {"run_id": page.runs["lost"]}, "json": {"never_happened": True}}
    with page.client("settler") as client:
        assert client.post("/api/settle/open_clips/make", **parts).status_code == 428
        old = client.post("/api/settle/open_clips/make", headers={"If-Match": '"0"'}, **parts)
        assert old.status_code == 409
        assert "changed" in old.json()["detail"]
        seen = client.get("/api/settle/open_clips/make", params=parts["params"]).json()
        unknown = client.post(
            "/api/settle/open_clips/make",
            params=parts["params"],
            headers={"If-Match": seen["etag"]},
            json={"veo_task_id": "task_of_nobody"},
        )
        assert unknown.status_code == 409
        assert "does not know" in unknown.json()["detail"]


def test_media_are_had_by_their_link_alone(page: Page) -> None:
    """A video plays by its link, in parts; a link that was changed opens nothing."""
    row = next(row for row in page.videos("guest")["rows"] if row["state"] == "stored")
    url = page.airflow.url + row["video_url"]
    with page.client() as client:
        part = client.get(url, headers={"Range": "bytes=4-11"})
        assert (part.status_code, part.content[:4]) == (206, b"ftyp")
        assert part.headers["content-range"] == f"bytes 4-11/{row['bytes']}"
        assert len(client.get(url).content) == row["bytes"]
        assert client.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416
        assert client.get(f"{url}x").status_code == 403


def test_an_edited_xcom_hands_out_nothing_of_others(page: Page) -> None:
    """Who edits an XCom to name another object or receipt does not get it, nor settles it."""
    run_id = page.runs["one"]
    xcom = f"dags/open_clips/dagRuns/{run_id}/taskInstances/make/xcomEntries/veo"
    own = page.airflow.xcom("open_clips", run_id, "make", key="veo")
    named = [
        {**own, "receipt": "s3://videos/secret_clips/two.mp4.veo.json"},
        {**own, "receipt": "s3://videos/secret_clips/two.mp4"},
        {**own, "receipt": None, "object": "s3://videos/secret_clips/two.mp4"},
        {**own, "receipt": None, "object": "s3://images/rocket.jpg"},
    ]
    try:
        for value in named:
            page.airflow.edit_xcom(xcom, value)
            row = next(row for row in page.videos("guest", run_id=run_id)["rows"])
            links = [row[name] for name in ("video_url", "poster_url", "image_url") if row.get(name)]
            assert links
            with page.client("guest") as client:
                for link in links:
                    assert client.get(page.airflow.url + link).status_code in (403, 404), value
            with page.client("settler") as client:
                answer = client.get("/api/settle/open_clips/make", params={"run_id": run_id})
                assert answer.status_code in (404, 409)
        folder = page.airflow.xcom("secret_archive", page.runs["archive"], "make", key="folder")
        named = {"summary": f"{folder}summary.jsonl", "sheet": f"{folder}contact-sheet.jpg"}
        page.airflow.edit_xcom(xcom, {"kind": "batch", "state": "finished", **named})
        (row,) = page.videos("guest", run_id=run_id)["rows"]
        assert row["sheet_url"] is None
        with page.client("guest") as client:
            answer = client.get("/api/batch/open_clips/make", params={"run_id": run_id})
            assert answer.status_code == 404
    finally:
        page.airflow.edit_xcom(xcom, own)


def test_the_archive_shows_its_videos(page: Page) -> None:
    """A batch has one row, and its videos are read out of its summary."""
    with page.client("boss") as client:
        params = {"run_id": page.runs["archive"]}
        answer = client.get("/api/batch/secret_archive/make", params=params)
        (row,) = answer.json()["rows"]
        assert row["group"] == "made"
        assert client.get(page.airflow.url + row["video_url"]).content[4:8] == b"ftyp"
        for link in (answer.json()["sheet_url"], row["poster_url"]):
            assert client.get(page.airflow.url + link).content.startswith(JPEG)


def test_a_video_without_a_poster_shows_its_image(page: Page) -> None:
    """A poster is that of the receipt's own video; where it is gone, the source image stands in."""
    own = page.s3().get_object(Bucket="videos", Key="open_clips/one.mp4.veo.jpg")["Body"].read()
    with page.client("boss") as client:
        (row,) = page.videos("boss", run_id=page.runs["one"])["rows"]
        assert client.get(page.airflow.url + row["poster_url"]).content == own
        (row,) = page.videos("boss", run_id=page.runs["two"])["rows"]
        poster, image = (
            client.get(page.airflow.url + row[name]).content for name in ("poster_url", "image_url")
        )
        assert poster == image != own


def test_a_prompt_stays_a_text(page: Page) -> None:
    """The page has a policy that runs no script but its own, and its shell has no data."""
    with page.client() as client:
        shell = client.get("/")
        assert "script-src 'self'" in shell.headers["content-security-policy"]
        assert "rocket" not in shell.text
