"""boto3's client for S3, and the one place that translates what boto3 raises."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
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
from veo_provider.s3.credentials import EXPIRED, RenewedCredentials
from veo_provider.s3.write_options import add_to_calls, write_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from boto3.session import Session
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectTypeDef

    from veo_provider.s3.credentials import LookUp
    from veo_provider.s3.uri import S3Uri

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
"""S3's error codes by what they mean, as its list of error responses has them
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html); the answer to a HEAD has no body, and
boto3 names its status instead. Codes that begin with ``KMS.`` are those of AWS KMS, which S3 passes on. Any
other code may pass, and is tried again: ``InternalError``, ``SlowDown``, ``ExpiredToken``, all that are new.
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
"""What botocore raises before it sends anything, because of a setting. These are names in its module
``exceptions``, since not every release has all the classes; and Python's RecursionError, for botocore looks
for a bucket's region again and again where a store redirects and does not name it. Any other may pass, and is
tried again."""

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
"""What a call needs (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html)."""
_ELSEWHERE = "Check region_name and endpoint_url in the connection's extra: the bucket is elsewhere."
_HINTS = {
    **dict.fromkeys(
        EXPIRED,
        "The session token has expired: renew it in the connection, or let the connection assume a role, "
        "whose credentials renew themselves.",
    ),
    **dict.fromkeys(
        (
            "301",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "PermanentRedirect",
        ),
        _ELSEWHERE,
    ),
    "InvalidObjectState": "The object is archived: restore it, or copy it to another storage class.",
    "RequestTimeTooSkewed": "The clock of this machine and that of S3 differ too much: set it right.",
}
"""What to do about a code, where the code alone tells."""
_READS = ("GetObject", "HeadObject")
_WRITES = ("PutObject", "CreateMultipartUpload")


def s3_client(
    aws_conn_id: str | None,
    connections: int = 10,
    extra_args: Mapping[str, str | bool] | None = None,
    through: Callable[[LookUp], Credentials | None] = lambda look_up: look_up(),
) -> S3Client:
    """Return boto3's client for S3 as Airflow's connection describes it.

    When S3 says that its credentials have expired, the connection is looked up again.

    :param aws_conn_id: connection of type ``aws``; None uses boto3's own credentials.
    :param connections: how many connections to S3 are kept, at least: one for each thread that uses it.
    :param extra_args: options of every write, such as ``ServerSideEncryption``; they win, one by one, over
        those in the connection's extra, ``{"service_config": {"s3": {"extra_args": {…}}}}``.
    :param through: makes that look-up, where the thread that needs it may not.
    :raises VeoRequestError: S3 has no such option, or the provider sets it itself.
    :raises VeoStorageError: the connection does not make a client.
    """
    from botocore.config import Config

    hook = _hook_of(aws_conn_id)
    with translate_errors(f"The connection {aws_conn_id} makes no client for S3"):
        known = hook.config
        # Config has its options as attributes that it makes at run time.
        most = max(connections, getattr(known, "max_pool_connections", 0))
        client: S3Client = hook.get_client_type(config=known.merge(Config(max_pool_connections=most)))
        options = write_options(client, hook.service_config.get("extra_args"), extra_args)
        credentials = hook.get_session().get_credentials()
    add_to_calls(client, options)
    if credentials is not None:
        look_up = partial(_look_up, aws_conn_id)
        RenewedCredentials(credentials, lambda: through(look_up)).serve(client)
    return client


def _look_up(aws_conn_id: str | None) -> Credentials | None:
    """Return the credentials that a connection has now."""
    return _hook_of(aws_conn_id).get_session().get_credentials()


