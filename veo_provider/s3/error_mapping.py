"""Translates what boto3 raises into the errors of this package, by closed lists of S3's error codes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from veo_provider.exceptions import (
    VeoError,
    VeoStorageConfigurationError,
    VeoStorageConflictError,
    VeoStorageDeniedError,
    VeoStorageError,
    VeoStorageMissingError,
    VeoStorageUnavailableError,
)
from veo_provider.s3.credentials import EXPIRED

if TYPE_CHECKING:
    from collections.abc import Iterator

_MISSING = frozenset({"NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion", "404"})
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "InvalidAccessKeyId",
        "InvalidObjectState",
        "InvalidPayer",
        "InvalidSecurity",
        "InvalidToken",
        "NotSignedUp",
        "SignatureDoesNotMatch",
        "403",
    }
)
_CONFLICT = frozenset({"ConditionalRequestConflict", "PreconditionFailed", "409", "412"})
_CONFIGURATION = frozenset(
    {
        "AccessControlListNotSupported",
        "AuthorizationHeaderMalformed",
        "BucketHasOwnerEnforcedSetting",
        "EntityTooLarge",
        "IllegalLocationConstraintException",
        "InvalidArgument",
        "InvalidBucketName",
        "InvalidEncryptionAlgorithmError",
        "InvalidLocationConstraint",
        "InvalidRegion",
        "InvalidRequest",
        "InvalidStorageClass",
        "InvalidTag",
        "InvalidURI",
        "KeyTooLongError",
        "KMS.DisabledException",
        "KMS.InvalidKeyUsageException",
        "KMS.InvalidStateException",
        "KMS.NotFoundException",
        "MalformedACLError",
        "MetadataTooLarge",
        "MethodNotAllowed",
        "MissingSecurityHeader",
        "NotImplemented",
        "PermanentRedirect",
        "UserKeyMustBeSpecified",
        "301",
    }
)
"""S3's error codes by their meaning, from its list of error responses
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html). The response to a HEAD has no body, and
boto3 uses its status instead. Codes that start with ``KMS.`` come from AWS KMS. Any other code is retryable:
``InternalError``, ``SlowDown``, ``ExpiredToken``, every new one.
"""

_CONFIGURATION_ERRORS = frozenset(
    {
        "BaseEndpointResolverError",
        "ConfigNotFound",
        "ConfigParseError",
        "EndpointProviderError",
        "InvalidChecksumConfigError",
        "InvalidConfigError",
        "InvalidDNSNameError",
        "InvalidDefaultsMode",
        "InvalidEndpointConfigurationError",
        "InvalidHostLabelError",
        "InvalidProxiesConfigError",
        "InvalidRetryConfigurationError",
        "InvalidS3AddressingStyleError",
        "InvalidS3UsEast1RegionalEndpointConfigError",
        "InvalidSTSRegionalEndpointsConfigError",
        "LoginInsufficientPermissions",
        "LoginRefreshRequired",
        "MissingDependencyException",
        "MissingParametersError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "ParamValidationError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RecursionError",
        "RefreshWithMFAUnsupportedError",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
        "UnknownCredentialError",
        "UnknownRegionError",
        "UnknownSignatureVersionError",
        "UnknownTokenProviderError",
        "UnsupportedOutpostResourceError",
        "UnsupportedS3AccesspointConfigurationError",
        "UnsupportedS3ArnError",
        "UnsupportedS3ConfigurationError",
        "UnsupportedSignatureVersionError",
        "ValidationError",
    }
)
"""What botocore raises because of a setting, before it sends anything: names in its module ``exceptions``,
since not every release has all the classes. Python's RecursionError is one of them: if a store redirects
without naming the bucket's region, botocore asks for the region again and again. Any other is retryable."""

_PERMISSIONS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "AssumeRole": "sts:AssumeRole",
    "CompleteMultipartUpload": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "UploadPart": "s3:PutObject",
}
"""The permission that a call needs
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html)."""
_WRONG_REGION = (
    "The bucket is in another region: check region_name and endpoint_url in the connection's extra."
)
_ADVICE = {
    **dict.fromkeys(
        EXPIRED,
        "The session token has expired: renew it in the connection, or let the connection assume a role, "
        "whose credentials are renewed automatically.",
    ),
    **dict.fromkeys(
        (
            "301",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "PermanentRedirect",
        ),
        _WRONG_REGION,
    ),
    "InvalidObjectState": "The object is archived: restore it, or copy it to another storage class.",
    "RequestTimeTooSkewed": "The clock of this machine differs too much from that of S3: correct it.",
}
"""Advice that depends on the code alone."""
_READS = ("GetObject", "HeadObject")
_WRITES = ("PutObject", "CreateMultipartUpload")


