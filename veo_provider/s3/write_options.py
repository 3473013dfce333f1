"""Options of every object that this package writes: encryption, ACL, tags, storage class and so on.

One of them, that the requester pays, goes with reads as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.model import OperationModel, Shape
    from mypy_boto3_s3 import S3Client

_WRITES = (
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
)
_OURS = frozenset({"Bucket", "Key", "ContentType", "ContentEncoding", "Metadata", "ChecksumAlgorithm"})
"""Parameters that the provider sets itself, and the encoding, of which there is none."""
_OF_EACH_CALL = ("RequestPayer",)
"""A bucket whose readers pay lets nobody in who does not say so."""
_CUSTOMER_KEY = "SSECustomer"
_BOOLEANS = {"true": True, "false": False}


def write_options(client: S3Client, *sources: object) -> dict[str, Any]:
    """Return the options that apply to every write.

    :param client: boto3's client, whose service model says which options there are: those that ``PutObject``
        and ``CreateMultipartUpload`` have in common.
    :param sources: mappings from an option's name to its value; a later one wins, and an empty value leaves
        the option out.
    :raises VeoRequestError: there is no such option, or the provider sets it itself.
    """
    merged: dict[str, object] = {}
    for source in sources:
        merged.update(_require_mapping(source))
    allowed = _allowed(client)
    for name in merged:
        _require_known(name, allowed)
    return {name: _value(value, allowed[name]) for name, value in merged.items() if value not in (None, "")}


def add_to_calls(client: S3Client, options: Mapping[str, Any]) -> None:
    """Let a client add options to each of its writes, and that it pays to each of its reads, whoever calls.

    :param options: see :func:`write_options`; a call gets those that it knows.
    """

    def add(params: dict[str, Any], model: OperationModel, **_: object) -> None:
        known = set(model.input_shape.members if model.input_shape else ())
        wanted = known if model.name in _WRITES else known.intersection(_OF_EACH_CALL)
        params.update({name: value for name, value in options.items() if name in wanted})

    if options:
        client.meta.events.register("provide-client-params.s3", add)


def _require_mapping(source: object) -> dict[str, object]:
    if source is None or source == "":
        return {}
    if not isinstance(source, dict):
        # Without the value, which may be anything, a secret too.
        raise VeoRequestError(
            "The extra arguments of S3 (s3_extra_args, or extra_args in the connection) must be a mapping "
            f'such as {{"ServerSideEncryption": "aws:kms"}}, and not a {type(source).__name__}.'
        )
    return source


def _allowed(client: S3Client) -> dict[str, Shape]:
    models = (client.meta.service_model.operation_model(name) for name in _WRITES[:2])
    put, create = (model.input_shape.members if model.input_shape else {} for model in models)
    return {name: shape for name, shape in put.items() if name in create and name not in _OURS}


def _require_known(name: str, allowed: Mapping[str, Shape]) -> None:
    if str(name).startswith(_CUSTOMER_KEY):
        raise VeoRequestError(
            f"The extra argument {name} of S3 is not possible: a key of your own (SSE-C) would be needed for "
            "every read as well, and would be stored with the task. Use ServerSideEncryption with a key in "
            "AWS KMS."
        )
    if name not in allowed:
        raise VeoRequestError(
            f"The extra argument {name} of S3 is not possible: it is one of {', '.join(sorted(allowed))}, "
            "without SSECustomer…."
        )


def _value(value: object, shape: Shape) -> object:
    """Return a value as boto3 takes it: a template makes a text of a yes or no."""
    return (
        _BOOLEANS.get(value.lower(), value)
        if isinstance(value, str) and shape.type_name == "boolean"
        else value
    )
