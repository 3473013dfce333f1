"""Makes the inputs and outputs of OpenLineage's events out of receipts, stored objects and summaries."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.generated.base import InputDataset, OutputDataset
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet

from veo_provider.lineage.facets import VeoGenerationDatasetFacet, VeoRunFacet
from veo_provider.receipts.charges import charges_of
from veo_provider.s3.uri import split_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from veo_provider.receipts.receipt import Receipt

_NAMED = ("model", "prompt", "negative_prompt", "image", "image_sha256", "account")
"""Parts of a request that the facet has elsewhere, or that are not for others."""


def of_receipt(
    receipt: Receipt | None, run: str, *, image: Any = None, output: Any = None, receipt_uri: Any = None
) -> OperatorLineage:
    """Return the lineage of a task of one video.

    :param receipt: as it is at the end; None if the task has none.
    :param run: the task instance, which pays for its own submissions only.
    :param image: what the task was asked to read; a receipt knows better.
    :param output: where its video goes; None if the task stores none.
    """
    if receipt is None:
        return OperatorLineage(inputs=_inputs([image]), outputs=_outputs([output]))
    sources = _inputs([receipt.request.get("image") or image])
    targets = _outputs([output])
    for source in sources:
        if digest := receipt.request.get("image_sha256"):
            source.facets["version"] = DatasetVersionDatasetFacet(datasetVersion=digest)
    for target in targets:
        target.facets["veo_generation"] = _generation(receipt)
        _add_stored(target, receipt.video or {})
    paid = charges_of(receipt, run)
    facet = VeoRunFacet(
        veoTaskId=receipt.veo_task_id,
        state=receipt.state.value,
        receipt=receipt_uri,
        costUsd=paid.charged,
        unknownUsd=paid.unknown,
    )
    return OperatorLineage(inputs=sources, outputs=targets, run_facets={"veo": facet})


def of_submission(image: object, veo_task_id: str | None, price_usd: float | None) -> OperatorLineage:
    """Return the lineage of a task that submitted without a receipt.

    :param veo_task_id: of the accepted submission; None if there is none.
    :param price_usd: what it costs.
    """
    facet = VeoRunFacet(veoTaskId=veo_task_id, costUsd=price_usd if veo_task_id else None)
    return OperatorLineage(inputs=_inputs([image]), run_facets={"veo": facet})


def of_object(stored: Mapping[str, Any], veo_task_id: str, s3_key: object) -> OperatorLineage:
    """Return the lineage of a task that stores the video of a task id.

    :param stored: the description of the stored object; empty if it was not stored.
    :param s3_key: where the video was to be stored.
    """
    facet = VeoRunFacet(veoTaskId=veo_task_id, costUsd=0.0)
    targets = _outputs([stored.get("uri") or s3_key])
    for target in targets:
        _add_stored(target, stored)
    return OperatorLineage(outputs=targets, run_facets={"veo": facet})


def of_task_id(veo_task_id: str) -> OperatorLineage:
    """Return the lineage of a task that only waits: it reads and writes no data."""
    return OperatorLineage(run_facets={"veo": VeoRunFacet(veoTaskId=veo_task_id)})


def of_batch(
    images: str | Iterable[str], output_prefix: str | None, result: Mapping[str, Any] | None
) -> OperatorLineage:
    """Return the lineage of a batch: its archive and its folder, not each of thousands of images.

    :param images: a prefix, a pattern or a list; of a list, the folders of its images.
    :param output_prefix: where the videos go; None for a dry run, which makes none.
    :param result: the task's result; None if it has failed.
    """
    places = [images] if isinstance(images, str) else sorted({_folder(each) for each in images})
    facet = VeoRunFacet()
    if result is not None:
        facet = VeoRunFacet(
            receipt=result["summary_uri"],
            costUsd=result["cost_usd"],
            unknownUsd=result["unknown_usd"],
            counts=dict(result["counts"]),
        )
    return OperatorLineage(
        inputs=_inputs(places), outputs=_outputs([output_prefix]), run_facets={"veo": facet}
    )


def name_of(uri: object) -> tuple[str, str] | None:
    """Return namespace and name of a URI's dataset, as OpenLineage's naming has it; None if it is no URI.

    An object in S3 is ``s3://bucket`` and its key. A local path is none. Credentials are left out, and so is
    the query of a web address, which may be a signature.
    """
    scheme, place, key = split_uri(str(uri or ""))
    if not place or "://" not in str(uri):
        return None
    if scheme in ("http", "https"):
        place, key = place.partition("?")[0], (key or "").partition("?")[0]
    return f"{scheme}://{place.rpartition('@')[2]}", key or "/"


def _inputs(uris: Iterable[object]) -> list[InputDataset]:
    named = filter(None, map(name_of, uris))
    return [InputDataset(namespace=namespace, name=name, facets={}) for namespace, name in named]


def _outputs(uris: Iterable[object]) -> list[OutputDataset]:
    named = filter(None, map(name_of, uris))
    return [OutputDataset(namespace=namespace, name=name, facets={}) for namespace, name in named]


def _folder(uri: str) -> str:
    return str(uri).rpartition("/")[0] + "/"


def _generation(receipt: Receipt) -> VeoGenerationDatasetFacet:
    request = receipt.request
    return VeoGenerationDatasetFacet(
        model=str(request.get("model", "")),
        promptSha256=hashlib.sha256(str(request.get("prompt", "")).encode("utf-8", "replace")).hexdigest(),
        imageSha256=request.get("image_sha256"),
        veoTaskId=receipt.veo_task_id,
        gateway=receipt.gateway,
        priceUsd=receipt.price_usd,
        toldUsd=receipt.told_usd,
        parameters={name: value for name, value in request.items() if name not in _NAMED},
    )


def _add_stored(target: OutputDataset, stored: Mapping[str, Any]) -> None:
    """Add version and size of a stored video."""
    if digest := stored.get("sha256"):
        target.facets["version"] = DatasetVersionDatasetFacet(datasetVersion=str(digest))
    if isinstance(stored.get("bytes"), int):
        statistics = OutputStatisticsOutputDatasetFacet(fileCount=1, size=stored["bytes"])
        target.outputFacets = {"outputStatistics": statistics}
