"""A sandbox for each gateway that it can play, and Airflow's connections to it."""

import pytest
from support.faces import FACES

from veo_provider.sandbox.process import Sandbox


@pytest.fixture(scope="session", params=FACES)
def _face(request):
    with Sandbox(gateway=request.param, latency=0.2, film="small", s3=False) as running:
        yield running


@pytest.fixture
def face(_face):
    """The sandbox that plays the gateway, with no tasks, no faults and an empty bill."""
    _face.reset()
    _face.clear_faults()
    return _face


@pytest.fixture
def connected(face, connections, monkeypatch):
    """Airflow's default connections: to that gateway, and to the S3 of the other sandbox."""
    monkeypatch.setenv("AIRFLOW_CONN_VEO_DEFAULT", face.veo_conn())
    return face


@pytest.fixture(autouse=True)
def _empty(s3):
    for bucket, prefix in (("images", "lot/"), ("videos", "")):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=found["Key"])


@pytest.fixture
def put_images(s3):
    """Puts so many copies of a photograph where a batch looks for them."""

    def put(count):
        for number in range(count):
            source = {"Bucket": "images", "Key": "rocket.jpg"}
            s3.copy_object(Bucket="images", Key=f"lot/{number:03}.jpg", CopySource=source)

    return put
