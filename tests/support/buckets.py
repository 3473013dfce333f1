"""boto3's client for the S3 of a sandbox."""

import boto3


def s3_client_of(sandbox):
    """Return a client; close it."""
    return boto3.client(
        "s3",
        endpoint_url=sandbox.s3,
        aws_access_key_id=sandbox.aws_access_key_id,
        aws_secret_access_key=sandbox.aws_secret_access_key,
        region_name="us-east-1",
    )
