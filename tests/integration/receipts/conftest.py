"""What the tests of receipts share."""

import boto3
import pytest
from botocore.config import Config
from support.receipts import keys

from veo_provider.receipts.conditional_writes import ConditionalWrites


@pytest.fixture(autouse=True)
def _fresh(s3, monkeypatch):
    """An empty bucket, and nothing known of it yet."""
    monkeypatch.setattr(ConditionalWrites, "_supported", {})
    for key in keys(s3):
        s3.delete_object(Bucket="videos", Key=key)


@pytest.fixture
def new_s3(sandbox):
    """Makes S3 clients of their own, which do not try again."""
    made = []

    def make(**changes):
        options = {
            "endpoint_url": sandbox.s3,
            "aws_access_key_id": sandbox.aws_access_key_id,
            "aws_secret_access_key": sandbox.aws_secret_access_key,
            "region_name": "us-east-1",
            "config": Config(retries={"max_attempts": 0}, connect_timeout=2),
        }
        made.append(boto3.session.Session().client("s3", **{**options, **changes}))
        return made[-1]

    yield make
    for client in made:
        client.close()
