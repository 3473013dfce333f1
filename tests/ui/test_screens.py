"""The page in a browser: log in, look, play, filter, settle. ``UI_PICTURES=folder`` keeps its pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.chromium import CHROMIUM, FLAGS
from support.moments import until

from veo_provider.receipts.attempt import Attempt
from veo_provider.receipts.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ui.conftest import Page

AUTOPLAY = "--autoplay-policy=no-user-gesture-required"
PICTURES = os.environ.get("UI_PICTURES")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser(page: Page) -> Iterator[Any]:
    """Open a browser that the boss has logged in with, by Airflow's own form."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    for number, image in enumerate(("chelsea.png", "hubble_portrait.webp"), 3):
        page.make("open_clips", f"clip-{number}", f"A slow zoom, number {number}", image=image)
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, AUTOPLAY])
        context = running.new_context(viewport={"width": 1280, "height": 860})
        opened = context.new_page()
        opened.goto(page.airflow.url)
        opened.locator("input[name=username]").fill("boss")
        opened.locator("input[name=password]").fill("boss")
        opened.locator("button[type=submit]").click()
        opened.wait_for_url(lambda url: "/login" not in url)
        yield opened
        running.close()


@pytest.fixture
def gallery(page: Page, browser: Any) -> Any:
    """Open the page by its URL."""
    browser.goto(f"{page.home}/")
    browser.locator(".card").first.wait_for()
    return browser


def figure(opened: Any, name: str) -> str:
    """Return a figure above the gallery."""
    return opened.locator(f"[data-figure={name!r}] b").inner_text()


def view(opened: Any, name: str) -> None:
    """Open another view of the page."""
    opened.locator(f"[data-view={name}]").click()


def shoot(opened: Any, name: str) -> None:
    """Keep a picture for the documentation, light and dark, if it is asked for."""
    if not PICTURES:
        return
    for theme in ("light", "dark"):
        opened.evaluate("(dark) => document.documentElement.classList.toggle('dark', dark)", theme == "dark")
        opened.screenshot(path=Path(PICTURES) / f"{name}-{theme}.jpg", type="jpeg", quality=70)
    opened.evaluate("() => document.documentElement.classList.remove('dark')")


def tell_candidate(page: Page, receipt: str, task: dict[str, Any]) -> None:
    """Add to a receipt which generation a look-up has found, as the provider does."""
    s3, (bucket, key) = page.s3(), receipt.removeprefix("s3://").split("/", 1)
    found = Receipt.from_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), receipt)
    told = {"veo_task_id": task["task_id"], "submitted_at": 1_800_000_000.0, "status": "completed"}
    changed = found.transition(found.state, Attempt("a look-up"), candidates=[told])
    s3.put_object(Bucket=bucket, Key=key, Body=changed.to_json())


def test_the_navigation_leads_to_the_page(page: Page, browser: Any) -> None:
    """Airflow's navigation shows the page in a frame, where the same login counts."""
    browser.goto(f"{page.airflow.url}/plugin/veo")
    frame = browser.frame_locator("iframe")
    frame.locator(".card").first.wait_for()


def test_the_gallery_shows_what_was_made(page: Page, gallery: Any) -> None:
    """The figures are those of the bill: videos, money, and what is unknown."""
    assert figure(gallery, "videos") == "5"
    assert figure(gallery, "spend") == "$1.50"
    assert figure(gallery, "of unknown fate") == "$0.30"
    assert figure(gallery, "needs a person") == "1"
    assert page.sandbox.charges()["usd"] == pytest.approx(1.80)
    until(lambda: gallery.evaluate("() => [...document.images].slice(0, 3).every((one) => one.naturalWidth)"))
    shoot(gallery, "gallery")


def test_a_prompt_with_markup_stays_a_text(gallery: Any) -> None:
    """Markup in a prompt is shown as it was written, and runs nothing."""
    assert gallery.locator(".prompt", has_text="<img src=x").count() == 1
    assert gallery.evaluate("() => window.hacked") is None


def test_a_video_plays(gallery: Any) -> None:
    """The details have the video beside its source image, and the video plays and can be sought."""
    gallery.locator(".card", has_text="number 3").locator("button.details").click()
    video = gallery.locator("dialog video")
    video.wait_for()
    assert gallery.locator("dialog img").get_attribute("src")
    gallery.evaluate("() => { const v = document.querySelector('dialog video'); v.muted = true; v.play(); }")
    until(lambda: video.evaluate("(v) => v.readyState >= 2 && v.currentTime > 0.2"))
    video.evaluate("(v) => { v.currentTime = 3; }")
    until(lambda: video.evaluate("(v) => v.readyState >= 2 && v.currentTime >= 3"))
    shoot(gallery, "video")


def test_a_card_plays_under_the_pointer(gallery: Any) -> None:
    """A poster becomes its video while the pointer is on it."""
    card = gallery.locator(".card", has_text="number 4")
    card.locator(".screen").hover()
    until(lambda: card.locator("video").evaluate("(v) => v.currentTime > 0"))


def test_the_filters_choose(gallery: Any) -> None:
    """By state and by a word of the prompt, only what fits is shown."""
    gallery.locator("[name=group]").select_option("needs a person")
    until(lambda: gallery.locator("article.card .badge.made").count() == 0)
    gallery.locator(".card", has_text="The lost one").wait_for()
    gallery.locator("[name=group]").select_option("")
    gallery.locator("[name=search]").fill("number 4")
    until(lambda: gallery.locator(".card").count() == 1)
    assert figure(gallery, "videos") == "1"


