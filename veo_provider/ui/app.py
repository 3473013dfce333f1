"""The app that Airflow mounts: a page without data, and routes that ask Airflow who may see what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.core_api.security import GetUserDep  # noqa: TC002 - FastAPI reads it at run time
from airflow.utils.session import create_session
from fastapi import FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from veo_provider import airflow_config
from veo_provider.ui import batches, figures, ledger, media, people, rights, settings, settling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_STATIC = Path(__file__).parent / "static"
_PAGE = 48
_MAX_DAYS = 366

# FastAPI reads these when it makes the app, so they are names of the module.
Days = Annotated[int, Query(ge=1, le=_MAX_DAYS)]
Offset = Annotated[int, Query(ge=0)]
Range = Annotated[str | None, Header(alias="range")]


def create_app() -> FastAPI:
    """Return the app."""
    # A description of the routes would be another one that answers anybody.
    app = FastAPI(title="Veo videos", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_secure)
    app.mount("/static", StaticFiles(directory=_STATIC))
    for path in ("/", "/run/{rest:path}", "/task/{rest:path}"):
        app.get(path)(page)
    app.get("/api/videos")(videos)
    app.get("/api/people")(needing_a_person)
    app.get("/api/spend.csv")(spend_csv)
    app.get("/api/batch/{dag_id}/{task_id}")(batch)
    app.get("/api/settle/{dag_id}/{task_id}")(lost)
    app.post("/api/settle/{dag_id}/{task_id}")(settle)
    app.get("/media/{token}")(video)
    return app


def page() -> HTMLResponse:
    """Return the page: the same for everybody, without data. Its script asks the routes below."""
    text = (_STATIC / "index.html").read_text(encoding="utf-8")
    return HTMLResponse(text.replace("{{HOME}}", airflow_config.page_path()))


def videos(
    user: GetUserDep,
    request: Request,
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
    days: Days = 30,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Return a page of the gallery, the figures, and the spend."""
    place = ledger.Place(dag_id, run_id, task_id, map_index)
    rows = _rows(user, place, None if run_id else days)
    filters = _filters(request)
    shown = [row for row in rows if filters.accept(row)]
    links = media.MediaLinks(user)
    page_of = [links.add_to(dict(row)) for row in shown[offset : offset + _PAGE]]
    for row in page_of:
        if row["kind"] == "batch":
            row["sheet_url"] = _sheet_url(links, row)
        if row["kind"] == "batch" and row["state"] == "running" and run_id:
            row["progress"] = batches.progress(row)
    return {
        "rows": page_of,
        "matches": len(shown),
        "more": len(shown) > offset + _PAGE,
        "totals": figures.totals(shown),
        "spend": figures.spend(shown),
        "choices": {
            name: sorted({str(row[name]) for row in rows if row.get(name)})
            for name in ("dag_id", "model", "gateway", "account")
        },
    }


