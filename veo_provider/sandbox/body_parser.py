"""Reads the body of a submission: multipart or JSON, with its files."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import secrets
import shutil
import tempfile
from dataclasses import dataclass, field, fields
from typing import IO, TYPE_CHECKING, Any

from aiohttp import BodyPartReader, web
from PIL import Image

from veo_provider.sandbox.errors import ApiError, gateway_error, relay_error, upstream_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

IMAGE_LIMIT = 20 * 1024 * 1024
"""Bytes; a larger image is refused with 413, and not kept."""

FIELD_LIMIT = 64 * 1024 * 1024
"""Bytes of a text field or a JSON body, which can contain an image as Base64."""

FORM, JSON = "multipart/form-data", "application/json"

_MAX_IN_MEMORY = 1024 * 1024  # bytes; a larger file is spooled to disk while it is checked
_STRINGS = ("model", "prompt", "seconds", "duration", "size", "input_reference")
_JSON_TYPES = {bool: "bool", int: "number", float: "number", list: "array", dict: "object", str: "string"}


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a submission; the service uses one of them at most."""

    field: str
    filename: str
    content_type: str
    bytes: int
    sha256: str
    path: Path | None  # None if it was not kept
    width: int | None = None  # pixels; None if it is not an image
    height: int | None = None

    def record(self) -> dict[str, Any]:
        """Return the part of ``/_sandbox/tasks`` about it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "path"}


@dataclass(slots=True)
class ParsedBody:
    """The body of a submission, not yet validated; names of nested JSON fields are dotted.

    :param values: what JSON has at its top, without the image and with its types; empty for a form.
    """

    is_json: bool
    fields: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    files: list[UploadedFile] = field(default_factory=list)

    def option(self, name: str) -> str | None:
        """Return a generation option: flat in a form, under ``metadata`` in JSON, ignored elsewhere."""
        return self.fields.get(f"metadata.{name}" if self.is_json else name)

    @property
    def model(self) -> str:
        """Return the requested model, or an empty text."""
        return self.fields.get("model", "")

    @property
    def image(self) -> UploadedFile | None:
        """Return the image that is used: the first ``input_reference``; other files are ignored."""
        return next((each for each in self.files if each.field == "input_reference"), None)


@dataclass(frozen=True)
class BodyFormat:
    """What bodies a service reads.

    :param types: the content types.
    :param check_json: refuses JSON whose fields have wrong types; default as APIYI does.
    :param pop_image: takes the image out of JSON, as Base64 or a data URL, and returns None if there is none;
        default that of ``input_reference``.
    """

    types: tuple[str, ...] = (FORM, JSON)
    check_json: Callable[[dict[str, Any]], None] | None = None
    pop_image: Callable[[dict[str, Any]], str | None] | None = None


async def parse_body(
    request: web.Request, uploads: Path | None, body_format: BodyFormat | None = None
) -> ParsedBody:
    """Read and parse the body of a submission.

    :param request: the request; its body is read to the end even if it is refused, so that the
        client gets the response and not a broken pipe.
    :param uploads: directory to keep the files in, named by their SHA-256; None does not keep them.
    :param body_format: what is read; default a form, or JSON with ``input_reference``.
    :raises ApiError: if the body cannot be parsed.
    """
    body_format = body_format or BodyFormat()
    if request.content_type not in body_format.types:
        await _discard(request)
        wanted = " or ".join(body_format.types)
        raise relay_error(
            400, "unsupported_content_type", f"Content-Type must be {wanted}, not {request.content_type}"
        )
    if request.content_type == FORM:
        return await _parse_form(request, uploads)
    return await _parse_json(request, uploads, body_format)


async def _discard(request: web.Request) -> None:
    """Read the rest of the body and drop it."""
    async for _ in request.content.iter_any():
        pass


async def _parse_form(request: web.Request, uploads: Path | None) -> ParsedBody:
    parsed = ParsedBody(is_json=False)
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise _parse_error("nested multipart")
            await _parse_part(part, parsed, uploads)
    except (ValueError, AssertionError) as error:
        raise _parse_error(str(error)) from error
    if request.content.exception() is not None:
        raise _parse_error("the body ended early")
    return parsed


async def _parse_part(part: BodyPartReader, parsed: ParsedBody, uploads: Path | None) -> None:
    name = part.name or ""
    if part.filename is not None:
        content_type = part.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        parsed.files.append(await _receive_file(_chunks(part), uploads, name, part.filename, content_type))
        return
    value = await _read_text(part)
    if name == "input_reference":
        parsed.files.append(await _decode_base64(value, uploads))
    else:
        parsed.fields.setdefault(name, value)


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(1 << 18):
        yield chunk


async def _read_text(part: BodyPartReader) -> str:
    value = bytearray()
    async for chunk in _chunks(part):
        value += chunk
        if len(value) > FIELD_LIMIT:
            raise gateway_error(413, f"field {part.name} is too large", "request_too_large")
    return value.decode("utf-8", errors="replace")


async def _receive_file(
    chunks: AsyncIterator[bytes], uploads: Path | None, name: str, filename: str, content_type: str
) -> UploadedFile:
    """Hash, measure and keep a file; bytes over the limit are counted and dropped."""
    digest, size = hashlib.sha256(), 0
    with tempfile.SpooledTemporaryFile(_MAX_IN_MEMORY) as file:
        async for chunk in chunks:
            size += len(chunk)
            digest.update(chunk)
            if size <= IMAGE_LIMIT:
                file.write(chunk)
        width, height = await asyncio.to_thread(_dimensions, file) or (None, None)
        sha256 = digest.hexdigest()
        path = None if uploads is None else _keep(file, uploads / sha256)
    return UploadedFile(name, filename, content_type, size, sha256, path, width, height)


def _keep(file: IO[bytes], path: Path) -> Path:
    """Write a file to disk atomically, unless it exists, and return its path."""
    if not path.exists():
        file.seek(0)
        partial = path.with_name(f"{secrets.token_hex(8)}.part")
        try:
            with partial.open("wb") as target:
                shutil.copyfileobj(file, target)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _dimensions(file: IO[bytes]) -> tuple[int, int] | None:
    """Return width and height in pixels, or None if this is not a complete JPEG, PNG or WebP."""
    file.seek(0)
    try:
        with Image.open(file, formats=("JPEG", "PNG", "WEBP")) as image:
            size = image.size
            # Decoding a JPEG at an eighth of its size also finds it truncated, in a fraction of the time.
            image.draft(None, (1, 1))
            image.load()
            return size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


async def _parse_json(request: web.Request, uploads: Path | None, body_format: BodyFormat) -> ParsedBody:
    parsed = ParsedBody(is_json=True)
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise _parse_error(str(error)) from error
    if not isinstance(body, dict):
        raise _type_error(body, "", "TaskSubmitReq")
    (body_format.check_json or _check_types)(body)
    image = (body_format.pop_image or _pop_input_reference)(body)
    parsed.values.update(body)
    parsed.fields.update(_flatten(body))
    if image:
        parsed.files.append(await _decode_base64(image, uploads))
    return parsed


def _pop_input_reference(body: dict[str, Any]) -> str | None:
    image: str | None = body.pop("input_reference", None)
    return image


def _check_types(body: Mapping[str, Any]) -> None:
    """Refuse other types in the fields that the gateway declares as strings."""
    for name in _STRINGS:
        if body.get(name) is not None and not isinstance(body[name], str):
            raise _type_error(body[name], name, "string")
    if body.get("metadata") is not None and not isinstance(body["metadata"], dict):
        raise _type_error(body["metadata"], "metadata", "map[string]interface {}")


def _flatten(body: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in body.items():
        if isinstance(value, dict):
            fields.update(_flatten(value, f"{prefix}{name}."))
        elif value is not None:
            fields[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return fields


async def _decode_base64(value: str, uploads: Path | None) -> UploadedFile:
    """Return an image given as Base64 text, plain or as a data URL."""
    if value.startswith(("http://", "https://")):
        raise upstream_error("input_reference must be a file or Base64: remote URLs are not supported.")
    head, comma, tail = value.partition(",")
    content_type = head.removeprefix("data:").partition(";")[0] if comma else ""
    try:
        data = base64.b64decode("".join((tail if comma else value).split()), validate=True)
    except (binascii.Error, ValueError):
        raise upstream_error("input_reference is not valid Base64.") from None
    return await _receive_file(
        _single_chunk(data), uploads, "input_reference", "", content_type or _sniff_type(data)
    )


async def _single_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _sniff_type(data: bytes) -> str:
    """Return the type by the first bytes, as plain Base64 does not name it."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "application/octet-stream"


def _parse_error(message: str) -> ApiError:
    return relay_error(400, "parse_request_failed", message)


def _type_error(value: object, name: str, expected: str) -> ApiError:
    """Return the error of Go's JSON decoder about a value of the wrong type."""
    kind = _JSON_TYPES.get(type(value), "null")
    where = f"Go struct field TaskSubmitReq.{name}" if name else "Go value"
    return _parse_error(f"json: cannot unmarshal {kind} into {where} of type {expected}")