def _hook_of(aws_conn_id: str | None) -> S3Hook:
    """Return a hook that makes one session, since each may assume a role of its own."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    class OneSessionHook(S3Hook):
        _only_session: Session | None = None

        def get_session(self, region_name: str | None = None, deferrable: bool = False) -> Session:
            self._only_session = self._only_session or super().get_session(region_name, deferrable)
            return self._only_session

    return OneSessionHook(aws_conn_id=aws_conn_id)


def head_object(client: S3Client, target: S3Uri) -> HeadObjectOutputTypeDef | None:
    """Return what S3 knows of an object, or None if there is none.

    :raises VeoStorageError: S3 did not tell.
    """
    try:
        with translate_errors(f"{target} cannot be looked up"):
            return client.head_object(Bucket=target.bucket, Key=target.key)
    except VeoStorageMissingError:
        return None


def iter_objects(client: S3Client, prefix: S3Uri, after: str = "") -> Iterator[ObjectTypeDef]:
    """Yield the objects whose keys begin with a prefix, in the order of S3's listing; each page is a call.

    :param prefix: the bucket, and what the keys begin with; may be empty.
    :param after: the key after which to start.
    :raises VeoStorageError: S3 did not list them.
    """
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=prefix.bucket, Prefix=prefix.key, StartAfter=after
    )
    with translate_errors(f"The objects below {prefix} cannot be listed"):
        for page in pages:
            yield from page.get("Contents", [])


@contextmanager
def translate_errors(
    what: str, *, retryable: type[VeoError] | None = None, final: type[VeoError] | None = None
) -> Iterator[None]:
    """Raise an error of ours in place of what boto3 raises, also while an object's body is read.

    :param what: the beginning of the sentence that says what was not done.
    :param retryable: raised instead of a :class:`VeoStorageError` that may pass.
    :param final: raised instead of one that a retry does not mend.
    :raises VeoStorageError: by the closed lists of this module; what is in none of them is *unavailable*.
    """
    from http.client import HTTPException

    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, UndefinedModelAttributeError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    # All but the first four are what a body that is read, or an answer that is not S3's, lets through.
    raised = (
        BotoCoreError,
        ClientError,
        Boto3Error,
        UndefinedModelAttributeError,
        ResponseParserError,
        HTTPError,
        HTTPException,
        OSError,
        RecursionError,
    )
    try:
        yield
    except InterruptedError:
        raise  # an upload's own word for its cancellation
    except VeoStorageError as error:
        kind = retryable if error.retryable else final
        if kind is None:
            raise
        raise kind(error.what) from error
    except raised as error:
        translated = _translated(what, error)
        kind = retryable if translated.retryable else final
        raise (kind(translated.what) if kind else translated) from error


def _translated(what: str, error: Exception) -> VeoStorageError:
    # HTTPClientError has a response as well, and it is None.
    response = getattr(error, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return _class_of(code, error)(" ".join([f"{what}: {said}.", *_hints(code, error)]), code=code)


def _class_of(code: str, error: Exception) -> type[VeoStorageError]:
    if code in _MISSING:
        return VeoStorageMissingError
    if code in _DENIED:
        return VeoStorageDeniedError
    if code in _CONFLICT:
        return VeoStorageConflictError
    settings = _CONFIGURATION_ERRORS.intersection(kind.__name__ for kind in type(error).__mro__)
    return VeoStorageConfigurationError if code in _CONFIGURATION or settings else VeoStorageUnavailableError


def _hints(code: str, error: Exception) -> Iterator[str]:
    """Yield what to check, as far as S3's answer tells."""
    operation = getattr(error, "operation_name", "")
    if code in _HINTS or isinstance(error, RecursionError):
        yield _HINTS.get(code, _ELSEWHERE)
    elif code == "400" and operation == "HeadObject":
        yield "S3 gives no reason to a HEAD: usually, the session token has expired."
    elif code == "InvalidRequest" and "Object Lock" in str(error):
        yield "Leave request_checksum_calculation in the connection at when_supported."
    elif is_about_checksums(code, str(error)):
        yield (
            "The store does not know checksums: set "
            '{"config_kwargs": {"request_checksum_calculation": "when_required"}} in the connection\'s extra.'
        )
    elif code in _DENIED and operation in _PERMISSIONS:
        yield from _permissions(operation, str(error))


def is_about_checksums(code: str, said: str) -> bool:
    """Whether a store refuses a write for a checksum, as those do that know none."""
    return code in ("InvalidArgument", "NotImplemented") and "checksum" in said.lower()


def _permissions(operation: str, said: str) -> Iterator[str]:
    yield f"Check the credentials, and the permission {_PERMISSIONS[operation]}."
    if "kms:" in said:
        yield "The object's KMS key needs the permission that S3 names."
    elif operation in _READS:
        yield "Without s3:ListBucket, S3 says the same of an object that does not exist."
    elif operation in _WRITES:
        yield (
            "A bucket may also demand encryption, an ACL or tags, which s3_extra_args sets "
            '(such as {"ServerSideEncryption": "aws:kms"}), and a KMS key needs kms:GenerateDataKey.'
        )
