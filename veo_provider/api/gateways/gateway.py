"""Gateway: all that distinguishes one HTTP interface for videos from another, as data."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from veo_provider.api.model import Model
from veo_provider.exceptions import HOST_EXAMPLE, KEPT, KEY_KIND, TASK_LOG

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE = "{image}"
"""Stands for the image, as a data URL, in :attr:`Gateway.image_json`."""


class LookUp(str, enum.Enum):
    """How a gateway can be asked what became of a submission whose response was lost."""

    NONE = "none"
    """It cannot be asked."""
    LIST = "list"
    """It lists its videos at the path of submissions, newest first, as OpenAI did."""
    TASK_LOG = "task_log"
    """It has APIYI's task list and log, which need the connection's ``account_token``."""
    IDEMPOTENCY_KEY = "idempotency_key"
    """The same request with the same key returns the first one's video."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a submission.

    :param name: the gateway's name of it.
    :param source: the request's attribute that has its value.
    :param number: whether it is sent as a number where the body is JSON; otherwise as a text.
    :param detail: whether it is nested under :attr:`Gateway.json_details` where the body is JSON.
    """

    name: str
    source: str
    number: bool = False
    detail: bool = False


@dataclass(frozen=True, kw_only=True)
class Charging:
    """When a gateway charges, and for what. None means that nobody has said so: it may be charged.

    :param at: at a submission, at its completion, or never (one's own GPU).
    :param failed: whether a failed generation is charged in the end.
    :param moderated: whether one that moderation refused is charged in the end.
    """

    at: Literal["submission", "completion", "never"] = "submission"
    failed: bool | None = None
    moderated: bool | None = None

    def charges_failure(self, *, moderated: bool) -> bool | None:
        """Return whether a failed generation is charged in the end; None if nobody has said so.

        :param moderated: whether moderation was the reason.
        """
        return False if self.at == "never" else self.moderated if moderated else self.failed


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The interface of a gateway. Fields that are not given are those of OpenAI's ``/v1/videos``.

    :param name: its name in a connection's extra and in receipts.
    :param base_url: where it is served; empty for one that everybody hosts at an own address.
    :param default_path: the path of a host that is given without one.
    :param authorization: value of the header ``Authorization``, with ``{key}`` for the API key.
    :param submission_headers: further headers of a submission.
    :param submit_path: path of a submission and of its list.
    :param video_path: path of a video, with ``{id}``; its content is at ``/content`` below.
    :param form: whether a submission with an image is a multipart form with the file; otherwise it is JSON.
    :param form_without_image: whether one without an image is a form too.
    :param fields: the fields of a submission, in the order in which they are sent.
    :param json_details: the name under which JSON nests those that are details.
    :param image_field: the name of the file in a form.
    :param image_json: what JSON has for the image, with :data:`IMAGE` in the place of its data URL.
    :param id_keys: names of a video's id besides ``id`` and ``task_id``.
    :param content_url: the keys and positions that lead to the video's URL in its status; empty if the video
        is at its own path.
    :param charging: when it charges.
    :param cost_keys: the keys that lead to the cost of a video in its status, in USD.
    :param cost_header: header of the response to a submission with its cost in USD.
    :param extra_generations_headers: headers of that response which count further submissions that the
        gateway has made by itself; each may be charged.
    :param call_id_header: header of that response by which the gateway's own log names the call.
    :param idempotency_header: header of a submission by which the gateway recognises a repeated one.
    :param look_up: how a lost submission can be looked up.
    :param check: what the connection test asks for: a video that does not exist, or the list of models.
    :param task_log: where a person sees what the gateway has done.
    :param key_kind: which key it takes, as the end of a sentence.
    :param kept: how long it keeps videos, as the beginning of a sentence.
    :param models: what is known about its models, by name.
    :param default_model: the model where none is given; empty if one must be given.
    :param unknown_model: what holds for a model that is not in the table; its name is replaced.
    """

    name: str
    base_url: str = ""
    default_path: str = "v1"
    authorization: str = "Bearer {key}"
    submission_headers: Mapping[str, str] = field(default_factory=dict)
    submit_path: str = "/videos"
    video_path: str = "/videos/{id}"
    form: bool = True
    form_without_image: bool = False
    fields: tuple[Field, ...] = ()
    json_details: str = ""
    image_field: str = "input_reference"
    image_json: Mapping[str, Any] = field(default_factory=dict)
    id_keys: tuple[str, ...] = ()
    content_url: tuple[str | int, ...] = ()
    charging: Charging = field(default_factory=Charging)
    cost_keys: tuple[str | int, ...] = ()
    cost_header: str = ""
    extra_generations_headers: tuple[str, ...] = ()
    call_id_header: str = ""
    idempotency_header: str = ""
    look_up: LookUp = LookUp.NONE
    check: Literal["missing_video", "models"] = "missing_video"
    task_log: str = "the gateway's task log"
    key_kind: str = "it must be an API key of the gateway"
    kept: str = "The service keeps videos for some time only"
    models: Mapping[str, Model] = field(default_factory=dict)
    default_model: str = ""
    unknown_model: Model = field(default_factory=lambda: Model(name="", known=False))

    @property
    def words(self) -> dict[str, str]:
        """What the errors say of APIYI, each with what they say of this gateway instead."""
        example = f", such as {self.base_url}" if self.base_url else ""
        return {
            TASK_LOG: self.task_log,
            KEY_KIND: self.key_kind,
            KEPT: self.kept,
            HOST_EXAMPLE: example,
        }

    def model(self, name: str) -> Model:
        """Return what is known about a model; one that is not in the table has no limits."""
        return self.models.get(name) or replace(self.unknown_model, name=name)