def needing_a_person(
    user: GetUserDep,
    request: Request,
    dag_id: str | None = None,
    run_id: str | None = None,
    days: Days = 30,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Return a page of what needs a person, with what the receipts say of it now."""
    rows = _rows(user, ledger.Place(dag_id, run_id), None if run_id else days)
    found = list(people.needing(rows, _filters(request)))
    page_of = found[offset : offset + _PAGE]
    settleable = rights.settleable_dags(user, {row["dag_id"] for row in page_of})
    return {
        "people": people.with_receipts(page_of, settleable),
        "clearable": sorted(settleable),
        "matches": len(found),
        "more": len(found) > offset + _PAGE,
    }


def spend_csv(
    user: GetUserDep,
    request: Request,
    dag_id: str | None = None,
    run_id: str | None = None,
    days: Days = 30,
) -> Response:
    """Return the rows that are shown as CSV, with what each cost."""
    rows = _rows(user, ledger.Place(dag_id, run_id), None if run_id else days)
    filters = _filters(request)
    text = figures.as_csv(row for row in rows if filters.accept(row))
    headers = {"Content-Disposition": 'attachment; filename="veo-spend.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def batch(
    user: GetUserDep,
    request: Request,
    dag_id: str,
    task_id: str,
    run_id: str,
    map_index: int = -1,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Return a page of the videos of one batch, out of its summary."""
    rights.require_reader(user, dag_id)
    own = _batch_of(ledger.Place(dag_id, run_id, task_id, map_index))
    filters = _filters(request)
    links = media.MediaLinks(user)
    shown = [row for row in batches.images(own) if filters.accept(row)]
    page_of = [links.add_to(row) for row in shown[offset : offset + _PAGE]]
    return {
        "rows": page_of,
        "matches": len(shown),
        "more": len(shown) > offset + _PAGE,
        "progress": {} if own.get("summary") else batches.progress(own),
        "sheet_url": _sheet_url(links, own),
    }


def _sheet_url(links: media.MediaLinks, row: dict[str, Any]) -> str | None:
    """Return the link of a batch's contact sheet; None if it has none."""
    sheet = batches.sheet(row)
    return links.sheet(sheet, row["dag_id"]) if sheet else None


def video(token: str, asked: Range = None) -> Response:
    """Return a video or an image; the link is the right to it, for a while."""
    return media.serve(token, asked)


def lost(
    user: GetUserDep, dag_id: str, task_id: str, run_id: str, map_index: int = -1, key: str = ""
) -> dict[str, Any]:
    """Return the lost submission of a task, or of a batch's image, as its receipt is now."""
    rights.require_settler(user, dag_id)
    return settling.read(_row_of(ledger.Place(dag_id, run_id, task_id, map_index), key))


def settle(
    user: GetUserDep,
    request: Request,
    dag_id: str,
    task_id: str,
    run_id: str,
    answer: settling.Answer,
    map_index: int = -1,
    key: str = "",
    if_match: Annotated[str, Header()] = "",
) -> dict[str, Any]:
    """Record what a person has found out about a lost submission. This spends nothing."""
    _require_own_page(request)
    rights.require_settler(user, dag_id)
    row = _row_of(ledger.Place(dag_id, run_id, task_id, map_index), key)
    return settling.settle(row, answer, etag=if_match, user=user)


def _require_own_page(request: Request) -> None:
    """Check that no page of another site sends a request with a viewer's cookie.

    :raises HTTPException: 403.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    is_foreign = site not in (None, "same-origin")
    if site is None and origin is not None:
        is_foreign = urlsplit(origin).netloc != request.headers.get("host")
    if is_foreign:
        raise HTTPException(403, "Only Airflow's own page may ask for this.")


def _row_of(place: ledger.Place, key: str) -> dict[str, Any]:
    """Return the row of a task instance, or of an image in its batch.

    :param key: of the image; empty for a task of one video.
    :raises HTTPException: 404.
    """
    rows = _rows_of(place) if not key else batches.images(_batch_of(place))
    for row in rows:
        if row.get("receipt") and (not key or row.get("key") == key):
            return row
    raise HTTPException(404, "This task has no such receipt in S3.")


def _batch_of(place: ledger.Place) -> dict[str, Any]:
    """Return the row of a batch.

    :raises HTTPException: 404.
    """
    for row in _rows_of(place):
        if row["kind"] == "batch":
            return row
    raise HTTPException(404, "There is no such batch.")


def _rows_of(place: ledger.Place) -> list[dict[str, Any]]:
    with create_session() as session:
        return ledger.read_rows(session, {place.dag_id or ""}, place, None)


def _rows(user: Any, place: ledger.Place, days: int | None) -> list[dict[str, Any]]:
    """Return the rows that a user may see, newest first.

    :raises HTTPException: 403: a DAG was named that the user may not read.
    """
    if place.dag_id is not None:
        rights.require_reader(user, place.dag_id)
        dag_ids = {place.dag_id}
    else:
        dag_ids = rights.readable_dags(user)
    with create_session() as session:
        return ledger.read_rows(session, dag_ids, place, days)


def _filters(request: Request) -> ledger.Filters:
    asked = request.query_params
    return ledger.Filters(**{name: asked[name] for name in ledger.FILTERS if name in asked})


async def _secure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Add the headers that keep a prompt a text and the page in its own frame."""
    answer = await call_next(request)
    source = f"'self' {media.origin()}" if settings.media() == "presigned" else "'self'"
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src {source}; media-src {source}; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    )
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers.setdefault("Cache-Control", "no-store")
    return answer