@contextmanager
def translate_errors(
    what: str, *, retryable: type[VeoError] | None = None, final: type[VeoError] | None = None
) -> Iterator[None]:
    """Raise an error of this package instead of what boto3 raises, also while an object's body is read.

    :param what: the first clause of the message, which says what was not done.
    :param retryable: raised instead of a retryable :class:`VeoStorageError`.
    :param final: raised instead of one that is not.
    :raises VeoStorageError: by the closed lists of this module; what is in none of them is *unavailable*.
    """
    try:
        yield
    except InterruptedError:
        raise  # the upload was cancelled
    except VeoStorageError as error:
        kind = retryable if error.retryable else final
        if kind is None:
            raise
        raise kind(error.what) from error
    except _raised_by_boto3() as error:
        translated = _translated(what, error)
        kind = retryable if translated.retryable else final
        raise (kind(translated.what) if kind else translated) from error


def _raised_by_boto3() -> tuple[type[Exception], ...]:
    """Return the classes that a call of boto3 may raise."""
    from http.client import HTTPException

    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, UndefinedModelAttributeError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    calls = (BotoCoreError, ClientError, Boto3Error, UndefinedModelAttributeError)
    # While a body is read, and for a response that is not S3's.
    responses = (ResponseParserError, HTTPError, HTTPException, OSError, RecursionError)
    return calls + responses


def _translated(what: str, error: Exception) -> VeoStorageError:
    # HTTPClientError has a response, too, and it is None.
    response = getattr(error, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    message = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    sentences = [f"{what}: {message}.", *_advice(code, error)]
    return _exception_class(code, error)(" ".join(sentences), code=code)


def _exception_class(code: str, error: Exception) -> type[VeoStorageError]:
    if code in _MISSING:
        return VeoStorageMissingError
    if code in _DENIED:
        return VeoStorageDeniedError
    if code in _CONFLICT:
        return VeoStorageConflictError
    settings = _CONFIGURATION_ERRORS.intersection(kind.__name__ for kind in type(error).__mro__)
    return VeoStorageConfigurationError if code in _CONFIGURATION or settings else VeoStorageUnavailableError


def _advice(code: str, error: Exception) -> Iterator[str]:
    """Yield what to check, as far as S3's response shows it."""
    operation = getattr(error, "operation_name", "")
    if code in _ADVICE or isinstance(error, RecursionError):
        yield _ADVICE.get(code, _WRONG_REGION)
    elif code == "400" and operation == "HeadObject":
        yield "S3 gives no reason for a failed HEAD: usually, the session token has expired."
    elif code == "InvalidRequest" and "Object Lock" in str(error):
        yield "Leave request_checksum_calculation in the connection at when_supported."
    elif is_about_checksums(code, str(error)):
        yield (
            "The store does not support checksums: set "
            '{"config_kwargs": {"request_checksum_calculation": "when_required"}} in the connection\'s extra.'
        )
    elif code in _DENIED and operation in _PERMISSIONS:
        yield from _permission_advice(operation, str(error))


def is_about_checksums(code: str, message: str) -> bool:
    """Whether a store rejects a write because it does not support checksums."""
    return code in ("InvalidArgument", "NotImplemented") and "checksum" in message.lower()


def _permission_advice(operation: str, message: str) -> Iterator[str]:
    yield f"Check the credentials, and the permission {_PERMISSIONS[operation]}."
    if "kms:" in message:
        yield "The object's KMS key needs the permission that S3 names."
    elif operation in _READS:
        yield "Without s3:ListBucket, S3 says the same of an object that does not exist."
    elif operation in _WRITES:
        yield (
            "A bucket may also demand encryption, an ACL or tags, which s3_extra_args sets "
            '(such as {"ServerSideEncryption": "aws:kms"}), and a KMS key needs kms:GenerateDataKey.'
        )
