"""Listing: what a gateway lists of the generations that it has accepted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from veo_provider.api.parsing.error_mapping import check_error
from veo_provider.api.parsing.task_ids import PLAIN_ID, can_be_id, id_of
from veo_provider.exceptions import VeoAPIError, VeoUnexpectedAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from veo_provider.api.http.response import Response

    Fetch = Callable[[str], Response]
    """Calls a path, and returns the response."""

MOST_PAGES = 200
"""Pages that are read of one list; what is longer counts as incomplete."""
VIDEOS_PER_PAGE = 100
"""OpenAI's maximum."""
TASKS_PER_PAGE, LOG_ROWS_PER_PAGE = 50, 200
"""APIYI allows 100 tasks and 5,000 rows of its log; a page must fit into the longest body that is read."""
_CHARGE = 2
"""The type of a charge in new-api's log."""
_BEFORE_CHARGE_SECONDS = 3600
"""How much earlier than its charge a task may have been submitted."""
_LATEST_SECONDS = 1e11
"""A time above this is in milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A generation in a gateway's list. What the row does not say, or says in an odd form, is None.

    :param id: the gateway's id.
    :param submitted_at: when it was submitted, in seconds since 1970 by the gateway's clock.
    :param model: the model.
    :param prompt: the prompt.
    :param seconds: the length of the video.
    :param size: the size in pixels, such as ``1280x720``.
    :param status: the gateway's word for its status.
    """

    id: str
    submitted_at: float | None = None
    model: str | None = None
    prompt: str | None = None
    seconds: float | None = None
    size: str | None = None
    status: str | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The generations that a gateway lists.

    :param entries: newest first, as the gateway orders them; each id once.
    :param complete: whether each row could be read and the list reaches back far enough.
    :param unexplained_charges: of each charge in the log that belongs to none of the entries, its model; None
        if that is one of the gateway's video models, or is not known.
    :param since: from when on the list is complete, in seconds since 1970 by the gateway's clock.
    """

    entries: tuple[Entry, ...]
    complete: bool
    unexplained_charges: tuple[str | None, ...] = ()
    since: float = -math.inf


def read_videos(fetch: Fetch, path: str, since: float) -> Listing:
    """Return the generations in a list as OpenAI had it, ``GET /videos``: newest first, with a cursor.

    :param fetch: calls a path of the gateway.
    :param path: of the list.
    :param since: Unix seconds; older generations need not be listed.
    :raises VeoAPIError: the gateway does not answer with such a list.
    """
    found, after = _Found(), ""
    for _ in range(MOST_PAGES):
        query = {"limit": VIDEOS_PER_PAGE, **({"after": after} if after else {})}
        data = _object_in(fetch(f"{path}?{urlencode(query)}"))
        page = [_video(row) for row in _rows_in(data.get("data"))]
        is_new = found.add(page)
        if data.get("has_more") is False or (not page and "has_more" not in data):
            return found.listing(complete=True)
        if found.has_passed(since, page):
            return found.listing(complete=True, since=since)
        if not is_new or page[-1] is None:
            break  # the list does not go on from here
        after = page[-1].id
    return found.listing(complete=False)


def read_tasks(fetch: Fetch, since: float, models: Collection[str]) -> Listing:
    """Return the generations in APIYI's task list, and which charges in its log belong to none of them.

    The rows of the log may hold keys: nothing of them is kept but the model.

    :param fetch: calls a path of the account.
    :param since: Unix seconds by the gateway's clock; older generations are not listed.
    :param models: the gateway's video models.
    :raises VeoAPIError: the gateway does not answer with such a list.
    """
    # The log is read first, and a row of it may be of a task that was submitted a little earlier.
    charges, log_complete = _charges(fetch, since)
    start = int(since - _BEFORE_CHARGE_SECONDS)
    query = {"start_timestamp": start, "page_size": TASKS_PER_PAGE}
    rows, complete = _all_rows(fetch, "/api/task/self", query, first_page=1)
    found = _Found()
    found.add([_task(row) for row in rows])
    videos = {*models, *(entry.model for entry in found.entries if entry.model)}
    unexplained = tuple(
        None if model in videos else model for model, text in charges if not found.is_named_in(text)
    )
    return found.listing(complete=complete and log_complete, unexplained=unexplained, since=since)


class _Found:
    """The entries that were found so far, each id once."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._times: list[float | None] = []
        self._unreadable = False

    @property
    def entries(self) -> Iterable[Entry]:
        """The entries in the order of the gateway."""
        return self._entries.values()

    def add(self, page: Iterable[Entry | None]) -> bool:
        """Add a page, and return whether it has anything new; a row without an id may be any generation."""
        before = len(self._entries)
        for entry in page:
            if entry is None:
                self._unreadable = True
            else:
                self._entries.setdefault(entry.id, entry)
                self._times.append(entry.submitted_at)
        return len(self._entries) > before

    def has_passed(self, since: float, page: Sequence[Entry | None]) -> bool:
        """Whether all that follows is older: the list is newest first so far, and a whole page is older."""
        times = [time for time in self._times if time is not None]
        is_ordered = len(times) == len(self._times) and times == sorted(times, reverse=True)
        if not page or not times or not is_ordered or times[0] < since:
            return False
        return all(entry is not None and (entry.submitted_at or 0) < since for entry in page)

    def is_named_in(self, text: str) -> bool:
        """Whether a text names one of the generations."""
        return any(word.strip(".:,;") in self._entries for word in PLAIN_ID.findall(text))

    def listing(
        self, *, complete: bool, unexplained: tuple[str | None, ...] = (), since: float = -math.inf
    ) -> Listing:
        """Return what was found."""
        return Listing(
            entries=tuple(self._entries.values()),
            complete=complete and not self._unreadable,
            unexplained_charges=unexplained,
            since=since,
        )


