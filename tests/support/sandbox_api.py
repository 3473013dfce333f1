"""The API as a client sees it that knows nothing but HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from support.moments import until

import veo_provider.sandbox

if TYPE_CHECKING:
    from veo_provider.sandbox.process import Sandbox

PHOTOS = Path(veo_provider.sandbox.__file__).parent / "photos"
MODEL = "veo-3.1-fast-generate-preview"


class Api:
    """Calls the sandbox, and helps to look at what comes back."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.url = f"{sandbox.api}/videos"
        self.headers = {"Authorization": f"Bearer {sandbox.api_key}"}

    def call(self, method: str, path: str = "", **arguments: Any) -> requests.Response:
        """Any call under ``/v1/videos``."""
        headers = {**self.headers, **arguments.pop("headers", {})}
        timeout = arguments.pop("timeout", 60)
        return requests.request(method, self.url + path, headers=headers, timeout=timeout, **arguments)

    def form(
        self, files: Any = None, fields: dict[str, str | None] | None = None, **arguments: Any
    ) -> requests.Response:
        """A submission as multipart; a field that is None is left out."""
        said = {"model": MODEL, "prompt": "The rocket lifts off", "seconds": "4", **(fields or {})}
        return self.call(
            "POST",
            data={name: value for name, value in said.items() if value is not None},
            files={"input_reference": self.photo()} if files is None else files,
            **arguments,
        )

    def json(self, **fields: Any) -> requests.Response:
        """A submission as JSON; a field that is None is left out."""
        said = {"model": MODEL, "prompt": "A boat at dawn", "seconds": "4", **fields}
        return self.call("POST", json={name: value for name, value in said.items() if value is not None})

    def photo(self, name: str = "rocket.jpg", kind: str = "image/jpeg") -> tuple[str, bytes, str]:
        """A file for a form."""
        return name, (PHOTOS / name).read_bytes(), kind

    def submitted(self, **fields: str | None) -> str:
        """The id of an accepted submission."""
        response = self.form(fields=fields)
        assert response.status_code == 200, response.text
        task_id: str = response.json()["id"]
        return task_id

    def poll(self, task_id: str) -> dict[str, Any]:
        """What the API answers about a task."""
        answer: dict[str, Any] = self.call("GET", f"/{task_id}").json()
        return answer

    def ended(self, task_id: str) -> dict[str, Any]:
        """The same, once the bill or a failure says that it is over; it does not poll."""

        def end() -> dict[str, Any] | None:
            records = {record["task_id"]: record for record in self.sandbox.tasks()}
            return records[task_id] if records[task_id]["status"] in ("completed", "failed") else None

        record: dict[str, Any] = until(end)
        return record

    def completed(self, **fields: str | None) -> str:
        """The id of a completed submission."""
        task_id = self.submitted(**fields)
        assert self.ended(task_id)["status"] == "completed"
        return task_id

    def content(self, task_id: str, **arguments: Any) -> requests.Response:
        """The content of a task."""
        return self.call("GET", f"/{task_id}/content", **arguments)

    def refused(self, response: requests.Response, status: int = 400) -> str:
        """The message of an error answer, which has one of the two shapes, and has cost nothing."""
        assert response.status_code == status, response.text
        body = response.json()
        assert self.sandbox.tasks() == []
        if "error" in body:
            assert body["error"].keys() == {"message", "type", "code"}
            message: str = body["error"]["message"]
        else:
            assert body.keys() == {"code", "message", "data"}
            message = f"{body['code']}: {self.unwrapped(body['message'])}"
        return message

    @staticmethod
    def unwrapped(message: str) -> str:
        """A message that may be the model's own error as JSON text."""
        if not message.startswith("{"):
            return message
        inner = json.loads(message)["error"]
        return f"{inner['status']}: {inner['message']}"
