"""Options of every object that this package writes: encryption, ACL, tags, storage class and so on.

One of them, ``RequestPayer``, applies to reads as well.
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
_RESERVED = frozenset({"Bucket", "Key", "ContentType", "ContentEncoding", "Metadata", "ChecksumAlgorithm"})
"""Parameters that the provider sets itself, and ``ContentEncoding``, since its objects have none."""
_FOR_EVERY_CALL = ("RequestPayer",)
"""A requester-pays bucket denies every call without it."""
_CUSTOMER_KEY_PREFIX = "SSECustomer"
_BOOLEANS = {"true": True, "false": False}


def write_options(client: S3Client, *sources: object) -> dict[str, Any]:
    """Return the options that apply to every write.

    :param client: boto3's client. Its service model defines the options: those that ``PutObject`` and
        ``CreateMultipartUpload`` have in common.
    :param sources: mappings from an option's name to its value. A later one overrides an earlier one; an
        empty value removes the option.
    :raises VeoRequestError: S3 has no such option, or the provider sets it itself.
    """
    merged: dict[str, object] = {}
    for source in sources:
        merged.update(_require_mapping(source))
    allowed = _allowed_options(client)
    for name in merged:
        _require_known(name, allowed)
    return {name: _coerced(value, allowed[name]) for name, value in merged.items() if value not in (None, "")}


def add_to_requests(client: S3Client, options: Mapping[str, Any]) -> None:
    """Make a client add options to its requests: all of them to writes, ``RequestPayer`` to every request.

    :param options: see :func:`write_options`; each request gets those that its operation has.
    """

    def add(params: dict[str, Any], model: OperationModel, **_: object) -> None:
        known = set(model.input_shape.members if model.input_shape else ())
        wanted = known if model.name in _WRITES else known.intersection(_FOR_EVERY_CALL)
        params.update({name: value for name, value in options.items() if name in wanted})

    if options:
        client.meta.events.register("provide-client-params.s3", add)


def _require_mapping(source: object) -> dict[str, object]:
    if source is None or source == "":
        return {}
    if not isinstance(source, dict):
        # The value is not quoted, since it may be a secret.
        raise VeoRequestError(
            "The extra arguments of S3 (s3_extra_args, or extra_args in the connection) must be a mapping "
            f'such as {{"ServerSideEncryption": "aws:kms"}}; got a {type(source).__name__}.'
        )
    return source


def _allowed_options(client: S3Client) -> dict[str, Shape]:
    models = (client.meta.service_model.operation_model(name) for name in _WRITES[:2])
    put, create = (model.input_shape.members if model.input_shape else {} for model in models)
    return {name: shape for name, shape in put.items() if name in create and name not in _RESERVED}


def _require_known(name: str, allowed: Mapping[str, Shape]) -> None:
    if str(name).startswith(_CUSTOMER_KEY_PREFIX):
        raise VeoRequestError(
            f"The extra argument {name} of S3 cannot be used: with a key of your own (SSE-C), each read "
            "would need the key as well, and Airflow would store it with the task. Use ServerSideEncryption "
            "with a key in AWS KMS."
        )
    if name not in allowed:
        raise VeoRequestError(
            f"The extra argument {name} of S3 cannot be used: use one of "
            f"{', '.join(name for name in sorted(allowed) if not name.startswith(_CUSTOMER_KEY_PREFIX))}."
        )


def _coerced(value: object, shape: Shape) -> object:
    """Return a value as boto3 expects it: a template renders a boolean to text."""
    return (
        _BOOLEANS.get(value.lower(), value)
        if isinstance(value, str) and shape.type_name == "boolean"
        else value
    )
