"""boto3's client for S3, made from an Airflow connection, and the calls that several modules need."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from veo_provider.exceptions import VeoStorageMissingError
from veo_provider.s3.credentials import RenewedCredentials
from veo_provider.s3.error_mapping import translate_errors
from veo_provider.s3.write_options import add_to_requests, write_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from boto3.session import Session
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectTypeDef

    from veo_provider.s3.credentials import LookUp
    from veo_provider.s3.uri import S3Uri


def s3_client(
    aws_conn_id: str | None,
    connections: int = 10,
    extra_args: Mapping[str, str | bool] | None = None,
    run_look_up: Callable[[LookUp], Credentials | None] = lambda look_up: look_up(),
) -> S3Client:
    """Return boto3's client for S3 that an Airflow connection describes.

    If S3 rejects the credentials as expired, the client reads the connection again.

    :param aws_conn_id: connection of type ``aws``; None uses boto3's own credentials.
    :param connections: minimum size of the connection pool: one for each thread that uses the client.
    :param extra_args: options of every write, such as ``ServerSideEncryption``. Each overrides the same
        option in the connection's extra, ``{"service_config": {"s3": {"extra_args": {…}}}}``.
    :param run_look_up: calls the function that reads the connection; for threads that Airflow does not allow
        to read one.
    :raises VeoRequestError: S3 has no such option, or the provider sets it itself.
    :raises VeoStorageError: no client can be made from the connection.
    """
    from botocore.config import Config

    hook = _hook_of(aws_conn_id)
    with translate_errors(f"No client for S3 can be made from the connection {aws_conn_id}"):
        config = hook.config
        # Config creates its attributes at run time, so mypy does not know them.
        pool_size = max(connections, getattr(config, "max_pool_connections", 0))
        client: S3Client = hook.get_client_type(config=config.merge(Config(max_pool_connections=pool_size)))
        options = write_options(client, hook.service_config.get("extra_args"), extra_args)
        credentials = hook.get_session().get_credentials()
    add_to_requests(client, options)
    if credentials is not None:
        look_up = partial(_look_up, aws_conn_id)
        RenewedCredentials(credentials, lambda: run_look_up(look_up)).attach_to(client)
    return client


def _look_up(aws_conn_id: str | None) -> Credentials | None:
    """Read the connection again, and return its credentials."""
    return _hook_of(aws_conn_id).get_session().get_credentials()


def _hook_of(aws_conn_id: str | None) -> S3Hook:
    """Return a hook that makes only one session, since each session would assume the role again."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    class OneSessionHook(S3Hook):
        _only_session: Session | None = None

        def get_session(self, region_name: str | None = None, deferrable: bool = False) -> Session:
            self._only_session = self._only_session or super().get_session(region_name, deferrable)
            return self._only_session

    return OneSessionHook(aws_conn_id=aws_conn_id)


def head_object(client: S3Client, target: S3Uri) -> HeadObjectOutputTypeDef | None:
    """Return the description of an object, or None if there is none.

    :raises VeoStorageError: S3 did not say whether there is one.
    """
    try:
        with translate_errors(f"{target} cannot be looked up"):
            return client.head_object(Bucket=target.bucket, Key=target.key)
    except VeoStorageMissingError:
        return None


def iter_objects(client: S3Client, prefix: S3Uri, after: str = "") -> Iterator[ObjectTypeDef]:
    """Yield the objects whose keys start with a prefix, in the order of S3's listing, one call per page.

    :param prefix: the bucket and the start of the keys, which may be empty.
    :param after: list only the keys after this one.
    :raises VeoStorageError: S3 did not list them.
    """
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=prefix.bucket, Prefix=prefix.key, StartAfter=after
    )
    with translate_errors(f"The objects below {prefix} cannot be listed"):
        for page in pages:
            yield from page.get("Contents", [])
