"""Opens an image: from S3 through Airflow's hook, from elsewhere through Airflow's object storage."""

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

_BUFFERED_BYTES = MAX_IMAGE_BYTES + 1
"""How much is read of a file of unknown size: enough to see that it is too large."""
_NO_SUCH_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_FINAL_STATUSES = frozenset({401, 403, 404, 410})
"""HTTP statuses of a store after which trying again does not help."""

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
    max_buffered_bytes: int = 0,
    extra_args: Mapping[str, str | bool] | None = None,
) -> Image:
    """Return the image, checked by its size and first bytes, but not read whole.

    :param image: ``s3://bucket/key``, or any path or URI that ``ObjectStoragePath`` opens.
    :param aws_conn_id: connection for an image in S3; None uses boto3's own credentials.
    :param convert: also decode it, and convert it to a JPEG if the API does not take it as it is, see
        :func:`veo_provider.media.conversion.convert`.
    :param s3: an existing boto3 client for that connection, because creating one takes a while.
    :param max_buffered_bytes: an object in S3 of at most this size is read once and kept in memory.
    :param extra_args: see :func:`~veo_provider.s3.client.s3_client`; ``RequestPayer`` applies to reads too.
    :raises VeoImageError: there is no such image, or the API does not take it.
    :raises VeoImageUnavailableError: its store cannot be reached now.
    """
    uri = str(image or "")
    if not uri.strip():
        raise VeoImageError(f"image={image!r} is empty: it must be a path or a URI.")
    check = conversion.convert if convert else Image.check
    if not uri.startswith("s3://"):
        return _from_object_storage(uri, check)
    source = S3Uri.parse(uri, "image", with_connection=True)
    # The URI may contain a connection, as it may for ObjectStoragePath.
    conn_id, at, bucket = source.bucket.rpartition("@")
    if at:
        _require_connection(conn_id, uri)
        source, aws_conn_id, s3 = S3Uri(bucket, source.key), conn_id, None
    return _from_s3(
        source, lambda: s3 or s3_client(aws_conn_id, extra_args=extra_args), check, max_buffered_bytes
    )


def _from_s3(source: S3Uri, connect: Callable[[], S3Client], check: Check, max_buffered_bytes: int) -> Image:
    with translate_errors(
        f"The image {source} cannot be read", retryable=VeoImageUnavailableError, final=VeoImageError
    ):
        client = connect()
        response = client.get_object(Bucket=source.bucket, Key=source.key)
        is_buffered = response["ContentLength"] <= max_buffered_bytes
        header = response["Body"].read(None if is_buffered else HEADER_BYTES)
        response["Body"].close()
    return check(
        str(source),
        size=response["ContentLength"],
        header=header,
        open_stream=lambda: BytesIO(header) if is_buffered else _s3_stream(client, source, response["ETag"]),
    )


def _s3_stream(client: S3Client, source: S3Uri, etag: str) -> ByteStream:
    """Open the object from its start, if it is still the one that was checked."""
    return client.get_object(Bucket=source.bucket, Key=source.key, IfMatch=etag)["Body"]


def _from_object_storage(image: str, check: Check) -> Image:
    try:
        path = _path(image)
        with path.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
            size: int | None = path.stat().st_size
            # A web server may not tell the size: then the file is read once and kept in memory.
            data = header + _read(stream, _BUFFERED_BYTES - len(header)) if size is None else None
    # Each store raises its own errors. Those not known to be final may be temporary.
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        if _is_final(error):
            raise VeoImageError(f"The image {image} cannot be read: {reason}.") from error
        raise VeoImageUnavailableError(f"The image {image} cannot be reached: {reason}.") from error
    if data is not None:
        return check(image, size=len(data), header=header, open_stream=lambda: BytesIO(data))
    return check(image, size=size, header=header, open_stream=lambda: path.open("rb"))


def _is_final(error: Exception) -> bool:
    """Whether an error means that there is no such file or connection, or no permission to read it."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    if isinstance(error, (*_NO_SUCH_FILE, ValueError, ImportError, AirflowNotFoundException)):
        return True
    # aiohttp has a status, Azure a status_code, Google a code; gcsfs turns a 403 into a plain OSError.
    statuses = [getattr(error, name, None) for name in ("status", "status_code", "code")]
    is_refused = any(isinstance(status, int) and status in _FINAL_STATUSES for status in statuses)
    return is_refused or (type(error) is OSError and str(error).startswith("Forbidden"))


def _require_connection(conn_id: str, image: str) -> None:
    """Raise an error if a connection does not exist: the Amazon provider would use other credentials.

    :raises VeoImageError: it does not exist.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise VeoImageError(
            f"The image {image} cannot be read: there is no connection {conn_id!r}."
        ) from error


def _read(stream: ByteStream, limit: int) -> bytes:
    """Read a stream to its end or to a limit, however few bytes each read returns."""
    data = bytearray()
    while len(data) < limit and (chunk := stream.read(limit - len(data))):
        data += chunk
    return bytes(data)


def _path(image: str) -> Path | ObjectStoragePath:
    """Return the path of an image. A local path is taken literally: a URI would lose some characters."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    local = image.removeprefix("file://")
    if "://" not in image or local.startswith("/"):
        return Path(local)
    path = ObjectStoragePath(image)
    if path.name != image.rpartition("/")[2]:
        raise ValueError(f"as a URI it names the file {path.name!r}")
    return path
