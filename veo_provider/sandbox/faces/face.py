"""Face: all that distinguishes one gateway from another, as data and small functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from veo_provider.sandbox.body_parser import BodyFormat
from veo_provider.sandbox.charging import Charging
from veo_provider.sandbox.faces.models import BASE_PATHS
from veo_provider.sandbox.tasks import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from veo_provider.sandbox.body_parser import ParsedBody
    from veo_provider.sandbox.errors import ApiError
    from veo_provider.sandbox.submission import Submission
    from veo_provider.sandbox.tasks import Task


@dataclass(frozen=True)
class View:
    """What a task's object is made of besides the task.

    :param now: Unix seconds.
    :param status: replaces the true status; None for the true one.
    :param base_url: where the interface is served.
    :param file_url: a signed URL of the video, on another host name.
    """

    now: float
    status: str | None
    base_url: str
    file_url: str


@dataclass(frozen=True, kw_only=True)
class Face:
    """A gateway as its clients see it. Fields that are not given are those of APIYI.

    :param name: its name, which is also the client's name of this gateway.
    :param read: checks a submission and fills in its defaults; raises :class:`ApiError` to refuse it.
    :param price: the price of a submission in US cents.
    :param describe: returns the object of a task.
    :param error: returns the JSON of an error.
    :param body: the bodies that are read.
    :param authorization: value of the header ``Authorization``, with ``{key}`` for the API key.
    :param accepted: HTTP status of an accepted submission.
    :param new_id: returns the id of a new task.
    :param headers: returns further headers of the response to a submission.
    :param charging: when it charges.
    :param has_content: whether a video is at ``/content``; otherwise its object has a signed URL.
    :param has_list: whether ``GET /videos`` lists the account's videos.
    :param has_models: whether ``GET /models`` lists the models.
    :param has_account: whether there are APIYI's balance, task list and log.
    :param has_idempotency: whether a submission can have an ``Idempotency-Key``.
    """

    name: str
    read: Callable[[ParsedBody], Submission]
    price: Callable[[Submission], int]
    describe: Callable[[Task, View], dict[str, Any]]
    error: Callable[[ApiError], Any]
    body: BodyFormat = field(default_factory=BodyFormat)
    authorization: str = "Bearer {key}"
    accepted: int = 200
    new_id: Callable[[], str] = new_id
    headers: Callable[[Task], Mapping[str, str]] = lambda _: {}
    charging: Charging = field(default_factory=Charging)
    has_content: bool = True
    has_list: bool = False
    has_models: bool = False
    has_account: bool = False
    has_idempotency: bool = False

    @property
    def base_path(self) -> str:
        """Return where the interface is served."""
        return BASE_PATHS.get(self.name, "/v1")
