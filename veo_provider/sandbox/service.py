"""The calls of the API: each one counted, disturbed where a rule says so, and answered."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

from veo_provider.sandbox.action import Action
from veo_provider.sandbox.errors import gateway, no_channel, retired
from veo_provider.sandbox.faults import Faults
from veo_provider.sandbox.raw_response import Raw, inform, is_ordinary
from veo_provider.sandbox.renderer import Shot, Studio
from veo_provider.sandbox.submission import Carried, Submission, judge, read
from veo_provider.sandbox.tasks import Ledger, Task, new_id, outcome
from veo_provider.sandbox.video_response import Delivery, free_box, hang_up

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from veo_provider.sandbox.latency import Latency

Answer: TypeAlias = Callable[[web.Request, Action], Awaitable[web.StreamResponse]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

FILMS = ("picture", "small")
"""What a video shows: the uploaded picture, or the same small film for all of them."""

_SMALL = Shot(None, "a small film", 1, 320, 180)

_GARBAGE = {
    "html": (b"<!doctype html><title>502 Bad Gateway</title><h1>Please wait</h1>\n", "text/html"),
    "json": (b'{"id": "task_', "application/json"),
    "mp4": (bytes(range(256)) * 64, "video/mp4"),
}


@dataclass(frozen=True)
class Settings:
    """
    How a service behaves.

    :param data: directory for pictures and videos.
    :param api_key: what a Bearer header has to carry.
    :param account_token: what the account call wants in Authorization, as it is.
    :param latency: from a submission to its completion, until it is changed.
    :param content_delay: seconds after completion in which the content still answers 400.
    :param balance: US dollars on the account at the start.
    :param faults: rules that hold from the start.
    :param film: one of :data:`FILMS`.
    """

    data: Path
    api_key: str
    account_token: str
    latency: Latency
    content_delay: float = 3.0
    balance: float = 100.0
    faults: Sequence[Any] = ()
    film: str = FILMS[0]


class Service:
    """The service behind the calls: its tasks, its rules, its studio."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.latency = settings.latency
        self.faults = Faults(settings.faults)
        self.ledger = Ledger(settings.balance)
        self._uploads = settings.data / "uploads"
        videos = settings.data / "videos"
        for directory in (self._uploads, videos):
            directory.mkdir(parents=True, exist_ok=True)
        self._studio = Studio(videos)
        self._small = self._studio.film(_SMALL) if settings.film == "small" else None
        if self._small is not None:
            self._small.result()  # so that no task has to wait for it

    def close(self) -> None:
        """Stop filming."""
        self._studio.close()

    def reset(self) -> None:
        """As freshly started, but for the videos already filmed."""
        self.latency = self.settings.latency
        self.ledger.clear()
        self.faults.reset()

    def routes(self) -> list[web.RouteDef]:
        """The calls of the API, and the URL that some content leads to."""
        return [
            web.post("/v1/videos", self._submission),
            web.get("/v1/videos/{task_id}", self._about("poll", self._poll), allow_head=False),
            web.get("/v1/videos/{task_id}/content", self._about("content", self._content), allow_head=False),
            web.get("/_sandbox/files/{task_id}.mp4", self._about("file", self._file), allow_head=False),
            web.get("/api/user/self", self._about("account", self._account), allow_head=False),
        ]

    async def _submission(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/videos``, read before anything else happens: a rule may be about its model."""
        self._authorize("submit", request)
        carried = await read(request, self._uploads if self._small is None else None)
        action = self.faults.pick("submit", model=carried.model)
        return await self._played(request, action, functools.partial(self._submit, carried))

    def _about(self, call: str, answer: Answer) -> Handler:
        """Any other call: its answer with what the rules make of it."""

        async def play(request: web.Request) -> web.StreamResponse:
            self._authorize(call, request)
            action = self._pick(call, request.match_info.get("task_id"))
            return await self._played(request, action, answer)

        return play

    async def _played(self, request: web.Request, action: Action, answer: Answer) -> web.StreamResponse:
        """An answer, after all that may happen to it on its way."""
        inform(request, action.informational)
        response = await self._reached(request, action, answer)
        await asyncio.sleep(action.delay)
        if action.reset and action.truncate is None:
            hang_up(request)
        response.headers.update(action.headers)
        if isinstance(response, web.Response) and (action.framing or not is_ordinary(response.status)):
            return Raw(response, action.framing)
        return response

    def _authorize(self, call: str, request: web.Request) -> None:
        said = request.headers.get("Authorization", "")
        if call == "file":
            if said:
                raise gateway(400, "Only one auth mechanism allowed: remove the Authorization header")
        elif call == "account":
            if said != self.settings.account_token:
                raise gateway(401, "Invalid access token", "invalid_access_token", "authentication_error")
        elif said != f"Bearer {self.settings.api_key}":
            raise gateway(401, "Invalid API key", "invalid_api_key", "authentication_error")

    def _pick(self, call: str, task_id: str | None) -> Action:
        task = self.ledger.find(task_id or "")
        if task is None:
            return self.faults.pick(call, task_id)
        task.polls += call == "poll"
        task.content_requests += call == "content"
        return self.faults.pick(call, task.id, task.number, task.submission.model)

    async def _reached(self, request: web.Request, action: Action, answer: Answer) -> web.StreamResponse:
        """What is answered, and before that, what the call does where it gets through."""
        response = await answer(request, action) if action.reaches else web.Response()
        instead = _instead(action)
        # Not `instead or response`: to older aiohttp, a response without entries is false.
        return response if instead is None else instead

    async def _submit(self, carried: Carried, _request: web.Request, action: Action) -> web.Response:
        submission = self._let_in(carried, action)
        now = time.time()
        ending = outcome(action)
        rendering = None if any(value is not None for value in ending.values()) else self._film(submission)
        number = self.ledger.next_number()
        task = Task(number, submission, now, self.latency.of(number), rendering, **ending)
        if rendering is not None:
            rendering.add_done_callback(lambda _: setattr(task, "rendered", time.time()))
        self.ledger.add(task)
        return web.json_response(_edited(task.answer(now, "queued"), action))

    def _let_in(self, carried: Carried, action: Action) -> Submission:
        """
        Check a submission in the gateway's order: a channel, the fields, the funds; the model itself is last.

        :raises Refusal: where it ends.
        """
        if action.no_channel:
            raise no_channel(carried.model, 503 if action.no_channel is True else action.no_channel)
        submission = judge(carried)
        self.ledger.check_funds(submission.model, time.time())
        if action.retired:
            raise retired(submission.model, 404 if action.retired is True else action.retired)
        return submission

    def _film(self, submission: Submission) -> Future[Path]:
        if self._small is not None:
            return self._small
        picture = submission.picture
        width, height = submission.dimensions
        if picture is None:
            return self._studio.film(Shot(None, submission.prompt, submission.seconds, width, height))
        return self._studio.film(Shot(picture.path, picture.sha256, submission.seconds, width, height))

    async def _poll(self, request: web.Request, action: Action) -> web.Response:
        task = self.ledger.get(request.match_info["task_id"])
        return web.json_response(_edited(self._told(task, action, time.time()), action))

    def _told(self, task: Task, action: Action, now: float) -> dict[str, Any]:
        """The object of a task, or of another one where a rule mixes them up."""
        if not action.other_task:
            return task.answer(now, action.task_status)
        if isinstance(action.other_task, str):
            wanted, other = action.other_task, self.ledger.find(action.other_task)
        else:
            wanted, other = new_id(), self.ledger.another(task, now)
        if other is not None:
            return other.answer(now, action.task_status)
        error = {"code": "INTERNAL", "message": "another generation failed"}
        return {**task.answer(now, "failed"), "id": wanted, "task_id": wanted, "error": error}

    async def _content(self, request: web.Request, action: Action) -> web.StreamResponse:
        task = self.ledger.get(request.match_info["task_id"])
        delivery = self._delivery(task, action)
        if action.json_url or task.submission.model.endswith("-fl"):
            return web.json_response({"url": _elsewhere(request, task)})
        return delivery

    async def _file(self, request: web.Request, action: Action) -> web.StreamResponse:
        return self._delivery(self.ledger.get(request.match_info["task_id"]), action)

    def _delivery(self, task: Task, action: Action) -> Delivery:
        """The MP4 of a completed task; a film that all share ends with the task's id, to tell them apart."""
        movie = self._ready(task, action)
        return Delivery(movie, action, free_box(task.id.encode()) if self._small is not None else b"")

    def _ready(self, task: Task, action: Action) -> Path:
        """
        The MP4 of a completed task.

        :raises Refusal: when it is not completed, not there yet, or not there any more.
        """
        now = time.time()
        status = task.status(now)
        if status != "completed":
            raise gateway(400, f"Task is not completed yet, current status: {status}", "task_not_completed")
        if task.filtered is not None:
            raise gateway(task.filtered, "Failed to fetch video content", "fetch_failed", "server_error")
        if action.gone:
            raise gateway(404, "Video not found or expired", "video_not_found")
        if task.movie is None or now < (task.ended or now) + self.settings.content_delay:
            raise gateway(400, "Video content is not available yet, please try again", "content_not_ready")
        return task.movie

    async def _account(self, _request: web.Request, _action: Action) -> web.Response:
        now = time.time()
        quota, used = self.ledger.quota(now), self.ledger.used_quota(now)
        data = {"id": 1, "username": "sandbox", "quota": quota, "used_quota": used}
        return web.json_response({"success": True, "message": "", "data": data})


def _instead(action: Action) -> web.Response | None:
    """The answer that a rule puts in place of the true one."""
    if action.status is not None:
        if action.text is not None:
            kind = "text/html" if action.text.lstrip().startswith("<") else "text/plain"
            return web.Response(text=action.text, status=action.status, content_type=kind)
        error = {"message": f"fault rule: {action.status}", "type": "api_error", "code": "fault_rule"}
        return web.json_response(
            {"error": error} if action.body is None else action.body, status=action.status
        )
    if action.garbage:
        body, kind = _GARBAGE["html" if action.garbage is True else str(action.garbage)]
        return web.Response(body=body, content_type=kind)
    return None


def _edited(answer: dict[str, Any], action: Action) -> dict[str, Any]:
    """An answer with the changes that a rule makes to it."""
    said = {**answer, "status": action.words.get(answer["status"], answer["status"]), **action.set}
    edited = {name: value for name, value in said.items() if name not in action.drop}
    return {"code": "success", "message": "", "data": edited} if action.wrap else edited


def _elsewhere(request: web.Request, task: Task) -> str:
    """The same server by its other name: to a client, a host that must not see its key."""
    here = urlsplit(f"//{request.host}")
    host = "127.0.0.1" if here.hostname == "localhost" else "localhost"
    return f"http://{host}:{here.port or 80}/_sandbox/files/{task.id}.mp4"


def parsed(text: str) -> Any:
    """
    JSON from a client.

    :raises Refusal: when it is none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise gateway(400, f"not JSON: {error}") from error
