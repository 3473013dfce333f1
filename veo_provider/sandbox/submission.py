"""Reads a submission as the service does: strict where it is strict, sloppy where it is sloppy."""

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

from veo_provider.sandbox.errors import Refusal, gateway, relay, upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

IMAGE_LIMIT = 20 * 1024 * 1024
"""Bytes; a larger picture is refused with 413."""

FIELD_LIMIT = 64 * 1024 * 1024
"""Bytes; a text field or a JSON body may hold a picture as Base64, but has to end somewhere."""

_IN_MEMORY = 1024 * 1024  # bytes; a larger file is on disk while it is looked at

IMAGE_TYPES = {"image/jpeg", "image/png", "image/webp"}
LENGTHS = {"4": 4, "6": 6, "8": 8}
RATIOS = {"16:9", "9:16"}
SIZES = {
    ("720p", "16:9"): (1280, 720),
    ("720p", "9:16"): (720, 1280),
    ("1080p", "16:9"): (1920, 1080),
    ("1080p", "9:16"): (1080, 1920),
    ("4k", "16:9"): (3840, 2160),
    ("4k", "9:16"): (2160, 3840),
}
_MEANINGS = {f"{width}x{height}": meaning for meaning, (width, height) in SIZES.items()}
_RESOLUTIONS = {resolution for resolution, _ in SIZES}
_STRINGS = ("model", "prompt", "seconds", "duration", "size", "input_reference")
_JSON_KINDS = {bool: "bool", int: "number", float: "number", list: "array", dict: "object", str: "string"}


