"""The facets of OpenLineage that only this provider has."""

from __future__ import annotations

from typing import Any

import attr
from openlineage.client.generated.base import DatasetFacet, RunFacet

SCHEMA = "urn:airflow-provider-veo:{}:1-0-0"
"""The name of a facet's schema, which is published nowhere."""


@attr.define
class VeoGenerationDatasetFacet(DatasetFacet):  # type: ignore[misc] # where OpenLineage is not installed
    """How a video was made. Neither the prompt nor a key is part of it.

    :param model: the model.
    :param promptSha256: hex digest of the prompt in UTF-8.
    :param imageSha256: hex digest of the image's bytes; None for a video of the prompt alone.
    :param veoTaskId: the API's task id.
    :param gateway: the gateway's name.
    :param priceUsd: the expected price in USD; None if it is not known.
    :param toldUsd: what the gateway says that it costs, in USD; None if it does not say.
    :param parameters: the other parameters of the request, such as ``seconds`` and ``resolution``.
    """

    model: str
    promptSha256: str  # noqa: N815 - OpenLineage's own style of names
    imageSha256: str | None  # noqa: N815 - as above
    veoTaskId: str | None  # noqa: N815 - as above
    gateway: str
    priceUsd: float | None  # noqa: N815 - as above
    toldUsd: float | None  # noqa: N815 - as above
    parameters: dict[str, Any]

    @staticmethod
    def _get_schema() -> str:
        return SCHEMA.format("VeoGenerationDatasetFacet")


@attr.define
class VeoRunFacet(RunFacet):  # type: ignore[misc] # as above
    """What a task paid, or may have paid.

    :param veoTaskId: the API's task id; None for a batch, or if none was accepted.
    :param state: of the receipt, or None for a batch.
    :param receipt: URI of the receipt, or of a batch's summary.
    :param costUsd: what was charged, in USD; None if it is not known.
    :param unknownUsd: what may have been charged besides, in USD.
    :param counts: number of images of a batch by outcome; empty for one video.
    """

    veoTaskId: str | None = None  # noqa: N815 - as above
    state: str | None = None
    receipt: str | None = None
    costUsd: float | None = None  # noqa: N815 - as above
    unknownUsd: float = 0.0  # noqa: N815 - as above
    counts: dict[str, int] = attr.field(factory=dict)

    @staticmethod
    def _get_schema() -> str:
        return SCHEMA.format("VeoRunFacet")
