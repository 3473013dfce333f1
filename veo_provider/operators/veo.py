"""The operator that spends money, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from veo_provider.api.errors import VeoRequestError
from veo_provider.api.request import FAST_MODEL, VeoRequest
from veo_provider.failures import airflow_failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from veo_provider.api.image import Image


class VeoSubmitOperator(BaseOperator):
    """Submit an image and a prompt to Veo, and return the API's task id.

    The XCom value is that id, a string. The image is streamed into the request and never held whole.
    Everything that can be checked is checked before any money is spent. The submission is tried again only
    if it provably was not accepted; where its answer was lost, the task fails without a retry
    (:class:`~veo_provider.api.errors.VeoSubmissionUnknown`) and says what to check.

    :param image: ``s3://bucket/key``, or any path or URI that Airflow's ``ObjectStoragePath`` opens: a
        JPEG, PNG or WebP (by its bytes, not its name) of at most 20 MB. (templated)
    :param prompt: what happens in the video, and what is heard. (templated)
    :param model: the model's id, ``veo-3.1-fast-generate-preview`` ($0.30, the default) or
        ``veo-3.1-generate-preview`` ($1.20); any other is sent with a warning. (templated)
    :param seconds: length of the video: ``"4"``, ``"6"`` or ``"8"`` (the default). (templated)
    :param resolution: ``720p`` (the default), ``1080p`` or ``4k``; the latter two are always 8 seconds
        long. (templated)
    :param aspect_ratio: ``16:9`` (the default) or ``9:16``. (templated)
    :param size: output pixels such as ``1280x720``, instead of resolution and aspect ratio. (templated)
    :param seed: an integer that clusters the style; it never reproduces a video. (templated)
    :param negative_prompt: what should not be seen. (templated)
    :param text_to_video: make the video of the prompt alone. An explicit wish, so that an image that an
        upstream task did not find is never taken for one.
    :param veo_conn_id: connection of type ``veo``. (templated)
    :param aws_conn_id: connection for an image in S3; None uses boto3's own credentials. (templated)
    """

    template_fields: Sequence[str] = (
        "image",
        "prompt",
        "model",
        "seconds",
        "resolution",
        "aspect_ratio",
        "size",
        "seed",
        "negative_prompt",
        "veo_conn_id",
        "aws_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"prompt": "md", "negative_prompt": "md"}
    ui_color = "#d7e8ff"

    def __init__(
        self,
        *,
        prompt: str,
        image: str | None = None,
        model: str = FAST_MODEL,
        seconds: str | int = "8",
        resolution: str | None = None,
        aspect_ratio: str | None = None,
        size: str | None = None,
        seed: int | str | None = None,
        negative_prompt: str | None = None,
        text_to_video: bool = False,
        veo_conn_id: str = "veo_default",
        aws_conn_id: str | None = "aws_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.prompt = prompt
        self.model = model
        self.seconds = seconds
        self.resolution = resolution
        self.aspect_ratio = aspect_ratio
        self.size = size
        self.seed = seed
        self.negative_prompt = negative_prompt
        self.text_to_video = text_to_video
        self.veo_conn_id = veo_conn_id
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> str:
        """Submit the generation and return the API's task id."""
        from veo_provider import generation
        from veo_provider.hooks.veo import VeoHook

        with airflow_failures():
            request = self._request()
            with VeoHook(self.veo_conn_id).get_conn() as client:
                video = generation.submit(client, request)
        price = f"${request.price_usd:.2f}" if request.price_usd is not None else "an unknown price"
        self.log.info("Submitted as %s; it costs %s when it completes.", video.id, price)
        return video.id

    def _request(self) -> VeoRequest:
        """Return what is asked for, with templates rendered to nothing taken as not given."""
        return VeoRequest(
            image=self._image(),
            prompt=self.prompt,
            model=self.model,
            seconds=str(self.seconds),
            resolution=self.resolution or None,
            aspect_ratio=self.aspect_ratio or None,
            size=self.size or None,
            seed=_integer(self.seed),
            negative_prompt=self.negative_prompt or None,
        )

    def _image(self) -> Image | None:
        from veo_provider.images import find_image

        if not self.text_to_video:
            return find_image(self.image, self.aws_conn_id)
        if self.image is not None:
            raise VeoRequestError(f"image={self.image!r} and text_to_video=True contradict each other.")
        return None


def _integer(seed: int | str | None) -> int | None:
    """Return a seed that a template may have made a text of."""
    if seed is None or seed == "":
        return None
    try:
        return int(seed)
    except (TypeError, ValueError) as error:
        raise VeoRequestError(f"seed={seed!r} is not possible: it must be an integer.") from error