def test_the_spend_is_by_day_dag_model_and_account(gallery: Any) -> None:
    """The sums of the tables are those of the figures, and they can be had as CSV."""
    view(gallery, "spend")
    row = gallery.locator("tr", has_text="secret_archive")
    assert "$0.30" in row.inner_text()
    assert "$1.00" in row.inner_text()  # its ceiling
    with gallery.expect_download() as download:
        gallery.locator("#csv").click()
    text = Path(download.value.path()).read_text()
    assert len(text.splitlines()) == 7
    shoot(gallery, "spend")


def test_the_tab_of_a_task_shows_its_video(page: Page, browser: Any) -> None:
    """Where tabs are asked for, a task instance has one with its own video."""
    run_id = page.runs["clip-3"]
    browser.goto(f"{page.airflow.url}/dags/open_clips/runs/{run_id}/tasks/make/plugin/veo-task-instance")
    frame = browser.frame_locator("iframe")
    frame.locator("dd", has_text="A slow zoom, number 3").wait_for()
    video = frame.locator("video")
    until(lambda: video.evaluate("(v) => v.readyState >= 1"))


def test_a_lost_response_is_settled(page: Page, gallery: Any) -> None:
    """A person attaches the id that the service's log shows: the task runs on, and the sum changes."""
    (row,) = page.people("boss")
    lost = next(task for task in page.sandbox.tasks() if task["prompt"] == "The lost one")
    view(gallery, "people")
    gallery.locator(".person", has_text="The lost one").wait_for()
    shoot(gallery, "people")
    gallery.locator("button.settle").click()
    gallery.locator("#lost", has_text="Claimed at").wait_for()
    gallery.locator("[name=veo_task_id]").fill(lost["task_id"])
    gallery.locator("#attach").click()
    gallery.locator("#message", has_text="the task was cleared").wait_for()
    page.finish("open_clips", row["run_id"])
    gallery.reload()
    gallery.locator(".card").first.wait_for()
    assert figure(gallery, "spend") == "$1.80"
    assert figure(gallery, "needs a person") == "0"
    assert page.sandbox.charges()["usd"] == pytest.approx(1.80)
    (entry,) = page.airflow.audit_log("veo attach")
    assert (entry["owner"], entry["dag_id"]) == ("boss", "open_clips")


def test_it_never_happened_is_one_click(page: Page, gallery: Any) -> None:
    """A person says that nothing was accepted: the task submits again, and one video is charged."""
    before = page.sandbox.charges()["count"]
    page.sandbox.add_faults([{"call": "submit", "status": 502}])
    page.make("open_clips", "never", "The one that never was", "failed")
    page.sandbox.clear_faults()
    (row,) = page.people("boss")
    view(gallery, "people")
    gallery.locator("button.settle").click()
    gallery.locator("#lost", has_text="Claimed at").wait_for()
    gallery.locator("#never").click()
    gallery.locator("#message", has_text="the task was cleared").wait_for()
    page.finish("open_clips", row["run_id"])
    assert page.people("boss") == []
    assert page.sandbox.charges()["count"] == before + 1
    (entry,) = page.airflow.audit_log("veo never-happened")
    assert entry["owner"] == "boss"


def test_the_lost_images_of_an_archive_are_settled_and_its_task_is_cleared_once(
    page: Page, gallery: Any
) -> None:
    """Each is listed with its key and attached by a click on its candidate; nothing is paid twice."""
    page.sandbox.add_faults([{"call": "submit", "reset": "after", "after": 1}])
    page.make("open_archive", "lots", state="failed")
    page.sandbox.clear_faults()
    lost = page.people("boss", dag_id="open_archive")
    assert len({row["key"] for row in lost}) == len(lost) == 2
    accepted = [one for one in page.sandbox.tasks() if one["prompt"] == "It comes alive"]
    assert len(accepted) == 3
    for row, task in zip(lost, accepted[1:], strict=True):
        tell_candidate(page, row["receipt"], task)
    view(gallery, "people")
    gallery.locator("h2.batch").wait_for()
    shoot(gallery, "archive")
    for left in (1, 0):
        gallery.locator("button.candidate").first.click()
        gallery.locator("#message", has_text="settle the others").wait_for()
        until(lambda left=left: gallery.locator("button.candidate").count() == left)
    assert gallery.locator(".note", has_text="in flight").count() == 2
    gallery.locator("button.clear").click()
    gallery.locator("#message", has_text="The task was cleared").wait_for()
    page.finish("open_archive", lost[0]["run_id"])
    assert page.people("boss", dag_id="open_archive") == []
    with page.client("boss") as client:
        params = {"run_id": lost[0]["run_id"]}
        rows = client.get("/api/batch/open_archive/make", params=params).json()["rows"]
    assert [row["group"] for row in rows] == ["made"] * 3
    assert len([one for one in page.sandbox.tasks() if one["prompt"] == "It comes alive"]) == 3


def test_the_operators_link_leads_to_its_video(page: Page, browser: Any) -> None:
    """The link of a task instance opens its own view, which is all that there is on Airflow 3.0."""
    links = page.airflow.links("open_clips", page.runs["clip-3"], "make")
    browser.goto(page.airflow.url + links["Video"])
    browser.locator("dd", has_text="A slow zoom, number 3").wait_for()
    until(lambda: browser.locator("video").evaluate("(v) => v.readyState >= 1"))
