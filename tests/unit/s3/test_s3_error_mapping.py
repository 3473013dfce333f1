"""Which error of ours an error of boto3 becomes, by S3's codes."""

import pytest
from botocore import exceptions

from veo_provider.exceptions import (
    VeoStorageConfigurationError,
    VeoStorageConflictError,
    VeoStorageDeniedError,
    VeoStorageMissingError,
    VeoStorageUnavailableError,
)
from veo_provider.s3.error_mapping import translate_errors


def client_error(code, operation="PutObject"):
    return exceptions.ClientError({"Error": {"Code": code, "Message": "So the test has it."}}, operation)


KINDS = {
    "NoSuchBucket": VeoStorageMissingError,
    "NoSuchKey": VeoStorageMissingError,
    "404": VeoStorageMissingError,
    "AccessDenied": VeoStorageDeniedError,
    "403": VeoStorageDeniedError,
    "SignatureDoesNotMatch": VeoStorageDeniedError,
    "PreconditionFailed": VeoStorageConflictError,
    "ConditionalRequestConflict": VeoStorageConflictError,
    "KMS.NotFoundException": VeoStorageConfigurationError,
    "InvalidArgument": VeoStorageConfigurationError,
    "InternalError": VeoStorageUnavailableError,
    "SlowDown": VeoStorageUnavailableError,
    "ExpiredToken": VeoStorageUnavailableError,
    "SomethingNew": VeoStorageUnavailableError,
    "": VeoStorageUnavailableError,
}
MAY_PASS = (VeoStorageConflictError, VeoStorageUnavailableError)


@pytest.mark.parametrize("code", KINDS)
def test_s3s_codes_have_their_kinds(code):
    """Codes of the closed lists are what they are, and any other may pass."""
    with pytest.raises(KINDS[code]) as caught, translate_errors("It cannot be written"):
        raise client_error(code)
    assert caught.value.code == code
    assert caught.value.retryable == (KINDS[code] in MAY_PASS)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.NoCredentialsError(),
        exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        exceptions.ParamValidationError(report="Invalid bucket name"),
        exceptions.ProfileNotFound(profile="other"),
        exceptions.NoRegionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_setting_causes_is_not_tried_again(error):
    """boto3 refuses these before it sends anything, and would refuse them again."""
    with pytest.raises(VeoStorageConfigurationError) as caught, translate_errors("It cannot be written"):
        raise error
    assert not caught.value.retryable


def test_a_refused_write_says_what_to_check():
    """The permission is named, and that the bucket may demand what s3_extra_args sets."""
    with (
        pytest.raises(VeoStorageDeniedError, match=r"s3:PutObject.*encryption.*s3_extra_args"),
        translate_errors("It cannot be written"),
    ):
        raise client_error("AccessDenied")