@dataclass(frozen=True, slots=True)
class CarriedFile:
    """A file that came with a submission; the service looks at one of them at most."""

    field: str
    filename: str
    content_type: str
    bytes: int
    sha256: str
    path: Path | None  # None where it was not kept
    width: int | None = None  # pixels; None when it is no picture
    height: int | None = None

    def record(self) -> dict[str, Any]:
        """What ``/_sandbox/tasks`` tells about it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "path"}


@dataclass(slots=True)
class Carried:
    """The body of a submission, read but not judged; names of nested JSON fields are dotted."""

    is_json: bool
    fields: dict[str, str] = field(default_factory=dict)
    files: list[CarriedFile] = field(default_factory=list)

    def option(self, name: str) -> str | None:
        """A generation option: flat in a form, under ``metadata`` in JSON, ignored elsewhere."""
        return self.fields.get(f"metadata.{name}" if self.is_json else name)

    @property
    def model(self) -> str:
        """What is asked for; empty where nothing is."""
        return self.fields.get("model", "")

    @property
    def picture(self) -> CarriedFile | None:
        """The picture that is used: the first ``input_reference``, whatever else came along."""
        return next((each for each in self.files if each.field == "input_reference"), None)


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission that the service accepts, with what it makes of it."""

    model: str
    prompt: str
    seconds: int
    resolution: str
    aspect_ratio: str
    carried: Carried

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of the video in pixels."""
        return SIZES[self.resolution, self.aspect_ratio]

    @property
    def size(self) -> str:
        """The same as the API writes it, like ``1280x720``."""
        width, height = self.dimensions
        return f"{width}x{height}"

    @property
    def picture(self) -> CarriedFile | None:
        """The picture to start from, or none for text-to-video."""
        return self.carried.picture

    def record(self) -> dict[str, Any]:
        """What ``/_sandbox/tasks`` tells about it."""
        return {
            "mode": "image-to-video" if self.picture else "text-to-video",
            "model": self.model,
            "prompt": self.prompt,
            "seconds": str(self.seconds),
            "size": self.size,
            "resolution": self.resolution,
            "aspect_ratio": self.aspect_ratio,
            "fields": self.carried.fields,
            "files": [{**each.record(), "used": each is self.picture} for each in self.carried.files],
        }


async def read(request: web.Request, uploads: Path | None) -> Carried:
    """
    Read the body of ``POST /v1/videos``.

    :param request: the request; its body is read to the end even when it is refused, so that the
        client sees the answer and not a broken pipe.
    :param uploads: directory in which the files of the submission are kept, named by their SHA-256; None
        looks at them and forgets them.
    :raises Refusal: what the service answers when it cannot be read.
    """
    if request.content_type == "multipart/form-data":
        return await _read_form(request, uploads)
    if request.content_type == "application/json":
        return await _read_json(request, uploads)
    await _discard(request)
    raise relay(
        400,
        "unsupported_content_type",
        f"Content-Type must be multipart/form-data or application/json, not {request.content_type}",
    )


async def _discard(request: web.Request) -> None:
    """Read the rest of the body and keep nothing of it."""
    async for _ in request.content.iter_any():
        pass


def judge(carried: Carried) -> Submission:
    """
    Say what the service makes of a submission.

    :raises Refusal: when it makes nothing of it.
    """
    _refuse_audio(carried.fields)
    model, prompt = _required(carried.fields, "model"), _required(carried.fields, "prompt")
    _check_picture(carried)
    resolution, aspect_ratio = _frame(carried)
    _check_seed(carried.option("seed"))
    seconds = _seconds(carried.fields)
    if resolution != "720p" and seconds != LENGTHS["8"]:
        raise upstream(f"{resolution} videos must be 8 seconds long, not {seconds}.")
    return Submission(model, prompt, seconds, resolution, aspect_ratio, carried)


def _refuse_audio(fields: Mapping[str, str]) -> None:
    if any(name.rpartition(".")[2] == "generateAudio" for name in fields):
        raise upstream("`generateAudio` isn't supported by this model. Please remove it.")


def _required(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value.strip():
        raise relay(400, "invalid_request", f"{name} is required")
    return value


def _check_picture(carried: Carried) -> None:
    picture = carried.picture
    if picture is None:
        if carried.is_json:
            return
        raise relay(400, "invalid_request", "input_reference is required")
    if picture.bytes > IMAGE_LIMIT:
        raise gateway(
            413, f"image is too large: {picture.bytes} bytes, limit {IMAGE_LIMIT}", "image_too_large"
        )
    if picture.content_type not in IMAGE_TYPES:
        raise upstream(
            f"Unsupported image type '{picture.content_type}': use image/jpeg, image/png or image/webp."
        )
    if picture.width is None:
        raise upstream("input_reference is not a picture that can be decoded.")


def _frame(carried: Carried) -> tuple[str, str]:
    """Resolution and aspect ratio: named ones are stronger than ``size``; the default is 720p, 16:9."""
    size = carried.fields.get("size", "1280x720")
    if size not in _MEANINGS:
        raise upstream(f"Unsupported size '{size}': use one of {', '.join(_MEANINGS)}.")
    resolution = carried.option("resolution") or _MEANINGS[size][0]
    aspect_ratio = carried.option("aspectRatio") or _MEANINGS[size][1]
    if resolution not in _RESOLUTIONS:
        raise upstream(f"Unsupported resolution '{resolution}': use 720p, 1080p or 4k.")
    if aspect_ratio not in RATIOS:
        raise upstream(f"Unsupported aspectRatio '{aspect_ratio}': use 16:9 or 9:16.")
    return resolution, aspect_ratio


def _check_seed(seed: str | None) -> None:
    try:
        int(seed or "0")
    except ValueError:
        raise upstream(f"seed must be an integer, not '{seed}'.") from None


def _seconds(fields: Mapping[str, str]) -> int:
    """Only ``seconds`` counts; ``duration`` is ignored without a word, and four seconds come back."""
    asked = fields.get("seconds", "4")
    if asked not in LENGTHS:
        raise upstream(f'seconds must be "4", "6" or "8", not "{asked}".')
    return LENGTHS[asked]


async def _read_form(request: web.Request, uploads: Path | None) -> Carried:
    carried = Carried(is_json=False)
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise _unreadable("nested multipart")
            await _read_part(part, carried, uploads)
    except (ValueError, AssertionError) as error:
        raise _unreadable(str(error)) from error
    if request.content.exception() is not None:
        raise _unreadable("the body ended early")
    return carried


async def _read_part(part: BodyPartReader, carried: Carried, uploads: Path | None) -> None:
    name = part.name or ""
    if part.filename is not None:
        content_type = part.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        carried.files.append(await _taken(_chunks(part), uploads, name, part.filename, content_type))
        return
    value = await _text(part)
    if name == "input_reference":
        carried.files.append(await _inline(value, uploads))
    else:
        carried.fields.setdefault(name, value)


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(1 << 18):
        yield chunk


async def _text(part: BodyPartReader) -> str:
    value = bytearray()
    async for chunk in _chunks(part):
        value += chunk
        if len(value) > FIELD_LIMIT:
            raise gateway(413, f"field {part.name} is too large", "request_too_large")
    return value.decode("utf-8", errors="replace")


async def _taken(
    chunks: AsyncIterator[bytes], uploads: Path | None, name: str, filename: str, content_type: str
) -> CarriedFile:
    """Look at a file, and keep it on disk where wanted; what is over the limit is counted and dropped."""
    digest, size = hashlib.sha256(), 0
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        async for chunk in chunks:
            size += len(chunk)
            digest.update(chunk)
            if size <= IMAGE_LIMIT:
                file.write(chunk)
        width, height = await asyncio.to_thread(_dimensions, file) or (None, None)
        sha256 = digest.hexdigest()
        path = None if uploads is None else _kept(file, uploads / sha256)
    return CarriedFile(name, filename, content_type, size, sha256, path, width, height)


def _kept(file: IO[bytes], path: Path) -> Path:
    """Write a file to disk, whole or not at all, unless it is there already."""
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
    """Width and height in pixels, or None when the bytes are no whole JPEG, PNG or WebP."""
    file.seek(0)
    try:
        with Image.open(file, formats=("JPEG", "PNG", "WEBP")) as picture:
            size = picture.size
            # Decoded an eighth as large, a JPEG still has to be whole, and takes a fraction of the time.
            picture.draft(None, (1, 1))
            picture.load()
            return size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


async def _read_json(request: web.Request, uploads: Path | None) -> Carried:
    carried = Carried(is_json=True)
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise _unreadable(str(error)) from error
    if not isinstance(body, dict):
        raise _mismatch(body, "", "TaskSubmitReq")
    _check_types(body)
    picture = body.pop("input_reference", None)
    carried.fields.update(_flat(body))
    if picture:
        carried.files.append(await _inline(picture, uploads))
    return carried


def _check_types(body: Mapping[str, Any]) -> None:
    """A field that the gateway declares as a string is refused when it is anything else."""
    for name in _STRINGS:
        if body.get(name) is not None and not isinstance(body[name], str):
            raise _mismatch(body[name], name, "string")
    if body.get("metadata") is not None and not isinstance(body["metadata"], dict):
        raise _mismatch(body["metadata"], "metadata", "map[string]interface {}")


def _flat(body: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in body.items():
        if isinstance(value, dict):
            fields.update(_flat(value, f"{prefix}{name}."))
        elif value is not None:
            fields[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return fields


async def _inline(value: str, uploads: Path | None) -> CarriedFile:
    """A picture as Base64 text, plain or as a data URL."""
    if value.startswith(("http://", "https://")):
        raise upstream("input_reference must be a file or Base64: remote URLs are not supported.")
    head, comma, tail = value.partition(",")
    content_type = head.removeprefix("data:").partition(";")[0] if comma else ""
    try:
        data = base64.b64decode("".join((tail if comma else value).split()), validate=True)
    except (binascii.Error, ValueError):
        raise upstream("input_reference is not valid Base64.") from None
    return await _taken(_once(data), uploads, "input_reference", "", content_type or _sniffed(data))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _sniffed(data: bytes) -> str:
    """Plain Base64 names no type, so the bytes have to."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "application/octet-stream"


def _unreadable(message: str) -> Refusal:
    return relay(400, "parse_request_failed", message)


def _mismatch(value: object, name: str, wanted: str) -> Refusal:
    """What Go's JSON decoder says about a value of the wrong type."""
    kind = _JSON_KINDS.get(type(value), "null")
    where = f"Go struct field TaskSubmitReq.{name}" if name else "Go value"
    return _unreadable(f"json: cannot unmarshal {kind} into {where} of type {wanted}")
