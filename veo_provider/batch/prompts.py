"""The prompt of each image of a manifest: from a template, from a mapping, or from a sidecar.

A template contains ``$name``, ``$stem``, ``$key`` and ``$metadata_…``, which are replaced by what is known of
an image; ``$$`` is a dollar. A prompt for one image, in a mapping or a sidecar, is used as it is.
"""

from __future__ import annotations

from contextlib import closing
from email.header import decode_header, make_header
from posixpath import basename, splitext
from string import Template
from typing import TYPE_CHECKING, Protocol

from veo_provider.exceptions import (
    VeoImageUnavailableError,
    VeoRequestError,
    VeoStorageError,
    VeoStorageMissingError,
)
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Uri

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

    from veo_provider.batch.manifest import ManifestItem

    T = TypeVar("T")

MAX_SIDECAR_BYTES = 32 * 1024
"""A longer text is not a prompt: the service reads about a thousand words."""

_NAMES = ("name", "stem", "key")
_METADATA = "metadata_"


class PromptSource(Protocol):
    """Returns the prompt of each image."""

    def of(self, item: ManifestItem) -> str:
        """Return the prompt; this call may block, and many threads may make it at once.

        :raises VeoRequestError: the image has no prompt.
        :raises VeoImageUnavailableError: it cannot be read now.
        """


def prompts_of(prompt: str | Mapping[str, str] | None, suffix: str | None, s3: S3Client) -> PromptSource:
    """Return the source of the prompts of a batch.

    :param prompt: a template for all images; or a mapping to the prompt from the image's URI, S3 key, path
        below the prefix, or file name, looked up in this order; None for sidecars.
    :param suffix: the suffix of a sidecar's name, such as ``.txt``: ``cat.jpg.txt`` or, if there is none,
        ``cat.txt``; UTF-8 of at most :data:`MAX_SIDECAR_BYTES`.
    :param s3: boto3's client, for sidecars and metadata.
    :raises VeoRequestError: both or none of the two are given, or the template has an unknown name.
    """
    if (prompt is None) == (not suffix):
        raise VeoRequestError("Give either prompt, a text or a mapping, or prompt_suffix for sidecars.")
    if suffix:
        return _SidecarPrompts(suffix, s3)
    if isinstance(prompt, str):
        return _TemplatePrompts(prompt, s3)
    return _MappedPrompts(prompt or {})


class _TemplatePrompts:
    """One template for all images."""

    def __init__(self, text: str, s3: S3Client) -> None:
        if not text.strip():
            raise VeoRequestError("The prompt is empty: it must be a text.")
        self._template = Template(text)
        self._names = {_identifier(found.groupdict(), text) for found in Template.pattern.finditer(text)} - {
            ""
        }
        self._s3 = s3

    def of(self, item: ManifestItem) -> str:
        name = basename(item.path)
        known = {"name": name, "stem": splitext(name)[0], "key": _key(item.image)}
        wanted = self._names.difference(known)
        if wanted:
            known.update(self._metadata(item.image))
        for name in wanted.difference(known):
            raise VeoRequestError(f"The prompt has ${name}, and {item.image} has no such metadata.")
        return self._template.substitute(known)

    def _metadata(self, image: str) -> dict[str, str]:
        """Return the user metadata of the object, by the names of a template."""
        found = _ask_s3(image, self._head, S3Uri.parse(image, "image"))
        texts = found["Metadata"] if found else {}
        return {f"{_METADATA}{name.lower().replace('-', '_')}": _decoded(texts[name]) for name in texts}

    def _head(self, place: S3Uri) -> HeadObjectOutputTypeDef:
        return self._s3.head_object(Bucket=place.bucket, Key=place.key)


class _MappedPrompts:
    """A mapping with the prompt of each image."""

    def __init__(self, prompts: Mapping[str, str]) -> None:
        self._prompts = prompts

    def of(self, item: ManifestItem) -> str:
        for name in (item.image, _key(item.image), item.path, basename(item.path)):
            if str(self._prompts.get(name) or "").strip():
                return str(self._prompts[name])
        raise VeoRequestError(f"There is no prompt for {item.image}.")


class _SidecarPrompts:
    """A text file beside each image."""

    def __init__(self, suffix: str, s3: S3Client) -> None:
        if "/" in suffix or not suffix.startswith("."):
            raise VeoRequestError(f"prompt_suffix must be like '.txt'; got {suffix!r}.")
        self._suffix = suffix
        self._s3 = s3

    def of(self, item: ManifestItem) -> str:
        image = S3Uri.parse(item.image, "image")
        keys = (f"{image.key}{self._suffix}", f"{splitext(image.key)[0]}{self._suffix}")
        for key in keys:
            text = _ask_s3(item.image, self._read, S3Uri(image.bucket, key))
            if text is not None:
                return text
        raise VeoRequestError(f"There is no prompt for {item.image}: neither {keys[0]} nor {keys[1]} exists.")

    def _read(self, place: S3Uri) -> str:
        answer = self._s3.get_object(Bucket=place.bucket, Key=place.key)
        with closing(answer["Body"]) as body:
            data = body.read(MAX_SIDECAR_BYTES + 1)
        if len(data) > MAX_SIDECAR_BYTES:
            raise VeoRequestError(f"{place} is no prompt: it has more than {MAX_SIDECAR_BYTES} bytes.")
        try:
            text = data.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise VeoRequestError(f"{place} is no prompt: it is not UTF-8.") from error
        if not text:
            raise VeoRequestError(f"{place} is no prompt: it is empty.")
        return text


def _identifier(found: dict[str, str | None], text: str) -> str:
    """Return the name after a dollar; empty for an escaped dollar."""
    name = found["named"] or found["braced"] or ""
    if found["invalid"] is not None or (name and name not in _NAMES and not name.startswith(_METADATA)):
        raise VeoRequestError(
            f"The prompt {text!r} has an unknown $ name: use $name, $stem, $key or $metadata_…, "
            "or $$ for a dollar."
        )
    return name


def _ask_s3(image: str, ask: Callable[[S3Uri], T], place: S3Uri) -> T | None:
    """Call S3; return None if there is no such object."""
    try:
        with translate_errors(f"The prompt of {image} cannot be read"):
            return ask(place)
    except VeoStorageError as error:
        if isinstance(error, VeoStorageMissingError) and error.code != "NoSuchBucket":
            return None
        kind = VeoImageUnavailableError if error.retryable else VeoRequestError
        raise kind(error.what) from error


def _key(image: str) -> str:
    """Return the key of an image in S3; return another path or URI as it is."""
    return S3Uri.parse(image, "image", with_connection=True).key if image.startswith("s3://") else image


def _decoded(value: str) -> str:
    """Decode a value of metadata, which S3 returns as an encoded word (RFC 2047) if it is not ASCII."""
    return str(make_header(decode_header(value)))
