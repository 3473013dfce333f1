"""What all operators share that ask for videos: the parameters of a request, and who acts."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import BaseOperator

from veo_provider.api.request import VeoRequest
from veo_provider.exceptions import VeoImageError, VeoRequestError
from veo_provider.links import VeoPageLink, VeoTaskLogLink
from veo_provider.operators import frozen_request
from veo_provider.operators.prompt_files import PromptFiles
from veo_provider.parameters import (
    as_bool,
    as_connection,
    as_int,
    as_place,
    as_positive,
    as_terms,
    as_text,
    is_nothing,
)
from veo_provider.reporting import task_instance_of
from veo_provider.retry_policy import with_retry_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from veo_provider.api.gateways.gateway import Gateway
    from veo_provider.api.image import Image
    from veo_provider.generation.fallbacks import Route
    from veo_provider.generation.fingerprint import PreparedRequest
    from veo_provider.generation.state_machine import (
        GenerationPolicy,
        OnChangedRequest,
        OnLostVideo,
        OnUnknownSubmission,
    )
    from veo_provider.receipts.attempt import Attempt
    from veo_provider.receipts.receipt import Receipt


class VeoRequestOperator(PromptFiles, BaseOperator):
    """Ask for videos: the parameters that all operators share which spend money.

    :param model: the model's id; default is that of the connection's gateway, such as
        ``veo-3.1-fast-generate-preview`` ($0.30). One that the gateway does not describe is sent with a
        warning. (templated)
    :param seconds: length of the video; default is the model's. Veo makes ``"4"``, ``"6"`` or ``"8"`` (its
        default). (templated)
    :param resolution: default is the model's. Veo makes ``720p`` (its default), ``1080p`` or ``4k``; the
        latter two are always 8 seconds long. (templated)
    :param aspect_ratio: default is the model's. Veo makes ``16:9`` (its default) or ``9:16``. (templated)
    :param size: output pixels such as ``1280x720``, instead of resolution and aspect ratio. (templated)
    :param seed: an integer that clusters the style; it never reproduces a video. (templated)
    :param negative_prompt: what should not be seen, a text, a list of terms or a file as of ``prompt``.
        (templated)
    :param veo_conn_id: connection of type ``veo``. (templated)
    :param aws_conn_id: connection for S3; None uses boto3's own credentials. (templated)
    :param s3_extra_args: options of every object that is written (video, receipt, summary and so on), as
        S3's ``PutObject`` names them, such as ``{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "…"}``;
        default is what the connection says. (templated)
    :param on_unknown_submission: what to do after a submission whose answer was lost, here or in an earlier
        attempt. ``look_up`` (the default) asks the gateway, where it can be asked, uses the generation if
        the answer proves which one it is, and fails otherwise. ``look_up_or_resubmit`` also submits again if
        the answer proves that nothing was accepted. ``fail`` asks nobody, and ``resubmit`` submits again at
        the risk of paying twice.
    :param on_changed_request: what to do if the receipt belongs to another request: ``fail`` (the default),
        ``regenerate`` and pay again, or ``keep`` what there is.
    :param on_lost_video: what to do if an earlier try was charged and the service has no video of it, because
        its filter held the video back or it was not fetched in time: ``fail`` (the default) after another
        free look, or ``regenerate`` and pay again.
    :param max_generations: how many submissions one video may need while the service fails it; default 2.
        A failed one is not charged, and one that moderation refused is not repeated.
    :param allow_unconditional_writes: go on where the receipt's store ignores conditional writes, without
        protection from two tasks that write the same output at once.
    """

    template_fields: Sequence[str] = (
        "model",
        "seconds",
        "resolution",
        "aspect_ratio",
        "size",
        "seed",
        "negative_prompt",
        "veo_conn_id",
        "aws_conn_id",
        "s3_extra_args",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "prompt": "md",
        "negative_prompt": "md",
        "s3_extra_args": "json",
    }
    operator_extra_links: Sequence[BaseOperatorLink] = (VeoPageLink(), VeoTaskLogLink())
    ui_color = "#d7e8ff"

    def __init__(
        self,
        *,
        model: str | None = None,
        seconds: str | int | None = None,
        resolution: str | None = None,
        aspect_ratio: str | None = None,
        size: str | None = None,
        seed: int | str | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        veo_conn_id: str = "veo_default",
        aws_conn_id: str | None = "aws_default",
        s3_extra_args: dict[str, str | bool] | None = None,
        on_unknown_submission: OnUnknownSubmission = "look_up",
        on_changed_request: OnChangedRequest = "fail",
        on_lost_video: OnLostVideo = "fail",
        max_generations: int = 2,
        allow_unconditional_writes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_retry_policy(self, kwargs))
        self.model = model
        self.seconds = seconds
        self.resolution = resolution
        self.aspect_ratio = aspect_ratio
        self.size = size
        self.seed = seed
        self.negative_prompt = negative_prompt
        self.veo_conn_id = veo_conn_id
        self.aws_conn_id = aws_conn_id
        self.s3_extra_args = s3_extra_args
        self.on_unknown_submission = on_unknown_submission
        self.on_changed_request = on_changed_request
        self.on_lost_video = on_lost_video
        self.max_generations = max_generations
        self.allow_unconditional_writes = allow_unconditional_writes
        self._asked: dict[str, Any] | None = None

    def _freeze_request(self, context: Context, resumed: dict[str, Any] | None = None) -> None:
        """Keep the request of the task's first try, however its templates render now.

        :param resumed: what the trigger's event has kept of it; None before the first deferral.
        """
        rendered = {name: getattr(self, name) for name in self.template_fields}
        self._asked = frozen_request.freeze(context, rendered, resumed)
        for name, value in frozen_request.plain(rendered).items():
            if self._asked[name] != value:
                setattr(self, name, self._asked[name])
        self._require_connections()
        self._name_map_index(context)

    def _name_map_index(self, context: Context) -> None:
        """Name a mapped task in Airflow's UI by what it makes, unless it has a ``map_index_template``."""
        mapped = getattr(context.get("ti"), "map_index", None)
        name = self._map_index_name()
        if name and mapped not in (None, -1) and not context.get("map_index_template"):
            told: dict[str, Any] = {"map_index_template": "{{ veo_map_index }}", "veo_map_index": name}
            cast("dict[str, Any]", context).update(told)

    def _map_index_name(self) -> str:
        """Return what this task makes. Native rendering must not take it for a number or another literal."""
        return ""

    def _require_connections(self) -> None:
        """Read the connections' ids, which native rendering may have made numbers of."""
        self.veo_conn_id = as_connection("veo_conn_id", self.veo_conn_id) or ""
        self.aws_conn_id = as_connection("aws_conn_id", self.aws_conn_id, optional=True)

    @property
    def _has_fallbacks(self) -> bool:
        """Whether there are other routes than ``veo_conn_id`` and ``model``."""
        return False

    def _model(self, gateway: Gateway) -> str:
        """Return the model's id.

        :raises VeoRequestError: it is not a text, or the gateway needs one to be named.
        """
        model = as_text("model", self.model) or gateway.default_model
        if not model:
            raise VeoRequestError(f"The gateway {gateway.name!r} has no default model: set model=.")
        return model

    def _fields(self, gateway: Gateway, model: str) -> dict[str, Any]:
        """Return all of a request but its image and its prompt.

        :raises VeoRequestError: a parameter is not of its form.
        """
        return {
            "model": model,
            "seconds": as_text("seconds", self.seconds) or gateway.model(model).default_seconds,
            "seed": as_int("seed", self.seed),
            **{name: as_text(name, getattr(self, name)) for name in ("resolution", "aspect_ratio", "size")},
            "negative_prompt": as_terms("negative_prompt", self.negative_prompt),
        }

    def _policy(self) -> GenerationPolicy:
        from veo_provider.generation.state_machine import GenerationPolicy

        return GenerationPolicy(
            self.on_unknown_submission,
            self.on_changed_request,
            as_positive("max_generations", self.max_generations),
            self.on_lost_video,
        )


