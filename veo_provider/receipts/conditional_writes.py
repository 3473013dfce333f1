"""Conditional writes of a receipt, and whether its store honours them.

Some S3-compatible stores ignore ``If-Match`` and ``If-None-Match`` and overwrite the object; others refuse
these headers. Each bucket is probed once in each process.
"""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from veo_provider.exceptions import (
    VeoError,
    VeoReceiptDeniedError,
    VeoReceiptUnavailableError,
    VeoRequestError,
    VeoStorageError,
)
from veo_provider.receipts.receipt import SUFFIX
from veo_provider.s3.error_mapping import is_about_checksums, translate_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_s3 import S3Client

    from veo_provider.s3.uri import S3Uri

log = logging.getLogger(__name__)

_UNMET_CONDITION = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404", "409", "412")
"""S3's codes for a conditional write that it rejects
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html); 404 if there is no object."""
_IMPOSSIBLE_MATCH = {"IfMatch": '"00000000000000000000000000000000"'}
"""A condition that no object meets."""
_VIDEO_METADATA = {"veo_task_id": "probe", "veo_model": "probe"}
"""The metadata keys of a stored video."""


def receipt_error(error: VeoStorageError) -> VeoError:
    """Return the receipt's error for an error of its store."""
    return (VeoReceiptUnavailableError if error.retryable else VeoReceiptDeniedError)(error.what)


class ConditionalWrites:
    """Writes the object of one receipt under a condition.

    :param client: S3 client of boto3.
    :param receipt: the receipt's object.
    """

    _supported: ClassVar[dict[tuple[str, str, str], bool]] = {}
    """By endpoint, bucket and condition."""

    def __init__(self, client: S3Client, receipt: S3Uri) -> None:
        self._client = client
        self._receipt = receipt

    def put(self, body: bytes, condition: Mapping[str, str]) -> str | None:
        """Write the receipt and return its ETag, or None if S3 rejects the condition.

        :param condition: ``IfMatch`` or ``IfNoneMatch`` as boto3 takes it; empty for an unconditional write.
        :raises VeoReceiptUnavailableError: it was not written, or it is unknown whether it was.
        :raises VeoReceiptDeniedError: the store does not allow the write.
        :raises VeoRequestError: the store does not accept the receipt's name.
        """
        return self._put(self._receipt.key, body, condition)

    def supports_if_match(self) -> bool:
        """Whether the store honours ``If-Match``.

        :raises VeoReceiptError: nothing can be written there; see :meth:`put` for the other errors.
        """
        return self._cached("If-Match", self._probe_if_match)

    def supports_if_none_match(self) -> bool:
        """Whether the store honours ``If-None-Match``. Call it just after the receipt was created.

        If the store does not, the probe overwrites the receipt, and deletes it.
        """
        return self._cached("If-None-Match", self._probe_if_none_match)

    @property
    def is_if_none_match_known(self) -> bool:
        """Whether :meth:`supports_if_none_match` returns without a probe."""
        return self._cache_key("If-None-Match") in self._supported

    def _cached(self, condition: str, probe: Callable[[], bool]) -> bool:
        key = self._cache_key(condition)
        if key not in self._supported:
            self._supported[key] = probe()
        return self._supported[key]

    def _cache_key(self, condition: str) -> tuple[str, str, str]:
        return self._client.meta.endpoint_url, self._receipt.bucket, condition

    def _probe_if_match(self) -> bool:
        """Write an object under a condition that cannot be met, and see whether S3 rejects it.

        The probe has the metadata of a video: a proxy may drop headers with underscores, which the signature
        covers, and then no video could be stored. This finds out before one is paid for.
        """
        # The name is independent of the receipt's own, which may be as long as S3 allows.
        folder = self._receipt.key[: self._receipt.key.rfind("/") + 1]
        key = f"{folder}{SUFFIX}.probe-{uuid.uuid4().hex}"
        try:
            if self._put(key, b"{}", _IMPOSSIBLE_MATCH, Metadata=_VIDEO_METADATA) is None:
                return True
        except VeoReceiptDeniedError as error:
            code = getattr(error.__cause__, "code", "")
            if code == "NotImplemented" and not is_about_checksums(code, error.what):
                return False
            if code == "SignatureDoesNotMatch":
                raise VeoReceiptDeniedError(
                    f"{error.what} If other objects can be written there, a proxy drops headers with "
                    "underscores, such as x-amz-meta-veo_task_id: no video could ever be stored."
                ) from error
            raise
        self._delete(key)
        return False

    def _probe_if_none_match(self) -> bool:
        """Create the receipt a second time, and see whether S3 rejects that."""
        if self.put(b"{}", {"IfNoneMatch": "*"}) is None:
            return True
        self._delete(self._receipt.key)
        return False

    def _put(self, key: str, body: bytes, condition: Mapping[str, str], **options: Any) -> str | None:
        # One mapping, since boto3's stubs know of no condition by a name that is not literal.
        arguments: dict[str, Any] = {
            "Bucket": self._receipt.bucket,
            "Key": key,
            "ContentType": "application/json",
            **condition,
            **options,
        }
        try:
            with translate_errors(f"The receipt {self._receipt} cannot be written"):
                response = self._client.put_object(Body=body, **arguments)
        except VeoStorageError as error:
            if condition and error.code in _UNMET_CONDITION:
                return None
            if error.code == "KeyTooLongError":
                raise VeoRequestError(
                    f"The name of the receipt {self._receipt} is too long for its store."
                ) from error
            raise receipt_error(error) from error
        return response["ETag"]

    def _delete(self, key: str) -> None:
        """Delete an object that the store should have rejected; a policy may forbid that."""
        try:
            with translate_errors(f"s3://{self._receipt.bucket}/{key} cannot be deleted"):
                self._client.delete_object(Bucket=self._receipt.bucket, Key=key)
        except VeoStorageError as error:
            log.warning("%s", error)
