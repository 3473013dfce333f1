"""Handlers of the API's calls, with the fault rules applied to each."""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

from veo_provider.sandbox.action import Action
from veo_provider.sandbox.body_parser import ParsedBody, parse_body
from veo_provider.sandbox.errors import gateway_error, no_channel_error, retired_model_error
from veo_provider.sandbox.faces.apiyi import APIYI
from veo_provider.sandbox.faces.face import View
from veo_provider.sandbox.faces.models import MODELS
from veo_provider.sandbox.faults import Faults
from veo_provider.sandbox.idempotency import IdempotencyKeys
from veo_provider.sandbox.listings import listed, log_page, task_page, video_page
from veo_provider.sandbox.raw_response import RawResponse, is_final, send_informational
from veo_provider.sandbox.renderer import Renderer, RenderSpec
from veo_provider.sandbox.tasks import Ledger, Task, outcome
from veo_provider.sandbox.video_response import VideoResponse, free_box, reset_connection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from veo_provider.sandbox.faces.face import Face
    from veo_provider.sandbox.latency import Latency
    from veo_provider.sandbox.submission import Submission

Responder: TypeAlias = Callable[[web.Request, Action], Awaitable[web.StreamResponse]]
Authorize: TypeAlias = Callable[[web.Request], None]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

FILM_MODES = ("picture", "small")
"""What a video shows: the uploaded image, or the same small video for every task."""

_LINK_SECONDS = 3600
_SMALL_VIDEO = RenderSpec(None, "a small film", 1, 320, 180)

_GARBAGE = {
    "html": (b"<!doctype html><title>502 Bad Gateway</title><h1>Please wait</h1>\n", "text/html"),
    "json": (b'{"id": "task_', "application/json"),
    "mp4": (bytes(range(256)) * 64, "video/mp4"),
}


@dataclass(frozen=True)
class Settings:
    """Settings of a service.

    :param data: directory for images and videos.
    :param api_key: required in ``Authorization: Bearer``.
    :param account_token: required in ``Authorization`` of the account call, without ``Bearer``.
    :param latency: from submission to completion; can be changed later.
    :param content_delay: seconds after completion during which content calls still get 400.
    :param balance: US dollars on the account at the start.
    :param faults: the initial fault rules.
    :param film: one of :data:`FILM_MODES`.
    :param face: the gateway that is played.
    """

    data: Path
    api_key: str
    account_token: str
    latency: Latency
    content_delay: float = 3.0
    balance: float = 100.0
    faults: Sequence[Any] = ()
    film: str = FILM_MODES[0]
    face: Face = APIYI