class VeoImageRequestOperator(VeoRequestOperator):
    """Ask for one video: of an image and a prompt, or of the prompt alone.

    The other parameters are those of :class:`VeoRequestOperator`.

    :param prompt: what happens in the video, and what is heard; or a file with that, ``.txt`` or ``.md``, in
        the DAG's folder or its ``template_searchpath``. (templated)
    :param image: ``s3://bucket/key``, or any path or URI that Airflow's ``ObjectStoragePath`` opens: a
        JPEG, PNG or WebP (by its bytes, not its name) of at most 20 MB. (templated)
    :param text_to_video: make the video of the prompt alone. An explicit wish, so that an image that an
        upstream task did not find is never taken for one.
    """

    template_fields: Sequence[str] = ("image", "prompt", *VeoRequestOperator.template_fields)

    def __init__(
        self, *, prompt: str, image: str | None = None, text_to_video: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.prompt = prompt
        self.text_to_video = text_to_video

    def _map_index_name(self) -> str:
        """Return the end of the image's place, or the beginning of the prompt."""
        folder, slash, name = str(self.image or "").rpartition("/")
        shown = f"{folder.rpartition('/')[2]}{slash}{name}" if slash else f"“{self.image or self.prompt}”"
        return shown[:100]

    def _request(self, gateway: Gateway, image: Image | None, *, model: str | None = None) -> VeoRequest:
        """Return the request; a template that rendered to nothing counts as not given.

        :param model: instead of the task's own.
        """
        prompt = as_text("prompt", self.prompt) or ""
        fields = self._fields(gateway, model or self._model(gateway))
        return VeoRequest(image=image, prompt=prompt, gateway=gateway, **fields)

    def _image(self) -> Image | None:
        from veo_provider.media.image_source import open_image

        if not as_bool("text_to_video", self.text_to_video):
            try:
                place = as_place("image", self.image)
            except VeoRequestError as error:
                raise VeoImageError(error.what) from error
            return open_image(place, self.aws_conn_id, extra_args=self.s3_extra_args)
        if not is_nothing(self.image):
            raise VeoRequestError(f"image={self.image!r} and text_to_video=True contradict each other.")
        return None

    def _asked_for(self) -> dict[str, str]:
        """Return what the task asks for, for people to read."""
        names = ("image", "prompt", "model", "seconds", "resolution")
        asked = {name: getattr(self, name) for name in names} | {"account": self.veo_conn_id}
        return {name: str(value) for name, value in asked.items() if value is not None}

    def _prepare(
        self, attempt: Attempt, route: Route, receipt: Receipt | None, other: PreparedRequest | None = None
    ) -> PreparedRequest:
        """Return what to submit; where it is paid for already, the image need not exist any more.

        :param other: the same video by another route, whose image is used.
        """
        from veo_provider.generation import fingerprint
        from veo_provider.generation.state_machine import is_retry_of

        model = route.model if self._has_fallbacks else None
        request_for = partial(self._request, route.gateway, model=model)
        if receipt is not None and is_retry_of(receipt, attempt):
            request_for = partial(fingerprint.request_of, receipt, route.gateway, model=model)
            self.image = receipt.request.get("image", self.image)
        if other is not None:
            return fingerprint.prepare_like(other, request_for, account=route.account)
        image = None if self.image is None else str(self.image)
        prepared = fingerprint.prepare(self._image, request_for, receipt, image=image, account=route.account)
        if prepared.image_error and receipt:
            self.log.warning("%s It is not needed for %s.", prepared.image_error.what, receipt.veo_task_id)
        return prepared


def attempt_of(context: Context) -> Attempt:
    """Return the attempt that acts, as receipts name it."""
    from veo_provider.receipts.attempt import Attempt

    instance = context.get("ti")
    if instance is None:
        return Attempt("a call outside of Airflow")
    tries = frozen_request.tries_of(context)
    return Attempt(
        task_instance_of(context),
        instance.try_number,
        first_try=tries.first_try if tries else None,
        most_tries=tries.most_tries if tries else None,
    )


def seconds_of(duration: timedelta | float) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
