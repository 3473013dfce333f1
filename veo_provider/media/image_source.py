"""Where an image comes from: S3 through Airflow's hook, anything else through its object storage."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from veo_provider.api.image import HEADER_BYTES, MAX_IMAGE_BYTES, ByteStream, Image
from veo_provider.exceptions import VeoImageError, VeoImageUnavailableError
from veo_provider.media import conversion
from veo_provider.s3.client import s3_client
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Uri

_HELD_BYTES = MAX_IMAGE_BYTES + 1
"""How much is read of a file whose size nobody tells: enough to see that it is too large."""
_NO_SUCH_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_REFUSALS = frozenset({401, 403, 404, 410})
"""What a store says, by its HTTP status, where asking again does not help."""

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike

    from airflow.providers.common.compat.sdk import ObjectStoragePath
    from mypy_boto3_s3 import S3Client

    Check = Callable[..., Image]


def open_image(
    image: str | PathLike[str] | None,
    aws_conn_id: str | None,
    *,
    convert: bool = False,
    s3: S3Client | None = None,
    hold: int = 0,
    extra_args: Mapping[str, str | bool] | None = None,
) -> Image:
    """Return the image, checked by its size and first bytes but not read.

    :param image: ``s3://bucket/key``, or any path or URI that ``ObjectStoragePath`` opens.
    :param aws_conn_id: connection for an image in S3; None uses boto3's own credentials.
    :param convert: read and decode it as well, and make a JPEG of it if the API would not take it as it is,
        see :func:`veo_provider.media.conversion.convert`.
    :param s3: boto3's client for that connection, where there is one already: to make one takes a while.
    :param hold: an object in S3 of at most so many bytes is read once, and held.
    :param extra_args: see :func:`~veo_provider.s3.client.s3_client`; ``RequestPayer`` goes with reads, too.
    :raises VeoImageError: there is no such image, or the API would not take it.
    :raises VeoImageUnavailableError: its store cannot be reached now.
    """
    uri = str(image or "")
    if not uri.strip():
        raise VeoImageError(f"image={image!r} is empty: it must be a path or a URI.")
    check = conversion.convert if convert else Image.check
    if not uri.startswith("s3://"):
        return _in_object_storage(uri, check)
    source = S3Uri.parse(uri, "image", with_connection=True)
    # As ObjectStoragePath has it, a connection may stand in the URI itself.
    conn_id, at, bucket = source.bucket.rpartition("@")
    if at:
        _require_connection(conn_id, uri)
        place = S3Uri(bucket, source.key)
        return _in_s3(place, lambda: s3_client(conn_id, extra_args=extra_args), check, hold)
    return _in_s3(source, lambda: s3 or s3_client(aws_conn_id, extra_args=extra_args), check, hold)


def _in_s3(source: S3Uri, connect: Callable[[], S3Client], check: Check, hold: int) -> Image:
    with translate_errors(
        f"The image {source} cannot be read", retryable=VeoImageUnavailableError, final=VeoImageError
    ):
        client = connect()
        answer = client.get_object(Bucket=source.bucket, Key=source.key)
        held = answer["ContentLength"] <= hold
        header = answer["Body"].read(None if held else HEADER_BYTES)
        answer["Body"].close()
    return check(
        str(source),
        size=answer["ContentLength"],
        header=header,
        open_stream=lambda: BytesIO(header) if held else _s3_stream(client, source, answer["ETag"]),
    )


def _s3_stream(client: S3Client, source: S3Uri, etag: str) -> ByteStream:
    """Open the object from its start, and only if it is still the one that was checked."""
    return client.get_object(Bucket=source.bucket, Key=source.key, IfMatch=etag)["Body"]


def _in_object_storage(image: str, check: Check) -> Image:
    try:
        path = _path(image)
        with path.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
            size: int | None = path.stat().st_size
            # A web server may not tell: such a file is read once, and held.
            held = header + _read(stream, _HELD_BYTES - len(header)) if size is None else None
    # Each store raises errors of its own; what is not known to be final may pass.
    except Exception as error:
        said = str(error).rstrip(".") or type(error).__name__
        if _is_final(error):
            raise VeoImageError(f"The image {image} cannot be read: {said}.") from error
        raise VeoImageUnavailableError(f"The image {image} cannot be reached: {said}.") from error
    if held is not None:
        return check(image, size=len(held), header=header, open_stream=lambda: BytesIO(held))
    return check(image, size=size, header=header, open_stream=lambda: path.open("rb"))


def _is_final(error: Exception) -> bool:
    """Whether there is no such file or connection, or no right to it."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    if isinstance(error, (*_NO_SUCH_FILE, ValueError, ImportError, AirflowNotFoundException)):
        return True
    # aiohttp has a status, Azure a status_code, Google a code; gcsfs makes a bare text of a 403.
    statuses = [getattr(error, name, None) for name in ("status", "status_code", "code")]
    refused = any(isinstance(status, int) and status in _REFUSALS for status in statuses)
    return refused or (type(error) is OSError and str(error).startswith("Forbidden"))


def _require_connection(conn_id: str, image: str) -> None:
    """Refuse a connection that does not exist, for which the amazon provider would take others.

    :raises VeoImageError: there is none of this name.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise VeoImageError(
            f"The image {image} cannot be read: there is no connection {conn_id!r}."
        ) from error


def _read(stream: ByteStream, limit: int) -> bytes:
    """Read a stream to its end or to a limit, whatever portions it gives."""
    data = bytearray()
    while len(data) < limit and (chunk := stream.read(limit - len(data))):
        data += chunk
    return bytes(data)


def _path(image: str) -> Path | ObjectStoragePath:
    """Return where an image is. A local one goes by its very name: as a URI it would lose some characters."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    local = image.removeprefix("file://")
    if "://" not in image or local.startswith("/"):
        return Path(local)
    path = ObjectStoragePath(image)
    if path.name != image.rpartition("/")[2]:
        raise ValueError(f"by its URI it would be taken for {path.name!r}")
    return path
