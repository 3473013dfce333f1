"""The manifest of a batch: its images, their order, and the output of each.

A manifest is a list of images, or a prefix in S3, with or without wildcards, which is listed page by page and
never held in memory. Below a prefix every object counts as an image, except what this package or a person
puts beside images: folder markers, videos (``.mp4``), receipts, everything in a folder ``_veo`` and, if they
are used, the prompts' sidecars. A file of an unknown type is an item, too: when its first bytes are read, it
is rejected with a reason.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from veo_provider.batch.outcome import Outcome
from veo_provider.exceptions import VeoArchiveUnavailableError, VeoRequestError
from veo_provider.generation.posters import SUFFIX as POSTER_SUFFIX
from veo_provider.receipts.receipt import SUFFIX as RECEIPT_SUFFIX
from veo_provider.s3.client import iter_objects
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.uri import S3Prefix, S3Uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mypy_boto3_s3 import S3Client

VIDEO_SUFFIX = ".mp4"
OWN_FOLDER = "_veo"
"""The folder of summaries and the like, below the output prefix."""
MAX_KEY_BYTES = 1024
"""The longest key that S3 accepts, in UTF-8."""

_WILDCARDS = re.compile(r"[*?\[]")
_FOLDER_SUFFIX = "_$folder$"  # Hadoop's marker of a folder
_OWN = (VIDEO_SUFFIX, RECEIPT_SUFFIX, POSTER_SUFFIX, _FOLDER_SUFFIX)


@dataclass(frozen=True)
class ManifestItem:
    """One image of a manifest.

    :param key: unique in the manifest: the S3 key of an image below a prefix, and the output of an image in a
        list, whatever its position. :meth:`Manifest.items` goes on after a key. Keys are not everywhere in
        the order of their characters.
    :param image: ``s3://bucket/key``, or a path or URI from the list.
    :param path: its path below the prefix, or its file name if it is in a list.
    :param output: where its video is stored, ``s3://bucket/key.mp4``.
    :param outcome: its outcome if its name alone shows that no video is made; else None.
    :param reason: the reason for that outcome.
    """

    key: str
    image: str
    path: str
    output: str
    outcome: Outcome | None = None
    reason: str = ""


class Manifest(Protocol):
    """Images in a stable order."""

    def items(self, after: str | None = None) -> Iterator[ManifestItem]:
        """Yield the items, one page at a time; this call blocks.

        :param after: the key of the last item that is left out; None starts with the first item.
        :raises VeoArchiveUnavailableError: the prefix cannot be listed now.
        :raises VeoRequestError: the bucket does not exist, or may not be listed.
        """

    def has_places(self, keys: Iterable[str]) -> bool:
        """Whether the manifest can go on after each of these keys; an earlier release had other keys."""


class Outputs:
    """The set of a manifest's outputs, in eight bytes each: a million of them fit into memory.

    :param items: of the manifest.
    """

    def __init__(self, items: Iterable[ManifestItem] = ()) -> None:
        self._hashes = array("q", (hash(item.output) for item in items))
        self._is_sorted = False

    def of(self, items: Iterable[ManifestItem]) -> Iterator[ManifestItem]:
        """Yield items, and add the output of each."""
        for item in items:
            self._hashes.append(hash(item.output))
            self._is_sorted = False
            yield item

    def __contains__(self, output: str) -> bool:
        if not self._is_sorted:
            self._hashes = array("q", sorted(self._hashes))
            self._is_sorted = True
        wanted = hash(output)
        place = bisect_left(self._hashes, wanted)
        return place < len(self._hashes) and self._hashes[place] == wanted


def open_manifest(
    images: str | Iterable[object], output_prefix: str, s3: S3Client, *, prompt_suffix: str | None = None
) -> Manifest:
    """Return a manifest, and check all that can be checked before any money is spent.

    :param images: ``s3://bucket/prefix/`` for all objects below it, the same with the wildcards ``*``, ``?``,
        ``[…]`` (none of which matches a ``/``) and ``**`` (any folders), or a list of images.
    :param output_prefix: ``s3://bucket/prefix/``. A video has the name of its image plus ``.mp4``
        (``cat.jpg.mp4``), so that ``cat.jpg`` and ``cat.png`` have one each: the path below the prefix, or
        below the folder of the first wildcard, or the file name alone if it is in a list.
    :param s3: boto3's client, for the listing.
    :param prompt_suffix: the suffix of sidecars with prompts, such as ``.txt``, which are not images.
    :raises VeoRequestError: a parameter is not of its form, or two images of a list have the same output.
    """
    folder = S3Prefix.parse(output_prefix, "output_prefix")
    if isinstance(images, str):
        return _S3Manifest(images, folder, s3, prompt_suffix)
    return _ListManifest(images, folder)


class _S3Manifest:
    """All objects below a prefix, or those that match a pattern."""

    def __init__(self, pattern: str, output: S3Prefix, s3: S3Client, prompt_suffix: str | None) -> None:
        self._source, self._listed, self._matches = _read_pattern(pattern)
        self._output = output
        self._s3 = s3
        self._prompt_suffix = prompt_suffix

    def items(self, after: str | None = None) -> Iterator[ManifestItem]:
        """Yield the items in the order of the listing."""
        for key in self._keys(after):
            path = key[len(self._source.key) :]
            if self._matches(key) and self._is_candidate(path):
                yield _item(str(S3Uri(self._source.bucket, key)), path, self._output, key)

    def has_places(self, keys: Iterable[str]) -> bool:  # noqa: ARG002 - S3 lists from any key on
        """Return True: S3 lists the keys after any key, whether or not it exists."""
        return True

    def _keys(self, after: str | None) -> Iterator[str]:
        where = S3Uri(self._source.bucket, self._listed)
        with translate_errors(
            f"The images below {where} cannot be listed",
            retryable=VeoArchiveUnavailableError,
            final=VeoRequestError,
        ):
            for found in iter_objects(self._s3, where, after or ""):
                yield found["Key"]

    def _is_candidate(self, path: str) -> bool:
        """Whether an object counts as an image: all do except those that are put beside images."""
        folders, _, name = path.rpartition("/")
        return not (
            not name
            or OWN_FOLDER in folders.split("/")
            or name.lower().endswith(_OWN)
            or f"{RECEIPT_SUFFIX}.probe-" in name
            or (self._prompt_suffix and name.endswith(self._prompt_suffix))
        )


def _read_pattern(pattern: str) -> tuple[S3Prefix, str, Callable[[str], object]]:
    """Return the folder that paths are relative to, the prefix to list, and a test of keys."""
    from fsspec.utils import glob_translate

    wildcard = _WILDCARDS.search(pattern)
    if wildcard is None:
        prefix = S3Prefix.parse(pattern, "images")
        return prefix, prefix.key, lambda _: True
    literal = pattern[: wildcard.start()]
    length = literal.rfind("/") + 1
    folder = S3Prefix.parse(pattern[:length], "images")
    listed = folder.key + literal[length:]
    wanted = folder.key + pattern[length:]
    try:
        expression = glob_translate(f"{wanted}**" if wanted.endswith("/") else wanted)
    except ValueError as error:
        raise VeoRequestError(
            f"images={pattern!r} is not a pattern: ** matches whole folders only."
        ) from error
    return folder, listed, re.compile(expression).match


class _ListManifest:
    """The images of a list. An image that is in the list twice has one video."""

    def __init__(self, images: Iterable[object], output: S3Prefix) -> None:
        self._items: list[ManifestItem] = []
        self._places: dict[str, int] = {}
        firsts: dict[str, ManifestItem] = {}
        times: Counter[str] = Counter()
        for index, entry in enumerate(images):
            image = str(entry).strip() if entry is not None else ""
            name = image.rpartition("/")[2]
            if not name:
                raise VeoRequestError(f"images[{index}]={entry!r} is no image: it must be a path or a URI.")
            item = _item(image, name, output)
            first = firsts.setdefault(item.output, item)
            if first.image != image:
                raise VeoRequestError(
                    f"The videos of {first.image} and {image} would both be {item.output}. Give them as a "
                    "prefix, which keeps their folders, or to two tasks with an output_prefix each."
                )
            if first is not item:
                times[item.output] += 1
                item = replace(
                    item,
                    key=f"{item.output}#{times[item.output] + 1}",  # which is no image's output
                    outcome=Outcome.SKIPPED,
                    reason="It is in the list twice.",
                )
            self._places[item.key] = len(self._items)
            self._items.append(item)

    def items(self, after: str | None = None) -> Iterator[ManifestItem]:
        """Yield the items in the order of the list; all of them if the key is none of theirs."""
        return iter(self._items[self._places.get(after, -1) + 1 if after else 0 :])

    def has_places(self, keys: Iterable[str]) -> bool:
        """Whether these are keys of the list."""
        return all(key in self._places for key in keys)


def _item(image: str, path: str, folder: S3Prefix, key: str | None = None) -> ManifestItem:
    """Return an item; its key is its output if no other is given."""
    output = folder.object(f"{path}{VIDEO_SUFFIX}")
    reason = _rejection_reason(image, output)
    outcome = Outcome.REJECTED if reason else None
    return ManifestItem(key or str(output), image, path, str(output), outcome, reason)


def _rejection_reason(image: str, output: S3Uri) -> str:
    """Return why no video is made of an image with this name; empty if one can be made."""
    if image != image.strip():
        return "Its name ends with white space, which a URI does not keep."
    if len(f"{output.key}{RECEIPT_SUFFIX}".encode()) > MAX_KEY_BYTES:
        return f"The name of its receipt would be longer than the {MAX_KEY_BYTES} bytes that S3 takes."
    return ""