def _charges(fetch: Fetch, since: float) -> tuple[list[tuple[str | None, str]], bool]:
    """Return model and text of each charge in the log, and whether all were read."""
    query = {"type": _CHARGE, "start_timestamp": int(since), "pageSize": LOG_ROWS_PER_PAGE}
    rows, complete = _all_rows(fetch, "/api/log/self", query, first_page=0)
    readable = [row for row in rows if isinstance(row, dict)]
    charges = [
        (_text(row.get("model_name")), _text(row.get("content")) or "")
        for row in readable
        if type(row.get("type")) is not int or row["type"] == _CHARGE  # another type than these is unknown
    ]
    return charges, complete and len(readable) == len(rows)


def _all_rows(
    fetch: Fetch, path: str, query: Mapping[str, int], *, first_page: int
) -> tuple[list[Any], bool]:
    """Return the rows of all pages of a list of new-api, each once, and whether that is all of them."""
    rows: dict[str, Any] = {}
    total: Any = None
    for page in range(first_page, first_page + MOST_PAGES):
        data = _object_in(fetch(f"{path}?{urlencode({**query, 'p': page})}")).get("data")
        found = _rows_in(data.get("items") if isinstance(data, dict) else None)
        if page == first_page:
            # What is submitted meanwhile moves all rows on: those that were there at first are what counts.
            total = data.get("total") if isinstance(data, dict) else None
        before = len(rows)
        rows.update((json.dumps(row, sort_keys=True), row) for row in found)
        if type(total) is int and len(rows) >= total:
            return list(rows.values()), True
        if len(rows) == before:  # the end, or a list that does not go on
            return list(rows.values()), not found and type(total) is not int
    return list(rows.values()), False


def _video(row: Any) -> Entry | None:
    """Return a video of OpenAI's list; None if it has no id."""
    veo_task_id = id_of(row) if isinstance(row, dict) else ""
    if not veo_task_id:
        return None
    return Entry(
        id=veo_task_id,
        submitted_at=_time(row.get("created_at")),
        model=_text(row.get("model")),
        prompt=_text(row.get("prompt")),
        seconds=_number(row.get("seconds")),
        size=_text(row.get("size")),
        status=_text(row.get("status")),
    )


def _task(row: Any) -> Entry | None:
    """Return a task of APIYI's list; None if it has no id."""
    veo_task_id = row.get("task_id") if isinstance(row, dict) else None
    if not can_be_id(veo_task_id):
        return None
    sent = _input(row.get("properties"))
    return Entry(
        id=str(veo_task_id),
        submitted_at=_time(row.get("submit_time")),
        model=_text(sent.get("model")) or _text(row.get("model_name")),
        prompt=_text(sent.get("prompt")),
        seconds=_number(sent.get("seconds")),
        size=_text(sent.get("size")),
        status=_text(row.get("status")),
    )


def _input(properties: Any) -> dict[str, Any]:
    """Return what a task was submitted with: an object, or its JSON."""
    sent = properties.get("input") if isinstance(properties, dict) else None
    if isinstance(sent, str):
        try:
            sent = json.loads(sent)
        except (ValueError, RecursionError):
            return {}
    return sent if isinstance(sent, dict) else {}


def _object_in(response: Response) -> dict[str, Any]:
    """Return the object in a response; its text may hold keys, and is not shown.

    :raises VeoAPIError: there is none.
    """
    data = response.json()
    if response.ok and isinstance(data, dict) and data.get("success") is not False:
        return data
    kind = VeoUnexpectedAnswerError if response.ok else type(check_error(response))
    error = kind(
        f"The response ({response.status}) to a call for the list of generations is not such a list.",
        status=response.status,
    )
    error.money = VeoAPIError.money
    raise error


def _rows_in(rows: Any) -> list[Any]:
    """Return the rows of a page; anything else than a list is one row that cannot be read."""
    return rows if isinstance(rows, list) else [None]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    """Return a number, or a text of one; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or "_" in str(value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _time(value: Any) -> float | None:
    """Return Unix seconds, which some gateways write as milliseconds; None for no time."""
    number = _number(value)
    if number is None or number <= 0:
        return None
    return number / 1000 if number > _LATEST_SECONDS else number