class Service:
    """The simulated service: its tasks, fault rules and renderer.

    :param settings: its settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.latency = settings.latency
        self.faults = Faults(settings.faults)
        self.ledger = Ledger(settings.balance)
        self.face = settings.face
        self._keys = IdempotencyKeys()
        self._url_key = secrets.token_bytes(16)
        self._uploads = settings.data / "uploads"
        videos = settings.data / "videos"
        for directory in (self._uploads, videos):
            directory.mkdir(parents=True, exist_ok=True)
        self._renderer = Renderer(videos)
        self._small_video = self._renderer.render(_SMALL_VIDEO) if settings.film == "small" else None
        if self._small_video is not None:
            self._small_video.result()  # so that no task waits for it

    def close(self) -> None:
        """Stop rendering."""
        self._renderer.close()

    def reset(self) -> None:
        """Restore the state of a fresh start; rendered videos are kept."""
        self.latency = self.settings.latency
        self.ledger.clear()
        self._keys.clear()
        self.faults.reset()

    def routes(self) -> list[web.RouteDef]:
        """Return the API's endpoints, and the download that a link points to."""
        face, videos = self.face, f"{self.face.base_path}/videos"
        routes = [web.post(videos, self._handle_submission)]
        calls: list[tuple[bool, str, str, Authorize, Responder]] = [
            (face.has_list, videos, "list", self._require_key, self._video_list),
            (True, f"{videos}/{{task_id}}", "poll", self._require_key, self._poll),
            (face.has_content, f"{videos}/{{task_id}}/content", "content", self._require_key, self._content),
            (True, "/_sandbox/files/{task_id}.mp4", "file", self._require_signature, self._file),
            (face.has_models, f"{face.base_path}/models", "account", self._require_key, self._models),
            (face.has_account, "/api/user/self", "account", self._require_token, self._account),
            (face.has_account, "/api/task/self", "list", self._require_token, self._task_list),
            (face.has_account, "/api/log/self", "log", self._require_token, self._log),
        ]
        routes += [
            web.get(path, self._handler(call, authorize, respond), allow_head=False)
            for exists, path, call, authorize, respond in calls
            if exists
        ]
        return routes

    async def _handle_submission(self, request: web.Request) -> web.StreamResponse:
        """Handle a submission; the body is read first, since a rule may depend on its model."""
        self._require_key(request)
        uploads = self._uploads if self._small_video is None else None
        body = await parse_body(request, uploads, self.face.body)
        action = self.faults.pick("submit", model=body.model)
        self._add_rows(body, action)
        return await self._respond(request, action, functools.partial(self._submit, body))

    def _handler(self, call: str, authorize: Authorize, respond: Responder) -> Handler:
        """Return the handler of any other call."""

        async def handle(request: web.Request) -> web.StreamResponse:
            authorize(request)
            action = self._pick_action(call, request.match_info.get("task_id"))
            return await self._respond(request, action, respond)

        return handle

    async def _respond(self, request: web.Request, action: Action, respond: Responder) -> web.StreamResponse:
        """Return the response to a call, with an action applied to it."""
        send_informational(request, action.informational_statuses)
        response = await self._process(request, action, respond)
        await asyncio.sleep(action.delay)
        if action.reset and action.truncate is None:
            reset_connection(request)
        response.headers.update(action.headers)
        if isinstance(response, web.Response) and (action.framing or not is_final(response.status)):
            return RawResponse(response, action.framing)
        return response

    def _require_key(self, request: web.Request) -> None:
        wanted = self.face.authorization.replace("{key}", self.settings.api_key)
        if request.headers.get("Authorization", "") != wanted:
            raise gateway_error(401, "Invalid API key", "invalid_api_key", "authentication_error")

    def _require_token(self, request: web.Request) -> None:
        if request.headers.get("Authorization", "") != self.settings.account_token:
            raise gateway_error(401, "Invalid access token", "invalid_access_token", "authentication_error")

    def _require_signature(self, request: web.Request) -> None:
        """Check a link: it must come without a key, and a signed one must not have expired."""
        if request.headers.get("Authorization"):
            raise gateway_error(400, "Only one auth mechanism allowed: remove the Authorization header")
        if self.face.has_content:
            return
        expires = request.query.get("expires", "")
        signature = self._signature(request.match_info["task_id"], expires)
        if not hmac.compare_digest(signature, request.query.get("signature", "")):
            raise gateway_error(403, "The signature is not valid", "SignatureDoesNotMatch")
        if int(expires) < time.time():
            raise gateway_error(403, "Request has expired", "AccessDenied")

    def _signature(self, task_id: str, expires: str) -> str:
        return hmac.new(self._url_key, f"{task_id}/{expires}".encode(), "sha256").hexdigest()

    def _pick_action(self, call: str, task_id: str | None) -> Action:
        task = self.ledger.find(task_id or "")
        if task is None:
            return self.faults.pick(call, task_id)
        task.polls += call == "poll"
        task.content_requests += call == "content"
        return self.faults.pick(call, task.id, task.number, task.submission.model)

    async def _process(self, request: web.Request, action: Action, respond: Responder) -> web.StreamResponse:
        """Process the call unless the action prevents it, and return its response or the replacement."""
        response = await respond(request, action) if action.reaches_service else web.Response()
        replacement = _replacement(action, self.face)
        # Not `replacement or response`: in older aiohttp, a response without keys is falsy.
        return response if replacement is None else replacement

    async def _submit(self, body: ParsedBody, request: web.Request, action: Action) -> web.Response:
        now = time.time()
        key = request.headers.get("Idempotency-Key", "") if self.face.has_idempotency else ""
        task, status = self._keys.task_of(key, body, now), None
        if task is None:
            task, status = self._new_task(self._accept(body, action), action, now), "queued"
            self.ledger.add(task, row=not action.no_row)
            self._keys.remember(key, body, task)
        described = _edit(self._describe(request, task, now, status), action)
        headers = self.face.headers(task)
        return web.json_response(described, status=self.face.accepted, headers=headers)

    def _new_task(self, submission: Submission, action: Action, now: float) -> Task:
        """Return the task of an accepted submission, which starts to render."""
        ending = outcome(action)
        rendering = None if any(value is not None for value in ending.values()) else self._render(submission)
        number = self.ledger.next_number()
        task = Task(
            number,
            submission,
            now,
            self.latency.for_task(number),
            rendering,
            cents=self.face.price(submission),
            charging=self.face.charging,
            row_delay=action.row_delay,
            id=self.face.new_id(),
            **ending,
        )
        if rendering is not None:
            rendering.add_done_callback(lambda _: setattr(task, "rendered", time.time()))
        return task

    def _add_rows(self, body: ParsedBody, action: Action) -> None:
        """Add what fault rules let the account's lists show besides an accepted task."""
        if not (action.foreign or action.only_row):
            return
        submission, now = self.face.read(body), time.time()
        if action.foreign:
            other = "Somebody else's prompt" if action.foreign == "other" else submission.prompt
            self.ledger.add_foreign(self._new_task(replace(submission, prompt=other), Action(), now))
        if action.only_row:
            self.ledger.add_row(self._new_task(submission, action, now))

    def _accept(self, body: ParsedBody, action: Action) -> Submission:
        """Check a submission in the gateway's order: channel, fields, funds, and last the model.

        :raises ApiError: at the first check that fails.
        """
        if action.no_channel:
            raise no_channel_error(body.model, 503 if action.no_channel is True else action.no_channel)
        submission = self.face.read(body)
        self.ledger.check_funds(self.face.price(submission), time.time())
        if action.retired:
            raise retired_model_error(submission.model, 404 if action.retired is True else action.retired)
        return submission

    def _render(self, submission: Submission) -> Future[Path]:
        if self._small_video is not None:
            return self._small_video
        image = submission.image
        path, seed = (None, submission.prompt) if image is None else (image.path, image.sha256)
        return self._renderer.render(RenderSpec(path, seed, submission.seconds, *submission.dimensions))

    async def _poll(self, request: web.Request, action: Action) -> web.Response:
        task = self.ledger.get(request.match_info["task_id"])
        return web.json_response(_edit(self._polled(request, task, action), action))

    def _polled(self, request: web.Request, task: Task, action: Action) -> dict[str, Any]:
        """Return a task's JSON object, or that of another task if a rule swaps them."""
        now = time.time()
        if not action.other_task:
            return self._describe(request, task, now, action.task_status)
        if isinstance(action.other_task, str):
            task_id, other = action.other_task, self.ledger.find(action.other_task)
        else:
            task_id, other = self.face.new_id(), self.ledger.other_than(task, now)
        if other is not None:
            return self._describe(request, other, now, action.task_status)
        error = {"code": "INTERNAL", "message": "another generation failed"}
        described = self._describe(request, task, now, "failed")
        return {**described, "id": task_id, "task_id": task_id, "error": error}

    def _describe(self, request: web.Request, task: Task, now: float, status: str | None) -> dict[str, Any]:
        """Return the JSON object of a task."""
        base_url = f"http://{request.host}{self.face.base_path}"
        return self.face.describe(task, View(now, status, base_url, self._signed_url(request, task, now)))

    def _signed_url(self, request: web.Request, task: Task, now: float) -> str:
        """Return a link to a video that needs no key, and expires after an hour."""
        expires = str(int(now) + _LINK_SECONDS)
        signature = self._signature(task.id, expires)
        return f"{_url_on_other_host(request, task)}?expires={expires}&signature={signature}"

    async def _video_list(self, request: web.Request, action: Action) -> web.Response:
        now = time.time()

        def describe(task: Task) -> dict[str, Any]:
            described = self.face.describe(task, View(now, None, "", ""))
            return {**described, "created_at": int(task.created + action.skew)}

        return web.json_response(video_page(listed(self.ledger.rows(), action, now), request.query, describe))

    async def _task_list(self, request: web.Request, action: Action) -> web.Response:
        now = time.time()
        rows = listed(self.ledger.rows(), action, now)
        return web.json_response(task_page(rows, request.query, action, now, self.settings.api_key))

    async def _log(self, request: web.Request, action: Action) -> web.Response:
        now = time.time()
        rows = listed(self.ledger.rows(), action, now)
        return web.json_response(log_page(rows, request.query, action, now, self.settings.api_key))

    async def _models(self, _request: web.Request, _action: Action) -> web.Response:
        data = [{"id": name, "object": "model"} for name in MODELS[self.face.name]]
        return web.json_response({"object": "list", "data": data})

    async def _content(self, request: web.Request, action: Action) -> web.StreamResponse:
        task = self.ledger.get(request.match_info["task_id"])
        response = self._video_response(task, action)
        if action.json_url or task.submission.model.endswith("-fl"):
            return web.json_response({"url": _url_on_other_host(request, task)})
        return response

    async def _file(self, request: web.Request, action: Action) -> web.StreamResponse:
        return self._video_response(self.ledger.get(request.match_info["task_id"]), action)

    def _video_response(self, task: Task, action: Action) -> VideoResponse:
        """Return the MP4 of a completed task; a shared one gets the task's id appended, to be unique."""
        path = self._video_path(task, action)
        return VideoResponse(
            path, action, free_box(task.id.encode()) if self._small_video is not None else b""
        )

    def _video_path(self, task: Task, action: Action) -> Path:
        """Return the MP4 of a completed task.

        :raises ApiError: if the task is not completed, or its content is not available.
        """
        now = time.time()
        status = task.status(now)
        if status != "completed":
            raise gateway_error(
                400, f"Task is not completed yet, current status: {status}", "task_not_completed"
            )
        if task.filtered is not None:
            raise gateway_error(
                task.filtered, "Failed to fetch video content", "fetch_failed", "server_error"
            )
        if action.gone:
            raise gateway_error(404, "Video not found or expired", "video_not_found")
        if task.video_path is None or now < (task.ended or now) + self.settings.content_delay:
            raise gateway_error(
                400, "Video content is not available yet, please try again", "content_not_ready"
            )
        return task.video_path

    async def _account(self, _request: web.Request, _action: Action) -> web.Response:
        now = time.time()
        quota, used = self.ledger.quota(now), self.ledger.used_quota(now)
        data = {"id": 1, "username": "sandbox", "quota": quota, "used_quota": used}
        return web.json_response({"success": True, "message": "", "data": data})


