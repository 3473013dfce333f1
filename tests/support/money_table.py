"""The table in docs/money.rst of what each answer means for the money, made by the code that decides it.

Write it anew with ``python tests/support/money_table.py`` from the repository's root.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.http.response import Response
from veo_provider.api.parsing.download import parse_content
from veo_provider.api.video import VideoStatus

Reading = Callable[[Response, str], tuple[str, str, str]]
"""What an answer means in one phase: what is believed, done and said."""

PAGE = Path(__file__).parents[2] / "docs" / "money.rst"
BEGIN = ".. The table is made by tests/support/money_table.py: do not edit it by hand.\n\n"
END = "\n.. End of the table.\n"
TASK = "task_1"


def _answer(status: int, body: object = b"", **headers: str) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response.received(status, data, {k.replace("_", "-"): v for k, v in headers.items()})


def _error(message: str, code: str = "code") -> dict[str, object]:
    return {"error": {"message": message, "code": code}}


def _fetch_failed(message: str) -> dict[str, object]:
    inner = {"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}
    return {"code": "fail_to_fetch_task", "message": json.dumps(inner), "data": None}


def _video(**fields: object) -> dict[str, object]:
    return {"id": TASK, "task_id": TASK, **fields}


PAGE_OF_ANOTHER = b"<html>"
ANSWERS: list[tuple[str, Response]] = [
    ("200 with the task, ``queued``", _answer(200, _video(status="queued"))),
    ("200, ``completed``", _answer(200, _video(status="completed"))),
    ("200, ``completed`` with an ``error``", _answer(200, _video(status="completed", **_error("filtered")))),
    ("200, ``failed``", _answer(200, _video(status="failed"))),
    ("200, ``expired`` or ``cancelled``", _answer(200, _video(status="expired"))),
    ("200, a word that nobody knows", _answer(200, _video(status="warming_up"))),
    ("200 about another task", _answer(200, {"id": "task_2", "status": "failed"})),
    ("200, cut after the id", Response.received(200, b'{"id": "task_1", "sta', {}, broken="reset")),
    ("200 that is no JSON", _answer(200, b"<html>", Content_Type="text/html")),
    ("200 ``video/mp4``", _answer(200, b"", Content_Type="video/mp4")),
    ("101, 0, or a number that nobody knows", _answer(101)),
    ("a redirect", _answer(302, PAGE_OF_ANOTHER)),
    ("400 with an error", _answer(400, _error("bad field"))),
    ("400 ``task_not_exist``", _answer(400, _error("task_not_exist", "task_not_exist"))),
    ("400 ``INTERNAL``", _answer(400, _error("oops", "INTERNAL"))),
    ("400, moderation", _answer(400, _error("PUBLIC_ERROR_UNSAFE", ""))),
    ("401 with an error", _answer(401, _error("Invalid token"))),
    ("402, or 403 ``insufficient_user_quota``", _answer(403, _error("no money", "insufficient_user_quota"))),
    ("403 with an error", _answer(403, _error("no access"))),
    ("403 of a firewall", _answer(403, PAGE_OF_ANOTHER)),
    ("404 or 410 with an error", _answer(404, _error("nothing here"))),
    ("404 ``Invalid URL``", _answer(404, _error("Invalid URL (POST /v1/videos)", ""))),
    ("404, 405 or 413 of another server", _answer(404, PAGE_OF_ANOTHER)),
    ("404, the model has ended", _answer(404, _fetch_failed("the model is no longer available"))),
    ("408, 425 or 499", _answer(408, PAGE_OF_ANOTHER)),
    ("409 with an error", _answer(409, _error("conflict"))),
    ("422 or 451 with an error", _answer(422, _error("no"))),
    ("429, or 403 ``upstream_load_saturated``", _answer(429, _error("busy", "upstream_load_saturated"))),
    ("500 ``get_channel_failed``", _answer(500, _error("none left", "get_channel_failed"))),
    ("503 ``model_not_found``", _answer(503, _error("no available channels", "model_not_found"))),
    ("any other 5xx", _answer(502, PAGE_OF_ANOTHER)),
]
"""One answer for each row, with its name."""


def render() -> str:
    """Return the three tables, one for each phase, as reStructuredText."""
    return "\n".join(
        [
            *_table("Submitting", _submitting, "refused: not charged"),
            *_table("Waiting", _waiting, "accepted: charged once, when it completes"),
            *_table("Downloading", _downloading, "completed: has been charged"),
        ]
    )


def document(text: str, table: str) -> str:
    """Return a page with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table}{END}{after}"


def _table(title: str, read: Reading, belief: str) -> list[str]:
    """Return the lines of one phase's table; answers that come to the same share a row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for name, answer in ANSWERS:
        rows.setdefault(read(answer, belief), []).append(name)
    lines = [title, "~" * len(title), "", ".. list-table::", "   :header-rows: 1"]
    lines += ["   :widths: 34 16 16 34", ""]
    lines += _row("answer", "what is believed", "what is done", "what is said, after what happened")
    for cells, names in rows.items():
        lines += _row("; ".join(names), *cells)
    return [*lines, ""]


def _row(first: str, *others: str) -> list[str]:
    return [f"   * - {first}", *(f"     - {cell or 'nothing'}" for cell in others)]


def _said(error: exceptions.VeoError) -> str:
    return " ".join(part for part in (error.money, error.advice) if part)


def _submitting(answer: Response, belief: str) -> tuple[str, str, str]:
    try:
        video = protocol.parse_submission(answer)
    except exceptions.VeoSubmissionUnknown as error:
        candidate = ", but its id is kept to be looked up" if error.veo_task_id else ""
        return f"**unknown**: it may be charged{candidate}", "not sent again by itself", _said(error)
    except exceptions.VeoAPIError as error:
        return belief, "sent again later" if error.retryable else "ends", _said(error)
    assert video.id
    return "accepted, with its id", "waits", ""


def _waiting(answer: Response, belief: str) -> tuple[str, str, str]:
    try:
        video = protocol.parse_video(answer, TASK)
    except exceptions.VeoError as error:
        return belief, "asks again" if error.retryable else "the wait ends", _said(error)
    if not video.finished:
        return belief, "asks again", ""
    if video.completed_with_error:
        return "completed: charged, and probably without a video", "tries to download it", ""
    if video.status is VideoStatus.COMPLETED:
        return "completed: charged", "downloads it", ""
    try:
        video.raise_if_failed()
    except exceptions.VeoGenerationFailed as error:
        if video.resubmittable:
            return "failed: not charged", "generates it anew, up to ``max_generations``", error.money
        return (
            "ended, and it is **unknown** whether it is charged",
            "not generated anew by itself",
            error.money,
        )
    raise AssertionError(video)


def _downloading(answer: Response, belief: str) -> tuple[str, str, str]:
    try:
        parse_content(answer)
    except exceptions.VeoError as error:
        return belief, "tries again" if error.retryable else "ends", _said(error)
    return belief, "stores it", ""


if __name__ == "__main__":
    PAGE.write_text(document(PAGE.read_text(encoding="utf-8"), render()), encoding="utf-8")
