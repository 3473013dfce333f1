"""Task ids: what can be one, where a response names one, and aliases that a gateway uses for one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from veo_provider.api.video import VideoStatus
from veo_provider.exceptions import VeoRequestError

if TYPE_CHECKING:
    from veo_provider.api.video import Video

MAX_ID_LENGTH = 2000
PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:~+=-]*")
ALIAS_CONFIRMATIONS = 5
"""How many responses in a row must name an alias: a proxy that mixes up responses names several ids."""
MAX_REMEMBERED_IDS = 10_000
"""The maximum number of ids that :class:`Aliases` remembers: a triggerer runs for months."""

_JSON_OR_EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]|(?:event|id|retry)?:[^\n]*\n|data:)*[{\[]")
"""JSON, or server-sent events with JSON, which some gateways send although nobody asked for a stream
(https://github.com/openclaw/openclaw/pull/97474)."""
_ID_IN_TEXT = re.compile(rb'"(id|task_id)"\s*:\s*("(?:[^"\\]|\\.)*"|[0-9]+(?=\s*[,}]))')


def check_task_id(veo_task_id: object) -> str:
    """Return the task id if it can be one; call this before the id becomes part of a URL.

    Any text without spaces can be one: some gateways use Google's operation names, which contain slashes.

    :raises VeoRequestError: it is empty, not a text, too long, a path such as ``..``, or has spaces or
        control characters.
    """
    if not can_be_id(veo_task_id):
        raise VeoRequestError(
            f"veo_task_id={veo_task_id!r} is not a task id of the API, like task_ and 32 characters."
        )
    return str(veo_task_id)


def can_be_id(value: object) -> bool:
    """Whether a value can be an id: a text without spaces that is not a relative path."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_ID_LENGTH
        and value.isprintable()
        and " " not in value
        and value not in (".", "..")
    )


def id_of(data: dict[str, Any]) -> str:
    """Return the id that an object names, or "": a plain text is preferred, then any text, then a number."""
    values = [data.get("id"), data.get("task_id")]
    texts = [value for value in values if isinstance(value, str) and can_be_id(value)]
    numbers = [str(value) for value in values if type(value) is int and 0 < value < 10**18]
    plain = [text for text in texts if PLAIN_ID.fullmatch(text)]
    return next(iter([*plain, *texts, *numbers]), "")


def names_task(data: dict[str, Any], veo_task_id: str) -> bool:
    """Whether an object names this task."""
    values = (data.get("id"), data.get("task_id"))
    texts = [str(value) for value in values if isinstance(value, str) or type(value) is int]
    return any(unquote(text) == unquote(veo_task_id) for text in texts)


def names_other_task(data: dict[str, Any], veo_task_id: str) -> bool:
    """Whether an object names a task, and not this one.

    A number beside a text is the gateway's own row number, and does not count.
    """
    values = (data.get("id"), data.get("task_id"))
    texts = [value for value in values if isinstance(value, str) and value]
    if not texts and veo_task_id.isdigit():
        texts = [str(value) for value in values if type(value) is int]
    same = unquote(veo_task_id)
    return bool(texts) and all(unquote(text) != same for text in texts)


def candidate_id(body: bytes) -> str | None:
    """Return the task id in a body of JSON or server-sent events, which may be cut off after it, or None.

    It is only a candidate: a free poll shows whether there is such a generation.
    """
    if not _JSON_OR_EVENTS.match(body):
        return None
    found: dict[str, Any] = {}
    for name, value in _ID_IN_TEXT.findall(body):
        try:
            found.setdefault(name.decode(), json.loads(value))
        except ValueError:
            continue
    return id_of(found) or None


class Aliases:
    """Other ids by which a gateway has named the tasks that one client polled.

    A response that names another id usually describes another generation. A gateway that wraps upstream's ids
    may always use the other one, though. Such an alias is believed when several responses in a row named it,
    no response ever named the requested id, and it belongs to no other generation. A failure under an alias
    is never believed, because a second paid generation might follow.
    """

    def __init__(self) -> None:
        self._own: dict[str, None] = {}
        self._named: dict[str, tuple[str, int]] = {}
        self._named_for: dict[str, str] = {}
        self._shared: set[str] = set()

    def record_own(self, video: Video) -> None:
        """Record a response that names the requested id."""
        self._own[video.id] = None
        self._named.pop(video.id, None)
        if len(self._own) > MAX_REMEMBERED_IDS:
            del self._own[next(iter(self._own))]

    def believe(self, veo_task_id: str, alias: str, status: VideoStatus) -> bool:
        """Record a response that names another id; return whether it describes the generation even so."""
        if len(self._named) > MAX_REMEMBERED_IDS:
            self._named.clear()
            self._named_for.clear()
        before, count = self._named.get(veo_task_id, ("", 0))
        count = count + 1 if before == alias else 1
        self._named[veo_task_id] = (alias, count)
        if self._named_for.setdefault(alias, veo_task_id) != veo_task_id:
            self._shared.add(alias)
        return (
            count >= ALIAS_CONFIRMATIONS
            and status is not VideoStatus.FAILED
            and veo_task_id not in self._own
            and alias not in self._own
            and alias not in self._shared
        )