def _replacement(action: Action, face: Face) -> web.Response | None:
    """Return the response that replaces the true one, or None."""
    if action.status is not None:
        if action.text is not None:
            kind = "text/html" if action.text.lstrip().startswith("<") else "text/plain"
            return web.Response(text=action.text, status=action.status, content_type=kind)
        error = face.error(
            gateway_error(action.status, f"fault rule: {action.status}", "fault_rule", "api_error")
        )
        return web.json_response(error if action.body is None else action.body, status=action.status)
    if action.garbage:
        body, kind = _GARBAGE["html" if action.garbage is True else str(action.garbage)]
        return web.Response(body=body, content_type=kind)
    return None


def _edit(api_object: dict[str, Any], action: Action) -> dict[str, Any]:
    """Return a JSON object with the changes that an action makes to it."""
    status = action.words.get(api_object["status"], api_object["status"])
    changed = {**api_object, "status": status, **action.set}
    edited = {name: value for name, value in changed.items() if name not in action.drop}
    return {"code": "success", "message": "", "data": edited} if action.wrap else edited


def _url_on_other_host(request: web.Request, task: Task) -> str:
    """Return a URL of this server under its other name: a host that must not get the key."""
    here = urlsplit(f"//{request.host}")
    host = "127.0.0.1" if here.hostname == "localhost" else "localhost"
    return f"http://{host}:{here.port or 80}/_sandbox/files/{task.id}.mp4"


def parse_json(text: str) -> Any:
    """Parse JSON sent by a client.

    :raises ApiError: if it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise gateway_error(400, f"not JSON: {error}") from error
